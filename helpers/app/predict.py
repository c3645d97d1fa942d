"""A trained model on a picture, a volume, or a folder of them.

Pictures become PNGs of their own size: 0 and 255 for one object, a palette of class
numbers for several classes. Volumes become NIfTI with their own axes and affine.
"""

import sys

import numpy as np
from PIL import Image

from helpers import chapters, nifti
from helpers.app import models, weights
from helpers.app.files import whole
from helpers.app.lines import Stopped, many, say
from helpers.app.segment import segment
from helpers.app.sources import name_of, of_page
from helpers.pairs import files, left_out, listing, some, tell_skipped
from helpers.pictures import ENDINGS, page_count, read_image

MOST = 99  # refusals that are told
LITTLE = 0.1  # of the range that a picture uses


def predict(model, image, out):
    """Segment a file, or the files of a folder (pages of a stack) into a new folder.

    Raises ValueError for files that the model does not go with, and for an `out` that
    is there; at the end, for those in a folder that could not be read.
    """
    net, about = opened(model)
    if not about.get("exact", True):
        tile, margin = about["tiling"]
        say(
            f"note: the network sees farther than its margin of {margin} around tiles "
            f"of {tile}: where an answer is put together, seams are possible",
            sys.stderr,
        )
    jobs = jobs_of(image, about)
    if jobs == [(image, None)]:
        new_file(out, about)
        say(f"{out}: {one(net, about, image, out)}")
        return
    if out.exists() or out.name.lower().endswith(ending(about)):
        what = "is there already" if out.exists() else "is one file"
        raise ValueError(f"{out} {what}: name a new folder for {image}")
    no_twins(image, jobs)
    out.mkdir(parents=True)
    refused = []
    for number, (path, page) in enumerate(jobs, 1):
        target = out / f"{of_page(name_of(path), page)}{ending(about)}"
        try:
            told = one(net, about, path, target, page)
        except KeyboardInterrupt as error:
            done = f"{number - 1} of {len(jobs)} answers are in {out}"
            way_out = "move these pictures away, and name a new --out for the others"
            raise Stopped(f"stopped; {done}: {way_out}") from error
        except ValueError as error:
            refused.append(str(error))
            continue
        say(f"{number} of {len(jobs)}: {target}: {told}")
    if refused:
        n, all_of = len(refused), many(len(jobs), "picture")
        why = some(refused, "; ", n=MOST)
        raise ValueError(f"{n} of {all_of} refused, the others done: {why}")


def opened(path):
    """The network in a model.pt, and what it knows; or the authors' U2-Net.

    Their weights find what stands out: prepared as chapter 06 does, above one half.
    Raises FileNotFoundError or ValueError for a file that holds neither.
    """
    try:
        return models.load_model(path)
    except models.NoModel:
        net = weights.official(path)  # or the reason why it is none
        return net, dict(classes=1, threshold=0.5, saliency=True)


def one(net, about, image, out, page=None):
    """Segment one file (or a page of it) and write the answer: what there is to say.

    Raises ValueError for a file that cannot be read.
    """
    if about.get("volumes"):
        found = segment(net, nifti.read_volume(image), about)
        with whole(out) as part:
            nifti.write_answer(found, image, part)
        return told(found, about, image) + other_spacing(image, about)
    picture = read_image(image, page, about.get("span"))
    if about.get("saliency"):
        seen = chapters.load("06_u2net").saliency(net, picture)
        found = seen > about["threshold"]
    else:
        found = segment(net, picture, about)
    with whole(out) as part:
        drawn(found, about).save(part, "PNG")
    return told(found, about) + strange(picture)


def other_spacing(image, about):
    """A remark on a volume whose voxels have a size that no training volume had."""
    known, own = about.get("spacing") or [], nifti.spacing(image)
    for sizes in known:
        if np.allclose(own, sizes, rtol=nifti.ALIKE):
            return ""
    if not known:
        return ""
    there = nifti.in_mm(known[0])
    return f"; its voxels are {nifti.in_mm(own)}, those of the training {there}"


def strange(picture):
    """What is odd about a picture, so that little is found in it: a remark, or none."""
    if picture.min() == picture.max():
        return "; the picture has one colour all over"
    if picture.max() < LITTLE:
        top = f"{picture.max():.1%} of the range"
        return f"; the picture is nearly black, its brightest value {top}"
    return ""


def drawn(found, about):
    """The picture of an answer (1, H, W): 0 and 255, or a palette of class numbers."""
    if about["classes"] == 1:
        return Image.fromarray(found[0].numpy().astype("uint8") * 255)
    image = Image.fromarray(found[0].numpy().astype("uint8"))
    image.putpalette(np.array(about["colours"], np.uint8).ravel().tolist())
    return image


def told(found, about, image=None):
    """How much was found, in words; of a volume in mm3, too."""
    unit, size = "of the pixels", 0
    if image is not None:
        unit = "of the voxels"
        size = nifti.voxel_mm3(nifti.load(image))
    parts = []
    shown = {1: "found"}
    if about["classes"] > 1:
        shown = dict(enumerate(about["names"]))
    for number, name in shown.items():
        inside = found == number
        text = f"{name} {inside.double().mean():.1%}"
        if size:
            volume = inside.sum().item() * size
            text += f" ({volume:,.0f} mm3)" if volume >= 10 else f" ({volume:.3g} mm3)"
        parts.append(text)
    end = ""
    if about["classes"] == 1:
        end = f", probability above {about['threshold']:.2f}"
    return f"{', '.join(parts)} {unit}{end}"


# --- files ------------------------------------------------------------------------


def ending(about):
    """How the names of found masks end: NIfTI of volumes, PNG of pictures."""
    return ".nii.gz" if about.get("volumes") else ".png"


def new_file(out, about):
    """Refuse a file that is there, or whose format does not keep the answer."""
    want = ending(about)
    if not out.name.lower().endswith((want, want.removesuffix(".gz"))):
        what = "a volume's answer is NIfTI: name a .nii.gz"
        if want == ".png":
            what = "other formats would blur the mask: name a .png"
        raise ValueError(f"{out} is no {want}: {what}")
    if out.exists():
        raise ValueError(f"{out} is there already: name another, or delete it")
    if not out.parent.is_dir():
        raise ValueError(f"{out.parent} is not a folder: make it first")


def jobs_of(image, about):
    """[(path, page)] of a file or a folder; ValueError for another kind of data."""
    kinds = [("pictures", ENDINGS), ("volumes", nifti.ENDINGS)]
    if about.get("volumes"):
        kinds.reverse()
    (own, endings), (other, others) = kinds
    paths = listing(image) if image.is_dir() else [image]
    names = [path.name.lower() for path in paths]
    if not any(name.endswith(endings) for name in names):
        if any(name.endswith(others) for name in names):
            raise ValueError(
                f"{image}: the model was trained on {own}, these are {other}; name one "
                f"that was trained on {other}"
            )
    if not image.is_dir():
        return pages_of(image, about)
    jobs = []
    for path in files(image, endings).values():
        jobs += pages_of(path, about)
    tell_skipped(left_out(image, endings))
    return jobs


def pages_of(path, about):
    """[(path, page)]: the file, or each page of a stack if the training took them."""
    try:
        pages = page_count(path) if about.get("stacks") else 1
    except ValueError:
        pages = 1  # who reads it says what is wrong
    if pages == 1:
        return [(path, None)]
    return [(path, page) for page in range(pages)]


def no_twins(image, jobs):
    """ValueError where a page of a stack and a file would have one name."""
    seen, twins = set(), []
    for path, page in jobs:
        name = of_page(name_of(path), page)
        if name in seen:
            twins.append(name)
        seen.add(name)
    if twins:
        raise ValueError(f"{image} has two answers called {some(twins)}: rename a file")
