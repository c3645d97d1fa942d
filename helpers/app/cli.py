"""The command line: look at data, train, segment, report, take a model elsewhere.

    python -m helpers.app draw OUTLINES --out MASKS --names crack,stain
    python -m helpers.app inspect --images PHOTOS --masks MASKS --out sheet.html
    python -m helpers.app train --network 02_unet.small_unet --out RUN
        --images PHOTOS --masks MASKS
    python -m helpers.app predict --model RUN/model.pt --image PHOTO --out MASK.png
    python -m helpers.app report RUN
    python -m helpers.app export RUN
    python -m helpers.app export RUN --page model.html

Each has --help. A bad argument is refused in one line, before any work starts, with
exit status 2. Under torchrun (`python -m torch.distributed.run --standalone
--nproc_per_node 2 -m helpers.app train ...`) the same training runs in several
processes; a GPU is used when there is one.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Literal

import typer
from typer.core import TyperCommand

from helpers.app import lines, settings

plain = dict(rich_markup_mode=None, pretty_exceptions_enable=False)
app = typer.Typer(help=lines.laid_out(__doc__), add_completion=False, **plain)


class Once(TyperCommand):
    """A command that refuses an option which is named twice.

    Of two, the last would count without a word; a second folder would be left out.
    """

    def parse_args(self, context, args):
        """Look at the line, then parse it."""
        given = [part.partition("=")[0] for part in args]
        for parameter in self.params:
            for name in parameter.opts:
                once = not getattr(parameter, "multiple", False)
                if name.startswith("--") and once and given.count(name) > 1:
                    raise typer.BadParameter(f"{name} is named twice: name it once")
        return super().parse_args(context, args)


def main(argv=None):
    """Run the command line; return its exit status."""
    return lines.run(app, argv, "python -m helpers.app")


def option(text, *names, metavar=None, **more):
    """An option and its line of help."""
    return typer.Option(*names, help=text, metavar=metavar, **more)


def by_recipe(context: typer.Context, path: Path | None):
    """What a settings file says counts where the line itself says nothing.

    Raises ValueError for a file that `settings.recipe` refuses.
    """
    if path is not None:
        known, kinds = {}, {}
        for parameter in context.command.params:
            known[parameter.opts[0].lstrip("-")] = parameter.name
            kind = "several" if parameter.multiple else parameter.type.name
            kinds[parameter.name] = "pair" if parameter.nargs == 2 else kind
        context.default_map = settings.recipe(path, known, kinds)
    return path


def beside_recipe(context: typer.Context, given: list[str]):
    """The recipe's own, then what the line says: of one name, the last counts."""
    recipe = context.default_map or {}
    if context.get_parameter_source("set").name != "COMMANDLINE":
        return given  # the recipe's, if there is one
    return [*recipe.get("set", []), *given]


# How pictures and masks are named and read: the same for inspect, train and report.
Images = Annotated[
    Path | None,
    option("folder of pictures (or NIfTI volumes); needs --masks", metavar="FOLDER"),
]
Masks = Annotated[
    Path | None,
    option("folder of masks: a.png or a_mask.png for a.jpg", metavar="FOLDER"),
]
Classes = Annotated[
    int | None,
    option("masks hold class numbers 0 to K - 1 (255: ignore); 1: one object",
           metavar="K"),
]  # fmt: skip
Colours = Annotated[
    Path | None,
    option("a class for each colour or value, by name: a TOML or JSON file",
           metavar="FILE"),
]  # fmt: skip
Instances = Annotated[
    bool,
    option("masks have a number or colour for each object; all are object",
           "--instances"),
]  # fmt: skip
Cut = Annotated[
    float | None,
    option("object is from this value on (soft edges, JPEG)", metavar="VALUE"),
]
Span = Annotated[
    tuple[float, float] | None,
    option("the pictures' values that are black and white", metavar="LOW HIGH"),
]
Stacks = Annotated[
    bool, option("each page of a TIFF is a picture of its own", "--stacks")
]
Group = Annotated[
    str | None,
    option("what a picture shows, which no split tears apart: a pattern of its name, "
           "such as 'site[0-9]+', or a CSV table with columns name, group",
           metavar="PATTERN"),
]  # fmt: skip
Validation = Annotated[float, option("share of the pictures kept for validation")]
SplitSeed = Annotated[int, option("draws that share, or the pictures")]


@app.command(cls=Once)
def inspect(
    images: Images = None,
    masks: Masks = None,
    classes: Classes = None,
    colours: Colours = None,
    instances: Instances = False,
    cut: Cut = None,
    span: Span = None,
    stacks: Stacks = False,
    group: Group = None,
    validation: Validation = settings.VALIDATION,
    split_seed: SplitSeed = 0,
    out: Annotated[
        Path | None, option("contact sheet, a new HTML file", metavar="FILE")
    ] = None,
):
    """Look at pictures and masks before training; exit status 1 if something is odd."""
    asked = SimpleNamespace(**locals())
    from helpers.app.inspect import inspect

    raise typer.Exit(inspect(asked))


@app.command(cls=Once)
def draw(
    source: Annotated[
        Path,
        typer.Argument(help="folder of LabelMe JSON files, or one COCO JSON file",
                       metavar="OUTLINES"),
    ],
    out: Annotated[Path, option("folder of the masks, a new one", metavar="FOLDER")],
    names: Annotated[
        str,
        option("the classes 1, 2, ... in this order, divided by commas; 0 is "
               "background", metavar="NAME,NAME"),
    ],
):  # fmt: skip
    """Draw polygons (LabelMe, COCO) as masks of class numbers, a PNG a picture."""
    from helpers import polygons

    classes = [name.strip() for name in names.split(",")]
    paths = polygons.write_masks(source, out, classes)
    lines.say(
        f"{lines.many(len(paths), 'mask')} in {out}: --classes {len(classes) + 1}"
    )


@app.command(cls=Once)
def train(
    network: Annotated[
        str, option("what to train: 02_unet.UNet", metavar="CHAPTER.NAME")
    ],
    out: Annotated[Path, option("folder of this training", metavar="FOLDER")],
    set: Annotated[
        list[str],
        option("an argument of the network, such as padding=zeros or widths=8,16,32; "
               "may be repeated", metavar="NAME=VALUE", callback=beside_recipe),
    ] = [],  # noqa: B006 (Typer never changes it)
    images: Images = None,
    masks: Masks = None,
    mvtec: Annotated[
        Path | None,
        option("root folder of MVTec AD; needs --category", metavar="FOLDER"),
    ] = None,
    category: Annotated[str | None, option("of MVTec AD, such as bottle")] = None,
    drawn: Annotated[
        Literal["surfaces", "lattices", "camouflage"] | None,
        option("pictures that the book draws"),
    ] = None,
    pictures: Annotated[int, option("how many to draw")] = settings.PICTURES,
    crop: Annotated[
        str | None,
        option("train on random crops at native scale: px of a side, HxW, or DxHxW of "
               f"volumes  [default: {settings.CROP}, volumes {settings.CROP_3D}]",
               metavar="SIDES"),
    ] = None,
    size: Annotated[
        str | None,
        option("resize all pictures to this instead (drawn ones have it)",
               metavar="SIDES"),
    ] = None,
    classes: Classes = None,
    colours: Colours = None,
    instances: Instances = False,
    cut: Cut = None,
    span: Span = None,
    stacks: Stacks = False,
    group: Group = None,
    validation: Validation = settings.VALIDATION,
    split_seed: SplitSeed = 0,
    folds: Annotated[
        int | None, option("cross-validate: train so often, each part validates once")
    ] = None,
    loss: Annotated[
        Literal["bce", "bce_dice", "cross_entropy", "ce_dice"] | None,
        option("what is to become small; with Dice, what is rare counts more  "
               "[default: bce, classes cross_entropy]"),
    ] = None,
    flips: Annotated[
        Literal["all", "sides", "none"],
        option("turn pictures over: all ways, left-right alone, or not"),
    ] = "all",
    steps: Annotated[int, option("of the optimizer")] = 250,
    batch: Annotated[int, option("pictures in a step, all processes together")] = 8,
    lr: Annotated[float, option("highest learning rate")] = 5e-3,
    seed: Annotated[int, option("of weights, order, crops and flips")] = 0,
    every: Annotated[int, option("steps from validation to validation")] = 50,
    patience: Annotated[
        int | None, option("end after so many validations that are no better")
    ] = None,
    weights: Annotated[
        Path | None,
        option("begin with these: a model.pt, or the authors' U2-Net", metavar="FILE"),
    ] = None,
    resume: Annotated[
        bool, option("go on with a finished training, to more --steps", "--resume")
    ] = False,
    recipe: Annotated[
        Path | None,
        option("take settings from a TOML or JSON file (a run's settings.json)",
               metavar="FILE", callback=by_recipe, is_eager=True),
    ] = None,
):  # fmt: skip
    """Train a network; the weights of the best validation are kept.

    An interrupted training goes on with the same command.
    """
    asked = SimpleNamespace(**locals())
    from helpers.app.train import train

    train(asked)


@app.command(cls=Once)
def predict(
    model: Annotated[
        Path, option("model.pt of a training (or u2net.pth)", metavar="FILE")
    ],
    image: Annotated[
        Path, option("a picture, a NIfTI volume, or a folder", metavar="PATH")
    ],
    out: Annotated[
        Path,
        option("the mask, a new PNG (NIfTI of a volume), or a new folder",
               metavar="PATH"),
    ],
):  # fmt: skip
    """Segment a picture, a volume or a folder, of any size, tile by tile."""
    from helpers.app.predict import predict

    predict(model, image, out)


Run = Annotated[Path, typer.Argument(help="folder of a training", metavar="RUN")]


@app.command(cls=Once)
def report(
    run: Run,
    images: Images = None,
    masks: Masks = None,
    group: Annotated[
        str | None,
        option("what a new picture shows, a pattern or a table as in train  [default: "
               "as in the training]", metavar="PATTERN"),
    ] = None,
    out: Annotated[
        Path | None,
        option("the page, a new file  [default: report.html in RUN, which is replaced]",
               metavar="FILE"),
    ] = None,
):  # fmt: skip
    """Write what one shows a colleague: one HTML page that opens offline.

    With --images and --masks of pictures that had no part in the training, it also
    says how the model does on these.
    """
    from helpers.app.report import report

    report(run, images, masks, group, out)


@app.command(cls=Once)
def export(
    run: Run,
    out: Annotated[
        Path | None,
        option("folder for both, which replace those before  [default: RUN]",
               metavar="FOLDER"),
    ] = None,
    licence: Annotated[str | None, option("licence of the model, for its card")] = None,
    page: Annotated[
        Path | None,
        option("write a new HTML file instead, which segments in any browser",
               metavar="FILE"),
    ] = None,
):  # fmt: skip
    """Write model.onnx for other programs, checked, and card.md, the model card.

    With --page, write the model as one page that a colleague opens and drops pictures
    into, without Python, server or internet.
    """
    from helpers.app.export import export, export_page

    if page and out:
        raise ValueError("--page names its own file: leave out --out")
    if page:
        export_page(run, page, licence)
    else:
        export(run, out, licence)
