"""Chapter 08: every network on every task, and what is taken away."""

import pytest
import torch

from helpers import chapters, cost, training

lineage = chapters.load("08_lineage")
TRIALS = chapters.trials("08_lineage")
FLAT = ("common", "coins", "spots", "lattices", "horses", "mosaics")


@pytest.mark.parametrize("name", [name for name in TRIALS if name != "volumes"])
def test_every_network_answers_for_every_pixel(name):
    grey = name in ("coins", "spots")
    for own in TRIALS[name].variants.values():
        net = own["net"](0.04)
        answer = training.main_map(net(torch.zeros(2, 1 if grey else 3, 64, 64)))
        assert answer.shape == (2, 3 if name == "mosaics" else 1, 64, 64)


@pytest.mark.parametrize("name", FLAT)
def test_all_six_meet_on_every_flat_task(name):
    assert list(TRIALS[name].variants)[:6] == list(lineage.NETWORKS)


@pytest.mark.parametrize("name", FLAT)
def test_u2net_gets_the_tasks_loss_seven_times(name):
    variants = TRIALS[name].variants
    common = TRIALS[name].settings.get("loss", lineage.BCE)
    loss = variants["U-Net"].get("loss", common)
    logits, masks = torch.zeros(2, 1, 8, 8), torch.ones(2, 2, 8, 8)
    if name == "mosaics":
        logits, masks = torch.zeros(2, 3, 8, 8), torch.ones(2, 1, 8, 8).long()
    elif name != "coins":
        masks = masks[:, :1]
    once = loss(logits, masks)
    assert torch.allclose(variants["U²-Net"]["loss"]([logits] * 7, masks), 7 * once)


def test_unet3d_halves_and_joins():
    net = lineage.UNet3d(2, 3, widths=(4, 8, 16))
    assert net(torch.zeros(1, 2, 8, 12, 16)).shape == (1, 3, 8, 12, 16)
    joined = net.decoder[0][0].in_channels, net.decoder[1][0].in_channels
    assert joined == (16 + 8, 8 + 4)  # what comes up keeps its channels


def test_the_finer_fcn_votes_at_stride_two():
    net = lineage.small_fcn2s(0.04)
    assert net.ups[-1].stride == (2, 2) and len(net.skip_scores) == 4
    usual = lineage.fcn.small_fcn(0.04)
    assert cost.macs(net, 1, 3, 64, 64) < 1.15 * cost.macs(usual, 1, 3, 64, 64)


def test_deep_networks_have_four_blocks_for_one():
    for name in ("ResUNet", "Inception-U-Net"):
        small = lineage.NETWORKS[name]()
        net = TRIALS["deep"].variants[f"deep {name}"]["net"](0.04)
        assert len(net.encoder[1]) == len(net.decoder[0]) == 4
        assert len(net.encoder) == len(small.encoder)
    u = lineage.deepened_unet(0.04)
    plain = [m for m in u.encoder[2].modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(plain) == 8
    nested = lineage.deepened_u2net(0.04)
    assert len(nested.stage3) == len(nested.stage2d) == 4


def test_same_seed_same_pictures_other_seed_others():
    first = lineage.draw_spots(0).test.tensors[0]
    assert not first.equal(lineage.draw_spots(1).test.tensors[0])
    assert first.equal(lineage.draw_spots(0).test.tensors[0])


def test_perfect_masks_score_one():
    class Oracle(torch.nn.Module):
        """Answers with the mask, which the 'picture' is."""

        def forward(self, x):
            return (x - 0.5) * 20

    masks = lineage.draw_coins(0).test.tensors[1][:20]
    test = torch.utils.data.TensorDataset(masks[:, :1], masks)
    run = training.Run(Oracle(), [], threshold=0.5)
    assert lineage.counted_right(run, test)["iou"] > 0.9
    labels = torch.randint(3, (4, 1, 8, 8))
    logits = 9 * torch.nn.functional.one_hot(labels[:, 0], 3).permute(0, 3, 1, 2)
    run.predict = lambda test: (logits.float(), labels)
    row = lineage.class_scores(run, None)
    assert row["iou"] == 1 and 0.05 < row["constant"] < 0.2


CHANGED = {
    "everything": set(), "no schedule": {"schedule"}, "no flips": {"augment"},
    "resizing for transposed convolutions": {"net"}, "no skips": {"net"},
    "no batch norm": {"net"}, "half of the data": {"sets"},
    "half of the steps": {"steps"}, "with Dice": {"loss"},
    "with the input norm": {"net"}, "twice the steps": {"steps"},
}  # fmt: skip


def test_one_thing_is_changed_at_a_time():
    variants = TRIALS["ablation"].variants
    assert list(variants) == list(CHANGED)
    usual = variants["everything"]
    for name, own in variants.items():
        tuned = "U-Net, no norm" if name == "no batch norm" else "U-Net"
        assert own["lr"].args == (tuned,)
        other = {key for key in own if key not in usual or own[key] is not usual[key]}
        assert other - {"lr"} == CHANGED[name]
    half, whole = lineage.half_of_the_data(3), lineage.data.common_task(3)
    assert len(half.train) == 300 and half.test is whole.test


def test_itself_differs_in_nothing_but_the_first_weights():
    pair = []
    for own in TRIALS["itself"].variants.values():
        torch.manual_seed(5)
        pair.append(own["net"](0.04).state_dict())
    first, second = pair
    assert {k: v.shape for k, v in first.items()} == {
        k: v.shape for k, v in second.items()
    }
    key = "encoder.0.0.weight"
    assert not torch.equal(first[key], second[key])
