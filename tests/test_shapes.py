"""helpers.shapes on small throw-away networks, one of each sort the book builds."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import shapes


def double(cin, cout):
    return nn.Sequential(
        nn.Conv2d(cin, cout, 3), nn.ReLU(), nn.Conv2d(cout, cout, 3), nn.ReLU()
    )


class UNet(nn.Module):
    """The paper's: valid convolutions, centre crops, concatenation."""

    def __init__(self, widths=(64, 128, 256, 512, 1024), in_channels=1, classes=2):
        super().__init__()
        cin = (in_channels, *widths[:-2])
        self.down = nn.ModuleList(map(double, cin, widths[:-1]))
        self.bottom = double(widths[-2], widths[-1])
        back = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in back)
        self.merge = nn.ModuleList(double(2 * b, b) for _, b in back)
        self.pool, self.head = nn.MaxPool2d(2), nn.Conv2d(widths[0], classes, 1)

    def forward(self, x):
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            if x.shape[-1] % 2:
                raise ValueError(f"{x.shape[-1]} px cannot be halved")
            x = self.pool(x)
        x = self.bottom(x)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            x = up(x)
            h, w = x.shape[2:]
            i, j = (skip.shape[2] - h) // 2, (skip.shape[3] - w) // 2
            x = merge(torch.cat([skip[:, :, i : i + h, j : j + w], x], 1))
        return self.head(x)


class FCN(nn.Module):
    """VGG16's shape with one channel per layer: pad 100, ceil pooling, fc6, upconv."""

    def __init__(self):
        super().__init__()
        layers = []
        for n in (2, 2, 3, 3, 3):
            for _ in range(n):
                first = not layers
                conv = nn.Conv2d(3 if first else 1, 1, 3, padding=100 if first else 1)
                layers += [conv, nn.ReLU(True)]
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.vgg = nn.Sequential(*layers)
        self.fc6, self.drop = nn.Conv2d(1, 1, 7), nn.Dropout2d()
        self.score = nn.Conv2d(1, 1, 1)
        self.up = nn.ConvTranspose2d(1, 1, 64, 32, bias=False)

    def forward(self, x):
        size = x.shape[2:]
        y = self.up(self.score(self.drop(torch.relu(self.fc6(self.vgg(x))))))
        return y[:, :, 19 : 19 + size[0], 19 : 19 + size[1]]


class VNet(nn.Module):
    """3-D, repeated input, residual adds, strided convolution, PReLU."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv3d(1, 4, 5, padding=2)
        self.act, self.down = nn.PReLU(4), nn.Conv3d(4, 8, 2, 2)
        self.mid = nn.Conv3d(8, 8, 5, padding=2)
        self.up = nn.ConvTranspose3d(8, 4, 2, 2)
        self.last = nn.Conv3d(8, 8, 5, padding=2)

    def forward(self, x):
        skip = self.act(self.first(x) + x.repeat(1, 4, 1, 1, 1))
        y = self.down(skip)
        y = self.up(y + self.mid(y))
        y = torch.cat([y, skip], 1)
        return y + self.last(y)


class ResUNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.conv, self.shortcut = nn.Conv2d(4, 8, 3, 2, 1), nn.Conv2d(4, 8, 1, 2)
        self.head = nn.Conv2d(12, 1, 1)

    def forward(self, x):
        x = self.stem(x)
        y = self.conv(F.relu(self.norm(x))) + self.shortcut(x)
        y = F.interpolate(y, scale_factor=2, mode="bilinear")
        return self.head(torch.cat([y, x], 1))


class Inception(nn.Module):
    def __init__(self):
        super().__init__()
        branches = (nn.Conv2d(1, 2, k, padding=k // 2) for k in (1, 3, 5))
        self.branches = nn.ModuleList(branches)
        self.pool, self.fuse = nn.MaxPool2d(3, 1, 1), nn.Conv2d(7, 4, 1)

    def forward(self, x):
        return self.fuse(torch.cat([*(b(x) for b in self.branches), self.pool(x)], 1))


class RSU(nn.Module):
    """A small U with odd sizes in a residual shell; returns a list of two maps."""

    def __init__(self):
        super().__init__()
        self.x0, self.a = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
        self.pool = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.b = nn.Conv2d(2, 2, 3, padding=2, dilation=2)
        self.c = nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, x):
        x0 = F.relu(self.x0(x))
        a = self.a(x0)
        b = F.interpolate(self.b(self.pool(a)), size=a.shape[2:], mode="bilinear")
        y = self.c(torch.cat((b, a), 1)) + x0
        return [y, b]


class SqueezeExcite(nn.Module):
    """The channel attention of Squeeze and Excitation: one mean over the image."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 1)

    def forward(self, x):
        x = self.conv(x)
        return x * torch.sigmoid(self.fc(x.mean((2, 3), keepdim=True)))


def sizes(ops, *kinds):
    return [op.shape[-1] for op in ops if op.kind in kinds]


def test_unet_of_the_paper_has_the_sizes_of_its_figure():
    net = UNet()
    ops = shapes.trace(net, 1, 1, 572, 572)
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
    ops = shapes.trace(UNet((2, 4)), 1, 1, 20, 20)
    crop = next(op for op in ops if op.kind == "crop")
    concat = next(op for op in ops if op.kind == "concat")
    assert ops[crop.inputs[0]].module.startswith("down.0")
    assert [ops[i].kind for i in concat.inputs] == ["crop", "upconv"]


def test_a_refused_size_raises_the_networks_own_error():
    with pytest.raises(ValueError, match="cannot be halved"):
        shapes.trace(UNet((2, 4)), 1, 1, 21, 21)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate"])
def test_padding_modes(mode):
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, padding_mode=mode))
    ops = shapes.trace(net, 1, 1, 9, 9)
    assert ops[-1].shape == (1, 2, 9, 9)
    assert shapes.receptive_field(net, 1, 1, 9, 9).lo[0] == -1


def test_negative_padding_is_a_crop():
    class Cut(nn.Module):
        def forward(self, x):
            return F.pad(x, [-1, -2, -3, -4])

    crop = shapes.trace(Cut(), 1, 1, 20, 20)[1]
    assert crop.kind == "crop" and crop.shape == (1, 1, 13, 17)
    assert crop.settings == {"before": (3, 1), "after": (4, 2)}


@pytest.mark.parametrize(
    ("net", "shape", "kinds"),
    [
        (VNet(), (1, 1, 8, 8, 8), {"repeat", "add", "activation", "upconv", "concat"}),
        (ResUNet(), (1, 3, 8, 8), {"norm", "activation", "add", "upsample", "concat"}),
        (Inception(), (1, 1, 9, 9), {"conv", "pool", "concat"}),
        (RSU(), (1, 1, 9, 9), {"pool", "upsample", "concat", "add", "activation"}),
        (FCN(), (1, 3, 33, 40), {"dropout", "upconv", "crop", "pool"}),
        (SqueezeExcite(), (1, 1, 9, 9), {"other", "multiply"}),
    ],
)
def test_every_family_is_traced(net, shape, kinds):
    ops = shapes.trace(net, *shape)
    assert kinds <= {op.kind for op in ops}
    outputs = [op for op in ops if op.kind == "output"]
    results = net.eval()(torch.zeros(shape))
    results = results if isinstance(results, list) else [results]
    assert [op.shape for op in outputs] == [tuple(y.shape) for y in results]


def test_feature_maps_lists_leaf_modules():
    rows = shapes.feature_maps(UNet((2, 4)), 1, 1, 20, 20)
    assert rows[0] == ("down.0.0", "Conv2d", (1, 2, 18, 18))
    assert rows[-1] == ("head", "Conv2d", (1, 2, 4, 4))
    assert len(rows) == 15  # 3 double convolutions of 4 layers, pool, upconv, head


# --- receptive fields -----------------------------------------------------------------


def test_field_of_two_convolutions_by_hand():
    net = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3, dilation=2))
    field = shapes.receptive_field(net, 1, 1, 16, 16)
    # 3 + 2 * 2 = 7, and without padding output i starts at input i
    assert field.lo.tolist() == list(range(10))
    assert set(field.width) == {7}


def test_field_of_strides_by_hand():
    net = nn.Sequential(nn.Conv2d(1, 1, 3, 2, 1), nn.MaxPool2d(2), nn.Conv2d(1, 1, 3))
    field = shapes.receptive_field(net, 1, 1, 32, 32)
    # conv3: 3 | pool: 2 * 3 = 6 | conv stride 2: (6 - 1) * 2 + 3 = 13; start 4i - 1
    assert set(field.width) == {13}
    assert field.lo.tolist() == [4 * i - 1 for i in range(6)]


def test_field_of_transposed_convolutions():
    net = nn.Sequential(nn.ConvTranspose2d(1, 1, 2, 2))
    assert shapes.receptive_field(net, 1, 1, 3, 3).lo.tolist() == [0, 0, 1, 1, 2, 2]
    # kernel 4, stride 2, padding 1: output 3 = 2i - 1 + k with k < 4, so i = 1 or 2
    field = shapes.receptive_field(nn.ConvTranspose2d(1, 1, 4, 2, 1), 1, 1, 3, 3)
    assert (field.lo[3], field.hi[3]) == (1, 2)
    # stride 3 with kernel 1 leaves two of three outputs without any input
    field = shapes.receptive_field(nn.ConvTranspose2d(1, 1, 1, 3), 1, 1, 3, 3)
    assert field.width.tolist() == [1, 0, 0, 1, 0, 0, 1]


def test_field_of_bilinear_upsampling():
    double = nn.Upsample(scale_factor=2, mode="bilinear")
    field = shapes.receptive_field(double, 1, 1, 4, 4)
    # centres: output 3 lies at (3 + 0.5) / 2 - 0.5 = 1.25, between inputs 1 and 2
    assert (field.lo[3], field.hi[3]) == (1, 2)
    # output 0 lies at -0.25; inside the image there is only input 0
    assert (field.lo[0], field.hi[0]) == (-1, 0)


def test_fcn_sees_404_pixels_at_stride_32():
    field = shapes.receptive_field(FCN(), 1, 3, 500, 500, module="score")
    assert set(field.width) == {404}  # its Table 1
    assert set(np.diff(field.lo)) == {32}
    # it starts in the padding: 100, and one step at each later 3x3 convolution
    assert field.lo[0] == -(100 + 1 + 2 * 2 + 3 * 4 + 3 * 8 + 3 * 16)


def test_unet_field_varies_by_position():
    field = shapes.receptive_field(UNet(), 1, 1, 572, 572)
    assert len(field.lo) == 388
    assert len(set(field.width)) > 1
    assert field.lo.min() == 0 and field.hi.max() == 571  # nothing is wasted


def test_field_of_a_stage_and_of_another_axis():
    net = VNet()
    stage = shapes.receptive_field(net, 1, 1, 32, 32, 64, module="first")
    assert set(stage.width) == {5} and len(stage.lo) == 64
    # V-Net's second stage: 5, then 2 / 2, then 5 at step 2: 6 + 2 * 4 = 14 (here)
    stage = shapes.receptive_field(net, 1, 1, 32, 32, 64, module="mid", axis=2)
    assert set(stage.width) == {14} and len(stage.lo) == 16
    with pytest.raises(ValueError, match="no operation in module 'mit'"):
        shapes.receptive_field(net, 1, 1, 32, 32, 32, module="mit")


def test_what_is_computed_from_weights_alone_is_no_operation():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.Parameter(torch.zeros(2))

        def forward(self, x):
            weights = self.mix.softmax(0)
            return weights[0] * x + weights[1] * x.relu()

    ops = shapes.trace(Mixed(), 1, 3, 8, 8)
    assert all(op.inputs for op in ops[1:])
    assert "multiply" not in {op.kind for op in ops}


def test_a_global_mean_sees_everything():
    assert set(shapes.receptive_field(SqueezeExcite(), 1, 1, 9, 9).width) == {9}


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (UNet((2, 3, 4)), (1, 1, 44, 44)),
        (ResUNet(), (1, 3, 16, 16)),
        (RSU(), (1, 1, 19, 19)),
        (Inception(), (1, 1, 15, 15)),
    ],
)
def test_clipped_field_is_where_the_gradient_is(net, shape):
    """Positive weights and inputs: no path can cancel another or be switched off."""
    net = net.eval()
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(0.1)
    for module in net.modules():  # a maximum hands its gradient to one input only
        if isinstance(module, nn.MaxPool2d):
            module.forward = mean_instead(module)
    field = shapes.receptive_field(net, *shape, clip=True)
    x = torch.rand(shape).requires_grad_()
    y = net(x)
    y = (y[0] if isinstance(y, list) else y).sum(dim=(0, 1, 2))
    for i in range(0, len(y), 3):
        (g,) = torch.autograd.grad(y[i], x, retain_graph=True)
        seen = g.abs().sum(dim=(0, 1, 2)).nonzero().flatten()
        assert (seen[0], seen[-1]) == (field.lo[i], field.hi[i])


def mean_instead(pool):
    return lambda x: F.avg_pool2d(
        x, pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode
    )


def test_effective_field_peaks_in_the_middle_and_ends_with_the_theoretical_one():
    net = nn.Sequential(*(nn.Conv2d(c, 4, 3, padding=1) for c in (1, 4, 4, 4)))
    seen = shapes.effective_receptive_field(net, 1, 1, 21, 21)
    assert seen.shape == (21, 21) and seen.max() == 1
    assert (seen > 0).sum() == 81  # 4 convolutions of 3: 9 x 9, and nothing outside
    assert seen[6, 6] < seen[10, 10]
    assert net.training  # left as it was
    again = shapes.effective_receptive_field(net, 1, 1, 21, 21)
    assert np.array_equal(seen, again)
