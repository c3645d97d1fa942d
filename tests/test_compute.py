"""What the blocks of chapter 07 must do; expected counts are derived by hand here."""

import numpy as np
import pytest
import torch

from helpers import chapters, cost, shapes

chapter = chapters.load("07_compute")
u2net = chapters.load("06_u2net")
NAMES = ["PLN", "RES", "DSE", "INC"]
INPUT, OUTPUT, SIDE = 3, 64, 16


def by_hand(name, i, m, o):
    """MACs per pixel, layer by layer: (kernel, in, out) of each."""
    layers = {
        "PLN": [(9, i, m), (9, m, o)],
        "RES": [(9, i, m), (9, m, o), (1, i, o)],
        "DSE": [(9, i, m), (9, i + m, m), (9, i + 2 * m, m), (9, i + 3 * m, o)],
        "INC": [(9, i, m), *[(9, m, m)] * 4, (9, 4 * m, o)],
    }[name]
    macs = sum(k * a * b for k, a, b in layers)
    # a weight is used once for each pixel; a bias and two numbers of batch norm
    return macs, macs + sum(3 * b for *_, b in layers)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [(3, 4, 64), (3, 64, 64), (5, 7, 11)])
def test_macs_and_parameters_are_those_by_hand(name, channels):
    net = getattr(chapter, name)(*channels)
    macs, params = by_hand(name, *channels)
    shape = 1, channels[0], SIDE, SIDE
    assert cost.macs(net, *shape) == macs * SIDE**2
    assert cost.counters(net, *shape)["torch"] == macs * SIDE**2
    assert cost.params(net) == params


@pytest.mark.parametrize(
    ("name", "square", "linear", "constant"),
    [("PLN", 0, 603, 0), ("RES", 0, 603, 192), ("DSE", 27, 1809, 1728),
     ("INC", 36, 2331, 0), ("RSU", 9, 1728, 1728)],
)  # fmt: skip
def test_the_coefficients(name, square, linear, constant):
    make = getattr(chapter, name, None) or (lambda *c: u2net.RSU(7, *c))
    widths = [4, 8, 16, 32]
    counts = [cost.macs(make(3, m, 64), 1, 3, 32, 32) / 32**2 for m in widths]
    assert np.polyfit(widths, counts, 2) == pytest.approx(
        [square, linear, constant], abs=1e-4
    )


@pytest.mark.parametrize("height", [3, 4, 5, 6, 7])
def test_the_law(height):
    for i, m, o in ((3, 4, 64), (16, 5, 9)):
        counted = cost.macs(u2net.RSU(height, i, m, o), 1, i, 32, 64)
        assert counted == 9 * 32 * 64 * (i * o + 3 * o * m + m**2)


@pytest.mark.parametrize(("name", "field"), list(zip(NAMES, [5, 5, 9, 19])))
def test_receptive_fields(name, field):
    net = getattr(chapter, name)(3, 4, 8)
    assert set(shapes.receptive_field(net, 1, 3, 64, 64).width) == {field}


@pytest.mark.parametrize("name", NAMES)
def test_blocks_keep_the_size(name):
    net = getattr(chapter, name)(3, 4, 8)
    assert net(torch.zeros(2, 3, 9, 14)).shape == (2, 8, 9, 14)


@pytest.mark.parametrize("name", NAMES)
def test_a_dense_or_parallel_layer_reads_what_it_should(name):
    """Every parameter and every input channel matters."""
    torch.manual_seed(0)
    net = getattr(chapter, name)(3, 4, 8)
    x = torch.randn(2, 3, 12, 12, requires_grad=True)
    (net(x) ** 2).sum().backward()
    weights = [p.grad for k, p in net.named_parameters() if p.ndim == 4]
    assert all(g.abs().sum() > 0 for g in weights)
    assert (x.grad.abs().sum((0, 2, 3)) > 0).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (3, 8, 8), (1, 3, 8, 0)])
def test_wrong_batches_are_refused(name, shape):
    with pytest.raises(ValueError, match=r"expected a batch \(N, 3, H, W\)"):
        getattr(chapter, name)(3, 4, 8)(torch.zeros(shape))


@pytest.mark.parametrize("name", NAMES)
def test_channels_start_at_one(name):
    with pytest.raises(ValueError, match=r"channels are \(3, 0, 8\); each must be 1"):
        getattr(chapter, name)(3, 0, 8)
