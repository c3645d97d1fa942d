"""Every operation of the chapters' networks, written down as they are."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import chapters
from helpers.trace import labels, on_meta, trace


class SqueezeExcite(nn.Module):
    """The channel attention of Squeeze and Excitation: one mean over the image."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 1)

    def forward(self, x):
        x = self.conv(x)
        return x * torch.sigmoid(self.fc(x.mean((2, 3), keepdim=True)))


def unet(**settings):
    return chapters.load("02_unet").UNet(**settings)


def sizes(ops, kind):
    return [op.shape[-1] for op in ops if op.kind == kind]


def test_unet_of_the_paper_has_the_sizes_of_its_figure():
    net = unet(in_channels=1, classes=2)
    ops = trace(net, 1, 1, 572, 572)
    expected = [570, 568, 282, 280, 138, 136, 66, 64, 30, 28]  # Fig. 1, left side
    expected += [54, 52, 102, 100, 198, 196, 390, 388, 388]  # right side, 1x1
    assert sizes(ops, "conv") == expected
    assert sizes(ops, "pool") == [284, 140, 68, 32]
    assert sizes(ops, "upconv") == [56, 104, 200, 392]
    assert [op.shape[1] for op in ops if op.kind == "concat"] == [1024, 512, 256, 128]
    crops = [op.settings["before"] for op in ops if op.kind == "crop"]
    assert crops == [(4, 4), (16, 16), (40, 40), (88, 88)]  # (568 - 392) / 2 = 88
    assert ops[-1].kind == "output" and ops[-1].shape == (1, 2, 388, 388)
    assert net.training and next(net.parameters()).device.type == "cpu"


def test_crop_reads_the_encoder_and_concat_both():
    ops = trace(unet(in_channels=1, widths=(2, 4)), 1, 1, 20, 20)
    crop = next(op for op in ops if op.kind == "crop")
    concat = next(op for op in ops if op.kind == "concat")
    assert ops[crop.inputs[0]].shape == (1, 2, 16, 16)
    assert ops[crop.inputs[0]].module.startswith("encoder.0")
    assert sorted(ops[i].kind for i in concat.inputs) == ["crop", "upconv"]


def test_a_refused_size_raises_the_networks_own_error():
    with pytest.raises(ValueError, match="cannot take 21 px"):
        trace(unet(in_channels=1, widths=(2, 4)), 1, 1, 21, 21)


def test_padding_of_every_mode_belongs_to_the_convolution_or_comes_before_it():
    for mode in ("zeros", "reflect", "replicate"):
        net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, padding_mode=mode))
        ops = trace(net, 1, 1, 9, 9)
        assert ops[-1].shape == (1, 2, 9, 9)
        window = next(op for op in ops if op.kind == "conv").settings
        pads = [op.settings["before"] for op in ops if op.kind == "pad"]
        if mode == "zeros":
            assert window["padding"] == (1, 1) and not pads
        else:
            assert window["padding"] == (0, 0) and pads == [(1, 1)]


def test_a_resizing_says_whether_it_has_a_scale_or_a_size():
    class Resized(nn.Module):
        def forward(self, x):
            x = F.pad(F.interpolate(x, scale_factor=2), [1, 0, 0, 0], value=3)
            return F.interpolate(x, (5, 7), mode="bilinear")

    first, pad, second = trace(Resized(), 1, 1, 4, 4)[1:4]
    assert first.settings["scale"] == [2, 2] and second.settings["scale"] is None
    assert pad.settings["value"] == 3


def test_negative_padding_is_a_crop():
    class Cut(nn.Module):
        def forward(self, x):
            return F.pad(x, [-1, -2, -3, -4])

    crop = trace(Cut(), 1, 1, 20, 20)[1]
    assert crop.kind == "crop" and crop.shape == (1, 1, 13, 17)
    assert crop.settings == {"before": (3, 1), "after": (4, 2)}


@pytest.mark.parametrize(
    ("chapter", "make", "shape", "kinds"),
    [
        ("01_fcn", "small_fcn", (1, 3, 64, 96), {"dropout", "upconv", "crop", "pool"}),
        ("03_vnet", "small_vnet", (1, 1, 16, 16, 16), {"repeat", "add", "upconv"}),
        ("04_resunet", "small_resunet", (1, 3, 16, 16), {"norm", "add", "upsample"}),
        ("05_inception_unet", "small_inception_unet", (1, 3, 32, 32), {"concat"}),
        ("06_u2net", "small_u2net", (1, 3, 45, 50), {"pool", "upsample", "concat"}),
    ],
)
def test_every_family_is_traced(chapter, make, shape, kinds):
    net = getattr(chapters.load(chapter), make)().eval()
    ops = trace(net, *shape)
    assert kinds <= {op.kind for op in ops}
    with torch.no_grad():
        answer = net(torch.zeros(shape))
    maps = answer if isinstance(answer, tuple | list) else [answer]
    outputs = [op.shape for op in ops if op.kind == "output"]
    assert outputs == [tuple(y.shape) for y in maps]
    assert all(i < op.index for op in ops for i in op.inputs)


def test_a_product_is_no_sum_and_a_global_mean_is_something_else():
    ops = trace(SqueezeExcite(), 1, 1, 9, 9)
    kinds = [op.kind for op in ops]
    assert kinds == [
        "input", "conv", "other", "conv", "activation", "multiply", "output"
    ]  # fmt: skip


def test_what_is_computed_from_weights_alone_is_no_operation():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.Parameter(torch.zeros(2))

        def forward(self, x):
            weights = self.mix.softmax(0)
            return weights[0] * x + weights[1] * x.relu()

    ops = trace(Mixed(), 1, 3, 8, 8)
    assert all(op.inputs for op in ops[1:])
    assert "multiply" not in {op.kind for op in ops}


def test_the_copy_without_numbers_has_none_and_the_network_stays():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    twin, x = on_meta(net, 1, 1, 8, 8)
    tensors = [x, *twin.parameters(), *twin.buffers()]
    assert all(tensor.is_meta for tensor in tensors) and not twin.training
    assert net.training and not any(p.is_meta for p in net.parameters())


def test_labels_name_what_computes_and_count_a_module_once():
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU()),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.BatchNorm2d(4),
        nn.MaxPool2d(2),
        nn.ConvTranspose2d(4, 1, 2, stride=2),
    )
    words = [
        "convolution 3 × 3, stride 2", "convolution 3 × 3, dilated", "batch norm",
        "max pooling", "transposed 2 × 2, stride 2",
    ]  # fmt: skip
    assert labels(net, 1, 3, 32, 32, whole=nn.Flatten) == words
    counted = labels(net, 1, 3, 32, 32, whole=nn.BatchNorm2d)
    assert sorted(counted) == sorted([*words[:2], "BatchNorm2d", *words[3:]])
