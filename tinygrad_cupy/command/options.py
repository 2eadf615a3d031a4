"""The options of the command `tinygrad-cupy`, and their help.

Each subcommand checks its options and returns what is to be done. It imports what it needs when it
is chosen, so that help comes at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from typer import Argument, Option

Work = Callable[[], None]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        from .. import __version__

        print(f"tinygrad-cupy {__version__}")
        raise typer.Exit


@app.callback()
def everything(
    version: Annotated[
        bool,
        Option("--version", help="Show the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Train small convolutional nets on pictures, and look at what they learned."""


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
    "small, medium, deep, lenet5, resnet18, resnet34, resnet50, vgg11_bn, mobilenet_v2, vit_tiny, "
    "or FILE.py:function, which returns a Module; the file's code is run."
)
CONFIG_HELP = (
    "TOML file with options, such as the settings.toml of a run; the command line goes before it."
)
SCHEDULE_HELP = (
    "Of the learning rate: constant, cosine or linear (down to 0), step (a tenth after 1/2 and "
    "3/4), onecycle, or plateau (a tenth after 3 epochs without a better validation loss)."
)
WEIGHT_DECAY_HELP = "Weight decay (default 0, adamw 0.01)."
CLIP_NORM_HELP = "Scale gradients down to this joint norm (default off)."
EMA_HELP = (
    "Validate, test and keep a moving average of the weights, which keeps this share of itself at "
    "each step, e.g. 0.999 (default off)."
)
AUGMENT_HELP = (
    "Change training images at random; of flip, crop, affine, cutout, color and mixup those "
    "wanted, divided by commas."
)
PRECISION_HELP = (
    "bf16 or fp16: products in 16 bits, weights in 32; fp32 or tf32: of products on a GPU (default "
    "tf32)."
)
PATIENCE_HELP = (
    "Stop after so many epochs without a better validation loss, and keep the best weights."
)

DATA, MODEL, TRAINING, OUTPUT = "Data", "Model", "Training", "Run"  # groups of the help
DATA_DIR_HELP = "Folder with the data set's files, such as the four of MNIST."
DataDir = Annotated[Path | None, Option(help=DATA_DIR_HELP)]
QUIET_HELP = "Print the written folder, nothing else."
OVERWRITE_HELP = "Replace what an older run left, once this one succeeded."
Quiet = Annotated[bool, Option("--quiet", "-q", help=QUIET_HELP)]
RESUME_HELP = (
    "Folder of a run that was cut short: go on from its last checkpoint, with its settings; "
    "--epochs may be raised."
)
RESUME_SWEEP_HELP = "Folder of a sweep that was cut short: go on where it was, with its settings."
MINUTES_HELP = (
    "Within an epoch, write a checkpoint every so many minutes (and after epochs), but no more "
    "than costs 1 % of the time."
)
AsJson = Annotated[bool, Option("--json", help="Print JSON.")]
DEBUG_HELP = "Show the traceback of an error."
Debug = Annotated[bool, Option("--debug", help=DEBUG_HELP)]
OwnModel = Annotated[
    str | None,
    Option(
        "--model", help="FILE.py:function of a run on a model of your own; the file's code is run."
    ),
]

Options = dict[str, tuple[Any, Any]]  # by their names: type and default, in the order of the help


def _read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make what the file says the defaults: the command line goes before them."""
    if path is not None:
        from . import settings_file

        command = str(context.info_name)
        kinds = {name: _kind_of(given) for name, (given, _) in CONFIGURABLE[command].items()}
        del kinds["config"]
        context.default_map = settings_file.read(path, kinds, command)
    return path


def _kind_of(annotation: Any) -> type:
    """Of ``Annotated[int | None, …]`` int."""
    inner = get_args(annotation)[0]
    kinds = [one for one in get_args(inner) if one is not type(None)] or [inner]
    kind: type = kinds[0]
    return kind


def _option(kind: Any, group: str, text: str, *names: str) -> Any:
    return Annotated[kind, Option(*names, help=text, rich_help_panel=group)]


Config = Annotated[
    Path | None,
    Option(help=CONFIG_HELP, is_eager=True, callback=_read_config, rich_help_panel=OUTPUT),
]

TRAIN: Options = {
    "dataset": (_option(str, DATA, DATASET_HELP), "auto"),
    "data_dir": (_option(Path | None, DATA, DATA_DIR_HELP), None),
    "image_size": (_option(str | None, DATA, IMAGE_SIZE_HELP), None),
    "channels": (_option(int | None, DATA, CHANNELS_HELP), None),
    "resize": (_option(str | None, DATA, RESIZE_HELP), None),
    "class_depth": (_option(int | None, DATA, CLASS_DEPTH_HELP), None),
    "test_fraction": (_option(float | None, DATA, TEST_FRACTION_HELP), None),
    "val_fraction": (
        _option(float, DATA, "Share of the training images to validate on."),
        0.1,
    ),
    "augment": (_option(str | None, DATA, AUGMENT_HELP), None),
    "model": (_option(str, MODEL, MODEL_HELP), "medium"),
    "epochs": (_option(int | None, TRAINING, EPOCHS_HELP), None),
    "patience": (_option(int | None, TRAINING, f"{PATIENCE_HELP} (default off)"), None),
    "batch_size": (_option(int | None, TRAINING, BATCH_SIZE_HELP), None),
    "optimizer": (_option(str, TRAINING, "adam, adamw or sgd (with momentum 0.9)."), "adam"),
    "lr": (_option(float | None, TRAINING, LR_HELP), None),
    "schedule": (_option(str, TRAINING, SCHEDULE_HELP), "constant"),
    "warmup": (
        _option(float, TRAINING, "Epochs in which the learning rate rises first; may be a part."),
        0.0,
    ),
    "weight_decay": (_option(float | None, TRAINING, WEIGHT_DECAY_HELP), None),
    "clip_norm": (_option(float | None, TRAINING, CLIP_NORM_HELP), None),
    "ema": (_option(float | None, TRAINING, EMA_HELP), None),
    "precision": (_option(str | None, TRAINING, PRECISION_HELP), None),
    "seed": (
        _option(int, TRAINING, "Fixes initial weights, shuffles, dropout, augmentation and split."),
        0,
    ),
    "device": (_option(str, OUTPUT, "auto, cpu, cuda or cuda:N."), "auto"),
    "resume": (_option(Path | None, OUTPUT, RESUME_HELP), None),
    "checkpoint_minutes": (_option(float, OUTPUT, MINUTES_HELP), 5.0),
    "no_jit": (
        _option(bool, OUTPUT, "On a GPU, run without captured CUDA graphs.", "--no-jit"),
        False,
    ),
    "out": (_option(Path | None, OUTPUT, "Folder to write (default runs/TIME_NAME)."), None),
    "overwrite": (_option(bool, OUTPUT, OVERWRITE_HELP, "--overwrite"), False),
    "tensorboard": (
        _option(bool, OUTPUT, "Write a log for TensorBoard into the folder.", "--tensorboard"),
        False,
    ),
    "config": (Config, None),
    "quiet": (_option(bool, OUTPUT, QUIET_HELP, "--quiet", "-q"), False),
    "debug": (_option(bool, OUTPUT, DEBUG_HELP, "--debug"), False),
}
NOT_IN_SWEEP = ("batch_size",)
SWEEP: Options = {
    "batch_sizes": (
        _option(str, TRAINING, "Images per training step, divided by commas."),
        "32,64,128,256",
    ),
    "seeds": (
        _option(
            int,
            TRAINING,
            "Train each batch size from so many seeds, --seed and those after it: the report has "
            "means and error bars.",
        ),
        1,
    ),
    **{name: option for name, option in TRAIN.items() if name not in NOT_IN_SWEEP},
    "model": (TRAIN["model"][0], "small"),
    "epochs": (_option(int, TRAINING, "The most passes over the training images."), 50),
    "patience": (_option(int, TRAINING, PATIENCE_HELP), 5),
    "resume": (_option(Path | None, OUTPUT, RESUME_SWEEP_HELP), None),
}
CONFIGURABLE = {"train": TRAIN, "sweep": SWEEP}


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
    """Which settings are said, there or in a file, by their names in `TrainSettings`."""
    said = {
        name
        for name in context.params
        if getattr(context.get_parameter_source(name), "name", "") != "DEFAULT"
    }
    return frozenset(said & set(asked)) | ({"jit"} if "no_jit" in said else set())


@app.command()
@taking(TRAIN)
def train(
    *,
    out: Path | None,
    overwrite: bool,
    resume: Path | None,
    no_jit: bool,
    tensorboard: bool,
    config: Path | None,
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
    check_resume(resume, out, overwrite)
    return partial(command.train, settings, out, overwrite, quiet, resume, given, tensorboard)


@app.command()
@taking(SWEEP)
def sweep(
    *,
    batch_sizes: str,
    seeds: int,
    out: Path | None,
    overwrite: bool,
    resume: Path | None,
    no_jit: bool,
    tensorboard: bool,
    config: Path | None,
    quiet: bool,
    debug: bool,
    context: typer.Context,
    **asked: Any,
) -> Work:
    """Train at several batch sizes, and write a report that compares them."""
    from . import sweep as command
    from .settings import TrainSettings, check_resume

    sizes = command.parse_batch_sizes(batch_sizes)
    settings = TrainSettings(**asked, batch_size=sizes[0], jit=not no_jit)
    each = command.seeds_of(settings, seeds)
    given = given_in(context, {**asked, "batch_sizes": sizes, "seeds": seeds})
    check_resume(resume, out, overwrite)
    return partial(
        command.sweep, settings, sizes, each, out, overwrite, quiet, tensorboard, resume, given
    )


@app.command()
def predict(
    run: Annotated[Path, Argument(help="Folder that `train` wrote.")],
    images: Annotated[
        list[Path], Argument(help="Pictures of any size and mode, and folders of them.")
    ],
    show: Annotated[
        Path | None, Option(help="New folder for what the net is shown, a PNG file of each.")
    ] = None,
    model: OwnModel = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> Work:
    """Read pictures with a trained net: digit or class, probability and runner-up of each."""
    from . import predict as command

    return partial(command.predict, run, images, as_json, model, show)


@app.command()
def evaluate(
    run: Annotated[Path, Argument(help="Folder that `train` wrote.")],
    dataset: Annotated[
        str | None,
        Option(
            help="A data set by name or a folder, with the classes of the run (default: the run's)."
        ),
    ] = None,
    data_dir: DataDir = None,
    part: Annotated[str, Option(help="test, or train with the images that validated.")] = "test",
    device: Annotated[str, Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    model: OwnModel = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> Work:
    """Test a trained net, on the data of its run or on other: accuracy, loss, and each class."""
    from . import evaluate as command

    return partial(command.evaluate, run, dataset, data_dir, part, device, model, as_json)


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
