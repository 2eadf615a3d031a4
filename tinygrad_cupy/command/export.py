"""`tinygrad-cupy data png`: a dataset as folders of PNG files, one folder per class."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console

from .. import datasets
from ..printing import printable
from . import terminal
from .errors import CommandError, check_choice
from .settings import DATASETS


def export_png(
    out: Path, dataset: str, data_dir: Path | None, overwrite: bool, quiet: bool
) -> None:
    """Write ``out/train/CLASS/00000.png`` and ``out/test/…``, numbered in the dataset's order."""
    check_choice("--dataset", dataset, DATASETS)
    console = Console(quiet=quiet, highlight=False)
    train, test, reason = datasets.load(dataset, data_dir)
    console.print(f"dataset: {printable(reason)}", markup=False, soft_wrap=True)
    # The default spinner is drawn with letters that few encodings have.
    with console.status(f"writing {len(train) + len(test):,} images", spinner="line"):
        datasets.write_png_folders(train, test, out, overwrite)
    name = printable(out)
    if name in DATASETS:  # `train` would take the data set of that name
        name = f"./{name}"
    if quiet:
        terminal.print_path(out)
    console.print(
        f"wrote {len(train):,} training and {len(test):,} test images; to train on them: "
        f"tinygrad-cupy train --dataset {shlex.quote(name)}",
        markup=False,
        soft_wrap=True,
    )
    if problem := terminal.output_problem():
        raise CommandError(
            f"cannot write to standard output: {problem}; the images are in {str(out)!r}"
        )
