"""Which pictures of a set are tiles of one larger picture: their edges tell.

Where a picture was cut, the last column of pixels on one side of the cut and the first
on the other are nearly equal. Two pictures with such edges were neighbours, and belong
into one part of a division. helpers/real_tiles.txt was made with it, once; the tests
make it again.
"""

import numpy as np
from scipy.sparse.csgraph import connected_components

ALIKE = 0.95  # correlation of two edges from which pictures may be neighbours
CLOSED = 0.8  # the same, where four pictures close a square of such edges
FLAT = 1  # grey values by which an edge must vary at least to tell anything


def together(images):
    """Groups of two pictures or more that were one: a list of sorted lists of numbers.

    `images` are grey pictures of one size, (N, H, W). Pictures are joined by each two
    edges that are alike and are each other's best match, and by squares of four. A few
    groups are too large by chance; that does a division no harm.
    """
    images = np.asarray(images, float)
    joined = np.zeros((len(images), len(images)))
    for pairs in (beside(images, ALIKE), below(images, ALIKE)):
        joined[list(pairs), list(pairs.values())] = 1
    right, down = beside(images, CLOSED), below(images, CLOSED)
    for corner, other in right.items():
        third = down.get(corner)
        if third is not None and right.get(third, -1) == down.get(other):
            joined[corner, [other, third, right[third]]] = 1
    count, label = connected_components(joined, directed=False)
    groups = []
    for k in range(count):
        group = np.flatnonzero(label == k).tolist()
        if len(group) > 1:
            groups.append(group)
    return groups


def beside(images, least):
    """{picture: the one that goes on to its right}."""
    return matches(images[:, :, -1], images[:, :, 0], least)


def below(images, least):
    """{picture: the one that goes on below it}."""
    return matches(images[:, -1], images[:, 0], least)


def matches(ends, starts, least):
    """{number of an edge: number of the one like it}, each the other's best."""
    alike = standardised(ends) @ standardised(starts).T / ends.shape[1]
    np.fill_diagonal(alike, -1)
    best, found = alike.argmax(1), {}
    for k, match in enumerate(best):
        if alike[k, match] > least and alike[:, match].argmax() == k:
            found[k] = int(match)
    return found


def standardised(edges):
    """Edges (N, pixels) of mean 0 and deviation 1; flat ones are 0."""
    spread = edges.std(1, keepdims=True)
    centred = edges - edges.mean(1, keepdims=True)
    return np.where(spread > FLAT, centred / np.maximum(spread, FLAT), 0)
