"""The chapters' networks against tests/references.py, written from the papers alone.

All numbers of a network are drawn at random, biases and running statistics too, and
handed to the reference; then both must answer the same to nine digits.
"""

import pytest
import torch

from helpers import chapters
from tests import references

FCNS = {32: "FCN32s", 16: "FCN16s", 8: "FCN8s"}
FCN_WIDTHS = (3, 4, 5, 6, 7, 8)
U_WIDTHS = (2, 4, 8, 16, 32)


def chapter(name, network, **settings):
    """A network of a chapter, in evaluation mode, in float64."""
    return getattr(chapters.load(name), network)(**settings).double().eval()


def shake(net):
    """Draw every number of a network anew, so that none is 0 or 1 or like another."""
    torch.manual_seed(0)
    for parameter in net.parameters():
        if parameter.ndim > 3:  # a kernel: the size of its sum stays about 1
            torch.nn.init.normal_(parameter, std=(2 / parameter[0].numel()) ** 0.5)
        else:
            torch.nn.init.uniform_(parameter, -1, 1)
    for statistic in net.buffers():
        if statistic.is_floating_point():
            torch.nn.init.uniform_(statistic, 0.5, 2)


def layers_in_use(net, image):
    """The layers with numbers of their own, in the order in which they first run."""
    layers, hooks = [], []

    def note(layer, inputs, output):
        if layer not in layers:
            layers.append(layer)

    for module in net.modules():
        if next(module.parameters(recurse=False), None) is not None:
            hooks.append(module.register_forward_hook(note))
    with torch.no_grad():
        net(image)
    for hook in hooks:
        hook.remove()
    return layers


def shapes(layer):
    return [value.shape for value in layer.state_dict().values()]


def hand_over(net, reference, image):
    """Copy a network's numbers: each layer gets those of the first left of its shapes.

    Fails where the networks do not consist of the same layers.
    """
    left = layers_in_use(net, image)
    for layer in layers_in_use(reference, image):
        alike = [other for other in left if shapes(other) == shapes(layer)]
        assert alike, f"the chapter has no (further) layer like {layer}"
        numbers = alike[0].state_dict().values()
        layer.load_state_dict(dict(zip(layer.state_dict(), numbers)))
        left.remove(alike[0])
    assert not left, f"only the chapter has {left}"


def assert_same(net, reference, *sizes):
    """Both networks answer the same to random images (2, *size), to nine digits."""
    shake(net)
    reference = reference.double().eval()
    hand_over(net, reference, torch.randn(2, *sizes[0], dtype=torch.float64))
    for size in sizes:
        image = torch.randn(2, *size, dtype=torch.float64)
        with torch.no_grad():
            ours, theirs = net(image), reference(image)
        assert ours.std() > 0.01  # an answer that depends on the picture
        largest = theirs.abs().max().item()
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9 * largest)


def count(network, *arguments, **settings):
    """Number of parameters, without memory for them."""
    with torch.device("meta"):
        net = network(*arguments, **settings)
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize("stride", FCNS)
def test_fcn(stride):
    net = chapter("01_fcn", FCNS[stride], classes=4, widths=FCN_WIDTHS)
    reference = references.FCN(stride, classes=4, widths=FCN_WIDTHS)
    assert_same(net, reference, (3, 37, 50), (3, 64, 41))


@pytest.mark.parametrize("stride", FCNS)
def test_fcn_starts_with_bilinear_kernels_and_scores_of_zero(stride):
    image = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    net = chapter("01_fcn", FCNS[stride], classes=4, widths=FCN_WIDTHS)
    reference = references.FCN(stride, classes=4, widths=FCN_WIDTHS)
    layers = layers_in_use(net, image)
    expected = layers_in_use(reference.double(), image)
    first = 13 + 2  # after VGG's convolutions and fc6, fc7
    for ours, theirs in zip(layers[first:], expected[first:], strict=True):
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


def test_fcn_has_the_paper_s_size():
    for stride, name in FCNS.items():
        ours = count(getattr(chapters.load("01_fcn"), name))
        assert ours == count(references.FCN, stride)
    # Table 1 counts 134 million, without the layers that enlarge.
    ours = count(chapters.load("01_fcn").FCN32s)
    assert round((ours - 21 * 21 * 64 * 64) / 1e6) == 134


def test_unet():
    net = chapter("02_unet", "UNet", widths=U_WIDTHS)
    reference = references.UNet(widths=U_WIDTHS)
    assert_same(net, reference, (1, 188, 220), (1, 236, 204))


def test_padded_unet_with_batch_norm():
    settings = dict(norm=True, widths=U_WIDTHS, classes=1)
    net = chapter("02_unet", "UNet", in_channels=3, padding="zeros", **settings)
    reference = references.UNet(colours=3, padding=1, **settings)
    assert_same(net, reference, (3, 32, 48), (3, 80, 64))


def test_unet_has_the_paper_s_sizes():
    network = chapters.load("02_unet").UNet
    assert count(network) == count(references.UNet) == 31_030_658
    with torch.device("meta"):
        answer = network()(torch.empty(1, 1, 572, 572))
    assert answer.shape == (1, 2, 388, 388)


def test_vnet():
    net = chapter("03_vnet", "VNet", widths=(2, 4, 8, 16, 32))
    reference = references.VNet(widths=(2, 4, 8, 16, 32))
    assert_same(net, reference, (1, 16, 32, 16), (1, 32, 16, 48))
    assert count(chapters.load("03_vnet").VNet) == count(references.VNet)


def test_resunet():
    net = chapter("04_resunet", "ResUNet", widths=(4, 6, 8, 10))
    reference = references.ResUNet(widths=(4, 6, 8, 10))
    assert_same(net, reference, (3, 32, 48), (3, 56, 16))


def test_resunet_has_the_paper_s_size_but_for_its_shortcuts():
    ours = count(chapters.load("04_resunet").ResUNet)
    assert ours == count(references.ResUNet)
    with torch.device("meta"):
        reference = references.ResUNet()
    for unit in [*reference.encoder, *reference.decoder]:
        ours -= unit.shortcut.weight.numel()
    assert round(ours / 1e6, 1) == 7.8  # Table II


def test_inception_unet():
    widths = (2, 4, 8, 16)
    net = chapter("05_inception_unet", "InceptionUNet", widths=widths)
    reference = references.InceptionUNet(widths=widths)
    assert_same(net, reference, (3, 32, 48), (3, 80, 64))
    network = chapters.load("05_inception_unet").InceptionUNet
    assert count(network) == count(references.InceptionUNet)
