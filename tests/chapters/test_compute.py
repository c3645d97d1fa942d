"""What the blocks of chapter 07 must do; expected counts are derived by hand here."""

import pytest
import torch

from helpers import chapters, cost, fields

chapter = chapters.load("07_compute")
FIELDS = {"PLN": 5, "RES": 5, "DSE": 9, "INC": 19}
SIDE = 16

every_block = pytest.mark.parametrize("name", FIELDS)


def layers(name, i, m, o):
    """Each convolution of a block: (weights of a kernel, channels in, out)."""
    return {
        "PLN": [(9, i, m), (9, m, o)],
        "RES": [(9, i, m), (9, m, o), (1, i, o)],
        "DSE": [(9, i, m), (9, i + m, m), (9, i + 2 * m, m), (9, i + 3 * m, o)],
        "INC": [(9, i, m), *[(9, m, m)] * 4, (9, 4 * m, o)],
    }[name]


@every_block
@pytest.mark.parametrize("channels", [(3, 4, 64), (5, 7, 11)])
def test_macs_and_parameters_are_those_by_hand(name, channels):
    net = getattr(chapter, name)(*channels)
    macs = params = 0
    for kernel, before, after in layers(name, *channels):
        macs += kernel * before * after
        # a weight is used once for each pixel; a bias and two numbers of batch norm
        params += kernel * before * after + 3 * after
    assert cost.macs(net, 1, channels[0], SIDE, SIDE) == macs * SIDE**2
    assert cost.params(net) == params


@pytest.mark.parametrize("height", [3, 5, 7])
def test_the_law_with_other_channels_and_sides(height):
    net = chapters.load("06_u2net").RSU(height, 16, 5, 9)
    counted = cost.macs(net, 1, 16, 32, 64)
    assert counted == 9 * 32 * 64 * (16 * 9 + 3 * 9 * 5 + 5**2)


@every_block
def test_receptive_fields(name):
    net = getattr(chapter, name)(3, 4, 8)
    width = fields.receptive_field(net, 1, 3, 64, 64).width
    assert set(width) == {FIELDS[name]}


@every_block
def test_blocks_keep_the_size(name):
    net = getattr(chapter, name)(3, 4, 8)
    assert net(torch.zeros(2, 3, 9, 14)).shape == (2, 8, 9, 14)


@every_block
def test_a_dense_or_parallel_layer_reads_what_it_should(name):
    """Every parameter and every input channel matters."""
    torch.manual_seed(0)
    net = getattr(chapter, name)(3, 4, 8)
    x = torch.randn(2, 3, 12, 12, requires_grad=True)
    (net(x) ** 2).sum().backward()
    for parameter in net.parameters():
        if parameter.ndim == 4:
            assert parameter.grad.abs().sum() > 0
    assert (x.grad.abs().sum((0, 2, 3)) > 0).all()


@every_block
@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (3, 8, 8)])
def test_wrong_batches_are_refused(name, shape):
    with pytest.raises(ValueError, match=r"expected a batch \(N, 3, H, W\)"):
        getattr(chapter, name)(3, 4, 8)(torch.zeros(shape))


@every_block
@pytest.mark.parametrize("shape", [(1, 3, 8, 0), (1, 3, 1, 1)])
def test_maps_without_enough_pixels_are_refused(name, shape):
    with pytest.raises(ValueError, match=r"cannot take 0 px|train on one value"):
        getattr(chapter, name)(3, 4, 8).train()(torch.zeros(shape))


@every_block
def test_channels_start_at_one(name):
    with pytest.raises(ValueError, match=r"channels are \(3, 0, 8\); each must be 1"):
        getattr(chapter, name)(3, 0, 8)
