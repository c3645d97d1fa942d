"""The sentence with which all networks refuse a batch."""

import pytest
import torch

from helpers.refuse import unfit

NAME = "a padded U-Net of depth 3"


def test_what_fits_passes():
    unfit(torch.empty(2, 3, 16, 40), NAME, channels=3, step=8, least=16)
    unfit(torch.empty(1, 3, 1, 7), NAME, channels=3)
    unfit(torch.empty(1, 1, 8, 8, 12), NAME, channels=1, step=4, axes=3)


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((2, 1, 16, 16), 2, r"\(N, 3, H, W\), got \(2, 1, 16, 16\)"),
        ((3, 16, 16), 2, r"\(N, 3, H, W\), got \(3, 16, 16\)"),
        ((2, 3, 16, 16), 3, r"\(N, 3, D, H, W\), got \(2, 3, 16, 16\)"),
        ((2, 3, 16, 16, 16), 2, r"\(N, 3, H, W\), got"),
    ],
)
def test_a_batch_of_another_form_is_refused(shape, axes, expected):
    with pytest.raises(ValueError, match=f"expected a batch {expected}"):
        unfit(torch.empty(shape), NAME, channels=3, axes=axes)


@pytest.mark.parametrize(
    ("side", "works"), [(8, (16, 24)), (1, (16, 24)), (23, (16, 24)), (50, (48, 56))]
)
def test_a_size_is_refused_with_two_that_work(side, works):
    rules = dict(channels=3, step=8, least=16)
    for shape in ((1, 3, side, 16), (1, 3, 16, side)):
        with pytest.raises(ValueError) as caught:
            unfit(torch.empty(shape), NAME, **rules)
        sentence = f"{NAME} cannot take {side} px: each side must be at least 16 px and"
        assert str(caught.value).startswith(sentence)
        assert str(caught.value).endswith(f"; {works[0]} and {works[1]} work")
    for size in works:
        unfit(torch.empty(1, 3, size, size), NAME, **rules)


def test_where_any_step_will_do_the_least_is_named():
    with pytest.raises(ValueError, match=r"at least 5 px .* by 1; 5 and 6 work"):
        unfit(torch.empty(1, 3, 4, 9), NAME, channels=3, least=5)
