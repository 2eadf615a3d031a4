"""The options of the command `tinygrad-cupy`, and their help.

Each subcommand checks its options and returns what is to be done. It imports what it needs when it
is chosen, so that help comes at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

Work = Callable[[], None]

app = typer.Typer(
    help="Train small convolutional nets on pictures, and look at what they learned.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Work with the data itself.", no_args_is_help=True)
app.add_typer(data_app, name="data")

DATASET_HELP = (
    "auto, mnist, digits, cifar10, cifar100, fashion_mnist, or a folder of pictures: train/CLASS/… "
    "and test/CLASS/…, or a labels.csv (columns file,label) in place of class folders. "
    "auto is MNIST where it can be had, else the embedded digits."
)
DATASET_NAMES_HELP = "auto, mnist, digits, cifar10, cifar100 or fashion_mnist."
IMAGE_SIZE_HELP = (
    "Of a folder's pictures: HxW, e.g. 24x40, what they are resized to (default: their size)."
)
CHANNELS_HELP = "Of a folder's pictures: 1 gray, 3 colour (default: 3 where any has colour)."
RESIZE_HELP = (
    "Of a folder's pictures of other proportions: fit (whole, black around), crop (the middle) or "
    "stretch (default fit)."
)
CLASS_DEPTH_HELP = (
    "Of a folder: how many folders name a class (default: all that a picture lies in)."
)
TEST_FRACTION_HELP = "Of a folder without test part: share of each class to test on (default 0.2)."
EPOCHS_HELP = "Passes over the training images (default 5; on the digits 30)."
BATCH_SIZE_HELP = (
    "Images per training step (default 128; of a folder at most an eighth of the training images)."
)
LR_HELP = "Learning rate (default 0.001, sgd 0.05; on the digits 0.002, sgd 0.05)."
MODEL_HELP = (
    "small, medium, deep, lenet5, resnet18, resnet34, resnet50, vgg11_bn, mobilenet_v2 or vit_tiny."
)
PATIENCE_HELP = (
    "Stop after so many epochs without a better validation loss, and keep the best weights."
)

RESUME_HELP = (
    "Folder of a run that was cut short: go on from its last checkpoint, with its settings; "
    "--epochs may be raised."
)
MINUTES_HELP = (
    "Within an epoch, write a checkpoint every so many minutes (and after epochs), but no more "
    "than costs 1 % of the time."
)

DataDir = Annotated[
    Path | None, Option(help="Folder with the data set's files, such as the four of MNIST.")
]
Overwrite = Annotated[
    bool, Option("--overwrite", help="Replace what an older run left, once this one succeeded.")
]
Quiet = Annotated[bool, Option("--quiet", "-q", help="Print the written folder, nothing else.")]
AsJson = Annotated[bool, Option("--json", help="Print JSON.")]
Debug = Annotated[bool, Option("--debug", help="Show the traceback of an error.")]

Options = dict[str, tuple[Any, Any]]  # by their names: type and default, in the order of the help

TRAIN: Options = {
    "dataset": (Annotated[str, Option(help=DATASET_HELP)], "auto"),
    "data_dir": (DataDir, None),
    "image_size": (Annotated[str | None, Option(help=IMAGE_SIZE_HELP)], None),
    "channels": (Annotated[int | None, Option(help=CHANNELS_HELP)], None),
    "resize": (Annotated[str | None, Option(help=RESIZE_HELP)], None),
    "class_depth": (Annotated[int | None, Option(help=CLASS_DEPTH_HELP)], None),
    "test_fraction": (Annotated[float | None, Option(help=TEST_FRACTION_HELP)], None),
    "model": (Annotated[str, Option(help=MODEL_HELP)], "medium"),
    "epochs": (Annotated[int | None, Option(help=EPOCHS_HELP)], None),
    "batch_size": (Annotated[int | None, Option(help=BATCH_SIZE_HELP)], None),
    "lr": (Annotated[float | None, Option(help=LR_HELP)], None),
    "optimizer": (Annotated[str, Option(help="adam, adamw or sgd (with momentum 0.9).")], "adam"),
    "seed": (
        Annotated[int, Option(help="Fixes initial weights, shuffles, dropout and split.")],
        0,
    ),
    "device": (Annotated[str, Option(help="auto, cpu, cuda or cuda:N.")], "auto"),
    "val_fraction": (
        Annotated[float, Option(help="Share of the training images to validate on.")],
        0.1,
    ),
    "patience": (Annotated[int | None, Option(help=f"{PATIENCE_HELP} (default off)")], None),
    "out": (
        Annotated[Path | None, Option(help="Folder to write (default runs/TIME_NAME).")],
        None,
    ),
    "overwrite": (Overwrite, False),
    "resume": (Annotated[Path | None, Option(help=RESUME_HELP)], None),
    "checkpoint_minutes": (Annotated[float, Option(help=MINUTES_HELP)], 5.0),
    "no_jit": (
        Annotated[bool, Option("--no-jit", help="On a GPU, run without captured CUDA graphs.")],
        False,
    ),
    "quiet": (Quiet, False),
    "debug": (Debug, False),
}
NOT_IN_SWEEP = ("batch_size", "resume", "checkpoint_minutes")
SWEEP: Options = {
    "batch_sizes": (
        Annotated[str, Option(help="Images per training step, divided by commas.")],
        "32,64,128,256",
    ),
    **{name: option for name, option in TRAIN.items() if name not in NOT_IN_SWEEP},
    "model": (TRAIN["model"][0], "small"),
    "epochs": (Annotated[int, Option(help="The most passes over the training images.")], 50),
    "patience": (Annotated[int, Option(help=PATIENCE_HELP)], 5),
}


def taking(options: Options) -> Callable[[Callable[..., Work]], Callable[..., Work]]:
    """Declare what a command takes: typer reads the options off its signature."""

    def declare(command: Callable[..., Work]) -> Callable[..., Work]:
        parameters = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for name, (kind, default) in options.items()
        ]
        if "context" in signature(command).parameters:
            kind = typer.Context
            parameters.append(Parameter("context", Parameter.KEYWORD_ONLY, annotation=kind))
        command.__annotations__ = {one.name: one.annotation for one in parameters}
        command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        return command

    return declare


def given_in(context: typer.Context, asked: Mapping[str, Any]) -> frozenset[str]:
    """Which settings are said on the command line, by their names in `TrainSettings`."""
    said = {
        name
        for name in context.params
        if getattr(context.get_parameter_source(name), "name", "") not in ("DEFAULT", "DEFAULT_MAP")
    }
    return frozenset(said & set(asked)) | ({"jit"} if "no_jit" in said else set())


@app.command()
@taking(TRAIN)
def train(
    *,
    out: Path | None,
    overwrite: bool,
    resume: Path | None,
    checkpoint_minutes: float,
    no_jit: bool,
    quiet: bool,
    debug: bool,
    context: typer.Context,
    **asked: Any,
) -> Work:
    """Train a net, test it, and write a folder with its figures, pictures and weights."""
    from . import train as command
    from .settings import TrainSettings, check_resume

    settings = TrainSettings(**asked, jit=not no_jit)
    given = given_in(context, asked)
    check_resume(resume, out, overwrite, checkpoint_minutes)
    return partial(
        command.train, settings, out, overwrite, quiet, resume, given, checkpoint_minutes
    )


@app.command()
@taking(SWEEP)
def sweep(
    *,
    batch_sizes: str,
    out: Path | None,
    overwrite: bool,
    no_jit: bool,
    quiet: bool,
    debug: bool,
    **asked: Any,
) -> Work:
    """Train at several batch sizes, and write a report that compares them."""
    from . import sweep as command
    from .settings import TrainSettings

    sizes = command.parse_batch_sizes(batch_sizes)
    settings = TrainSettings(**asked, batch_size=sizes[0], jit=not no_jit)
    return partial(command.sweep, settings, sizes, out, overwrite, quiet)


@app.command()
def predict(
    run: Annotated[Path, Argument(help="Folder that `train` wrote.")],
    images: Annotated[list[Path], Argument(help="Pictures of any size and mode.")],
    as_json: AsJson = False,
    debug: Debug = False,
) -> Work:
    """Read pictures with a trained net: digit or class, probability and runner-up of each."""
    from . import predict as command

    return partial(command.predict, run, images, as_json)


@data_app.command()
def png(
    out: Annotated[Path, Argument(help="New or empty folder.")],
    dataset: Annotated[str, Option(help=DATASET_NAMES_HELP)] = "auto",
    data_dir: DataDir = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace train and test.")] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> Work:
    """Write a dataset as PNG files, in a folder per class: train/CLASS and test/CLASS."""
    from .export import export_png

    return partial(export_png, out, dataset, data_dir, overwrite, quiet)


@app.command()
def info(debug: Debug = False) -> Work:
    """Show versions, devices, the data cache, and BLAS with its threads."""
    from . import info as command

    return command.info
