import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from helpers import real
from tests.helpers import tiles


def pictures(n, size, seed=0):
    """Smooth pictures, (n, size, size), 0 to 255."""
    noise = np.random.default_rng(seed).normal(size=(n, size, size))
    smooth = ndimage.gaussian_filter(noise, (0, 4, 4))
    return 255 * (smooth - smooth.min()) / np.ptp(smooth)


def quarters(picture):
    half = len(picture) // 2
    top, bottom = picture[:half], picture[half:]
    return [top[:, :half], top[:, half:], bottom[:, :half], bottom[:, half:]]


def test_the_quarters_of_a_picture_belong_together():
    cut = [tile for whole in pictures(3, 128) for tile in quarters(whole)]
    alone = list(pictures(4, 64, seed=1))
    order = np.random.default_rng(0).permutation(16)
    shuffled = np.stack(cut + alone)[order]
    wanted = set()
    for k in range(3):
        wanted.add(tuple(sorted(np.flatnonzero(order // 4 == k).tolist())))
    assert wanted == set(map(tuple, tiles.together(shuffled)))


def test_half_a_picture_belongs_to_its_other_half_and_flat_edges_to_none():
    left, right, *_ = quarters(pictures(1, 128)[0])
    flat = np.zeros((3, 64, 64))
    assert tiles.together(np.stack([right, *flat, left])) == [[0, 4]]


def test_nothing_is_joined_where_the_order_of_an_edge_is_lost():
    left, right, *_ = quarters(pictures(1, 128)[0])
    assert tiles.together(np.stack([left, right[::-1]])) == []


def test_the_table_of_the_nuclei_names_pictures_of_the_set_once():
    names = [name for tiles_of_one in real.TILES for name in tiles_of_one]
    assert len(names) == len(set(names)) and set(names) <= set(real.sums("dsb2018"))
    assert min(map(len, real.TILES)) > 1


@pytest.mark.skipif(not real.ready("dsb2018"), reason="the nuclei are not in place")
def test_the_table_of_the_nuclei_is_what_their_edges_say():
    names = sorted(real.sums("dsb2018"))
    images = []
    for name in names:
        image, _ = real.paths("dsb2018", name, real.ROOT / "dsb2018")
        images.append(np.asarray(Image.open(image).convert("L")))
    found = [[names[k] for k in group] for group in tiles.together(np.stack(images))]
    assert found == real.TILES
