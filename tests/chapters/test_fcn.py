"""What the networks and functions of chapter 01 must do."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from helpers import chapters, cost, fields, trace, training
from tests.chapters.refusals import names_sizes_that_work

chapter = chapters.load("01_fcn")
NETWORKS = [chapter.FCN32s, chapter.FCN16s, chapter.FCN8s]
TINY = dict(in_channels=1, classes=2, widths=(2, 2, 2, 2, 2, 3))


def paper(network):
    with torch.device("meta"):
        return network()


# --- the paper's configuration ----------------------------------------------------


def test_the_papers_layers():
    net = paper(chapter.FCN8s)
    ops = trace.trace(net, 1, 3, 500, 500)
    convs = [op for op in ops if op.kind == "conv"]
    assert [op.settings["padding"][0] for op in convs[:13]] == [100] + [1] * 12
    assert [op.settings["kernel"][0] for op in convs[13:16]] == [7, 1, 1]
    assert [c.out_channels for c in (net.fc6, net.fc7, net.score)] == [4096, 4096, 21]
    pools = [op for op in ops if op.kind == "pool"]
    assert len(pools) == 5 and all(op.settings["ceil_mode"] for op in pools)
    ups = [(op.settings["kernel"][0], op.settings["stride"][0])
           for op in ops if op.kind == "upconv"]  # fmt: skip
    assert ups == [(4, 2), (4, 2), (16, 8)]
    assert [op.kind for op in ops].count("add") == 2
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("size", [1, 33, 224, 499, 500, 517])
def test_the_papers_network_takes_any_size(network, size):
    x = torch.zeros(1, 3, size, size + 7, device="meta")
    assert paper(network)(x).shape == (1, 21, size, size + 7)


def test_the_classifier_is_vgg16():
    with torch.device("meta"):
        net = chapter.VGG()
    assert cost.params(net) == 138_357_544  # of VGG16, configuration D
    assert net(torch.zeros(1, 3, 224, 224, device="meta")).shape == (1, 1000, 1, 1)


# --- centres ----------------------------------------------------------------------


@pytest.mark.parametrize(("pad", "fc_kernel"), [(100, 7), (81, 7), (33, 3), (49, 5)])
def test_crops_follow_the_formulas(pad, fc_kernel):
    p, k = pad, fc_kernel
    assert chapter.crop_offsets(p, k, ()) == [p + 31 - 16 * k]
    assert chapter.crop_offsets(p, k, (4,)) == [k - 2, p + 39 - 16 * k]
    assert chapter.crop_offsets(p, k, (4, 3)) == [k - 2, 2 * k - 5, p + 43 - 16 * k]


@pytest.mark.parametrize("network", NETWORKS)
def test_every_map_answers_about_the_middle_of_what_it_sees(network):
    """The field of view of an output pixel is centred on that pixel's cell."""
    net = network(pad=17, fc_kernel=3, **TINY)
    for module, step in [("score", 32), ("skip_scores.0", 16), ("skip_scores.1", 8)]:
        if module in dict(net.named_modules()):
            field = fields.receptive_field(net, 1, 1, 128, 128, module=module)
            place = chapter.Place().window(3, padding=17)
            for _ in range(int(math.log2(step))):
                place = place.window(2, stride=2)
            if module == "score":
                place = place.window(3)
            assert (field.lo[0] + field.hi[0]) / 2 == place.first


def test_the_output_is_aligned_with_the_picture():
    """A network whose layers only pass things on must not move a picture."""
    net = chapter.FCN8s(pad=17, fc_kernel=3, in_channels=1, classes=1,
                        widths=(1,) * 6).eval()  # fmt: skip
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
            middle = layer.kernel_size[0] // 2
            layer.weight.data[..., middle, middle] = 1
    ramp = torch.arange(256.0).expand(1, 1, 256, 256)
    for image in (ramp, ramp.transpose(2, 3)):  # all layers are linear on it
        with torch.no_grad():
            answer = net(image) / 3  # the sum of three equal maps
        # Max pooling takes the later pixels: it moves a ramp by half a window.
        moved = (answer - image)[..., 96:160, 96:160]
        late = sum((2**k - 1) / 2 for k in (5, 4, 3)) / 3
        assert moved.mean().item() == pytest.approx(late, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "way_out"), [(dict(pad=1), "pad of 81"), (dict(pad=0), "pad of 81"),
                               (dict(pad=16, fc_kernel=3), "pad of 17")]
)  # fmt: skip
def test_a_pad_that_does_not_align_is_refused(arguments, way_out):
    with pytest.raises(ValueError, match=way_out), torch.device("meta"):
        chapter.FCN32s(**arguments)


def test_a_kernel_too_small_for_the_skips_is_refused():
    with pytest.raises(ValueError, match="skips a kernel of 3"):
        chapter.FCN8s(pad=17, fc_kernel=2, **TINY)


# --- sizes and wrong input --------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("pad", "fc_kernel"), [(17, 3), (33, 4), (49, 3)])
def test_fits_says_what_the_network_does(network, pad, fc_kernel, monkeypatch):
    with torch.device("meta"):
        net = network(pad=pad, fc_kernel=fc_kernel, **TINY)
    monkeypatch.setattr(chapter, "check", lambda *_: None)
    for size in range(1, 140, 3):
        x = torch.zeros(1, 1, size, size, device="meta")
        try:
            fine = net(x).shape[-1] == size
        except RuntimeError:
            fine = False
        assert chapter.fits(net, size) == fine, size


@pytest.mark.parametrize("size", [1, 20, 100])
def test_a_refusal_names_sizes_that_work(size):
    net = chapter.FCN8s(pad=17, fc_kernel=3, **TINY)

    def shape(side):
        return net(torch.zeros(1, 1, side, 128)).shape

    for side, answer in names_sizes_that_work(shape, size)[1].items():
        assert answer == (1, 2, side, 128)
        assert net(torch.zeros(1, 1, side, side)).shape == (1, 2, side, side)


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (1, 64, 64), (1, 1, 64, 64, 64)])
def test_wrong_channels_or_axes_are_refused(shape):
    net = chapter.FCN32s(pad=17, fc_kernel=3, **TINY)
    with pytest.raises(ValueError, match=r"expected a batch \(N, 1, H, W\)"):
        net(torch.zeros(shape))


# --- parts ------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [2, 8, 16, 32])
def test_upsampling_starts_as_bilinear_interpolation(stride):
    x = torch.randn(1, 3, 5, 4)
    cut = slice(3 * stride // 2, -(3 * stride // 2))
    grown = chapter.upsampler(3, stride)(F.pad(x, [1] * 4, mode="replicate"))
    expected = F.interpolate(x, scale_factor=stride, mode="bilinear")
    assert torch.allclose(grown[..., cut, cut], expected, atol=1e-5)


@pytest.mark.parametrize("side", [1, 2, 7])
def test_a_linear_layer_is_a_convolution(side):
    linear, x = nn.Linear(4 * side**2, 5), torch.randn(2, 4, side, side)
    conv = chapter.as_convolution(linear, side)
    assert torch.allclose(conv(x).flatten(1), linear(x.flatten(1)), atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
def test_an_untrained_network_has_no_opinion(network):
    net = network(pad=17, fc_kernel=3, **TINY)
    assert not net(torch.rand(1, 1, 64, 64)).any()
    assert not net.ups[-1].weight.requires_grad
    assert all(up.weight.requires_grad for up in net.ups[:-1])


def test_transfer_carries_all_but_the_scores():
    widths = (2, 2, 2, 2, 2, 3)
    source = chapter.VGG(1, 2, fc_kernel=3, widths=widths)
    net = chapter.transfer(source, chapter.FCN8s(pad=17, fc_kernel=3, **TINY))
    assert torch.equal(net.blocks[4][2].weight, source.blocks[4][2].weight)
    assert net.fc6.weight.flatten(1).equal(source.fc6.weight)
    assert not net.score.weight.any()
    net = chapter.transfer(source, net, scores=True)
    assert net.score.weight.flatten(1).equal(source.score.weight)


def test_transfer_from_the_coarser_network_changes_nothing_at_first():
    torch.manual_seed(0)
    coarse = chapter.FCN16s(pad=17, fc_kernel=3, **TINY).eval()
    for score in (coarse.score, *coarse.skip_scores):
        nn.init.normal_(score.weight)
    fine = chapter.FCN8s(pad=17, fc_kernel=3, **TINY).eval()
    chapter.transfer(coarse, fine, scores=True)
    assert torch.equal(fine.skip_scores[0].weight, coarse.skip_scores[0].weight)
    assert not fine.skip_scores[1].weight.any()


def test_small_fcn_first_answers_the_share():
    net = chapter.small_fcn(0.1)
    *_, finest = net.score, *net.skip_scores
    assert finest.bias.sigmoid().item() == pytest.approx(0.1)
    answer = net(torch.rand(2, 3, 64, 64)).sigmoid()
    assert answer.mean().item() == pytest.approx(0.1, abs=1e-4)
    assert training.crop_to(answer, answer).shape == (2, 1, 64, 64)


def test_an_ignored_border_lies_on_both_sides():
    labels = torch.zeros(1, 1, 6, 8, dtype=torch.int64)
    labels[..., 4:] = 1
    line = chapter.ignore_border(labels, 1)[0, 0, 2].tolist()
    assert line == [0, 0, 0, 255, 255, 1, 1, 1]


def test_thin_structures_are_those_without_a_square():
    labels = torch.zeros(1, 1, 64, 64, dtype=torch.int64)
    labels[..., 20:26, :] = 1  # 6 px
    labels[..., 40:] = 2  # 24 px
    thin = chapter.find_thin(labels)
    assert thin[0, 0, 20:26, :40].all()
    assert not thin[..., 40:].any() and not thin[0, 0, 28:40, 15:25].any()


def test_small_fcn_costs_about_what_the_small_unet_costs():
    unet = chapters.load("02_unet").small_unet()
    ours, theirs = (cost.macs(n, 1, 3, 64, 64) for n in (chapter.small_fcn(), unet))
    assert 0.8 < ours / theirs < 1.2
    assert 0.8 < cost.params(chapter.small_fcn()) / cost.params(unet) < 1.2
