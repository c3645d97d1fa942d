"""What the networks and functions of chapter 06 must do.

The official table of weights is written here from the authors' configuration, not
taken from our network; so is the forward pass that ours is compared with.
"""

import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from helpers import chapters, cost, fields, trace, training

chapter = chapters.load("06_u2net")
TINY = dict(widths=(4, 4, 4, 4, 4, 4))
# Hundreds of tiny layers: a second thread would mostly wait for the first.
pytestmark = pytest.mark.usefixtures("one_thread")

# Stage: height (0: RSU-4F), input, inner and output channels (paper, Table 1).
FULL = {
    "stage1": (7, 3, 32, 64),
    "stage2": (6, 64, 32, 128),
    "stage3": (5, 128, 64, 256),
    "stage4": (4, 256, 128, 512),
    "stage5": (0, 512, 256, 512),
    "stage6": (0, 512, 256, 512),
    "stage5d": (0, 1024, 256, 512),
    "stage4d": (4, 1024, 128, 256),
    "stage3d": (5, 512, 64, 128),
    "stage2d": (6, 256, 32, 64),
    "stage1d": (7, 128, 16, 64),
}
SMALL = {name: (h, 128 if name.endswith("d") else 64, 16, 64) for name, (h, *_)
         in FULL.items()} | {"stage1": (7, 3, 16, 64)}  # fmt: skip
SIDES = {"full": (64, 64, 128, 256, 512, 512), "small": (64,) * 6}
NETS = {
    "full": (chapter.U2Net, FULL, "u2net.pth"),
    "small": (chapter.U2NetSmall, SMALL, "u2netp.pth"),
}


def official_table(size):
    """Keys and shapes of the authors' file."""
    table = {}
    for stage, (height, i, m, o) in NETS[size][1].items():
        height = height or 4
        convs = {"in": (i, o), "1": (o, m)}
        convs |= {str(k): (m, m) for k in range(2, height + 1)}
        convs |= {f"{k}d": (2 * m, m) for k in range(height - 1, 1, -1)}
        convs |= {"1d": (2 * m, o)}
        for name, (a, b) in convs.items():
            key = f"{stage}.rebnconv{name}"
            table[f"{key}.conv_s1.weight"] = (b, a, 3, 3)
            table[f"{key}.conv_s1.bias"] = (b,)
            for part in ("weight", "bias", "running_mean", "running_var"):
                table[f"{key}.bn_s1.{part}"] = (b,)
            table[f"{key}.bn_s1.num_batches_tracked"] = ()
    for k, channels in enumerate(SIDES[size], 1):
        table[f"side{k}.weight"], table[f"side{k}.bias"] = (1, channels, 3, 3), (1,)
    table["outconv.weight"], table["outconv.bias"] = (1, 6, 1, 1), (1,)
    return table


def official_state(size):
    """A state dict such as the authors' file holds, with random numbers."""
    random = torch.Generator().manual_seed(0)
    state = {}
    for key, shape in official_table(size).items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(7)
        elif key.endswith(("running_var", "bn_s1.weight")):
            state[key] = torch.rand(shape, generator=random) + 0.5
        else:
            state[key] = torch.randn(shape, generator=random) * 0.05
    return state


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Both files, in the format of the authors' time."""
    folder = tmp_path_factory.mktemp("official")
    for size, (*_, name) in NETS.items():
        torch.save(
            official_state(size), folder / name, _use_new_zipfile_serialization=False
        )
    return folder


# --- what the paper says ----------------------------------------------------------


@pytest.mark.parametrize("size", NETS)
def test_keys_and_shapes_are_the_official_ones(size):
    with torch.device("meta"):
        net = NETS[size][0]()
    ours = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    assert len(ours) == 798
    assert ours == official_table(size)


@pytest.mark.parametrize("size", NETS)
@pytest.mark.parametrize("stage", FULL)
def test_blocks_are_configured_as_in_the_paper(size, stage):
    with torch.device("meta"):
        net = NETS[size][0]()
    height, i, m, o = NETS[size][1][stage]
    block = getattr(net, stage)
    assert isinstance(block, chapter.RSU4F) == (height == 0)
    assert block.height == (height or 4)
    assert block.rebnconvin.conv_s1.weight.shape[:2] == (o, i)
    assert block.rebnconv2.conv_s1.weight.shape[:2] == (m, m)
    dilations = [c.dilation[0] for c in block.modules() if isinstance(c, nn.Conv2d)]
    if height == 0:
        assert sorted(dilations) == [1, 1, 1, 2, 2, 4, 4, 8]
        assert block.rebnconv4.conv_s1.dilation == (8, 8)
        assert block.rebnconv3d.conv_s1.dilation == (4, 4)
    else:
        assert dilations.count(2) == 1 and set(dilations) == {1, 2}
        bottom = getattr(block, f"rebnconv{height}")
        assert bottom.conv_s1.dilation == (2, 2)


def reference(state, table, x):
    """U2-Net written out from the paper and the keys alone: seven maps of logits."""

    def conv(key, x, dilation=1):
        get = lambda part: state[f"{key}.{part}"]  # noqa: E731
        x = F.conv2d(
            x, get("conv_s1.weight"), get("conv_s1.bias"), 1, dilation, dilation
        )
        parts = ("running_mean", "running_var", "weight", "bias")
        norm = [get(f"bn_s1.{part}") for part in parts]
        return F.batch_norm(x, *norm).relu()

    def up(x, like):
        size = like.shape[-2:]
        return F.interpolate(x, size, mode="bilinear", align_corners=False)

    def half(x):
        return F.max_pool2d(x, 2, stride=2, ceil_mode=True)

    def rsu(stage, x):
        height, flat = table[stage][0] or 4, table[stage][0] == 0
        first = x = conv(f"{stage}.rebnconvin", x)
        skips = []
        for k in range(1, height):
            dilation = 2 ** (k - 1) if flat else 1
            x = conv(f"{stage}.rebnconv{k}", x, dilation)
            skips.append(x)
            x = half(x) if k < height - 1 and not flat else x
        x = conv(f"{stage}.rebnconv{height}", x, 8 if flat else 2)
        for k in range(height - 1, 0, -1):
            skip = skips.pop()
            dilation = 2 ** (k - 1) if flat else 1
            x = torch.cat([up(x, skip), skip], 1)
            x = conv(f"{stage}.rebnconv{k}d", x, dilation)
        return x + first

    image, skips = x, []
    for k in range(1, 6):
        x = rsu(f"stage{k}", x)
        skips.append(x)
        x = half(x)
    outputs = [rsu("stage6", x)]
    for k in range(5, 0, -1):
        skip = skips.pop()
        outputs.append(rsu(f"stage{k}d", torch.cat([up(outputs[-1], skip), skip], 1)))
    sides = [
        up(F.conv2d(x, state[f"side{k}.weight"], state[f"side{k}.bias"], 1, 1), image)
        for k, x in enumerate(reversed(outputs), 1)
    ]
    fused = F.conv2d(
        torch.cat(sides, 1), state["outconv.weight"], state["outconv.bias"]
    )
    return [fused, *sides]


@pytest.mark.parametrize("shape", [(32, 32), (21, 50)])
def test_the_forward_pass_is_the_papers(files, shape):
    net = chapter.load_official(chapter.U2NetSmall(), files / "u2netp.pth")
    x = torch.randn(1, 3, *shape)
    with torch.no_grad():
        ours, theirs = net(x), reference(official_state("small"), SMALL, x)
    assert len(ours) == len(theirs) == 7
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


# --- the authors' files -----------------------------------------------------------


@pytest.mark.parametrize("size", NETS)
def test_an_official_file_loads(files, size):
    make, _, name = NETS[size]
    net = chapter.load_official(make(), files / name)
    expected = official_state(size)
    assert all(v.equal(expected[k]) for k, v in net.state_dict().items())
    assert not net.training


@pytest.mark.parametrize("wrap", ["model", "state_dict", "module.", "module.module."])
def test_an_official_file_loads_in_any_wrapping(wrap, tmp_path):
    state = official_state("small")
    old = {k: v for k, v in state.items() if "num_batches" not in k}
    content = {wrap: old}
    if wrap.endswith("."):
        content = {wrap + key: value for key, value in old.items()}
    torch.save(content, tmp_path / "u2netp.pth")
    net = chapter.load_official(chapter.U2NetSmall(), tmp_path / "u2netp.pth")
    assert all(old[k].equal(v) for k, v in net.state_dict().items() if k in old)
    assert net.stage1.rebnconvin.bn_s1.num_batches_tracked == 0


def altered(change):
    state = official_state("small")
    change(state)
    return state


FIRST = "stage1.rebnconvin.conv_s1.weight"
WRONG = {  # what is in the file, and what the refusal must say
    "a key is missing": (
        lambda s: s.pop(FIRST),
        f"1 of 798 names are missing, first {FIRST}",
    ),
    "a key too many": (
        lambda s: s.update(head=torch.zeros(1)),
        "it has 1 names too many, first head",
    ),
    "another shape": (
        lambda s: s.update({"outconv.weight": torch.zeros(1, 6)}),
        r"outconv.weight is \(1, 6\) in the file and \(1, 6, 1, 1\)",
    ),
    "not finite": (
        lambda s: s["side1.bias"].fill_(torch.nan),
        "side1.bias holds values that are not finite",
    ),
    "whole numbers": (
        lambda s: s.update({"side1.bias": torch.zeros(1, dtype=torch.int64)}),
        "side1.bias holds torch.int64, not torch.float32",
    ),
    "wrapped": (
        lambda s: s.update({"epoch": 3}),
        "holds what is no tensor with a name: epoch",
    ),
}


def unchanged(net, path, match):
    """The file is refused with these words, and the network is as before."""
    before = {k: v.clone() for k, v in net.state_dict().items()}
    training = net.training
    with pytest.raises(ValueError, match=match) as refusal:
        chapter.load_official(net, path)
    assert str(path) in str(refusal.value)
    assert all(v.equal(before[k]) for k, v in net.state_dict().items())
    assert net.training == training


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_refused(case, tmp_path):
    change, words = WRONG[case]
    path = tmp_path / "u2netp.pth"
    torch.save(altered(change), path)
    unchanged(chapter.U2NetSmall(), path, words)


def test_the_other_nets_file_is_refused(files):
    words = r"is \(16, 64, 3, 3\) in the file and \(32, 64, 3, 3\).*to U2Net\(\)"
    unchanged(chapter.U2Net(), files / "u2netp.pth", words)


@pytest.mark.parametrize("left", [0, 10, 3000, 2_000_000, 4_600_000])
def test_a_download_that_stopped_is_refused(files, left, tmp_path):
    path = tmp_path / "u2netp.pth"
    path.write_bytes((files / "u2netp.pth").read_bytes()[:left])
    unchanged(chapter.U2NetSmall(), path, "damaged")


@pytest.mark.parametrize("content", [b"<html>not found</html>", b"\x80", bytes(5000)])
def test_a_file_that_is_no_weights_is_refused(content, tmp_path):
    path = tmp_path / "u2netp.pth"
    path.write_bytes(content)
    unchanged(chapter.U2NetSmall(), path, "damaged|a failed download")


class Harmful:
    def __reduce__(self):
        return print, ("this must not run",)


def test_a_file_with_code_is_refused_unrun(tmp_path, capsys):
    for save in (torch.save, lambda thing, p: p.write_bytes(pickle.dumps(thing, 2))):
        path = tmp_path / "u2netp.pth"
        save({"side1.bias": Harmful()}, path)
        unchanged(chapter.U2NetSmall(), path, "more than weights")
    assert "this must not run" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), nn.Linear(1, 1)])
def test_a_file_with_something_else_is_refused(content, tmp_path):
    path = tmp_path / "u2netp.pth"
    torch.save(content, path)
    unchanged(chapter.U2NetSmall(), path, "no table of tensors|more than weights")


def test_a_missing_file_keeps_pythons_words(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        chapter.load_official(chapter.U2NetSmall(), tmp_path / "nowhere.pth")


# --- sizes ------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (7, 64), (37, 53), (64, 64), (65, 33)])
def test_any_size_works(shape):
    net = chapter.U2Net(**TINY).eval()
    with torch.no_grad():
        maps = net(torch.zeros(2, 3, *shape))
    assert [tuple(m.shape) for m in maps] == [(2, 1, *shape)] * 7


def test_seven_maps_for_each_class():
    net = chapter.U2Net(in_channels=2, classes=5, **TINY)
    assert {tuple(m.shape) for m in net(torch.zeros(1, 2, 64, 64))} == {(1, 5, 64, 64)}


def test_at_320_px_shapes_are_the_papers():
    with torch.device("meta"):
        net = chapter.U2Net()
    last = {}  # shape that each stage returns
    for op in trace.trace(net, 1, 3, 320, 320):
        last[op.module.split(".")[0]] = op.shape
    for name, (*_, o) in FULL.items():
        size = 320 // 2 ** (int(name[5]) - 1)
        assert last[name] == (1, o, size, size)


WRONG_SHAPES = {
    (3, 64, 64): r"expected a batch \(N, 3, H, W\)",
    (1, 1, 64, 64): r"expected a batch \(N, 3, H, W\)",
    (1, 3, 0, 64): "cannot take 0 px",
}


@pytest.mark.parametrize("shape", WRONG_SHAPES)
def test_wrong_channels_or_axes_are_refused(shape):
    for net in (chapter.U2Net(**TINY), chapter.RSU(7, 3, 2, 4), chapter.RSU4F(3, 2, 4)):
        with pytest.raises(ValueError, match=WRONG_SHAPES[shape]):
            net(torch.zeros(shape))


def test_one_small_picture_cannot_be_trained_on():
    net = chapter.U2Net(**TINY)
    with pytest.raises(ValueError, match=r"one picture of 32 x 20 px.*33 px or more"):
        net(torch.zeros(1, 3, 32, 20))
    net(torch.zeros(1, 3, 33, 20))
    net(torch.zeros(2, 3, 32, 20))
    block = chapter.RSU(5, 3, 2, 4)
    with pytest.raises(ValueError, match="9 px or more"):
        block(torch.zeros(1, 3, 8, 8))
    block(torch.zeros(1, 3, 9, 1))


@pytest.mark.parametrize("widths", [(64,) * 5, (64,) * 7, (3, 4, 4, 4, 4, 4), (0,) * 6])
def test_widths_that_cannot_be_built_are_refused(widths):
    with pytest.raises(ValueError, match=r"six widths of at least \(4, 4, 4, 4, 2, 2"):
        chapter.U2Net(widths=widths)


@pytest.mark.parametrize("sizes", [(2, 3, 4, 5), (7, 0, 4, 5), (7, 3, 0, 5)])
def test_blocks_that_cannot_be_built_are_refused(sizes):
    with pytest.raises(ValueError, match="the height starts at 3, channels at 1"):
        chapter.RSU(*sizes)


# --- the block --------------------------------------------------------------------


@pytest.mark.parametrize("height", [4, 5, 6, 7])
def test_an_rsu_sees_further_with_every_level(height):
    shallow, deep = (
        fields.receptive_field(chapter.RSU(h, 1, 2, 2), 1, 1, 512, 512).width.max()
        for h in (height - 1, height)
    )
    assert deep > 1.9 * shallow


def test_rsu4f_keeps_the_resolution():
    ops = trace.trace(chapter.RSU4F(3, 2, 4), 1, 3, 20, 20)
    assert {op.shape[2:] for op in ops} == {(20, 20)}
    # 3 for rebnconvin, then 2 more for each unit of dilation on the way down and up
    field = fields.receptive_field(chapter.RSU4F(3, 2, 4), 1, 3, 99, 99)
    assert set(field.width) == {3 + 2 * (1 + 2 + 4 + 8 + 4 + 2 + 1)}


def test_the_input_is_added_to_the_us_answer():
    block = chapter.RSU(4, 3, 2, 4).eval()
    nn.init.zeros_(block.rebnconv1d.bn_s1.weight)
    x = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(block(x), block.rebnconvin(x))


# --- training ---------------------------------------------------------------------


def test_small_u2net_first_answers_the_share():
    net = chapter.small_u2net(0.1)
    for k in range(1, 7):
        nn.init.zeros_(net.get_submodule(f"side{k}").weight)
    for answer in net(torch.rand(2, 3, 64, 64)):
        assert answer.sigmoid().mean().item() == pytest.approx(0.1)


def test_seven_losses_adds_the_sides():
    maps = [torch.full((1, 1, 2, 2), float(k)) for k in range(7)]
    loss = lambda logits, masks: logits.mean()  # noqa: E731
    assert chapter.seven_losses(maps, None, side=1, loss=loss) == 21
    assert chapter.seven_losses(maps, None, side=0.5, loss=loss) == 10.5
    assert chapter.seven_losses(maps[1:], None, side=0, loss=loss) == 1


def test_fit_takes_seven_maps():
    from torch.utils.data import TensorDataset

    some = TensorDataset(torch.rand(4, 3, 36, 36), torch.zeros(4, 1, 36, 36))
    run = training.fit(
        chapter.U2Net(**TINY), some, some, steps=5, batch=2, loss=chapter.seven_losses
    )
    assert training.predict(run.net, some)[0].shape == (4, 1, 36, 36)


def test_saliency_is_as_large_as_the_picture():
    net = chapter.U2Net(**TINY)
    alpha = chapter.saliency(net, torch.rand(3, 50, 70), size=64)
    assert alpha.shape == (1, 50, 70)
    assert 0 <= alpha.min() and alpha.max() <= 1
    with pytest.raises(ValueError, match=r"expected a picture \(3, H, W\)"):
        chapter.saliency(net, torch.rand(1, 3, 50, 70))


def test_a_cut_out_keeps_the_colours_and_adds_transparency():
    image, alpha = torch.rand(3, 5, 6), torch.rand(1, 5, 6)
    cut = chapter.cut_out(image, alpha)
    assert cut.shape == (5, 6, 4)
    torch.testing.assert_close(cut[..., :3], image.movedim(0, -1))
    torch.testing.assert_close(cut[..., 3], alpha[0])


def test_what_a_training_step_at_full_size_keeps():
    net = chapter.U2Net()
    maps = cost.activation_memory(net, 1, 3, 320, 320, training=True) / 1e9
    weights = 4 * cost.params(net) / 1e9
    assert 0.75 < maps < 0.85 and 1.4 < maps + 4 * weights < 1.6


def test_where_the_small_network_has_its_weights():
    entry = with_o = inside = 0
    for block in chapter.U2NetSmall().modules():
        if not isinstance(block, chapter.RSU):
            continue
        own = dict(block.named_children())
        first, last = cost.params(own["rebnconv1"]), cost.params(own["rebnconv1d"])
        entry += cost.params(own["rebnconvin"])
        with_o += first + last
        inside += cost.params(block) - cost.params(own["rebnconvin"]) - first - last
    whole = entry + with_o + inside
    shares = [round(100 * part / whole) for part in (entry, with_o, inside)]
    assert shares == [49, 27, 23]
    assert 1.9 < sum(n * s for n, s in zip((1, 2, 4), shares)) / 100 < 2
