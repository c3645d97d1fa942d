"""What the networks and functions of chapter 05 must do."""

import numpy as np
import pytest
import torch
from scipy import signal
from torch import nn
from torch.nn import functional as F

from helpers import chapters, cost, fields, live_demos, probes
from tests.chapters.refusals import names_sizes_that_work

chapter = chapters.load("05_inception_unet")
TINY = dict(widths=(2, 3, 4))


# --- spectral pooling ---------------------------------------------------------------


@pytest.mark.parametrize("old", range(1, 14))
@pytest.mark.parametrize("size", range(1, 18))
def test_resample_agrees_with_scipy(old, size):
    torch.manual_seed(0)
    x = torch.randn(2, old, 3, dtype=torch.float64)
    y = chapter.resample(x, size, axis=1)
    assert y.shape == (2, size, 3) and not y.is_complex()
    np.testing.assert_allclose(y, signal.resample(x.numpy(), size, axis=1), atol=1e-12)


def test_full_size_is_the_identity_unless_fewer_waves_are_kept():
    x = torch.randn(1, 2, 9, 12)
    assert torch.allclose(chapter.spectral_pool(x, (9, 12)), x, atol=1e-6)
    slow = chapter.spectral_pool(x, (9, 12), kept=(4, 6))
    assert slow.shape == x.shape and not torch.allclose(slow, x, atol=0.1)
    again = chapter.spectral_pool(slow, (9, 12), kept=(4, 6))
    assert torch.allclose(again, slow, atol=1e-6)


@pytest.mark.parametrize(("size", "kept"), [(0, None), (4, 5), (20, 9), (4, -1)])
def test_impossible_sizes_are_refused(size, kept):
    with pytest.raises(ValueError, match=r"cannot keep .* of 8 samples in"):
        chapter.resample(torch.zeros(1, 8), size, kept=kept)


def test_gradients_are_right():
    x = torch.randn(1, 1, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: chapter.spectral_pool(x, (3, 4)), x)


# --- blocks -------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_the_hybrid_pool_sees_the_maximum_and_the_waves(stride):
    pool = chapter.HybridPool(3, stride)
    x = torch.randn(2, 3, 8, 12)
    assert pool(x).shape == (2, 3, 8 // stride, 12 // stride)
    assert pool.highest(x).shape == pool.slow(x).shape
    assert pool.highest(x).amax() == x.amax()
    assert torch.allclose(pool.slow(x).mean((2, 3)), x.mean((2, 3)), atol=1e-6)
    if stride == 1:
        assert (pool.highest(x) >= x).all()


def test_the_two_inceptions_are_not_the_same():
    authors, dilated = chapter.Inception(3, 4), chapter.DilatedInception(3, 4)
    kinds = [
        sorted((m.kernel_size[0], m.dilation[0]) for m in net.branches.modules()
               if isinstance(m, nn.Conv2d))
        for net in (authors, dilated)
    ]  # fmt: skip
    assert kinds == [[(1, 1), (1, 1), (3, 1), (5, 1)], [(3, d) for d in (1, 3, 5, 7)]]
    x = torch.randn(2, 3, 10, 7)
    assert authors(x).shape == dilated(x).shape == (2, 4, 10, 7)


@pytest.mark.parametrize(("dilations", "field"), [((1, 1, 1), 3), ((1, 3, 5, 7), 15)])
def test_fields_of_the_dilated_block(dilations, field):
    net = chapter.DilatedInception(3, 4, dilations=dilations)
    assert fields.receptive_field(net, 1, 3, 33, 33).width.max() == field


def test_the_authors_block_sees_everything_in_theory():
    field = fields.receptive_field(chapter.Inception(3, 4), 1, 3, 33, 33, clip=True)
    assert (field.width == 33).all()
    local = chapter.LocalInception(3, 4)
    assert fields.receptive_field(local, 1, 3, 33, 33).width.max() == 5
    assert cost.params(local) == cost.params(chapter.Inception(3, 4))


def test_ways_count_every_path():
    for stack in [(1,), (1, 1), (2, 2, 2), (1, 2, 5), (1, 3, 9)]:
        net = nn.Sequential(
            *(nn.Conv1d(1, 1, 3, dilation=d, padding=d, bias=False) for d in stack)
        )
        for layer in net:
            nn.init.ones_(layer.weight)
        dot = torch.zeros(1, 1, 2 * sum(stack) + 1)
        dot[..., sum(stack)] = 1
        assert chapter.ways(*stack).tolist() == net(dot)[0, 0].int().tolist()
    assert (chapter.ways(2, 2, 2) > 0).sum() == 7
    assert (chapter.ways(1, 2, 5) > 0).all()


def test_the_ceiling_falls_with_the_period():
    values = [chapter.ceiling(13, p) for p in range(8, 24)]
    assert values[0] == 1 and values[-1] == 0
    assert values == sorted(values, reverse=True)


# --- switch norm --------------------------------------------------------------------


def test_switch_norm_uses_running_values_in_evaluation():
    torch.manual_seed(0)
    net = chapter.SwitchNorm(3)
    net.mix.data[:, 2] = 50
    x = torch.randn(8, 3, 16, 16) * 3 + 2
    for _ in range(60):
        net(x)
    y = net.eval()(x[:1])
    assert torch.allclose(y, net(x)[:1])
    assert abs(net(x).mean()) < 0.05 and abs(net(x).std() - 1) < 0.05


# --- the network --------------------------------------------------------------------


def test_height_and_width_may_differ_and_classes_too():
    net = chapter.InceptionUNet(1, 4, **TINY)
    assert net(torch.zeros(2, 1, 16, 24)).shape == (2, 4, 16, 24)


@pytest.mark.parametrize("size", [4, 18, 30])
def test_a_size_that_does_not_fit_is_refused_with_sizes_that_work(size):
    net = chapter.InceptionUNet(**TINY)

    def answered(side):
        return net(torch.zeros(1, 3, side, 16)).shape[-2]

    said, answers = names_sizes_that_work(answered, size)
    assert "divisible by 4; " in said
    assert list(answers) == list(answers.values())


@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (3, 16, 16), (1, 3, 16, 16, 16)])
def test_wrong_channels_or_axes_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected a batch \(N, 3, H, W\)"):
        chapter.InceptionUNet(**TINY)(torch.zeros(shape))


def test_every_weight_gets_a_gradient():
    torch.manual_seed(0)
    net = chapter.InceptionUNet(**TINY, norm=True)
    net(torch.randn(4, 3, 16, 16)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_the_small_net_costs_no_more_than_the_small_unet():
    shape = 1, 3, 64, 64
    net = chapter.small_inception_unet(0.1)
    assert net.head.bias.sigmoid().item() == pytest.approx(0.1)
    unet = chapters.load("02_unet").small_unet()
    assert 0.9 < cost.macs(net, *shape) / cost.macs(unet, *shape) <= 1


def test_a_stack_and_a_u_take_any_block():
    for block in (chapter.Inception, chapter.DilatedInception):
        x = torch.zeros(2, 3, 16, 16)
        assert chapter.Stack(block, width=4, blocks=2)(x).shape == (2, 1, 16, 16)
        assert chapter.UNetOf(block, widths=(2, 3, 4))(x).shape == (2, 1, 16, 16)


def test_the_norm_in_front_is_all_that_the_control_adds():
    torch.manual_seed(0)
    net = chapter.normed_unet(0.1, in_channels=2, widths=(2, 3))
    unet = chapters.load("02_unet").small_unet(in_channels=2, widths=(2, 3))
    assert cost.params(net) == cost.params(unet) + cost.params(chapter.SwitchNorm(2))
    assert net[1].head.bias.sigmoid().item() == pytest.approx(0.1)
    x = torch.rand(2, 2, 16, 16)
    assert torch.allclose(
        net(3 * x + 2), net(x), atol=1e-3
    )  # light makes no difference


# --- trials -------------------------------------------------------------------------


def test_squares_cut_rows_first_and_lose_nothing():
    trial = chapters.trials("05_inception_unet")["common"]
    squares = trial.evaluate.__globals__["squares"]
    picture = torch.arange(2 * 4 * 6).reshape(2, 4, 6)
    cut = squares(picture, 2)
    assert cut.shape == (6, 2, 2, 2)
    assert torch.equal(cut[0], picture[:, :2, :2])
    assert torch.equal(cut[1], picture[:, :2, 2:4])
    assert torch.equal(cut[5], picture[:, 2:, 4:])


def test_both_pools_of_a_stack_are_tried_where_the_convolutions_are_capped():
    reach = chapters.trials("05_inception_unet")["reach"]
    tried = [p for name, p in reach.variants if name == chapter.control]
    assert len(tried) == 2
    for period in tried:
        assert 0 < chapter.ceiling(13, period) < 0.5


def sure(net, **how):
    """How probable a network finds the gap of lattices, on average."""
    images, gap = probes.around_a_gap(50, **how).tensors
    with torch.no_grad():
        return net(images).sigmoid()[gap > 0].mean().item()


def test_what_is_said_of_the_dots_that_the_kept_stacks_read():
    nets = {}
    for name in (chapter.near, chapter.authors, chapter.wide):
        net = chapter.Stack(chapter.STACKED[name])
        nets[name], _ = live_demos.recorded(net, f"{name}, 16")
    authors, wide = nets[chapter.authors], nets[chapter.wide]
    corners = [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    for pair in ([(-1, 0), (1, 0)], [(0, -1), (0, 1)]):
        assert (
            sure(authors, missing=pair) < 0.05 < sure(wide) < sure(wide, missing=pair)
        )
    assert sure(authors) > sure(authors, missing=corners) > 0.9 * sure(authors) > 0.6
    assert sure(wide, missing=corners) > sure(wide)
    assert sure(authors, turned=5) < 0.05 and sure(wide, turned=5) > 0.6
    assert sure(authors, apart=2) < 0.15 and sure(authors, apart=4) > 0.7
    assert sure(nets[chapter.near]) < 0.01

    whole, left = sure(authors), []  # with a local mean in one block
    for block, with_waves in enumerate(list(authors.blocks)):
        other = chapter.LocalInception(6 if block else 3, 6, norm=True).eval()
        other.load_state_dict(with_waves.state_dict())
        authors.blocks[block] = other
        left.append(sure(authors) / whole)
        authors.blocks[block] = with_waves
    assert left[0] > 0.95 and left[1] < 0.01 and 0.5 < left[2] < 0.9


def test_a_dot_on_a_sample_keeps_a_third_of_its_height():
    dot = F.pad(torch.ones(1, 1, 1, 1), [8, 7, 8, 7])
    assert round(chapter.spectral_pool(dot, (8, 8)).max().item(), 2) == 0.32
