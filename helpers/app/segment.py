"""A picture or a volume of any size, segmented by a trained network."""

import itertools

import torch
from torch.nn import functional as F

from helpers import chapters, fields, trace
from helpers.app import windows
from helpers.training import main_map

TILE, STEP = 256, 32  # px: margins stay a small part; five poolings fall on one grid
MOST = 192  # px of margin; a network that sees farther gets WIDE and is not exact
WIDE = 64
BLOCK, BLOCK_STEP = 64, 16  # voxels of a tile of a volume; four poolings
WIDE_BLOCK = 32
ONE_PIECE = 2**21  # voxels that are answered at once


def segment(net, image, configuration):
    """What a model finds in a picture (3, H, W) or a volume (1, D, H, W), any size.

    A mask (1, ...), bool, or with several classes a label map (1, ...), int64.
    `configuration` is that of the model's file: see `models.save_model`.
    """
    return decided(answer(net, image, configuration), configuration)


def decided(logits, configuration):
    """Mask or label map (1, ...) of logits (K, ...)."""
    if configuration["classes"] > 1:
        return logits.argmax(0, keepdim=True)
    return logits.sigmoid() > configuration["threshold"]


def answer(net, image, configuration):
    """Logits (K, ...) for every pixel of a picture, or voxel of a volume.

    What was done to the pictures of the training is done to this one: if they were
    resized, it is, and the answer is stretched back; if they kept their scale, it
    does, and what has another size is answered tile by tile.
    """
    size, before = tuple(configuration["size"]), image.shape[-2:]
    if image.ndim == 4:
        return answer_volume(net.eval(), image, *configuration["tiling"])
    if configuration["resized"]:
        image = F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
        image = image.clamp(0, 1)
    logits = answer_all(net.eval(), image, size, configuration["tiling"])
    if configuration["resized"]:
        logits = F.interpolate(logits[None], before, mode="bilinear")[0]
    return logits


def answer_all(net, image, size, tiling):
    """Logits (K, H, W) for every pixel of a picture (3, H, W).

    In one go if it has the `size` of the training and the network loses no border, else
    by chapter 02's overlap-tile with `tiling`, (tile, margin). If the margin covers
    what the network sees, the tiles are equal to one piece: to the answer for the
    picture with the margin mirrored around it.
    """
    height, width = image.shape[-2:]
    if (height, width) == size:
        logits = at_once(net, image)
        if logits.shape[-2:] == (height, width):
            return logits
    overlap_tile = chapters.load("02_unet").overlap_tile
    image = lengthened(image, *tiling)
    logits = overlap_tile(net, image, *tiling).cpu()
    return logits[:, :height, :width]


def answer_volume(net, volume, tile, margin):
    """Logits (K, D, H, W) of a volume (1, D, H, W), by a network that is padded.

    Sides are continued with the volume's least value to multiples of 16. What is too
    large for one piece is cut into cubes with a margin around them, which ends where
    the volume ends: a margin that covers what the network sees gives the same answer.
    """
    sides = volume.shape[1:]
    room = []
    for side in sides:
        room = [0, -side % BLOCK_STEP, *room]
    volume = F.pad(volume, room, value=volume.min().item())
    if volume.numel() <= ONE_PIECE:
        logits = at_once(net, volume)
    else:
        logits = by_blocks(net, volume, tile, margin)
    depth, height, width = sides
    return logits[:, :depth, :height, :width]


def by_blocks(net, volume, tile, margin):
    """Logits of a volume whose sides the network takes, cube by cube."""
    logits = None
    starts = [range(0, side, tile) for side in volume.shape[1:]]
    for corner in itertools.product(*starts):
        window, inside, target = [slice(None)], [slice(None)], [slice(None)]
        for start, side in zip(corner, volume.shape[1:]):
            first, stop = max(0, start - margin), min(side, start + tile)
            window.append(slice(first, min(side, start + tile + margin)))
            inside.append(slice(start - first, stop - first))
            target.append(slice(start, stop))
        part = at_once(net, volume[tuple(window)])
        if logits is None:
            logits = torch.empty(len(part), *volume.shape[1:])
        logits[tuple(target)] = part[tuple(inside)]
    return logits


def at_once(net, image):
    """The logits (K, ...) of one picture or volume (C, ...)."""
    like = next(net.parameters(), image)  # a GPU's, or in double precision
    with torch.no_grad():
        return main_map(net(image[None].to(like)))[0].cpu()


def lengthened(image, tile, margin):
    """A side too short for overlap-tile's mirror, continued to full tiles."""
    pads = [(0, 0)]
    for side in image.shape[-2:]:
        missing = -side % tile
        pads.append((0, missing if missing + margin >= side else 0))
    return windows.mirrored(image, pads)


# --- tiles ------------------------------------------------------------------------


def plan(net, size, channels=None):
    """(tile, margin), px, and whether tiles give exactly what one piece would.

    `size` is that of the training, (height, width), or (D, H, W) in voxels. A padded
    network gets its reach as margin, in steps of 32, so that five poolings fall on the
    same pixels in every tile; one that sees more than 192 px to a side gets 64, which
    is not exact. One without padding gets what it loses of pictures of that size, and
    as much more as makes a size that it takes. Nothing is computed but shapes. Raises
    ValueError where it takes no tile.
    """
    axes = len(size)
    channels = channels or (3 if axes == 2 else 1)
    lost = size[0] - height_of_answer(net, channels, *size)
    if not lost:
        side, step, most = TILE, STEP, MOST
        if axes == 3:
            side, step, most = BLOCK, BLOCK_STEP, BLOCK
        reach = fields.receptive_field(net, 1, channels, *[side] * axes).reach
        margin = -(-reach // step) * step
        if margin > most:
            return (side, WIDE_BLOCK if axes == 3 else WIDE), False
        return (side, margin), True
    least = (lost + 1) // 2
    for margin in range(least, least + 32):
        window = TILE + 2 * margin
        try:
            if height_of_answer(net, channels, *[window] * axes) >= TILE:
                return (TILE, margin), True
        except ValueError:
            continue  # no size for this network
    raise ValueError(f"no tile of {TILE} px works for this network, which loses {lost}")


def height_of_answer(net, channels, *size):
    """First side of what a network answers to a picture or volume."""
    twin, picture = trace.on_meta(net, 1, channels, *size)
    with torch.device("meta"):
        return main_map(twin(picture)).shape[2]
