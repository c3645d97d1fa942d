"""What a folder of pictures and masks holds, and what is odd about it, before training.

Nothing is changed. Each file is read as training would read it; what it would refuse is
listed, all of it. `alike` looks for pictures on both sides of the split.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from helpers import folders, levels, masks, nifti
from helpers.app import sheet, sources
from helpers.app.lines import many, one_line, say
from helpers.app.settings import in_range
from helpers.metrics import IGNORE
from helpers.pairs import by_owner, files, left_out, same_header, some
from helpers.pictures import ENDINGS, decode

THUMBNAIL, ALIKE = 24, 0.98  # px of a side; correlation of two thumbnails
CARDS = 60  # on a contact sheet
SHOWN = 5  # refusals in words
MOSTLY, SELDOM = 0.5, 0.25  # share of the object: perhaps black and white are swapped
LITTLE = 0.1  # share of the range of 16 bits
VALUES = 30  # in masks of classes


def inspect(args):
    """Say what there is, write the contact sheet; 1 if something is odd, else 0.

    Raises ValueError for options and folders that nothing can be read with.
    """
    if not (args.images and args.masks):
        raise ValueError("--images and --masks are needed")
    if args.out is not None:
        sheet.new_page(args.out)
    in_range(args)
    if args.images.resolve() == args.masks.resolve():
        what = f"{args.images} cannot hold images and masks"
        raise ValueError(f"{what}: use a folder each")
    how = sources.reading(args)
    volumes = sources.holds_volumes(args.images)
    if volumes:
        sources.at_own_scale(args)
    pairs, odd = lenient(args.images, args.masks, nifti.ENDINGS if volumes else ENDINGS)
    good, refused, misread = [], {}, False
    for image, mask in pairs:
        try:
            good += looks_at(image, mask, how, args, volumes)
        except ValueError as error:
            refused[image] = error
            misread = misread or (not volumes and is_misread(mask, how.how))
    facts = [f"{many(len(pairs), 'pair')}, {many(len(good), 'sample')} to train with"]
    odd += list(map(str, refused.values()))[:SHOWN]
    if len(refused) > SHOWN:
        odd.append(f"{len(refused)} pairs are refused in all, for the like")
    if good:
        counts = class_counts(good, how.count)
        facts += said(good, counts, how)
        odd += oddities(good, counts, how)
        odd += [] if volumes else palettes(good, how)
        odd += divided(good, args, facts, counts, how.names)
    for line in facts:
        say(line)
    for line in odd:
        say(f"odd: {one_line(line)}")
    if misread:
        for line in proposed(pairs):
            say(line)
    if args.out is not None:
        write_sheet(args, how, facts, odd, good, refused)
    return 1 if odd else 0


def lenient(images, labels, endings):
    """[(image, mask)] that belong together by name, and what stands alone.

    Raises FileNotFoundError or ValueError for a folder that is none, or holds none.
    """
    pictures = files(images, endings)
    owned = by_owner(pictures, files(labels, endings))
    pairs, odd = [], []
    for stem, path in pictures.items():
        own = owned.pop(stem, [])
        if own:
            pairs.append((path, own[0]))
        else:
            odd.append(f"{path} has no mask")
        if len(own) > 1:
            odd.append(f"{path} has two masks: {some(own)}")
    lost = []
    for paths in owned.values():
        lost += paths
    if lost:
        odd.append(f"{many(len(lost), 'mask')} without image: {some(lost)}")
    skipped = left_out(images, endings) + left_out(labels, endings)
    if skipped:
        odd.append(f"not read: {some(skipped)}")
    return pairs, odd


def looks_at(image, mask, how, args, volumes):
    """What is known of each sample in two files: a list of dicts; or ValueError."""
    look = dict(name=sources.name_of(image), image=image)
    look |= dict(mask=mask, page=None)
    if volumes:
        nifti.same_place(image, mask)
        volume = nifti.load(image)
        kind = volume.get_data_dtype().name
        look |= dict(spacing=nifti.spacing(image))
        return [look | described(*both(look, how, args), kind)]
    pages, found = same_header(image, mask, args.stacks), []
    for page in range(pages):
        own = look | dict(page=page if pages > 1 else None)
        kind = decode(image, own["page"]).values.dtype.name
        found.append(own | described(*both(own, how, args), kind))
    return found


def both(look, how, args):
    """Image and mask of a sample, as training reads them; or ValueError."""
    if look["image"].name.lower().endswith(nifti.ENDINGS):
        image = nifti.read_volume(look["image"])
        return image, nifti.read_labels(look["mask"], how.how)
    page = look["page"]
    return folders.read_pair(look["image"], look["mask"], page, args.span, how.how)


def described(image, labels, kind):
    """Facts of a sample that was read: its size, its counts, a thumbnail."""
    counted = labels[labels != IGNORE].long().flatten()
    return dict(
        size=" x ".join(map(str, image.shape[1:])), kind=kind,
        flat=bool(image.min() == image.max()), thumbnail=vector(image),
        top=image.max().item(),
        counts=torch.bincount(counted, minlength=2).tolist(),
    )  # fmt: skip


def class_counts(looks, count):
    """Pixels (samples, classes) of each class."""
    counts = np.zeros((len(looks), max(2, count)))
    for row, look in zip(counts, looks):
        row[: len(look["counts"])] = look["counts"]
    return counts


# --- what is said -----------------------------------------------------------------


def said(good, counts, how):
    """Sizes, kinds of values, and classes with their shares: lines."""
    lines = [f"sizes, height first: {tally(good, 'size')}"]
    lines.append(f"values: {tally(good, 'kind')}")
    kinds = {look["kind"] for look in good}
    tops = [look["top"] for look in good if look["kind"] == "uint16"]
    top = max(tops, default=1)
    if top < LITTLE:
        hint = f"16 bits, of whose range {top:.1%} is used: --span states another"
        if "uint8" in kinds:
            hint += ", for 8 bits too: bring all pictures to one kind first"
        lines.append(hint)
    shares = counts.sum(0) / max(1, counts.sum())
    for number, name in enumerate(how.names):
        inside = int((counts[:, number] > 0).sum())
        share = f"{shares[number]:.2%} of the pixels"
        lines.append(f"{name}: {share}, in {inside} of {len(good)}")
    if how.count == 1 and shares[1] > MOSTLY:
        lines.append("most is object: if it is background, black and white are swapped")
    return lines


def tally(looks, key, most=3):
    """The commonest values of a key, and how often they are there."""
    found = Counter(look[key] for look in looks)
    shown = ", ".join(f"{value} ({n})" for value, n in found.most_common(most))
    return shown + (f" and {len(found) - most} more" if len(found) > most else "")


def oddities(good, counts, how):
    """What would be read without a word, and yet be wrong: lines."""
    odd, flat, swapped = [], [], []
    if good and "spacing" in good[0]:
        sizes = np.array([look["spacing"] for look in good])
        least, most = sizes.min(0), sizes.max(0)
        if (most > (1 + nifti.ALIKE) * least).any():
            both = f"{nifti.in_mm(least)} to {nifti.in_mm(most)}"
            odd.append(f"voxels of several sizes, {both}: resample them to one")
    share = counts[:, 1] / np.maximum(counts.sum(1), 1)
    usual = np.median(share)
    for look, own in zip(good, share):
        if look["flat"]:
            flat.append(look["name"])
        if how.count == 1 and own > MOSTLY and usual < SELDOM:
            swapped.append(f"{look['name']} ({own:.0%})")
    if flat:
        odd.append(f"of one colour all over: {some(flat)}")
    empty, full = share < SELDOM, share > 1 - SELDOM
    both = empty.any() and full.any() and (empty | full).all()
    if how.count == 1 and both and not swapped:
        what = f"{full.sum()} of {len(good)} masks are nearly all object, the others"
        odd.append(f"{what} nearly none: are some inverted?")
    if swapped:
        what = f"nearly all is object where the median is {usual:.0%}, is it inverted"
        odd.append(f"{what}? {some(swapped)}")
    for number, name in enumerate(how.names):
        if not counts[:, number].any():
            odd.append(f"{name} is in no mask")
    return odd


def palettes(good, how):
    """That two masks number their colours in two ways: a line, or none."""
    try:
        masks.same_palettes([(look["image"], look["mask"]) for look in good], how.how)
    except ValueError as error:
        return [str(error)]
    return []


def divided(good, args, facts, counts, classes):
    """How the samples would be divided: lines of what is odd about it.

    Those are pictures on both sides, and classes on one alone.
    """
    names, files = [], []
    for look in good:
        names.append(sources.of_page(look["name"], look["page"]))
        files.append(look["image"])
    try:
        groups = sources.grouped(names, files, args.group)
        train, validation = sources.divided(groups, args.validation, args.split_seed)
    except ValueError as error:
        return [str(error)]
    facts.append(
        f"split: {len(train)} to train on, {len(validation)} to validate "
        f"({len(set(groups))} objects, --split-seed {args.split_seed})"
    )
    odd, twins = [], []
    for part, indices in (("train", train), ("validation", validation)):
        inside = counts[indices].sum(0)
        for number, name in enumerate(classes):
            if counts[:, number].any() and not inside[number]:
                told = f"{name} is in no {part} mask: try another --split-seed"
                # Without the object a score says nothing; of a rare class, less.
                (odd if len(classes) == 2 else facts).append(told)
    for i, j in alike(good, train, validation):
        twins.append(f"{names[i]} and {names[j]}")
    if twins:
        told = f"{many(len(twins), 'pair')} nearly the same on both sides of the split"
        odd.append(f"{told}: {some(twins)}; keep them together with --group")
    return odd


# --- near-duplicates --------------------------------------------------------------


def vector(image):
    """A thumbnail as a vector of mean 0 and length 1; zeros for one colour."""
    grey = sheet.middle(image).mean(0, keepdim=True)
    small = F.adaptive_avg_pool2d(grey, THUMBNAIL).flatten()
    small = small - small.mean()
    return small / small.norm().clamp(min=1e-6)


def alike(looks, train, validation):
    """[(i, j)]: pictures of both parts whose thumbnails agree, most alike first."""
    vectors = torch.stack([look["thumbnail"] for look in looks])
    agreement = vectors[train] @ vectors[validation].T
    found = []
    for i, j in (agreement >= ALIKE).nonzero().tolist():
        found.append((-agreement[i, j].item(), train[i], validation[j]))
    found.sort()
    return [(i, j) for _, i, j in found]


# --- what the masks hold ----------------------------------------------------------


def is_misread(mask, reading):
    """Whether a mask that is whole holds what its reading refuses."""
    try:
        masks.counted(mask)
    except ValueError:
        return False
    try:
        reading.read(mask)
    except ValueError:
        return True
    return False


def proposed(pairs):
    """A settings file for --colours, from the values in all masks, to be confirmed.

    Nothing is proposed for more than VALUES or for fractions: such masks are no
    classes. Beside class numbers, 255 and -1 usually mean: ignore.
    """
    total = Counter()
    for _, mask in pairs:
        try:
            values = levels.exact(mask, decode(mask)).values
            if values.ndim == 3:  # no draft for what --colours refuses
                levels.opaque_colours(mask, values)
            total.update(masks.counted(mask))
        except ValueError:
            continue
    kinds = set(map(type, total))
    if not total or len(kinds) > 1 or len(total) > VALUES:
        return []
    if kinds == {float} and not all(map(float.is_integer, total)):
        return []
    near = total.keys() & set(range(240, IGNORE))  # as after a JPEG
    void = IGNORE if {1, IGNORE} <= total.keys() and not near else -1
    lines = ["the masks hold these values; name and check them, then use --colours:"]
    number = 0
    for value in sorted(total):
        shown = list(value) if isinstance(value, tuple) else int(value)
        name = "ignore" if value == void else f"class{number}"
        number += value != void
        lines.append(f"  {name} = {shown}  # {total[value]:,} px")
    return lines


# --- the contact sheet ------------------------------------------------------------


def write_sheet(args, how, facts, odd, good, refused):
    """What was said, and cards of pictures with their masks laid over them."""
    parts = [sheet.items(facts)]
    if odd:
        told = list(map(one_line, odd))
        parts += [sheet.heading("What is odd"), sheet.items(told, "odd")]
    else:
        parts.append(sheet.paragraph("Nothing odd was found."))
    parts.append(sheet.heading("Pictures with their masks"))
    parts.append(sheet.legend(how.names, how.colours))
    cards = []
    for path, text in list(refused.items())[:CARDS]:
        cards.append(sheet.paragraph(f"{path.name}: {one_line(text)}", "odd"))
    for look in good[: CARDS - len(cards)]:
        image, labels = both(look, how, args)
        marked = sheet.marked(image, labels, how.colours, 160)
        name = look["name"]
        caption = f"{name}, {look['size']}"
        cards.append(sheet.picture(marked, f"{name} with its mask", caption))
    parts.append(f'<div class="cards">{"".join(cards)}</div>')
    more = len(good) + len(refused) - len(cards)
    if more:
        parts.append(sheet.paragraph(f"{more} more are not shown.", "soft"))
    sheet.write_page(args.out, f"Contact sheet of {Path(args.images).name}", parts)
    say(f"contact sheet: {args.out}")
