"""One sentence for all networks that cannot take a batch: what is wrong, what works."""


def unfit(x, name, channels, step=1, least=1, axes=2):
    """Refuse a batch that a network cannot take: ValueError, or nothing happens.

    `x`: images (N, channels, H, W), or with axes=3 volumes (N, channels, D, H, W).
    `name`: who refuses, such as "a padded U-Net of depth 4". Every side must be
    divisible by `step` and be at least `least` px (or voxels).
    """
    sides, unit = ("D, H, W", "voxels") if axes == 3 else ("H, W", "px")
    if x.ndim != 2 + axes or x.shape[1] != channels:
        raise ValueError(
            f"expected a batch (N, {channels}, {sides}), got {tuple(x.shape)}"
        )
    for size in x.shape[2:]:
        if size % step or size < least:
            below = max(size // step * step, least)
            raise ValueError(
                f"{name} cannot take {size} {unit}: each side must be at least {least} "
                f"{unit} and divisible by {step}; {below} and {below + step} work"
            )
