"""The command `tinygrad-cupy`: options and help; the work is done in tinygrad_cupy.command.

Each subcommand imports what it needs when it runs, so that help comes at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from tinygrad_cupy.command.errors import CommandError, Interrupted

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
) -> None:
    """Train a net, test it, and write a folder with its figures, pictures and weights."""
    from tinygrad_cupy.command import train as command
    from tinygrad_cupy.command.settings import TrainSettings

    settings = TrainSettings(
        dataset, data_dir, model, epochs, batch_size, lr, optimizer, seed, device, val_fraction,
        patience, not no_jit,
    )  # fmt: skip
    command.train(settings, out, overwrite, quiet)


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
) -> None:
    """Train at several batch sizes, and write a report that compares them."""
    from tinygrad_cupy.command import sweep as command
    from tinygrad_cupy.command.settings import TrainSettings

    sizes = command.parse_batch_sizes(batch_sizes)
    settings = TrainSettings(
        dataset, data_dir, model, epochs, sizes[0], lr, optimizer, seed, device, val_fraction,
        patience, not no_jit,
    )  # fmt: skip
    command.sweep(settings, sizes, out, overwrite, quiet)


@app.command()
def predict(
    run: Annotated[Path, Argument(help="Folder that `train` wrote.")],
    images: Annotated[list[Path], Argument(help="Pictures of any size and mode.")],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Read pictures with a trained net: digit, probability and runner-up of each."""
    from tinygrad_cupy.command import predict as command

    command.predict(run, images, as_json)


@data_app.command()
def png(
    out: Annotated[Path, Argument(help="New or empty folder.")],
    dataset: Annotated[str, Option(help="auto, mnist or digits.")] = "auto",
    data_dir: DataDir = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace train and test.")] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a dataset as PNG files, in a folder per class: train/0…9 and test/0…9."""
    from tinygrad_cupy.command.export import export_png

    export_png(out, dataset, data_dir, overwrite, quiet)


@app.command()
def info(debug: Debug = False) -> None:
    """Show versions, devices, the data cache, and BLAS with its threads."""
    from tinygrad_cupy.command import info as command

    command.info()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; an error is one line on stderr.

    0: success; 1: error; 2: wrong usage; 130: Ctrl-C. With ``--debug`` an error is raised.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(words, prog_name="tinygrad-cupy", standalone_mode=False)
        if code == Interrupted.exit_code:  # how newer versions of typer report Ctrl-C
            raise KeyboardInterrupt
        return int(code or 0)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted: nothing was written", Interrupted.exit_code)
    except Interrupted as error:
        return _fail(f"interrupted: {error}", error.exit_code)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if "--debug" in words:
            raise
        return _fail(*_described(error))


def _described(error: Exception) -> tuple[str, int]:
    """The line that a user reads, and the exit code."""
    if isinstance(error, CommandError):
        return f"error: {error}", error.exit_code
    usage: Any = error  # typer's own errors; their base class has moved between its versions
    if hasattr(usage, "format_message"):
        text = usage.format_message()  # empty when help was shown for want of a subcommand
        return text and f"error: {text}", usage.exit_code
    # The engine's and the datasets' own texts start with the name of the thing in brackets.
    if isinstance(error, OSError) or str(error).startswith("["):
        return f"error: {error}", 1
    return f"error: unexpected {type(error).__name__}: {error} (--debug shows where)", 1


def _fail(text: str, code: int) -> int:
    if text:
        print(text, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
