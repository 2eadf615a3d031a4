"""Datasets written as folders of PNG files, as `image_folder` reads them."""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from tinygrad_cupy.folders import Claim, FolderBusyError, entries
from tinygrad_cupy.printing import printable

from .dataset import ArrayDataset, DataError
from .parallel import in_parallel
from .picture_list import PARTS

WRITTEN = re.compile(r"[0-9]{5,}\.png")  # the names that write_png_folders gives


def write_png_folders(
    train: ArrayDataset, test: ArrayDataset, out: str | Path, overwrite: bool = False
) -> None:
    """Write out/train/CLASS/00000.png … and out/test/CLASS/…, gray or RGB, numbered by position.

    Everything is written to a hidden folder inside and moved to its place at the end: on an error
    or Ctrl-C what was there before stays. With `overwrite`, what an earlier call wrote is replaced;
    a folder that holds anything else is not.

    Raises DataError when out is in the way or in use, when images have neither one channel nor
    three, or when a class name is no name for a folder.

    >>> import pathlib, tempfile
    >>> images = np.zeros((4, 1, 8, 8), np.uint8)
    >>> data = datasets.ArrayDataset(images, np.array([0, 1, 0, 1]), classes=("cat", "dog"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     datasets.write_png_folders(data[:2], data[2:], folder)
    ...     sorted(path.name for path in pathlib.Path(folder, "train").iterdir())
    ['cat', 'dog']
    """
    target = Path(out)
    for dataset in (train, test):
        _check_writable(dataset)
    try:
        _check_target(target, overwrite)
        with Claim(target, lambda entry: entry.name in PARTS) as claim:
            _check_target(target, overwrite)  # another process may have filled it since
            for part, dataset in zip(PARTS, (train, test), strict=True):
                _write_part(claim.new / part, dataset)
            claim.commit()
    except FolderBusyError as error:
        raise DataError(f"[{target}] cannot be written: {error.strerror}") from error
    except OSError as error:
        raise DataError(f"[{target}] cannot be written: {error}") from error


def _check_writable(dataset: ArrayDataset) -> None:
    if dataset.images.shape[1] not in (1, 3):
        raise DataError(
            f"[write_png_folders] expected gray or RGB images (C = 1 or 3), "
            f"got shape {dataset.images.shape} in {dataset.name}"
        )
    for name in dataset.classes:
        if name in ("", ".", "..") or set(name) & set('/\\:*?"<>|\0') or name.startswith("."):
            raise DataError(
                f"[write_png_folders] expected class names that can be folders, got {name!r}"
            )


def _check_target(target: Path, overwrite: bool) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise DataError(f"[{target}] expected a folder to write into, got a file")
    found = entries(target)
    if found and not overwrite:
        raise DataError(f"[{target}] expected an empty folder (overwrite replaces it), got entries")
    if foreign := sorted(set(found) - set(PARTS)) or list(islice(_not_written(target), 3)):
        raise DataError(
            f"[{target}] expected nothing but train and test, as written before, in a folder to "
            f"overwrite, got {', '.join(map(printable, foreign[:3]))}"
        )


def _not_written(target: Path) -> Iterator[str]:
    """What is in train and test and was not written by `_write_part`: somebody's own pictures."""
    for part in PARTS:
        for path in sorted((target / part).glob("*")):
            names = entries(path) if path.is_dir() and not path.is_symlink() else [""]
            for name in names:
                if not WRITTEN.fullmatch(name):
                    yield (path / name).relative_to(target).as_posix()


def _write_part(folder: Path, dataset: ArrayDataset) -> None:
    for name in dataset.classes:
        (folder / name).mkdir(parents=True)
    digits = max(5, len(str(len(dataset) - 1)))

    def write(index: int) -> None:
        name = dataset.classes[dataset.labels[index]]
        image = dataset.images[index]
        pixels = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
        Image.fromarray(pixels).save(folder / name / f"{index:0{digits}}.png")

    for _ in in_parallel(write, range(len(dataset))):
        pass
