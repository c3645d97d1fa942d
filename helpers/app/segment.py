"""A picture of any size, segmented by a trained network."""

import numpy as np
import torch
from torch.nn import functional as F

from helpers import chapters, fields, trace
from helpers.training import main_map

TILE = 256  # px, so that the margins are a small part of a window


def segment(net, image, configuration):
    """Mask (1, H, W), bool, of a picture (3, H, W) of any size.

    What was done to the pictures of the training is done to this one: if they were
    resized, it is, and the answer is stretched back; if they kept their scale, it
    does, and a picture of another size is segmented by chapter 02's overlap-tile.
    `configuration` is that of the model's file: see `models.save_model`.
    """
    size, before = tuple(configuration["size"]), image.shape[-2:]
    if configuration["resized"]:
        image = F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
        image = image.clamp(0, 1)
    logits = answer_all(net.eval(), image, size, configuration["tiling"])
    if configuration["resized"]:
        logits = F.interpolate(logits[None], before, mode="bilinear")[0]
    return logits.sigmoid() > configuration["threshold"]


def answer_all(net, image, size, tiling):
    """Logits (1, H, W) for every pixel of a picture (3, H, W).

    In one go if it has the `size` of the training and the network loses no border, else
    by overlap-tile with `tiling`, (tile, margin).
    """
    height, width = image.shape[-2:]
    if (height, width) == size:
        with torch.no_grad():
            logits = main_map(net(image[None]))[0]
        if logits.shape[-2:] == (height, width):
            return logits
    overlap_tile = chapters.load("02_unet").overlap_tile
    image = mirrored(image, *tiling)
    logits = overlap_tile(net, image, *tiling)
    return logits[:, :height, :width]


def mirrored(image, tile, margin):
    """A side too short for overlap-tile's mirror, continued to full tiles."""
    pads = [(0, 0)]
    for side in image.shape[-2:]:
        missing = -side % tile
        pads.append((0, missing if missing + margin >= side else 0))
    # NumPy mirrors as often as it takes; torch refuses what is beyond one picture.
    return torch.from_numpy(np.pad(image.numpy(), pads, mode="reflect"))


def tiling(net, size):
    """(tile, margin), px, with which a network of this book sees all that it can see.

    A padded network gets its reach as margin, at most 64 px, in steps of 32, so that
    five poolings fall on the same pixels in every tile. One without padding gets what
    it loses of pictures of its training's `size`, and as much more as makes a size that
    it takes. Nothing is computed but shapes.
    """
    lost = size[0] - height_of_answer(net, *size)
    if not lost:
        reach = fields.receptive_field(net, 1, 3, TILE, TILE).reach
        return TILE, min(-(-reach // 32) * 32, 64)
    least = (lost + 1) // 2
    for margin in range(least, least + 32):
        window = TILE + 2 * margin
        try:
            if height_of_answer(net, window, window) >= TILE:
                return TILE, margin
        except ValueError:
            continue  # no size for this network
    raise ValueError(f"no tile of {TILE} px works for this network, which loses {lost}")


def height_of_answer(net, height, width):
    """Height of what a network answers to a picture, in px."""
    twin, picture = trace.on_meta(net, 1, 3, height, width)
    with torch.device("meta"):
        return main_map(twin(picture)).shape[-2]
