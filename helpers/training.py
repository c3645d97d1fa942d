"""One training loop, one set of metrics, for every network of the book.

Shapes everywhere: images (N, C, H, W) float32, masks (N, 1, H, W) float32 of 0 and 1,
logits (N, 1, h, w) where a network without padding has h < H: masks are then cropped
to the centre, since the border was never predicted. Volumes have one more axis, before
H. Where pixels have one of K classes, masks are label maps (N, 1, H, W), int64, and
logits (N, K, h, w). A network may return several maps: the first one is its answer,
and the loss gets them all.
"""

import itertools
import math
import os
import time
from dataclasses import dataclass

import joblib
import pandas
import torch
from joblib.externals.loky import get_reusable_executor
from scipy import ndimage
from torch import nn
from torch.nn import functional as F
from torch.utils.data import BatchSampler, DataLoader, RandomSampler


@dataclass
class Run:
    """A finished training: the network with its best weights, and how it got there.

    `history` holds one dict per validation: step, loss (mean since the last one), iou
    (what `fit`'s `score` says on the validation set), seconds.
    """

    net: nn.Module
    history: list
    seed: int = 0


# --- training ---------------------------------------------------------------------


def fit(
    net, train, validation, *, steps=250, batch=8, lr=5e-3, seed=0, every=50,
    loss=F.binary_cross_entropy_with_logits, score=None, augment=None, schedule=None,
    report=None, checkpoint=None, accelerator=None,
):  # fmt: skip
    """Train a network; return a Run that holds it with the best weights it had.

    AdamW with a one-cycle learning rate of peak `lr`, or what `schedule(optimizer, lr,
    steps)` returns. Every `every` steps the network is validated, the weights are kept
    if their score is the best so far, `report` (if any) gets the history, and the state
    is written to the file `checkpoint` (if any), from which a later call with the same
    arguments goes on to the same result.

    `loss(logits, masks)` and `augment(images, masks)` see one batch. `score(logits,
    masks)` sees the validation set and returns a float, larger is better: by default
    the pooled IoU at threshold 0.5, for label maps hand over `mean_iou`. Only the first
    channel of a mask is scored: others, such as a weight map, are for the loss.

    An `accelerate.Accelerator` brings in what it finds: a GPU, mixed precision, other
    processes. `batch` stays the size of the whole batch, of which each process takes
    its share. The loss of the history is the mean over the processes; the main one
    validates, saves and reports, and all of them return the same Run.
    Raises FloatingPointError when the loss is not finite, ValueError when the
    checkpoint belongs to another training or a setting makes no sense.
    """
    accelerator = accelerator or OneProcess()
    sizes = dict(training_images=len(train), validation_images=len(validation))
    _at_least(1, batch=batch, every=every, **sizes)
    _at_least(5, steps=steps)  # fewer are no cycle of the learning rate
    share_size(batch, accelerator.num_processes)  # or refuse
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr)
    schedule = (schedule or one_cycle)(optimizer, lr, steps)
    order = RandomSampler(train, num_samples=steps * batch, generator=torch.Generator())
    order.generator.manual_seed(seed)
    batches = list(BatchSampler(order, batch, drop_last=True))
    sizes["parameters"] = sum(p.numel() for p in net.parameters())
    settings = dict(steps=steps, batch=batch, lr=lr, seed=seed, every=every, **sizes)
    state = Checkpoint(checkpoint, settings)
    model, optimizer = accelerator.prepare(net, optimizer)  # `net` is inside `model`
    history, best, done = state.load(net, optimizer, schedule)
    before = history[-1]["seconds"] if history else 0
    losses, start = [], time.perf_counter() - before

    for step in range(done, steps):
        images, masks = batch_of(train, batches[step])
        if augment:
            images, masks = augment(images, masks)
        # Only now, so that all processes draw for the batch what one would draw.
        images, masks = own_share(accelerator, images, masks)
        net.train()
        answer = model(images)
        value = loss(answer, crop_to(masks, first(answer)))
        mean = accelerator.reduce(value.detach(), "mean")
        if not mean.isfinite():
            raise FloatingPointError(
                f"the loss is {mean.item()} at step {step} (learning rate "
                f"{schedule.get_last_lr()[0]:.2g}): look for a division by zero or a "
                "log of zero in the loss, or lower lr"
            )
        optimizer.zero_grad()
        accelerator.backward(value)
        optimizer.step()
        schedule.step()
        losses.append(mean.item())

        if (step + 1) % every == 0 or step + 1 == steps:
            if accelerator.is_main_process:
                now = (score or iou_at_half)(*predict(net, validation))
                if now >= max((row["iou"] for row in history), default=0):
                    best = {k: v.cpu().clone() for k, v in net.state_dict().items()}
                row = dict(step=step + 1, loss=sum(losses) / len(losses), iou=now)
                history.append(row | dict(seconds=time.perf_counter() - start))
                state.save(net, optimizer, schedule, history, best)
                if report:
                    report(history)
            losses = []
            history, best = from_main(accelerator, history, best)
    accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    net.load_state_dict(best)
    return Run(net.eval(), history, seed)


def one_cycle(optimizer, lr, steps):
    """Rise to `lr` in the first quarter of the steps, then fall in half a cosine."""
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=steps, pct_start=0.25
    )


class OneProcess:
    """Stands in for an Accelerator where none is handed over: it changes nothing."""

    num_processes, process_index, is_main_process, device = 1, 0, True, None

    def prepare(self, *parts):
        return parts

    def reduce(self, value, reduction):
        return value

    def backward(self, value):
        value.backward()

    def unwrap_model(self, model, keep_fp32_wrapper):
        return model


def own_share(accelerator, *batch):
    """This process's part of each tensor of a batch, on this process's device."""
    n, own = accelerator.num_processes, accelerator.process_index
    return [part.chunk(n)[own].to(accelerator.device) for part in batch]


def share_size(batch, processes):
    """How much of a batch each process takes; ValueError where it does not come out."""
    if batch % processes:
        below = max(batch // processes, 1) * processes
        raise ValueError(
            f"a batch of {batch} cannot be shared by {processes} processes: they must "
            f"divide it; {below} and {below + processes} work"
        )
    return batch // processes


def from_main(accelerator, *values):
    """The main process's values, which all others wait for, and its random numbers."""
    if accelerator.num_processes == 1:
        return values
    from accelerate.utils import broadcast_object_list

    *values, random = broadcast_object_list([*values, torch.get_rng_state()])
    torch.set_rng_state(random)  # validation draws some: augmentation would differ
    return values


class Checkpoint:
    """The whole state of a training in one file, written whole or not at all."""

    def __init__(self, path, settings):
        self.path, self.settings = path, settings

    def save(self, net, optimizer, schedule, history, best):
        if not self.path:
            return
        parts = dict(net=net, optimizer=optimizer, schedule=schedule)
        state = {name: part.state_dict() for name, part in parts.items()}
        state |= dict(history=history, best=best, settings=self.settings)
        state |= dict(random=torch.get_rng_state())
        torch.save(state, f"{self.path}.part")
        os.replace(f"{self.path}.part", self.path)

    def load(self, net, optimizer, schedule):
        """Fill the three parts from the file; return history, best weights and step."""
        if not self.path or not os.path.exists(self.path):
            return [], None, 0
        try:
            state = torch.load(self.path, weights_only=True, map_location="cpu")
            settings = state["settings"]
        except Exception as error:
            raise ValueError(
                f"{self.path} is damaged or is no checkpoint of this book: delete the "
                "file to begin again"
            ) from error
        if settings != self.settings:
            raise ValueError(
                f"{self.path} belongs to a training with {settings}, this one has "
                f"{self.settings}: delete the file, or name another one"
            )
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"])
        return state["history"], state["best"], state["history"][-1]["step"]


def _at_least(least, **settings):
    for name, value in settings.items():
        if value < least:
            name = name.replace("_", " ")
            raise ValueError(f"{name} is {value}; it must be at least {least}")


def bce_dice(logits, masks):
    """Binary cross-entropy plus 1 - soft Dice: the loss that later chapters train with.

    Logits and masks of equal shape, (N, 1, H, W) or (N, 1, D, H, W). Dice has squared
    denominators, as V-Net's (Milletari et al. 2016, section 3), and is pooled over the
    batch, so that an image without foreground does no harm; a batch without any counts
    as Dice 1 when all probabilities are 0. Raises ValueError for unequal shapes.
    """
    if logits.shape != masks.shape:
        raise ValueError(
            f"logits of shape {tuple(logits.shape)} and masks of {tuple(masks.shape)}; "
            "bce_dice needs the same shape for both"
        )
    p, smooth = logits.sigmoid(), 1  # one pixel: it only matters where all is empty
    both, areas = (p * masks).sum(), (p**2).sum() + (masks**2).sum()
    soft_dice = (2 * both + smooth) / (areas + smooth)
    return F.binary_cross_entropy_with_logits(logits, masks) + 1 - soft_dice


def start_at(layer, share):
    """Set the last layer's bias so that an untrained network answers `share`.

    With 4 % foreground a network spends its first steps learning that almost all is
    background; this tells it at the start. Source: Lin et al., Focal Loss (2017), 4.1.
    """
    nn.init.constant_(layer.bias, math.log(share / (1 - share)))


def first(answer):
    """The map that counts, of a network that returns one map or several."""
    return answer[0] if isinstance(answer, tuple | list) else answer


def batch_of(dataset, indices):
    """Stack the items at these indices: images and masks with a batch axis."""
    images, masks = zip(*(dataset[i] for i in indices), strict=True)
    return torch.stack(images), torch.stack(masks)


def crop_to(masks, logits):
    """Cut masks (N, C, H, W) to the centre that the logits (N, K, h, w) describe."""
    (height, width), (h, w) = masks.shape[-2:], logits.shape[-2:]
    if h > height or w > width:
        raise ValueError(
            f"the network answers {h} x {w} px for masks of {height} x {width}: its "
            "output may be smaller than the mask, never larger"
        )
    top, left = (height - h) // 2, (width - w) // 2
    return masks[..., top : top + h, left : left + w]


def flips(images, masks):
    """Turn a batch over at random: left-right, up-down, and across the diagonal.

    One draw for the whole batch, the same for images and masks.
    """
    for axes in ([-1], [-2]):
        if torch.rand(()) < 0.5:
            images, masks = images.flip(axes), masks.flip(axes)
    if torch.rand(()) < 0.5:
        images, masks = images.transpose(-1, -2), masks.transpose(-1, -2)
    return images, masks


def compare(variants, seeds=(0, 1, 2), report=None, **common):
    """Train every variant with every seed, as many at a time as there are cores.

    `variants` maps a name to arguments of `fit` that are this variant's own, `common`
    holds the others; `net` is a function that makes a fresh network, called after the
    seed is set. Every training runs on one thread in a process of its own, so that its
    result does not depend on the machine's number of cores. `report(done, of)` is
    called as they finish. Returns a dict from name to Runs in the order of the seeds.
    """
    jobs = list(itertools.product(variants, seeds))
    work = [joblib.delayed(_train)(seed, **common, **variants[n]) for n, seed in jobs]
    runs = {name: [] for name in variants}
    for (name, _), run in zip(jobs, side_by_side(work, report), strict=True):
        runs[name].append(run)
    return runs


def side_by_side(calls, report=None):
    """Do all `calls`, as many at a time as there are cores; list what they return.

    A call is `joblib.delayed(function)(arguments)` and runs in a process of its own.
    `report(done, of)` is called as they finish.
    """
    workers = joblib.Parallel(min(joblib.cpu_count(), 8), return_as="generator")
    results = []
    for result in workers(calls):
        results.append(result)
        if report:
            report(len(results), len(calls))
    get_reusable_executor().shutdown()  # idle workers would keep their memory
    return results


def _train(seed, net, **arguments):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    return fit(net(), seed=seed, **arguments)


# --- metrics ----------------------------------------------------------------------


def predict(net, dataset):
    """Logits (N, K, h, w) and the masks (N, 1, h, w) that belong to them.

    The network may be on a GPU; what it answers comes back.
    """
    _at_least(1, images=len(dataset))
    net.eval()
    logits, masks = [], []
    device = next(net.parameters(), torch.empty(0)).device
    with torch.no_grad():
        for images, batch_masks in DataLoader(dataset, batch_size=32):
            logits.append(first(net(images.to(device))).cpu())
            masks.append(crop_to(batch_masks[:, :1].cpu(), logits[-1]))
    return torch.cat(logits), torch.cat(masks)


def evaluate(net, dataset, threshold=0.5):
    """All scores of a network on a data set: see `scores`."""
    return scores(*predict(net, dataset), threshold)


def scores(logits, masks, threshold=0.5):
    """Scores of logits (N, 1, H, W) against masks, where probability > threshold.

    Returns a dict: iou and dice (pooled over all pixels of the set), image_iou (mean
    over images), boundary_f1 (mean over images), largest_logit.
    """
    found = logits.sigmoid() > threshold
    return dict(
        iou=iou(found, masks),
        dice=dice(found, masks),
        image_iou=iou(found, masks, each=True).mean().item(),
        boundary_f1=boundary_f1(found, masks),
        largest_logit=logits.max().item(),
    )


def iou_at_half(logits, masks):
    """Pooled IoU of logits (N, 1, H, W) at the threshold 0.5, which is logit 0."""
    return iou(logits > 0, masks)


def iou(found, masks, each=False):
    """Intersection over union of two sets of masks; empty against empty is 1.

    Pooled over the whole set (float), or with `each` one value per image (N,).
    """
    both, union = _areas(found, masks, each)
    value = torch.where(union > 0, both / union.clamp(min=1), 1.0)
    return value if each else value.item()


def dice(found, masks, each=False):
    """2 x intersection over the sum of both areas (F1 of the pixels); empty is 1."""
    both, union = _areas(found, masks, each)
    value = torch.where(union > 0, 2 * both / (both + union).clamp(min=1), 1.0)
    return value if each else value.item()


def _areas(found, masks, each):
    found, masks = _binary(found, masks)
    axes = tuple(range(int(each), found.ndim))
    return (found & masks).sum(axes), (found | masks).sum(axes)


def _binary(found, masks):
    if found.shape != masks.shape or found.ndim not in (4, 5):
        raise ValueError(
            f"masks of shape {tuple(found.shape)} and {tuple(masks.shape)} cannot be "
            "compared; both must be (N, 1, H, W), or (N, 1, D, H, W) for volumes"
        )
    return found.bool(), masks.bool()


IGNORE = 255  # the label of pixels that are neither trained on nor scored


def cross_entropy(logits, labels):
    """Cross-entropy of logits (N, K, H, W) and label maps (N, 1, H, W), less IGNORE."""
    return F.cross_entropy(logits, labels[:, 0], ignore_index=IGNORE)


def confusion(found, labels, classes):
    """Pixels of true class i that were called j: an int64 matrix (classes, classes).

    `found` and `labels` are label maps of equal shape; IGNORE is left out. Raises
    ValueError for other shapes and for a label that is no class.
    """
    if found.shape != labels.shape:
        raise ValueError(
            f"label maps of shape {tuple(found.shape)} and {tuple(labels.shape)} "
            "cannot be compared; take the argmax over the channels, with keepdim=True"
        )
    counted = labels != IGNORE
    found, labels = found[counted].long(), labels[counted].long()
    for values in (found, labels):
        if len(values) and not 0 <= values.min() <= values.max() < classes:
            raise ValueError(
                f"labels run from {values.min()} to {values.max()}; {classes} classes "
                f"have the labels 0 to {classes - 1}, and {IGNORE} means: ignore"
            )
    pairs = torch.bincount(labels * classes + found, minlength=classes**2)
    return pairs.reshape(classes, classes)


def class_iou(matrix):
    """IoU of each class (classes,), of a confusion matrix; 1 if it nowhere occurs."""
    both, union = matrix.diag(), matrix.sum(0) + matrix.sum(1) - matrix.diag()
    return torch.where(union > 0, both / union.clamp(min=1), 1.0)


def mean_iou(logits, labels):
    """Mean over the classes of the pooled IoU: "mean IU" of the FCN paper, section 5.

    Logits (N, K, H, W), label maps (N, 1, H, W). Returns a float.
    """
    matrix = confusion(logits.argmax(1, keepdim=True), labels, logits.shape[1])
    return class_iou(matrix).mean().item()


def boundary_f1(found, masks, tolerance=2):
    """F1 score of the outlines: the share of each within `tolerance` px of the other.

    Mean over images (float). Two empty masks score 1, one empty mask scores 0. Source:
    Csurka et al., What is a good evaluation measure for semantic segmentation? (2013).
    """
    pairs = zip(*(part.numpy() for part in _binary(found, masks)))
    values = [_outline_f1(a[0], b[0], tolerance) for a, b in pairs]
    return sum(values) / len(values)


def _outline_f1(a, b, tolerance):
    if not a.any() or not b.any():
        return float(a.any() == b.any())
    a, b = (mask & ~ndimage.binary_erosion(mask, border_value=0) for mask in (a, b))
    precision, recall = (
        (ndimage.distance_transform_edt(~other)[outline] <= tolerance).mean()
        for outline, other in ((a, b), (b, a))
    )
    return 2 * precision * recall / max(precision + recall, 1e-9)


def best_threshold(logits, masks):
    """The probability threshold with the highest pooled IoU. Use validation data."""
    candidates = torch.linspace(0.02, 0.98, 49)
    values = [iou(logits.sigmoid() > t, masks) for t in candidates]
    return candidates[values.index(max(values))].item()


def tuned(net, validation, test):
    """Segment `test` at the threshold that is best on `validation`.

    Returns found (N, 1, h, w) bool, masks (N, 1, h, w), and the threshold.
    """
    threshold = best_threshold(*predict(net, validation))
    logits, masks = predict(net, test)
    return logits.sigmoid() > threshold, masks, threshold


def results(runs, validation, test):
    """Test scores of `compare`'s runs, thresholds chosen on the validation data.

    Returns a DataFrame, one row per run: variant, seed, the columns of `scores` at the
    tuned threshold, iou_at_half (at 0.5) and threshold.
    """
    rows = []
    for name, run in ((n, run) for n in runs for run in runs[n]):
        threshold = best_threshold(*predict(run.net, validation))
        logits, masks = predict(run.net, test)
        row = dict(variant=name, seed=run.seed, **scores(logits, masks, threshold))
        half = iou_at_half(logits, masks)
        rows.append(row | dict(iou_at_half=half, threshold=threshold))
    return pandas.DataFrame(rows)
