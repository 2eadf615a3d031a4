"""The options of the command `tinygrad-cupy`, and their help.

Each subcommand checks its options and returns what is to be done. It imports what it needs when it
is chosen, so that help comes at once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

Work = Callable[[], None]

app = typer.Typer(
    help="Train small convolutional nets on MNIST, and look at what they learned.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Work with the data itself.", no_args_is_help=True)
app.add_typer(data_app, name="data")

DATASET_HELP = (
    "auto, mnist, digits, or a folder with train/CLASS/*.png and test/CLASS/*.png. "
    "auto is MNIST where it can be had, else the embedded digits."
)
LR_HELP = "Learning rate (default 0.001, sgd 0.05; on the digits 0.002, sgd 0.05)."
PATIENCE_HELP = (
    "Stop after so many epochs without a better validation loss, and keep the best weights."
)

Dataset = Annotated[str, Option(help=DATASET_HELP)]
DataDir = Annotated[Path | None, Option(help="Folder with the four files of MNIST.")]
Model = Annotated[str, Option(help="small, medium or deep.")]
Epochs = Annotated[
    int | None, Option(help="Passes over the training images (default 5; on the digits 30).")
]
MostEpochs = Annotated[int, Option(help="The most passes over the training images.")]
BatchSize = Annotated[int, Option(help="Images per training step.")]
BatchSizes = Annotated[str, Option(help="Images per training step, divided by commas.")]
Rate = Annotated[float | None, Option("--lr", help=LR_HELP)]
Optimizer = Annotated[str, Option(help="adam, adamw or sgd (with momentum 0.9).")]
Seed = Annotated[int, Option(help="Fixes initial weights, shuffles, dropout and split.")]
Device = Annotated[str, Option(help="auto, cpu, cuda or cuda:N.")]
ValFraction = Annotated[float, Option(help="Share of the training images to validate on.")]
MaybePatience = Annotated[int | None, Option(help=f"{PATIENCE_HELP} (default off)")]
Patience = Annotated[int, Option(help=PATIENCE_HELP)]
Out = Annotated[Path | None, Option(help="Folder to write (default runs/TIME_NAME).")]
Overwrite = Annotated[
    bool, Option("--overwrite", help="Replace what an older run left, once this one succeeded.")
]
NoJit = Annotated[bool, Option("--no-jit", help="On a GPU, run without captured CUDA graphs.")]
Quiet = Annotated[bool, Option("--quiet", "-q", help="Print the written folder, nothing else.")]
AsJson = Annotated[bool, Option("--json", help="Print JSON.")]
Debug = Annotated[bool, Option("--debug", help="Show the traceback of an error.")]


@app.command()
def train(
    dataset: Dataset = "auto",
    data_dir: DataDir = None,
    model: Model = "medium",
    epochs: Epochs = None,
    batch_size: BatchSize = 128,
    lr: Rate = None,
    optimizer: Optimizer = "adam",
    seed: Seed = 0,
    device: Device = "auto",
    val_fraction: ValFraction = 0.1,
    patience: MaybePatience = None,
    out: Out = None,
    overwrite: Overwrite = False,
    no_jit: NoJit = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> Work:
    """Train a net, test it, and write a folder with its figures, pictures and weights."""
    from . import train as command
    from .settings import TrainSettings

    settings = TrainSettings(
        dataset, data_dir, model, epochs, batch_size, lr, optimizer, seed, device, val_fraction,
        patience, not no_jit,
    )  # fmt: skip
    return partial(command.train, settings, out, overwrite, quiet)


@app.command()
def sweep(
    batch_sizes: BatchSizes = "32,64,128,256",
    dataset: Dataset = "auto",
    data_dir: DataDir = None,
    model: Model = "small",
    epochs: MostEpochs = 50,
    lr: Rate = None,
    optimizer: Optimizer = "adam",
    seed: Seed = 0,
    device: Device = "auto",
    val_fraction: ValFraction = 0.1,
    patience: Patience = 5,
    out: Out = None,
    overwrite: Overwrite = False,
    no_jit: NoJit = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> Work:
    """Train at several batch sizes, and write a report that compares them."""
    from . import sweep as command
    from .settings import TrainSettings

    sizes = command.parse_batch_sizes(batch_sizes)
    settings = TrainSettings(
        dataset, data_dir, model, epochs, sizes[0], lr, optimizer, seed, device, val_fraction,
        patience, not no_jit,
    )  # fmt: skip
    return partial(command.sweep, settings, sizes, out, overwrite, quiet)


@app.command()
def predict(
    run: Annotated[Path, Argument(help="Folder that `train` wrote.")],
    images: Annotated[list[Path], Argument(help="Pictures of any size and mode.")],
    as_json: AsJson = False,
    debug: Debug = False,
) -> Work:
    """Read pictures with a trained net: digit, probability and runner-up of each."""
    from . import predict as command

    return partial(command.predict, run, images, as_json)


@data_app.command()
def png(
    out: Annotated[Path, Argument(help="New or empty folder.")],
    dataset: Annotated[str, Option(help="auto, mnist or digits.")] = "auto",
    data_dir: DataDir = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace train and test.")] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> Work:
    """Write a dataset as PNG files, in a folder per class: train/0…9 and test/0…9."""
    from .export import export_png

    return partial(export_png, out, dataset, data_dir, overwrite, quiet)


@app.command()
def info(debug: Debug = False) -> Work:
    """Show versions, devices, the data cache, and BLAS with its threads."""
    from . import info as command

    return command.info
