"""What a folder of pictures and masks holds, and what is odd about it, before training.

Nothing is changed. Each file is read as training would read it; what it would refuse is
listed, all of it. `alike` looks for pictures on both sides of the split.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from helpers import masks, nifti
from helpers.app import sheet, sources
from helpers.app.lines import many, one_line, say
from helpers.metrics import IGNORE
from helpers.pairs import files, left_out, same_header, some
from helpers.pictures import ENDINGS, decode, read_image

THUMBNAIL, ALIKE = 24, 0.98  # px of a side; correlation of two thumbnails
CARDS = 60  # on a contact sheet
SHOWN = 5  # refusals in words
MOSTLY, SELDOM = 0.5, 0.25  # share of the object: perhaps black and white are swapped


def inspect(args):
    """Say what there is, write the contact sheet; 1 if something is odd, else 0."""
    if not (args.images and args.masks):
        raise ValueError("--images and --masks are needed")
    if args.out is not None:
        new_page(args.out)
    how = sources.reading(args)
    volumes = sources.holds_volumes(args.images)
    endings = nifti.ENDINGS if volumes else ENDINGS
    pairs, odd = lenient(args.images, args.masks, endings)
    looks = []
    for image, mask in pairs:
        looks += look_at(image, mask, how, args, volumes)
    facts = [f"{many(len(pairs), 'pair')}, {many(len(looks), 'sample')}"]
    facts += said(looks, how)
    good = [look for look in looks if not look["refused"]]
    odd += oddities(looks, good, how)
    odd += halves(good, args, facts)
    for line in facts:
        say(line)
    for line in odd:
        say(f"odd: {one_line(line)}")
    proposal = proposed(pairs) if len(good) < len(looks) and not volumes else []
    for line in proposal:
        say(line)
    if args.out is not None:
        write_sheet(args, how, facts, odd, looks)
    return 1 if odd else 0


def new_page(out):
    if out.suffix.lower() != ".html":
        raise ValueError(f"{out} is no .html: the contact sheet is a page")
    if out.exists():
        raise ValueError(f"{out} is there already: name another, or delete it")
    if not out.parent.is_dir():
        raise ValueError(f"{out.parent} is not a folder: make it first")


def lenient(images, labels, endings):
    """[(image, mask)] that belong together by name, and what stands alone."""
    pictures, marks = files(images, endings), files(labels, endings)
    pairs, odd, used = [], [], set()
    for stem, path in pictures.items():
        owned = [marks[s] for s in (stem, f"{stem}_mask") if s in marks]
        used.update(owned)
        if owned:
            pairs.append((path, owned[0]))
        else:
            odd.append(f"{path} has no mask")
        if len(owned) > 1:
            odd.append(f"{path} has two masks: {some(owned)}")
    lost = [path for path in marks.values() if path not in used]
    if lost:
        odd.append(f"{many(len(lost), 'mask')} without image: {some(lost)}")
    skipped = left_out(images, endings) + left_out(labels, endings)
    if skipped:
        odd.append(f"not read: {some(skipped)}")
    return pairs, odd


def look_at(image, mask, how, args, volumes):
    """What is known of each sample in two files: a list of dicts."""
    look = dict(name=sources.name_of(image, ENDINGS + nifti.ENDINGS), image=image)
    look |= dict(mask=mask, page=None, refused="", picture=None, labels=None)
    try:
        if volumes:
            nifti.same_place(image, mask)
            read = nifti.read_volume(image), nifti.read_labels(mask, how.how)
            kind = nifti.load(image).get_data_dtype().name
            return [look | described(*read, kind)]
        pages = same_header(image, mask, args.stacks)
        found = []
        for page in range(pages):
            page = page if pages > 1 else None
            values = decode(image, page).values
            kind = f"{values.dtype.name} {values.min():.4g} to {values.max():.4g}"
            read = read_image(image, page, args.span), how.how.read(mask, page)
            found.append(look | dict(page=page) | described(*read, kind))
        return found
    except ValueError as error:
        return [look | dict(refused=str(error))]


def described(image, labels, kind):
    """Facts of a sample that was read: sizes, counts, a thumbnail."""
    counted = labels[labels != IGNORE].long().flatten()
    flat = bool(image.min() == image.max())
    small = sheet.view(image, THUMBNAIL)
    return dict(
        size=tuple(image.shape[1:]), kind=kind, flat=flat, thumbnail=vector(image),
        counts=torch.bincount(counted, minlength=2).tolist(), small=small,
        picture=image if image.ndim == 4 else None,
    )  # fmt: skip


# --- what is said -----------------------------------------------------------------


def said(looks, how):
    """Sizes, kinds of values, and classes with their shares: lines."""
    good = [look for look in looks if not look["refused"]]
    if not good:
        return ["no sample can be read as asked"]
    sizes = Counter(look["size"] for look in good)
    lines = []
    shown = []
    for size, count in sizes.most_common(3):
        shown.append(f"{' x '.join(map(str, size))} ({count})")
    more = f" and {len(sizes) - 3} more" if len(sizes) > 3 else ""
    lines.append(f"sizes, height first: {', '.join(shown)}{more}")
    kinds = Counter(look["kind"].split()[0] for look in good)
    lines.append("values: " + ", ".join(f"{k} ({n})" for k, n in kinds.items()))
    counts = class_counts(good, how.count)
    shares = counts.sum(0) / max(1, counts.sum())
    for number, name in enumerate(how.names):
        inside = int((counts[:, number] > 0).sum())
        lines.append(
            f"{name}: {shares[number]:.2%} of the pixels, in {inside} of {len(good)}"
        )
    return lines


def class_counts(looks, count):
    """Pixels (samples, classes) of each class."""
    counts = np.zeros((len(looks), max(2, count)))
    for row, look in zip(counts, looks):
        row[: len(look["counts"])] = look["counts"]
    return counts


def oddities(looks, good, how):
    """What would be refused, or read and yet be wrong: lines."""
    odd = [look["refused"] for look in looks if look["refused"]]
    if len(odd) > SHOWN:
        odd[SHOWN:] = [f"refused are {len(odd)} samples in all, for the like"]
    flat = [look["name"] for look in good if look["flat"]]
    if flat:
        odd.append(f"of one colour all over: {some(flat)}")
    if not good:
        return odd
    counts = class_counts(good, how.count)
    for number, name in enumerate(how.names):
        if not counts[:, number].any():
            odd.append(f"{name} is in no mask")
    if how.count == 1:
        share = counts[:, 1] / np.maximum(counts.sum(1), 1)
        swapped = []
        for look, own in zip(good, share):
            if own > MOSTLY and np.median(share) < SELDOM:
                swapped.append(f"{look['name']} ({own:.0%})")
        if swapped:
            what = f"where the median is {np.median(share):.0%}, is it inverted"
            odd.append(f"nearly all is object {what}? {some(swapped)}")
    return odd


def halves(good, args, facts):
    """How the samples would be divided, and which are on both sides: odd lines."""
    names, paths = [look["name"] for look in good], [look["image"] for look in good]
    if len(good) < 2:
        return []
    try:
        groups = sources.grouped(names, paths, args.group)
        split = sources.divided(groups, args.validation, args.split_seed)
    except ValueError as error:
        return [str(error)]
    train, validation = split
    facts.append(
        f"split: {len(train)} to train on, {len(validation)} to validate "
        f"({len(set(groups))} objects, --split-seed {args.split_seed})"
    )
    twins = []
    for i, j in alike(good, train, validation):
        twins.append(f"{names[i]} and {names[j]}")
    if not twins:
        return []
    told = f"{many(len(twins), 'pair')} nearly the same on both sides of the split"
    return [f"{told}: {some(twins)}; keep them together with --group"]


# --- near-duplicates --------------------------------------------------------------


def vector(image):
    """A thumbnail as a vector of mean 0 and length 1; zeros for one colour."""
    grey = sheet.middle(image).mean(0, keepdim=True)
    small = F.adaptive_avg_pool2d(grey, THUMBNAIL).flatten()
    small = small - small.mean()
    return small / small.norm().clamp(min=1e-6)


def alike(looks, train, validation):
    """[(i, j)]: pictures of both parts whose thumbnails agree, most alike first."""
    a = torch.stack([looks[i]["thumbnail"] for i in train])
    b = torch.stack([looks[j]["thumbnail"] for j in validation])
    agreement = a @ b.T
    found = []
    for i, j in (agreement >= ALIKE).nonzero().tolist():
        found.append((-agreement[i, j].item(), train[i], validation[j]))
    return [(i, j) for _, i, j in sorted(found)]


# --- what the masks hold ----------------------------------------------------------


def proposed(pairs, most=30):
    """A settings file for --colours, from the values in the masks, to be confirmed."""
    total = Counter()
    for _, mask in pairs[:most]:
        try:
            total.update(masks.counted(mask))
        except ValueError:
            continue
    kinds = {type(value) for value in total}
    if not total or len(kinds) > 1 or len(total) > most:
        return []
    lines = ["the masks hold these values; name and check them, then use --colours:"]
    for number, value in enumerate(sorted(total)):
        shown = list(value) if isinstance(value, tuple) else value
        lines.append(f"  class{number} = {shown}  # {total[value]:,} px")
    return lines


# --- the contact sheet ------------------------------------------------------------


def write_sheet(args, how, facts, odd, looks):
    """Cards of pictures with their masks laid over them, the refused ones first."""
    parts = [sheet.items(facts)]
    if odd:
        told = [one_line(line) for line in odd]
        parts += [sheet.heading("What is odd"), sheet.items(told, "odd")]
    else:
        parts.append(sheet.paragraph("Nothing odd was found."))
    names = ["object"] if how.count == 1 else how.names
    colours = [sheet.FOUND] if how.count == 1 else how.colours
    parts += [sheet.heading("Pictures with their masks"), sheet.legend(names, colours)]
    shown = sorted(looks, key=lambda look: not look["refused"])[:CARDS]
    cards = [card(look, how, args.span) for look in shown]
    parts.append(f'<div class="cards">{"".join(cards)}</div>')
    if len(looks) > CARDS:
        more = f"{len(looks) - CARDS} more are not shown."
        parts.append(sheet.paragraph(more, "soft"))
    sheet.write_page(args.out, f"Contact sheet of {Path(args.images).name}", parts)
    say(f"contact sheet: {args.out}")


def card(look, how, span):
    """One picture; of what is refused, the reason."""
    if look["refused"]:
        return sheet.paragraph(f"{look['name']}: {one_line(look['refused'])}", "odd")
    if look["picture"] is not None:
        image = look["picture"]
        labels = nifti.read_labels(look["mask"], how.how)
    else:
        image = read_image(look["image"], look["page"], span)
        labels = how.how.read(look["mask"], look["page"])
    marked = sheet.marked(image, labels, how.colours, 160)
    size = " x ".join(map(str, look["size"]))
    caption = f"{look['name']}, {size}"
    return sheet.picture(marked, f"{look['name']} with its mask", caption)
