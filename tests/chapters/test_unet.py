"""What the networks and functions of chapter 02 must do."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from helpers import chapters, data, probes, training
from tests.chapters.refusals import names_sizes_that_work

chapter = chapters.load("02_unet")
trials = chapters.trials("02_unet")
TINY = dict(in_channels=1, classes=1)


@pytest.mark.parametrize(("depth", "size"), [(1, 18), (1, 40), (2, 44), (3, 92)])
def test_a_valid_net_returns_what_the_formula_says(depth, size):
    net = chapter.UNet(**TINY, widths=(2,) * (depth + 1))
    assert net(torch.zeros(1, 1, size, size)).shape[-1] == chapter.output_size(
        size, depth
    )


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_the_formula_follows_the_layers(depth):
    for size in range(1, 300):
        side, fits = size, True
        for _ in range(depth):
            side -= 4
            fits &= side > 0 and side % 2 == 0
            side //= 2
        side -= 4
        for _ in range(depth):
            side = 2 * side - 4
        if fits and side > 0:
            assert chapter.output_size(size, depth) == side
        else:
            with pytest.raises(ValueError, match="cannot take"):
                chapter.output_size(size, depth)


@pytest.mark.parametrize("size", [1, 100, 187, 573, 600])
def test_a_refusal_names_sizes_that_work(size):
    answers = names_sizes_that_work(lambda side: chapter.output_size(side, 4), size)[1]
    (below, small), (above, large) = answers.items()
    assert below < above and small < large


def test_height_and_width_may_differ():
    net = chapter.UNet(**TINY, widths=(2, 2, 2))
    assert net(torch.zeros(1, 1, 44, 60)).shape == (1, 1, 4, 20)


@pytest.mark.parametrize("padding", ["zeros", "reflect", "replicate"])
def test_a_padded_net_keeps_the_size_and_refuses_odd_ones(padding):
    net = chapter.UNet(**TINY, padding=padding, widths=(2, 2, 2))
    assert net(torch.zeros(1, 1, 16, 24)).shape == (1, 1, 16, 24)
    for size in (18, 4):
        with pytest.raises(ValueError, match=rf"{size} px.*divisible by 4"):
            net(torch.zeros(1, 1, size, 16))


@pytest.mark.parametrize("shape", [(1, 3, 92, 92), (1, 92, 92), (1, 1, 92, 92, 92)])
def test_wrong_channels_or_axes_are_refused(shape):
    net = chapter.UNet(**TINY, widths=(2, 2, 2, 2))
    with pytest.raises(ValueError, match=r"expected a batch \(N, 1, H, W\)"):
        net(torch.zeros(shape))


def test_weights_start_as_he_says():
    torch.manual_seed(0)
    net = chapter.UNet(widths=(32, 64, 128))
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            up = isinstance(layer, nn.ConvTranspose2d)
            inputs = layer.in_channels * (1 if up else math.prod(layer.kernel_size))
            expected = math.sqrt(2 / inputs)
            slack = 5 / math.sqrt(layer.weight.numel())
            assert layer.weight.std().item() == pytest.approx(expected, rel=slack)
            assert not layer.bias.any()


@pytest.mark.parametrize("padding", ["valid", "zeros"])
def test_only_the_top_skip_is_cut(padding):
    settings = dict(padding=padding, norm=True, widths=(2, 4, 8))
    net = chapter.ToplessUNet(**TINY, **settings)
    whole = chapter.UNet(**TINY, **settings)
    size = 60 if padding == "valid" else 16
    assert (
        net(torch.rand(1, 1, size, size)).shape
        == whole(torch.rand(1, 1, size, size)).shape
    )
    inputs = [block[0].in_channels for block in net.decoder]
    assert inputs == [8, 2]  # the whole one: 8 and 4
    fewer = sum(p.numel() for p in whole.parameters())
    fewer -= sum(p.numel() for p in net.parameters())
    assert fewer == 2 * 2 * 9  # the weights that the skip's two channels had


def test_each_seed_hides_two_textures_of_which_training_shows_nothing():
    draw = trials["shift"].draws("U-Net")
    hidden, known = draw.__globals__["hidden"], draw.__globals__["known"]
    shown = set()
    for seed in range(9):
        assert not set(hidden(seed)) & set(known(seed)) and len(known(seed)) == 4
        shown.add(hidden(seed))
    assert len(shown) == 9


def test_defects_blend_into_their_ground():
    usual = data.surfaces(8, seed=1)
    half, none = [data.surfaces(8, seed=1, contrast=c) for c in (0.5, 0)]
    clean = none.tensors[0]
    assert half.tensors[1].equal(usual.tensors[1])
    inside = (usual.tensors[1] > 0).expand_as(clean)
    gone = (usual.tensors[0] - clean)[inside]
    assert ((half.tensors[0] - clean)[inside] / gone).median().item() == pytest.approx(
        0.5, abs=0.01
    )
    with pytest.raises(ValueError, match=r"contrast is -1; it must be 0 or more"):
        data.surfaces(1, contrast=-1)


def test_only_norm_adds_batch_norm():
    kinds = [type(m) for m in chapter.UNet(widths=(2, 2)).modules()]
    assert nn.BatchNorm2d not in kinds
    kinds = [type(m) for m in chapter.UNet(norm=True, widths=(2, 2)).modules()]
    assert kinds.count(nn.BatchNorm2d) == 6


def test_small_unet_first_answers_the_share():
    net = chapter.small_unet(0.1)
    assert net.head.bias.sigmoid().item() == pytest.approx(0.1)


def test_centre_crop_keeps_the_middle():
    x = torch.arange(49).reshape(1, 1, 7, 7)
    assert chapter.centre_crop(x, torch.zeros(3, 3))[0, 0, 1, 1] == 24
    assert chapter.centre_crop(x, torch.zeros(7, 7)).equal(x)


@pytest.mark.parametrize("shape", [(64, 64), (70, 131), (60, 200)])
def test_overlap_tile_equals_one_piece(shape):
    torch.manual_seed(0)
    net = chapter.UNet(**TINY, widths=(4, 4, 4)).eval()
    image = torch.rand(1, *shape)
    tiles = chapter.overlap_tile(net, image, tile=32, margin=20)
    assert tiles.shape == (1, *shape)
    below, right = (-side % 4 for side in shape)
    grown = F.pad(image[None], [20, 20 + right, 20, 20 + below], mode="reflect")
    with torch.no_grad():
        whole = net(grown)[0][:, : shape[0], : shape[1]]
    assert (tiles - whole).abs().max() < 1e-5


def test_a_deep_net_is_seamless_when_its_step_fits_the_pooling_grid():
    torch.manual_seed(0)
    net = chapter.UNet(**TINY, widths=(2,) * 5).eval()
    image = torch.rand(1, 128, 128)
    with torch.no_grad():
        whole = net(F.pad(image[None], [94] * 4, mode="reflect"))[0]
    whole = chapter.centre_crop(whole, image)
    fits = chapter.overlap_tile(net, image, tile=16, margin=94)
    assert (fits - whole).abs().max() < 1e-4 * whole.abs().max()
    off = chapter.overlap_tile(net, image, tile=20, margin=92)
    assert (off - whole).abs().max() > 1e-2 * whole.abs().max()


def test_a_crop_to_something_larger_is_refused():
    with pytest.raises(ValueError, match="48 x 48 px cannot shrink to 64 x 64"):
        chapter.centre_crop(torch.zeros(1, 48, 48), torch.zeros(64, 64))


def test_a_weight_map_needs_two_objects():
    with pytest.raises(ValueError, match="1 objects: a border needs two"):
        chapter.weight_map(np.eye(9, dtype=int))


def test_the_scene_is_found_by_who_knows_it(monkeypatch):
    _, mask = data.scene()
    found = mask > 0
    found[:, 100] = ~found[:, 100]  # one row is wrong
    both, union = (found & (mask > 0)).sum(), (found | (mask > 0)).sum()
    monkeypatch.setattr(data, "scene", lambda seed: (found.float() * 0.8, mask))
    run = training.Run(nn.Identity(), [], threshold=0.6)  # between 1/2 and 0.69
    answer, iou = chapter.on_scene(run, margin=8)
    assert answer.equal(found) and iou == pytest.approx((both / union).item())
    assert chapter.on_scene(run, margin=8, away=28)[1] == 1  # row 100 is 28 px off
    assert chapter.on_scene(run, margin=8, away=27)[1] < 1


def test_rings_are_counted_from_the_border_of_the_middle():
    masks = torch.ones(2, 1, 104, 104)
    logits = masks.clone()
    logits[..., 20] = -1  # the middle's first column is missed
    run = training.Run(nn.Identity(), [], threshold=0.5)
    scores = chapter.ring_scores(run, TensorDataset(logits, masks))
    assert len(scores) == len(chapter.EDGES)
    first = 1 - 64 / (4 * 63)  # of the outermost ring a side is missed
    assert scores[0] == pytest.approx(first)
    assert scores[-1] == pytest.approx(63 / 64)
    assert scores[1:-1] == [1] * 9
    stricter = chapter.ring_scores(run, TensorDataset(logits, masks), threshold=0.8)
    assert not any(stricter)


def test_the_middle_is_cut_from_all_pictures():
    pictures = TensorDataset(
        torch.arange(49).reshape(1, 1, 7, 7), torch.ones(1, 1, 7, 7)
    )
    sets = chapter.middle(data.Sets(pictures, pictures, pictures), side=3)
    for part in sets:
        images, masks = part.tensors
        assert images[0, 0, 1, 1] == 24 and images.shape == masks.shape == (1, 1, 3, 3)


@pytest.mark.parametrize("shape", [(20, 90), (40, 200)])
def test_overlap_tile_refuses_an_image_too_small_to_mirror(shape):
    with pytest.raises(ValueError, match="take a smaller tile or margin"):
        chapter.overlap_tile(nn.Identity(), torch.zeros(1, *shape), 32, 20)


def test_elastic_moves_image_and_mask_together():
    image = torch.rand(4, 1, 32, 32).round()
    torch.manual_seed(0)
    bent, mask = chapter.elastic(image, image)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert not mask.equal(image)
    assert ((bent > 0.5) == (mask > 0.5)).float().mean() > 0.8
    still, _ = chapter.elastic(image, image, spread=0)
    assert torch.allclose(still, image, atol=1e-4)
    torch.manual_seed(0)  # class numbers and what is ignored go the same way
    labels = torch.where(image > 0, 255, 3)
    _, found = chapter.elastic(image, labels)
    assert found.dtype == torch.int64 and found.equal(torch.where(mask > 0, 255, 3))


def test_separate_draws_a_seam_between_touching_objects_only():
    instances = np.zeros((5, 8), int)
    instances[1:4, 1:4], instances[1:4, 4:7] = 1, 2
    mask = chapter.separate(instances)
    assert mask[2].tolist() == [False, True, True, False, False, True, True, False]
    assert (chapter.separate((instances == 1).astype(int)) == (instances == 1)).all()


def test_the_weight_is_largest_between_two_objects():
    instances = np.zeros((21, 40), int)
    instances[5:16, 5:18], instances[5:16, 20:35] = 1, 2
    balance, border = chapter.weight_map(instances, w0=10, sigma=2)
    # two px apart: the first pixel of the gap is 1 px from one and 2 from the other
    assert border[10, 18] == pytest.approx(10 * math.exp(-(3**2) / 8))
    assert border[10, 0] < 1e-6 and not border[instances > 0].any()
    share = (instances > 0).mean()
    assert balance[10, 10] == pytest.approx(0.5 / share)
    assert balance.mean() == pytest.approx(1)


def test_separated_coins_can_be_counted():
    from scipy import ndimage

    for pile in probes.touching_coins(10, size=80).tensors[1][:, 0].numpy():
        mask = chapter.separate(pile)
        assert ndimage.label(mask)[1] >= pile.max() > ndimage.label(pile > 0)[1]


def test_weights_come_behind_the_separated_mask():
    piles = probes.touching_coins(2, size=80)
    pile = piles.tensors[1][0, 0].numpy()
    balance, border = chapter.weight_map(pile)
    masks = chapter.with_weights(piles).tensors[1]
    assert masks.shape == (2, 2, 80, 80) and masks.dtype == torch.float32
    assert (masks[0, 0].numpy() == chapter.separate(pile)).all()
    np.testing.assert_allclose(masks[0, 1], balance + border, rtol=1e-6)


def test_the_class_weights_are_those_of_the_weight_map():
    logits = torch.randn(2, 1, 80, 80)
    piles = probes.touching_coins(2, size=80)
    masks = chapter.with_weights(piles).tensors[1]
    for n, pile in enumerate(piles.tensors[1][:, 0].numpy()):
        balance, _ = chapter.weight_map(pile)
        masks[n, 1] = torch.from_numpy(balance)
    loss = trials["touching"].variants["classes"]["loss"](logits, masks)
    torch.testing.assert_close(loss, chapter.weighted_bce(logits, masks))


def test_the_loss_weighs_each_pixel():
    logits = torch.randn(2, 1, 8, 8)
    mask, weight = (logits > 0.5).float(), torch.rand(2, 1, 8, 8)
    each = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    loss = chapter.weighted_bce(logits, torch.cat([mask, weight], dim=1))
    assert loss.item() == pytest.approx((each * weight).mean().item())


def test_counting_and_the_level_that_counts_best():
    logits = torch.full((2, 1, 5, 5), -9.0)
    logits[:, 0, 0, 0], logits[:, 0, 4, 4], logits[1, 0, 1, 1] = 3, 1, 1
    assert chapter.count(logits > 0).tolist() == [2, 3]  # corners do not join
    truth = np.array([1, 1])
    level = chapter.counting_threshold(logits, truth)
    assert torch.tensor(1.0).sigmoid() <= level < torch.tensor(3.0).sigmoid()
    assert chapter.counted_right(logits, truth, level) == 1
    assert chapter.counted_right(logits, np.array([2, 2]), 0.5) == 0.5
