"""The networks, written a second time by somebody who never saw the chapters.

Each is the paper's, in the plainest way; tests/chapters/test_references.py compares it
with the chapter's. Where a paper leaves room, a comment says what was taken and from
where. Of a concatenation the skip is the first half everywhere, as U-Net's Fig. 1 draws
it: another order only renames channels. What belongs to training is left out.
"""

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F


class FCN(nn.Module):
    """FCN-32s, 16s or 8s: Long, Shelhamer, Darrell 2015, section 4, on VGG16.

    (N, 3, H, W) to scores (N, classes, H, W). `stride` is 32, 16 or 8; `widths`:
    channels of the five blocks, then of fc6 and fc7. Padding and crops are those of the
    authors' repository.
    """

    def __init__(self, stride, classes=21, widths=(64, 128, 256, 512, 512, 4096)):
        super().__init__()
        self.stride = stride
        self.blocks = nn.ModuleList()
        before = 3
        padding = 100
        for width, number in zip(widths, (2, 2, 3, 3, 3)):
            block = nn.ModuleList()
            for _ in range(number):
                block.append(nn.Conv2d(before, width, 3, padding=padding))
                before = width
                padding = 1
            self.blocks.append(block)
        self.fc6 = nn.Conv2d(before, widths[5], 7)
        self.fc7 = nn.Conv2d(widths[5], widths[5], 1)
        self.score = zero_score(widths[5], classes)
        if stride < 32:
            self.score_pool4 = zero_score(widths[3], classes)
            self.up4 = bilinear(classes, 2)
        if stride < 16:
            self.score_pool3 = zero_score(widths[2], classes)
            self.up3 = bilinear(classes, 2)
        self.up = bilinear(classes, stride)

    def forward(self, image):
        x = image
        pooled = []
        for block in self.blocks:
            for conv in block:
                x = F.relu(conv(x))
            x = F.max_pool2d(x, 2, ceil_mode=True)
            pooled.append(x)
        x = F.relu(self.fc6(x))
        x = F.relu(self.fc7(x))
        x = self.score(x)
        if self.stride < 32:
            x = self.up4(x)
            x = x + cut(self.score_pool4(pooled[3]), 5, x)
        if self.stride < 16:
            x = self.up3(x)
            x = x + cut(self.score_pool3(pooled[2]), 9, x)
        return cut(self.up(x), {32: 19, 16: 27, 8: 31}[self.stride], image)


def zero_score(channels, classes):
    """1 x 1 convolution that starts at zero (section 4)."""
    layer = nn.Conv2d(channels, classes, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def bilinear(classes, stride):
    """Transposed convolution, at first bilinear interpolation of each class alone."""
    layer = nn.ConvTranspose2d(classes, classes, 2 * stride, stride, bias=False)
    nn.init.zeros_(layer.weight)
    place = torch.arange(2 * stride, device=layer.weight.device)
    triangle = 1 - (place - stride + 0.5).abs() / stride
    for c in range(classes):
        layer.weight.data[c, c] = triangle[:, None] * triangle
    return layer


def cut(x, offset, like):
    """The part of x that begins at (offset, offset) and is as large as `like`."""
    height, width = like.shape[-2:]
    return x[..., offset : offset + height, offset : offset + width]


class UNet(nn.Module):
    """U-Net: Ronneberger, Fischer, Brox 2015, Fig. 1 (padding=0, norm=False).

    padding=1 and norm=True give the popular variant: same size, batch norm before
    each ReLU.
    """

    def __init__(
        self, colours=1, classes=2, widths=(64, 128, 256, 512, 1024), padding=0,
        norm=False,
    ):  # fmt: skip
        super().__init__()
        self.left = nn.ModuleList()
        before = colours
        for width in widths:
            self.left.append(two_convs(before, width, padding, norm))
            before = width
        self.up = nn.ModuleList()
        self.right = nn.ModuleList()
        for width in reversed(widths[:-1]):
            self.up.append(nn.ConvTranspose2d(2 * width, width, 2, 2))
            self.right.append(two_convs(2 * width, width, padding, norm))
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x):
        skips = []
        for level in self.left[:-1]:
            x = level(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.left[-1](x)
        for up, right in zip(self.up, self.right):
            x = up(x)
            skip = skips.pop()
            border = (skip.shape[2] - x.shape[2]) // 2  # the same at all four sides
            skip = F.pad(skip, [-border] * 4)
            x = right(torch.cat([skip, x], 1))
        return self.head(x)


def two_convs(before, width, padding, norm):
    layers = []
    for channels in (before, width):
        layers.append(nn.Conv2d(channels, width, 3, padding=padding))
        if norm:
            layers.append(nn.BatchNorm2d(width))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


class VNet(nn.Module):
    """V-Net: Milletari, Navab, Ahmadi 2016, Fig. 2; (N, 1, D, H, W) to (N, 2, D, H, W).

    The numbers of convolutions are the figure's; that a stage's sum comes before its
    last PReLU and that resampling has a PReLU too is from the authors' repository.
    """

    def __init__(self, classes=2, widths=(16, 32, 64, 128, 256)):
        super().__init__()
        self.left = nn.ModuleList([Stage(1, widths[0], 1)])
        self.down = nn.ModuleList()
        for width, number in zip(widths[1:], (2, 3, 3, 3)):
            conv = nn.Conv3d(width // 2, width, 2, 2)
            self.down.append(nn.Sequential(conv, nn.PReLU(width)))
            self.left.append(Stage(width, width, number))
        self.up = nn.ModuleList()
        self.right = nn.ModuleList()
        before = widths[-1]
        for width, number in zip(reversed(widths[:-1]), (3, 3, 2, 1)):
            conv = nn.ConvTranspose3d(before, width, 2, 2)
            self.up.append(nn.Sequential(conv, nn.PReLU(width)))
            before = 2 * width
            self.right.append(Stage(before, before, number))
        self.head = nn.Conv3d(before, classes, 1)

    def forward(self, x):
        x = self.left[0](x)
        fine = []
        for down, stage in zip(self.down, self.left[1:]):
            fine.append(x)
            x = stage(down(x))
        for up, stage in zip(self.up, self.right):
            x = stage(torch.cat([fine.pop(), up(x)], 1))
        return self.head(x)


class Stage(nn.Module):
    """Convolutions of 5 x 5 x 5; the stage's input joins before the last PReLU."""

    def __init__(self, before, width, number):
        super().__init__()
        self.convs = nn.ModuleList()
        self.relus = nn.ModuleList()
        for _ in range(number):
            self.convs.append(nn.Conv3d(before, width, 5, padding=2))
            self.relus.append(nn.PReLU(width))
            before = width

    def forward(self, x):
        y = x
        for conv, relu in zip(self.convs[:-1], self.relus[:-1]):
            y = relu(conv(y))
        # In the first stage the one channel is added to each of the 16.
        return self.relus[-1](self.convs[-1](y) + x)


class ResUNet(nn.Module):
    """ResUNet: Zhang, Liu, Wang 2018, Table I; (N, 3, H, W) to logits (N, 1, H, W)."""

    def __init__(self, colours=3, classes=1, widths=(64, 128, 256, 512)):
        super().__init__()
        self.encoder = nn.ModuleList([ResidualUnit(colours, widths[0], 1, first=True)])
        self.decoder = nn.ModuleList()
        for fine, coarse in pairwise(widths):
            self.encoder.append(ResidualUnit(fine, coarse, 2))
            self.decoder.insert(0, ResidualUnit(fine + coarse, fine, 1))
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x):
        skips = []
        for unit in self.encoder:
            x = unit(x)
            skips.append(x)
        skips.pop()  # the bridge's own output
        for unit in self.decoder:
            # "Up-sampling"; its kind is not said: nearest, the default of its time.
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = unit(torch.cat([skips.pop(), x], 1))
        return self.head(x)


class ResidualUnit(nn.Module):
    """x + F(x), F twice BN, ReLU, 3 x 3; a 1 x 1 brings x to the shape of the sum."""

    def __init__(self, before, width, stride, first=False):
        super().__init__()
        self.norm1 = None if first else nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        # No bias: conv2's serves the sum.
        self.shortcut = nn.Conv2d(before, width, 1, stride, bias=False)

    def forward(self, x):
        y = x
        if self.norm1 is not None:
            y = F.relu(self.norm1(y))
        y = self.conv1(y)
        y = self.conv2(F.relu(self.norm2(y)))
        return y + self.shortcut(x)


class InceptionUNet(nn.Module):
    """Inception-U-Net: Punn, Agarwal 2020; (N, 3, H, W) to logits (N, 1, H, W).

    After the authors' repository, whose two networks differ in where a ReLU follows a
    hybrid pool: here inside a block (`iunet2`), but neither between levels nor on the
    way from the picture to the bottom (`iunet`). Spectral pooling is linear, keeps its
    scale, and inside a block half of the waves: chapter 05's choices.
    """

    def __init__(self, colours=3, classes=1, widths=(16, 32, 64, 128, 256)):
        super().__init__()
        self.norm = SwitchNorm(colours)
        self.short = HybridPool(colours, 2 ** (len(widths) - 1))
        self.left = nn.ModuleList()
        self.pools = nn.ModuleList()
        self.up = nn.ModuleList()
        self.right = nn.ModuleList()
        before = colours
        for width in widths[:-1]:
            self.left.append(Inception(before, width))
            self.pools.append(HybridPool(width, 2))
            before = width
        self.bottom = Inception(before, widths[-1], more=colours)
        for width in reversed(widths[:-1]):
            self.up.append(nn.ConvTranspose2d(2 * width, width, 2, 2))
            self.right.append(Inception(2 * width, width))
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, image):
        x = self.norm(image)
        more = [self.short(x)]
        skips = []
        for block, pool in zip(self.left, self.pools):
            x = block(x)
            skips.append(x)
            x = pool(x)
        x = self.bottom(x, more)
        for up, block in zip(self.up, self.right):
            x = block(torch.cat([skips.pop(), up(x)], 1))
        return self.head(x)


class Inception(nn.Module):
    """1 x 1, 3 x 3, 5 x 5 and a hybrid pool side by side, all fused by 1 x 1."""

    def __init__(self, before, width, more=0):
        super().__init__()
        self.branches = nn.ModuleList()
        for side in (1, 3, 5):
            self.branches.append(nn.Conv2d(before, width, side, padding=side // 2))
        self.branches.append(HybridPool(before, 1))
        self.fuse = nn.Conv2d(3 * width + before + more, width, 1)

    def forward(self, x, more=()):
        parts = []
        for branch in self.branches:
            parts.append(F.relu(branch(x)))
        parts.extend(more)
        return F.relu(self.fuse(torch.cat(parts, 1)))


class HybridPool(nn.Module):
    """Max pool beside spectral pool, fused by 1 x 1."""

    def __init__(self, channels, stride):
        super().__init__()
        self.stride = stride
        self.fuse = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x):
        if self.stride == 1:  # windows of 2 x 2; Keras pads at the right and below
            largest = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-math.inf), 2, 1)
        else:
            largest = F.max_pool2d(x, self.stride)
        rows = spectral_matrix(x.shape[2], self.stride)
        columns = spectral_matrix(x.shape[3], self.stride)
        return self.fuse(torch.cat([largest, rows @ x @ columns.T], 1))


def spectral_matrix(size, stride):
    """Matrix (size / stride, size) that keeps the slow waves of a signal.

    Each kept wave, a cosine with amplitude and phase, is read off at the new samples:
    up to the last that size / stride samples can hold, or size / 2 with stride 1.
    Source: Rippel, Snoek, Adams 2015.
    """
    kept = size // max(stride, 2)
    new = torch.arange(0, size, stride, dtype=torch.float64)
    distance = new[:, None] - torch.arange(size)
    matrix = torch.ones_like(distance)
    for wave in range(1, kept // 2 + 1):
        matrix += 2 * torch.cos(2 * math.pi * wave * distance / size)
    return matrix / size


class SwitchNorm(nn.Module):
    """Switchable normalisation: Luo et al. 2018, section 3, in evaluation."""

    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))
        self.mix = nn.Parameter(torch.ones(2, 3))  # of means, of variances
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("var", torch.ones(channels, 1, 1))

    def forward(self, x):
        shares = self.mix.softmax(1)
        mean = shares[0, 0] * x.mean((2, 3), keepdim=True)
        mean = mean + shares[0, 1] * x.mean((1, 2, 3), keepdim=True)
        mean = mean + shares[0, 2] * self.mean
        var = shares[1, 0] * x.var((2, 3), correction=0, keepdim=True)
        var = var + shares[1, 1] * x.var((1, 2, 3), correction=0, keepdim=True)
        var = var + shares[1, 2] * self.var
        return self.scale * (x - mean) / (var + 1e-5).sqrt() + self.shift
