"""Datasets from folders of pictures; `picture_list` says how the files may lie.

Reading decodes in parallel and keeps the result (`picture_cache`).
"""

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tinygrad_cupy.printing import printable

from . import picture_cache as cache
from .dataset import ArrayDataset, DataError
from .files import read_file
from .parallel import Progress, in_parallel
from .picture import MAX_BYTES, PictureError, no_pillow_warnings, read_gray
from .picture_form import PictureForm, shaped, size_and_colour
from .picture_list import WHOLE, Groups, Skipped, inside, list_pictures, listed

SAMPLE = 64  # pictures whose size is looked at before any is decoded
SPLIT_SEED = 0  # of the test part of a folder that has none

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class FolderOptions:
    """How a folder of pictures is read; see `image_folder`."""

    form: PictureForm = field(default_factory=PictureForm)
    class_depth: int | None = None
    test_fraction: float = 0.2

    def __post_init__(self) -> None:
        """ValueError, whose text begins with the argument's name, for what cannot be."""
        if self.class_depth is not None and self.class_depth < 1:
            raise ValueError(f"class_depth: expected at least 1, got {self.class_depth}")
        if not 0 < self.test_fraction < 1:
            raise ValueError(
                f"test_fraction: expected a number between 0 and 1, got {self.test_fraction:g}"
            )


class FolderData(NamedTuple):
    """What a folder holds: pictures, the form that all of them are in, and what was left out.

    `notes` are sentences: how the pictures were found, and what somebody may not expect.
    """

    train: ArrayDataset
    test: ArrayDataset
    form: PictureForm
    skipped: tuple[Skipped, ...]
    notes: list[str]


def image_folder(
    path: str | Path,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    resize: str = "fit",
    class_depth: int | None = None,
    test_fraction: float = 0.2,
) -> tuple[ArrayDataset, ArrayDataset]:
    """Read a folder of pictures as (train, test), uint8 (N, C, H, W).

    path: a folder with train/CLASS/… and test/CLASS/…, the same classes in both; or with CLASS/…
        alone; or with a labels.csv (columns file,label, and part if need be) in place of class
        folders. Files with the endings of `picture.FORMATS` count; other files, hidden ones, and
        what is no regular file do not. Classes are sorted by name.
    image_size: (H, W), or one number for both; default: the size that all pictures have
    channels: 1 makes colour gray, 3 makes gray RGB; default: 3 where any picture has colour, else 1
    resize: what becomes of pictures of other proportions: "fit" (black around them), "crop" or
        "stretch", see `PictureForm`
    class_depth: how many folders name a class; default: all that a picture lies in ("pets/cat")
    test_fraction: the share of each class to test on, where the folder does not divide them

    Pictures come upright and on white; 16 and 32 bits are scaled by the range of their type, floats
    from 0..1.

    Raises DataError when a folder is missing or empty, when train and test have other classes, when
    pictures differ in size and no image_size is given, and when pictures cannot be decoded or are
    larger than `picture` allows: it names them.

    >>> import pathlib, tempfile
    >>> from PIL import Image
    >>> folder = tempfile.TemporaryDirectory()
    >>> for name in ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"):
    ...     path = pathlib.Path(folder.name, name)
    ...     path.parent.mkdir(exist_ok=True)
    ...     Image.new("RGB", (8, 6), "red").save(path)
    >>> train, test = datasets.image_folder(folder.name, image_size=4, test_fraction=0.5)
    >>> train.images.shape, test.images.shape, train.classes
    ((2, 3, 4, 4), (2, 3, 4, 4), ('cat', 'dog'))
    >>> folder.cleanup()
    """
    try:
        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        options = FolderOptions(PictureForm(size, channels, resize), class_depth, test_fraction)
    except ValueError as error:
        raise DataError(f"[image_folder] {error}") from None
    found = read_folder(Path(path), options)
    return found.train, found.test


def read_folder(
    root: Path, options: FolderOptions | None = None, progress: Progress | None = None
) -> FolderData:
    """What `image_folder` reads, and what is to be told of it."""
    options = options or FolderOptions()
    form = options.form
    pictures = list_pictures(root, options.class_depth)
    paths, labels = _in_order(pictures.parts, pictures.classes)
    place = cache.place_of(cache.content_key(root, paths, form))
    images = cache.read(place, len(paths), form) if place else None
    if images is None:
        with no_pillow_warnings():
            images = _decoded(root, paths, form, progress)
        if place:
            cache.write(place, images)
    notes = [f"{pictures.source} in {printable(root)}, as asked."]
    if pictures.skipped:
        notes.append(f"Skipped {len(pictures.skipped):,}: {listed(pictures.skipped)}.")
    if dim := [printable(inside(root, path)) for path in _too_dark(paths, images)]:
        notes.append(f"So dark for their type that they are read as black: {listed(dim)}.")
    whole = ArrayDataset(images, labels, pictures.classes, root.resolve().name)
    if WHOLE in pictures.parts:
        train, test = whole.split(options.test_fraction, SPLIT_SEED, stratify=True)
        notes.append(f"It has no test part: that is {options.test_fraction:.0%} of each class.")
    else:
        cut = sum(map(len, pictures.parts["train"].values()))
        train = whole[:cut]
        test = whole[cut:]
    filled = form.filled(images.shape[1:])
    return FolderData(train, test, filled, pictures.skipped, notes)


def decode(path: Path, form: PictureForm) -> Images:
    """One picture as (C, H, W), see `picture_form.shaped`; raises DataError naming the file."""
    content = _content(path)
    try:
        return shaped(content, form)
    except PictureError as error:
        raise DataError(f"[{path}] cannot be read as a picture: {error}") from error


def _content(path: Path) -> bytes:
    try:
        return read_file(path, MAX_BYTES)
    except OSError as error:
        raise DataError(f"[{path}] cannot be read: {error.strerror}") from error


def _in_order(
    parts: dict[str, Groups], classes: tuple[str, ...]
) -> tuple[list[Path], npt.NDArray[np.int64]]:
    """All pictures, those of train first, by their classes; and their labels."""
    paths: list[Path] = []
    labels: list[int] = []
    for part in sorted(parts, reverse=True):  # train, then test
        for label, name in enumerate(classes):
            files = parts[part].get(name, [])
            paths += files
            labels += [label] * len(files)
    return paths, np.array(labels, dtype=np.int64)


# --- decoding -----------------------------------------------------------------------------------


class _ColourError(Exception):
    """There is colour where room was made for gray."""


class _SizeError(Exception):
    """There is a picture of another size."""


@dataclass(frozen=True)
class _Reader:
    """Reads one picture; also in another process."""

    form: PictureForm
    size: tuple[int, int]
    channels: int

    def __call__(self, path: Path) -> tuple[Images | None, bool, str]:
        """The picture and whether there is colour in it, or why it cannot be read."""
        try:
            pixels = decode(path, self.form)
        except DataError as error:
            return None, False, str(error)
        if pixels.shape[1:] != self.size:
            raise _SizeError
        if len(pixels) > self.channels:
            raise _ColourError
        colour = len(pixels) == 3 and not (pixels[0] == pixels[1:]).all()
        return pixels, bool(colour), ""


def _decoded(root: Path, paths: list[Path], form: PictureForm, progress: Progress | None) -> Images:
    """(N, C, H, W), with one channel where all is gray and the form does not say how many."""
    try:
        size, colour = _expected(paths, form)
        try:
            reader = _Reader(form, size, form.channels or (3 if colour else 1))
            return _filled(root, paths, reader, progress)
        except _ColourError:
            return _filled(root, paths, replace(reader, channels=3), progress)
    except _SizeError:
        raise DataError(_sizes_told(root, paths)) from None


def _expected(paths: list[Path], form: PictureForm) -> tuple[tuple[int, int], bool]:
    """The size that all pictures should have, and whether there is colour, by a few of them.

    Raises _SizeError where those differ.
    """
    sizes, colour = set(), False
    for looked_at, path in enumerate(_spread(paths), start=1):
        with contextlib.suppress(DataError, PictureError):  # told when all are decoded
            size, coloured = size_and_colour(_content(path))
            sizes.add(size)
            colour |= coloured
        if sizes and looked_at >= SAMPLE:
            break
    if form.size is not None:
        return form.size, colour
    if len(sizes) > 1:
        raise _SizeError
    return sizes.pop() if sizes else (1, 1), colour


def _spread(paths: list[Path]) -> Iterator[Path]:
    """All of them, but at first some from everywhere."""
    every = max(1, len(paths) // SAMPLE)
    for start in range(every):
        yield from paths[start::every]


def _filled(root: Path, paths: list[Path], reader: _Reader, progress: Progress | None) -> Images:
    channels = reader.channels
    images = _room_for((len(paths), channels, *reader.size))
    problems, colour = [], False
    for index, found in enumerate(in_parallel(reader, paths, progress, apart=True)):
        pixels, coloured, problem = found
        if pixels is None:
            problems.append(problem)
        else:
            images[index] = pixels
            colour |= coloured
    if len(problems) == 1:
        raise DataError(problems[0])
    if problems:
        raise DataError(
            f"[{root}] {len(problems):,} of {len(paths):,} pictures cannot be read: "
            f"{listed(problems, '; ')}"
        )
    gray = channels == 3 and not colour and reader.form.channels is None
    return images[:, :1].copy() if gray else images


def _room_for(shape: tuple[int, ...]) -> Images:
    need = int(np.prod(shape, dtype=object))
    try:
        have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        have = need
    try:
        if need > have:
            raise MemoryError
        return np.empty(shape, np.uint8)
    except MemoryError:
        count, channels, height, width = shape
        raise DataError(
            f"[image_folder] {count:,} pictures of {height}×{width} with {channels} channels take "
            f"{need / 1e9:,.1f} GB, more than there is; choose a smaller image_size (--image-size)"
        ) from None


def _sizes_told(root: Path, paths: list[Path]) -> str:
    """That pictures differ in size, how, and what to do."""

    def look(path: Path) -> tuple[int, int] | None:
        with contextlib.suppress(DataError, PictureError):
            return size_and_colour(_content(path))[0]
        return None

    def decoded_size(path: Path) -> tuple[int, int] | None:
        with contextlib.suppress(DataError):
            _, height, width = decode(path, PictureForm()).shape
            return height, width
        return None

    sizes = list(in_parallel(look, paths))
    if len(set(sizes) - {None}) < 2:  # a PNG file that says behind its pixels how it is to be held
        sizes = list(in_parallel(decoded_size, paths))
    counts = Counter(size for size in sizes if size is not None)
    told = [
        f"{height}×{width} ({count:,}, such as {printable(inside(root, path))})"
        for (height, width), count in counts.most_common()
        if (path := paths[sizes.index((height, width))])
    ]
    return (
        f"[{root}] expected pictures of one size, or an image_size (--image-size H×W) to bring "
        f"them to, got {len(counts):,} sizes: {listed(told)}"
    )


def _too_dark(paths: list[Path], images: Images) -> list[Path]:
    """The pictures that are read as black and hold anything but zeros."""
    found = []
    for index in np.flatnonzero(~images.any(axis=(1, 2, 3))):
        with no_pillow_warnings(), contextlib.suppress(DataError, PictureError):
            if np.asarray(read_gray(_content(paths[index]))[0]).any():
                found.append(paths[index])
    return found
