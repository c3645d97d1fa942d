"""Networks in a real browser: what a page computes is what PyTorch computes."""

import base64
import copy
import json
import re
from functools import partial

import pytest
import torch
import wasmtime
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from helpers import chapters, embed, live, trace
from helpers.app import segment
from helpers.training import main_map

# A page that may connect to nothing; a worker inherits that.
HEAD = """<!doctype html><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none';
script-src 'unsafe-inline' 'wasm-unsafe-eval'; worker-src blob:">"""
RUN = """
const [program, shape, numbers, settings, slow, done] = arguments;
const picture = {shape, data: Float32Array.from(numbers)};
const plain = ({shape, data}) => ({shape, data: [...data]});
const engine = liveEngine();  // without WebAssembly, and without a worker
const net = slow ? engine.load(program) : liveStart(program);
function ended(run) {
  for (;;) {
    const {done, value} = run.next();
    if (done) return value;
  }
}
const run = net.run(picture, settings);
Promise.resolve(slow ? ended(run) : run).then(found => {
  const {outputs, maps, milliseconds} = found;
  for (const name in maps) maps[name] = plain(maps[name]);
  done({outputs: outputs.map(plain), maps, milliseconds});
}).catch(error => done({error: error.message})).finally(() => slow || net.stop());
"""
CONVOLUTIONS = nn.Conv2d, nn.ConvTranspose2d
NETWORKS = [
    ("00_segmentation", "small_three_layers", (31, 47)),
    ("01_fcn", "small_fcn", (96, 128)),
    ("02_unet", "small_unet", (72, 104)),
    ("04_resunet", "small_resunet", (72, 104)),
    ("05_inception_unet", "small_inception_unet", (72, 40)),
    ("06_u2net", "small_u2net", (45, 50)),
    ("08_lineage", "small_fcn2s", (64, 96)),
]


def tensor(found):
    return torch.tensor(found["data"]).reshape(found["shape"])


def write(folder, head):
    """A page with the engine, to be opened from its file."""
    file = folder / "page.html"
    file.write_text(f"{head}<script>{live.engine()}</script>", encoding="utf-8")
    return file.as_uri()


def in_browser(browser, program, picture, slow=False, **settings):
    """Run a program on a picture (C, H, W): tensors for all maps of the result."""
    given = list(picture.shape), picture.flatten().tolist(), settings, slow
    found = browser.execute_async_script(RUN, program, *given)
    if "error" in found:
        raise ValueError(found["error"])
    found["outputs"] = [tensor(part) for part in found["outputs"]]
    for name, part in found["maps"].items():
        found["maps"][name] = tensor(part)
    return found


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    """Runs programs on an open page, which logs nothing."""
    browser.get(write(tmp_path_factory.mktemp("live"), HEAD))
    assert browser.execute_script("return liveSimd() !== null")
    yield partial(in_browser, browser)
    assert not browser.get_log("browser")


def randomised(net):
    """The network in evaluation mode; no norm and no score of it is trivial."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    for name, weight in net.named_parameters():
        if re.search("score|ups|head", name):
            nn.init.normal_(weight, 0, 0.2)
    return net.eval()


def made(chapter, name):
    return randomised(getattr(chapters.load(chapter), name)(share=0.04))


def half(values):
    return values.detach().to(torch.float16).float()


def rounded(net, x):
    """A copy whose norms stand in the convolution before, and all is in float16."""
    net, made_by, before = copy.deepcopy(net), {}, {}

    def note(module, inputs, output):
        if isinstance(module, CONVOLUTIONS):
            made_by[id(output)] = module, output  # kept, or its id is given away
        elif isinstance(module, nn.BatchNorm2d):
            before[module] = made_by.get(id(inputs[0]), [None])[0]

    hooks = [module.register_forward_hook(note) for module in net.modules()]
    answers(net, x)
    for hook in hooks:
        hook.remove()
    for norm, conv in before.items():
        fold(norm.double(), conv)
        norm.float()
    for module in net.modules():
        if isinstance(module, (*CONVOLUTIONS, nn.BatchNorm2d)):
            for weight in module.parameters(recurse=False):
                weight.data = half(weight)
    return net


def fold(norm, conv):
    """Move a norm into a convolution by PyTorch's own function, or make it a scale."""
    numbers = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    if conv is None:
        one = torch.ones(len(norm.weight), 1, 1, 1, dtype=torch.float64)
        scale, shift = fuse_conv_bn_weights(one, None, *numbers)
        norm.weight, norm.bias = nn.Parameter(scale.flatten()), nn.Parameter(shift)
    else:
        up = isinstance(conv, nn.ConvTranspose2d)
        bias = conv.bias.double() if conv.bias is not None else None
        weights = fuse_conv_bn_weights(conv.weight.double(), bias, *numbers, up)
        conv.weight, conv.bias = [nn.Parameter(part.float()) for part in weights]
        norm.weight.data.fill_(1)
        norm.bias.data.fill_(0)
    norm.running_mean.fill_(0)
    norm.running_var.fill_(1)
    norm.eps = 0


def answers(net, x):
    """All outputs of a network for one picture (C, H, W), without the batch."""
    with torch.no_grad():
        y = net(x[None])
    return [part[0] for part in (y if isinstance(y, list | tuple) else [y])]


def apart(some, others):
    """The largest difference between two lists of maps of the same shapes."""
    assert [a.shape for a in some] == [b.shape for b in others]
    return max((a - b).abs().max().item() for a, b in zip(some, others))


@pytest.mark.parametrize("chapter, name, odd", NETWORKS)
def test_a_page_computes_what_pytorch_does(page, closing, chapter, name, odd):
    net = made(chapter, name)
    program = live.pack(net, 1, 3, 64, 64)
    reference = rounded(net, torch.rand(3, 64, 64))
    for size in ((64, 64), odd):
        x = torch.rand(3, *size)
        found = page(program, x)
        expected = answers(reference, x)
        assert apart(found["outputs"], expected) < 1e-3
        assert apart(page(program, x, slow=True)["outputs"], expected) < 1e-3
        assert expected[0].std() > 0.01
        worst, moved = (
            apart(found["outputs"], expected),
            apart(expected, answers(net, x)),
        )
        closing(
            f"{name} {size}: {worst:.0e} from PyTorch, rounding moves {moved:.0e}, "
            f"{found['milliseconds']:.0f} ms, {len(json.dumps(program)) / 1000:.0f} kB"
        )


def test_three_odd_sizes_of_an_fcn(page):
    """What an FCN crops depends on the size: a program of its own for others."""
    net = made("08_lineage", "small_fcn2s")
    x = torch.rand(3, 61, 93)
    found = page(live.pack(net, 1, *x.shape), x)["outputs"]
    assert apart(found, answers(rounded(net, x), x)) < 1e-3


class Toy(nn.Module):
    """Everything that the engine knows and the six networks do not use."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Conv2d(2, 6, (3, 5), stride=2, padding=(2, 1), dilation=2)
        self.slopes = nn.PReLU(6)
        self.up = nn.ConvTranspose2d(6, 5, 3, 2, padding=1, output_padding=1)
        self.gaps = nn.ConvTranspose2d(5, 3, 2, stride=3, bias=False)
        self.norm = nn.BatchNorm2d(5)
        self.drop = nn.Dropout2d()

    def forward(self, x):
        x = self.slopes(self.wide(x))
        x = F.max_pool2d(x, 3, 2, padding=1, ceil_mode=True)
        x = self.drop(F.interpolate(x, scale_factor=1.5, mode="bilinear"))
        x = self.norm(self.up(x))
        x = self.gaps(x * x.sigmoid() - 0.25 * x)
        y = x[..., 1:-2, 2:-1]
        y = F.pad(y / (1 + x.var((2, 3), keepdim=True)), [2, 1, 1, 2], value=0.5)
        return y + x, torch.cat([x, y], 1).softmax(1)


@pytest.mark.parametrize("size", [(24, 24), (37, 25)])
def test_every_operation(page, size):
    net = randomised(Toy())
    nn.init.uniform_(net.slopes.weight)
    x = torch.randn(2, *size)
    reference = rounded(net, x)
    reference.slopes.weight.data = half(net.slopes.weight)
    found = page(live.pack(net, 1, 2, 24, 24), x)["outputs"]
    assert apart(found, answers(reference, x)) < 1e-4


class InPlace(nn.Module):
    def forward(self, x):
        x = x + 1
        y = x.relu_()  # x is another one now, too
        return torch.cat([x, y], 1)


def test_a_map_that_is_changed_in_place_is_changed_for_all(page):
    x = torch.randn(2, 6, 6)
    found = page(live.pack(InPlace(), 1, 2, 6, 6), x)["outputs"]
    assert apart(found, answers(InPlace(), x)) < 1e-6


@pytest.fixture(scope="module")
def unet():
    return made("02_unet", "small_unet")


@pytest.fixture(scope="module")
def packed(unet):
    return live.pack(unet, 1, 3, 64, 64)


def test_every_map_of_the_drawing_by_its_name(page, unet, packed):
    names = [op["name"] for op in packed["ops"]]
    traced = {op.name: op for op in trace.trace(unet, 1, 3, 64, 64)}
    x = torch.rand(3, 64, 64)
    maps = page(packed, x, keep=names)["maps"]
    for name in names:
        assert maps[name].shape == traced[name].shape[1:]
    boxes = [
        op for op in traced.values() if op.kind in ("activation", "pool", "concat")
    ]
    assert {op.name for op in boxes} <= set(names)
    reference = rounded(unet, x)
    first = next(op.name for op in traced.values() if op.module == "encoder.0.2")
    with torch.no_grad():
        assert apart([maps[first]], [reference.encoder[0][:3](x[None])[0]]) < 1e-4
    assert torch.equal(maps["x"], x)


def test_a_skip_that_is_off_is_a_skip_of_zeros(page, unet, packed):
    class Cut(chapters.load("02_unet").UNet):
        def merge(self, skip, x):
            return super().merge(0 * skip if x.shape[1] == 8 else skip, x)

    x = torch.rand(3, 64, 64)
    cut = rounded(unet, x)
    cut.__class__ = Cut
    joins = [op["name"] for op in packed["ops"] if op["kind"] == "concat"]
    found = page(packed, x, off={joins[-1]: [0]})["outputs"]
    assert apart(found, answers(cut, x)) < 1e-4
    assert apart(found, answers(unet, x)) > 0.1


def test_of_a_sum_too(page):
    net = made("04_resunet", "small_resunet").encoder[0]
    x = torch.rand(3, 16, 16)
    program = live.pack(net, 1, 3, 16, 16)
    (sum_of_two,) = [op for op in program["ops"] if op["kind"] == "add"]
    found = page(program, x, off={sum_of_two["name"]: [0]})["outputs"]
    assert apart(found, answers(rounded(net, x).layers, x)) < 1e-4


@pytest.mark.parametrize("size", [(150, 100), (20, 90)])
def test_tiles_are_those_of_predict(page, unet, packed, size):
    """The second picture is so small that it has to be mirrored more than once."""
    picture = torch.rand(3, *size)
    reference = rounded(unet, torch.rand(3, 64, 64))
    expected = segment.answer_all(reference, picture, (64, 64), (64, 32))
    found = page(packed, picture, tile=64, margin=32)["outputs"]
    assert apart(found, [expected]) < 1e-4


def test_tiles_of_a_network_that_loses_its_border(page):
    make = chapters.load("02_unet").small_unet
    net = randomised(make(padding="valid", widths=(4, 8)))
    tile, margin = 64, 10
    picture = torch.rand(3, 70, 90)
    window = tile + 2 * margin
    program = live.pack(net, 1, 3, window, window)
    reference = rounded(net, torch.rand(3, window, window))
    expected = segment.answer_all(reference, picture, (window, window), (tile, margin))
    found = page(program, picture, tile=tile, margin=margin)["outputs"]
    assert apart(found, [expected]) < 1e-4


def test_a_run_tells_how_far_it_is_and_ends_when_it_is_not_wanted(
    page, browser, packed
):
    told = browser.execute_async_script(
        """
        const [program, done] = arguments, told = [], net = liveStart(program);
        const picture = side => ({shape: [3, side, side],
                                  data: new Float32Array(3 * side * side)});
        const giveUp = new AbortController();
        const progress = share => {
          told.push(share);
          if (share > 0.2) giveUp.abort();
        };
        const settings = {tile: 64, margin: 32, progress, signal: giveUp.signal};
        const long = net.run(picture(640), settings);
        const short = net.run(picture(64));
        long.catch(error => told.push(error.name)).then(() => short)
          .then(({outputs}) => { told.push(outputs[0].data.length); done(told); });
        """,
        packed,
    )
    *shares, name, count = told
    assert shares == sorted(shares) and 0 < shares[0] < 1
    assert shares[-1] < 0.9 and len(shares) > 1
    assert name == "AbortError" and count == 64 * 64


@pytest.mark.parametrize(
    "shape, settings, message",
    [
        ((3, 70, 64), {}, "70 x 64 px: the network takes 64 x 64 px and 8 px more"),
        ((1, 64, 64), {}, "shape 1,64,64 .* takes 3 channels"),
        ((3, 64, 64), {"keep": ["conv_9"]}, "no operation is called conv_9"),
        ((3, 64, 64), {"off": {"skip": [0]}}, "no operation is called skip"),
        ((3, 64, 64), {"off": {"cat": [2]}}, "cat has 2 inputs, not 2"),
        ((3, 90, 90), {"tile": 64, "margin": 1}, "66 x 66 px: the network takes"),
        ((3, 90, 90), {"tile": 64, "margin": 0.5}, "no whole numbers"),
        ((3, 90, 90), {"tile": 64}, "margin of undefined px: no whole numbers"),
    ],
)
def test_what_a_page_refuses(page, packed, shape, settings, message):
    with pytest.raises(ValueError, match=message):
        page(packed, torch.zeros(shape), **settings)


def test_a_program_of_another_engine_is_refused_at_once(page, packed):
    program = copy.deepcopy(packed)
    program["ops"][5]["kind"] = "fold"
    with pytest.raises(ValueError, match="does not know fold"):
        page(program, torch.zeros(3, 64, 64))


def with_weight(value):
    layer = nn.Conv2d(1, 1, 1)
    layer.weight.data.fill_(value)
    return layer


class Fresh(nn.Module):
    def forward(self, x):
        return x + torch.arange(8, device=x.device)


class Numbered(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("rows", torch.ones(1, 1, 8, 8))

    def forward(self, x):
        return torch.cat([x, self.rows], 1)


class Pooled(nn.Module):
    def forward(self, x):
        return x - x.mean()


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(
    "layer, message",
    [
        (nn.AvgPool2d(2), "cannot run Sequential: avg_pool2d .in 0. is nothing that"),
        (nn.GELU(), "gelu"),
        (nn.Linear(8, 8), "linear"),
        (nn.InstanceNorm2d(1), "instance_norm"),
        (nn.BatchNorm2d(1, track_running_stats=False), "without running statistics"),
        (nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1, groups=2)), "2 groups"),
        (nn.ReflectionPad2d(1), "pad of mode 'reflect'"),
        (nn.Upsample(scale_factor=2, mode="bicubic"), "mode 'bicubic'"),
        (nn.Upsample(size=11), r"resizing to \(11, 11\), no other map's size"),
        (nn.Softmax(3), "softmax"),
        (nn.Conv2d(1, 1, 2, padding="same"), "'same' of a kernel of 2 px"),
        (Fresh(), "makes in forward, arange"),
        (Numbered(), "a concatenation with numbers that are no map"),
        (Pooled(), "mean that is not over height and width, kept as 1 x 1"),
        (with_weight(1e5), r"weight of 1e\+05; float16 ends at 65504"),
        (with_weight(torch.nan), "weight of nan"),
    ],
)
def test_what_cannot_be_packed_is_named(layer, message):
    with pytest.raises(ValueError, match=message):
        live.pack(nn.Sequential(layer).eval(), 1, 1, 8, 8)


class Louder(nn.Module):
    def forward(self, x):
        return torch.fft.irfft(torch.fft.rfft(x) * 2, n=8)


class Spectrum(nn.Module):
    def forward(self, x):
        return torch.fft.rfft(x).abs()


def test_a_transform_that_is_no_spectral_pooling_is_refused():
    with pytest.raises(ValueError, match="no spectral pooling"):
        live.pack(Louder(), 1, 1, 8, 8)
    with pytest.raises(ValueError, match="a Fourier transform without one back"):
        live.pack(Spectrum(), 1, 1, 8, 8)
    with pytest.raises(ValueError, match="keeps 4 waves of 10 px, no whole share"):
        live.pack(made("05_inception_unet", "small_inception_unet"), 1, 3, 40, 40)


def test_a_volume_is_refused():
    with pytest.raises(
        ValueError, match=r"must be \(1, channels, height, width\), not"
    ):
        live.pack(nn.Conv3d(1, 1, 3), 1, 1, 8, 8, 8)


def test_a_program_is_json_and_the_network_stays_as_it_was(unet, packed):
    assert len(json.dumps(packed, allow_nan=False)) < 330_000
    assert packed["shape"] == [3, 64, 64] and packed["step"] == 8
    assert not main_map(unet(torch.zeros(1, 3, 64, 64))).isnan().any()
    kinds = [op["kind"] for op in packed["ops"]]
    assert "norm" not in kinds and kinds.count("conv") == 15  # 14 of them with a norm
    assert len(packed["weights"]) * 3 / 4 < 2.02 * 121_529  # bytes; parameters


def test_the_fast_loop_is_assembled_from_its_source():
    script = embed.read("live_simd.js")
    carried = re.search("assembled = `([^`]*)`", script)[1]
    assembled = wasmtime.wat2wasm(embed.read("live.wat"))
    assert base64.b64decode(carried) == bytes(assembled)


def test_a_page_that_allows_no_webassembly_takes_the_other_loop(
    browser, tmp_path, unet, packed
):
    """This one closes the page of the tests above, so it is the last one."""
    browser.get(write(tmp_path, HEAD.replace("'wasm-unsafe-eval'", "")))
    assert browser.execute_script("return liveSimd() === null")
    x = torch.rand(3, 64, 64)
    found = in_browser(browser, packed, x)["outputs"]
    assert apart(found, answers(rounded(unet, x), x)) < 1e-3
    browser.get_log("browser")  # what it says about the policy is read here
