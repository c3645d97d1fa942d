"""The loop that trains every network of the book, and what it needs.

Shapes everywhere: images (N, C, H, W) float32, masks (N, 1, H, W) float32 of 0 and 1,
logits (N, 1, h, w) where a network without padding has h < H: masks are then cropped
to the centre, since the border was never predicted. Volumes have one more axis, before
H. Where pixels have one of K classes, masks are label maps (N, 1, H, W), int64, and
logits (N, K, h, w). A network may return several maps: the first one is its answer,
and the loss gets them all.
"""

import math
import time
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from helpers import memory, metrics


@dataclass
class Run:
    """A finished training: the network with its best weights, and how it got there.

    `history` holds one dict per validation: step, loss (mean since the last one), score
    (what `fit`'s `score` says on the validation set), threshold (the best one there,
    None for several classes), seconds. `threshold` is that of the best weights.
    """

    net: nn.Module
    history: list
    seed: int = 0
    threshold: float | None = None

    def predict(self, dataset):
        """Logits (N, K, h, w), and the masks (N, 1, h, w) that belong to them."""
        found = predict(self.net, dataset)
        memory.give_back()
        return found

    def segment(self, dataset):
        """What is found at the run's own threshold (N, 1, h, w) bool, and the masks."""
        logits, masks = self.predict(dataset)
        return logits.sigmoid() > self.threshold, masks


# --- the loop ---------------------------------------------------------------------


def train_step(net, images, masks, loss, optimizer):
    """Move the weights a step down the loss of one batch; return the loss."""
    answer = net(images)
    value = loss(answer, crop_to(masks, main_map(answer)))
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    return value.item()


def fit(
    net, train, validation, *, steps=250, batch=8, lr=5e-3, seed=0, every=50,
    loss=None, score=metrics.iou_at_best, augment=None, schedule=None, report=None,
    checkpoint=None, engine=None,
):  # fmt: skip
    """Train a network; return a Run that holds it with the best weights it had.

    AdamW with a one-cycle learning rate of peak `lr`, or what `schedule(optimizer, lr,
    steps)` returns. Every `every` steps the network is validated, the weights are kept
    if their score is the best so far, and `report(history)` is called, if given.

    `loss(logits, masks)`, by default `bce`, and `augment(images, masks)` see one batch.
    `score(logits, masks)` sees the validation set and returns a float, larger is
    better: by default the pooled IoU at the threshold that is best there, which the run
    keeps; for label maps hand over `metrics.mean_iou`. Only the first channel of a mask
    is scored: others, such as a weight map, are for the loss. `checkpoint` and `engine`
    bring in a file to go on from, and a GPU or several processes: see helpers/app.

    Raises FloatingPointError when the loss is not finite, ValueError when a setting
    makes no sense.
    """
    sizes = dict(training_images=len(train), validation_images=len(validation))
    settings = dict(steps=steps, batch=batch, lr=lr, seed=seed, every=every, **sizes)
    _check(settings)
    loss = loss or bce
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr, fused=True)
    schedule = (schedule or one_cycle)(optimizer, lr, steps)
    batches = draw_batches(train, steps, batch, seed)
    one_step, is_main = train_step, True
    if engine:
        one_step, is_main = engine.prepare(net, optimizer), engine.is_main
    history, best, losses = [], None, []
    if checkpoint:
        history, best = checkpoint.load(settings, net, optimizer, schedule)
    if history and engine and not checkpoint.longer:  # it may have ended just here
        history, best = engine.from_main(history, best)
    done = history[-1]["step"] if history else 0
    start = time.perf_counter() - (history[-1]["seconds"] if history else 0)

    for step in range(done + 1, steps + 1):
        images, masks = batch_of(train, batches[step - 1])
        if augment:
            images, masks = augment(images, masks)
        net.train()
        losses.append(one_step(net, images, masks, loss, optimizer))
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(
                f"the loss is {losses[-1]} at step {step} (learning rate "
                f"{schedule.get_last_lr()[0]:.2g}): look for a division by zero or a "
                "log of zero in the loss, or lower lr"
            )
        schedule.step()
        if step % every and step != steps:
            continue
        if is_main:
            row = dict(step=step, loss=sum(losses) / len(losses))
            row |= validate(net, validation, score)
            history.append(row | dict(seconds=time.perf_counter() - start))
            if best_row(history) is history[-1]:
                best = {k: v.cpu().clone() for k, v in net.state_dict().items()}
            if checkpoint:
                checkpoint.save(settings, net, optimizer, schedule, history, best)
            if report:
                report(history)
        losses = []
        if engine:
            history, best = engine.from_main(history, best)
    net.load_state_dict(best)
    return Run(net.eval(), history, seed, best_row(history)["threshold"])


def one_cycle(optimizer, lr, steps):
    """Rise to `lr` in the first quarter of the steps, then fall in half a cosine."""
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=steps, pct_start=0.25
    )


def draw_batches(train, steps, batch, seed):
    """The indices of each step's pictures: all in a random order, then again."""
    random = torch.Generator().manual_seed(seed)
    order = RandomSampler(train, num_samples=steps * batch, generator=random)
    return list(BatchSampler(order, batch, drop_last=True))


def validate(net, validation, score):
    """Score and best threshold on the validation set: a part of the history's row."""
    logits, masks = predict(net, validation)
    row = dict(score=score(logits, masks), threshold=None)
    if logits.shape[1] == 1:
        row["threshold"] = metrics.best_threshold(logits, masks)
    return row


def best_row(history):
    """The validation with the highest score, the latest where several are equal."""
    return max(history, key=lambda row: (row["score"], row["step"]))


def predict(net, dataset):
    """Logits (N, K, h, w) and the masks (N, 1, h, w) that belong to them.

    The network may be on a GPU; what it answers comes back. Raises ValueError for an
    empty data set, and for an answer larger than its masks.
    """
    if not len(dataset):
        raise ValueError("the data set is empty: it must hold at least 1 picture")
    net.eval()
    logits, masks = [], []
    like = next(net.parameters(), torch.empty(0))  # a GPU's, or in double precision
    batch = 16 if dataset[0][0].dim() == 3 else 1  # volumes want more memory
    with torch.no_grad():
        for images, batch_masks in DataLoader(dataset, batch_size=batch):
            logits.append(main_map(net(images.to(like))).cpu())
            masks.append(crop_to(batch_masks[:, :1].cpu(), logits[-1]))
    return torch.cat(logits), torch.cat(masks)


# --- losses and a start -----------------------------------------------------------

HALF = (torch.float16, torch.bfloat16)  # sums over a picture exceed float16's 65504


def bce(logits, masks):
    """Binary cross-entropy, the mean over all pixels.

    Logits and masks of equal shape, (N, 1, H, W) or (N, 1, D, H, W). Raises ValueError
    for unequal shapes and for masks that are no floats.
    """
    of_one_object(logits, masks)
    return F.binary_cross_entropy_with_logits(logits, masks)


def bce_dice(logits, masks):
    """Binary cross-entropy plus 1 - soft Dice: the loss that later chapters train with.

    Logits and masks of equal shape, (N, 1, H, W) or (N, 1, D, H, W). Dice has squared
    denominators, as V-Net's (Milletari et al. 2016, section 3), and is pooled over the
    batch, so that an image without foreground does no harm; a batch without any counts
    as Dice 1 when all probabilities are 0. Raises ValueError as `bce` does.
    """
    of_one_object(logits, masks)
    if logits.dtype in HALF:
        logits, masks = logits.float(), masks.float()
    p, smooth = logits.sigmoid(), 1  # one pixel: it only matters where all is empty
    both, areas = (p * masks).sum(), (p**2).sum() + (masks**2).sum()
    soft_dice = (2 * both + smooth) / (areas + smooth)
    return F.binary_cross_entropy_with_logits(logits, masks) + 1 - soft_dice


def of_one_object(logits, masks):
    """ValueError unless masks are floats of the same shape as their logits."""
    if logits.shape != masks.shape:
        raise ValueError(
            f"logits of shape {tuple(logits.shape)} and masks of {tuple(masks.shape)}; "
            "a loss for one object needs the same shape for both, one for classes is "
            "cross_entropy"
        )
    if not masks.is_floating_point():
        raise ValueError(
            f"masks are {masks.dtype}: a loss for one object takes floats, "
            "masks.float(), one for class numbers is cross_entropy"
        )


def cross_entropy(logits, labels):
    """Cross-entropy of logits (N, K, H, W) and label maps (N, 1, H, W), less IGNORE.

    It is 0 where all labels are IGNORE. Raises ValueError for logits of one map, whose
    softmax is always 1, and for labels that are no int64 class numbers.
    """
    classes = logits.shape[1]
    if classes < 2:
        raise ValueError(
            f"logits of shape {tuple(logits.shape)} have one map, where cross-entropy "
            "is always 0: give the network classes=2 or more, or take bce"
        )
    if labels.dtype != torch.int64:
        raise ValueError(
            f"labels are {labels.dtype}: cross-entropy takes class numbers, int64; "
            "masks of 0 and 1 become classes by masks.long()"
        )
    if logits.dtype in HALF:
        logits = logits.float()
    counted = labels[labels != metrics.IGNORE]
    if not len(counted):
        return 0 * logits.sum()
    metrics.must_be_classes("labels", counted, classes)
    return F.cross_entropy(logits, labels[:, 0], ignore_index=metrics.IGNORE)


def ce_dice(logits, labels):
    """Cross-entropy plus 1 - soft Dice, the mean over the classes: for rare classes.

    Logits (N, K, H, W) and label maps (N, 1, H, W), as `cross_entropy` takes them; what
    is IGNORE counts in neither. In the mean a class of few pixels weighs as much as the
    background. Dice is that of `bce_dice`, one class at a time: squared denominators,
    pooled over the batch, so that a class which the batch lacks counts as Dice 1 when
    its probabilities are 0. It is 0 where all labels are IGNORE. Raises ValueError for
    what `cross_entropy` refuses.
    """
    if logits.dtype in HALF:
        logits = logits.float()
    value = cross_entropy(logits, labels)
    counted = labels[:, 0] != metrics.IGNORE
    if not counted.any():
        return value
    p, labels, smooth = logits.softmax(1).movedim(1, -1)[counted], labels[:, 0], 1
    truth = F.one_hot(labels[counted], logits.shape[1])  # (pixels, K), as p
    both, areas = (p * truth).sum(0), (p**2).sum(0) + truth.sum(0)
    return value + 1 - ((2 * both + smooth) / (areas + smooth)).mean()


def start_at(layer, share):
    """Set the last layer's bias so that an untrained network answers `share`.

    With 4 % foreground a network spends its first steps learning that almost all is
    background; this tells it at the start. Source: Lin et al., Focal Loss (2017), 4.1.
    Raises ValueError for a share of 0 or less, or of 1 or more, which no bias answers.
    """
    if not 0 < share < 1:
        raise ValueError(
            f"share is {share}; it must lie between 0 and 1: take that of pictures "
            "with foreground and background, or leave start_at out"
        )
    nn.init.constant_(layer.bias, math.log(share / (1 - share)))


# --- batches ----------------------------------------------------------------------


def main_map(answer):
    """The map that counts, of a network that returns one map or several."""
    return answer[0] if isinstance(answer, tuple | list) else answer


def batch_of(dataset, indices):
    """Stack the items at these indices: images and masks with a batch axis."""
    images, masks = [], []
    for i in indices:
        image, mask = dataset[i]
        images.append(image)
        masks.append(mask)
    return torch.stack(images), torch.stack(masks)


def crop_to(masks, logits):
    """Cut masks (N, C, H, W) to the centre that the logits (N, K, h, w) describe.

    Raises ValueError for logits that are larger than the masks.
    """
    height, width = masks.shape[-2:]
    h, w = logits.shape[-2:]
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


# --- small things -----------------------------------------------------------------

LEAST = dict(steps=5, batch=1, every=1, training_images=1, validation_images=1)


def _check(settings):
    """Refuse settings with which there is no training (5 steps: one cycle)."""
    for name, least in LEAST.items():
        if settings[name] < least:
            what = name.replace("_", " ")
            raise ValueError(f"{what} is {settings[name]}; it must be at least {least}")
