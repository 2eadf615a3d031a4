"""Datasets as folders of pictures: train/CLASS/*.png and test/CLASS/*.png, read and written.

Reading decodes in parallel and keeps the result in the cache under a hash of all the files' bytes:
whoever changes one picture gets the new one, whoever copies the folder need not decode again.
"""

import contextlib
import errno
import hashlib
import io
import math
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from tinygrad_cupy.backend.cache import private_folder, write_atomically
from tinygrad_cupy.backend.cpu_threads import thread_count
from tinygrad_cupy.folders import Claim, FolderBusyError, entries
from tinygrad_cupy.printing import printable

from .dataset import ArrayDataset, DataError
from .files import kind_of, open_file, read_file
from .picture import MAX_BYTES, SUFFIXES, PictureError, no_pillow_warnings, read_gray, scaled

PARTS = ("train", "test")
CACHE_VERSION = 2  # counts up when the same files would be decoded to other pixels
CACHE_ROOM = 4096  # bytes of a cached file beside its pixels
DIGEST = hashlib.sha256().digest_size
SHOWN = 5  # names in a sentence
WRITTEN = re.compile(r"[0-9]{5,}\.png")  # the names that write_png_folders gives
CHUNK = 64  # pictures per task: one task each would cost more than decoding a small picture

Images = npt.NDArray[np.uint8]
Item = TypeVar("Item")
Result = TypeVar("Result")


def image_folder(path: str | Path, image_size: int = 28) -> tuple[ArrayDataset, ArrayDataset]:
    """Read class folders as (train, test), uint8 (N, 1, image_size, image_size).

    path: a folder with train/CLASS/ and test/CLASS/, the same classes in both; any names, sorted.
        Files with the endings of `picture.FORMATS` count; other files, hidden ones, and what is no
        regular file do not.
    image_size: side of the square that every picture is scaled to (bicubic; proportions change
        where it was no square). Pictures become grayscale, upright and on white; 16 and 32 bits are
        scaled by the range of their type, floats from 0..1.

    Raises DataError when a folder is missing or empty, when train and test have other classes, or
    when a picture cannot be decoded or is larger than `picture` allows.
    """
    train, test, _ = read_folder(Path(path), image_size)
    return train, test


def read_folder(root: Path, image_size: int = 28) -> tuple[ArrayDataset, ArrayDataset, list[str]]:
    """(train, test) of `image_folder`, and sentences on what somebody may not have expected."""
    if image_size < 1:
        raise DataError(f"[image_folder] expected image_size of at least 1, got {image_size}")
    classes = _classes(root)
    skipped: list[str] = []
    files = {part: _picture_files(root, part, classes, skipped) for part in PARTS}
    labels = {
        part: np.repeat(np.arange(len(classes)), [len(group) for group in files[part]])
        for part in PARTS
    }
    paths = [path for part in PARTS for group in files[part] for path in group]
    kept = _kept(f"{_content_key(root, paths, image_size)}.npz")
    images = _read_cache(kept, (len(paths), 1, image_size, image_size)) if kept else None
    if images is None:
        with no_pillow_warnings():
            images = np.stack(_in_parallel(lambda path: decode(path, image_size), paths))[:, None]
        if kept:
            _write_cache(kept, images)
    black = [paths[i] for i in np.flatnonzero(~images.any(axis=(1, 2, 3)))]
    dim = [_inside(root, path) for path in black if _holds_light(path)]
    notes = [f"Skipped what is no picture: {_listed(skipped)}."] if skipped else []
    if dim:
        notes.append(f"So dark for their type that they are read as black: {_listed(dim)}.")
    cut, name = len(labels["train"]), root.resolve().name
    train = ArrayDataset(images[:cut], labels["train"], classes, name)
    return train, ArrayDataset(images[cut:], labels["test"], classes, name), notes


def decode(path: Path, image_size: int) -> Images:
    """One picture as grayscale (image_size, image_size); raises DataError naming the file."""
    try:
        return scaled(read_file(path, MAX_BYTES), image_size)
    except OSError as error:
        raise DataError(f"[{path}] cannot be read: {error.strerror}") from error
    except PictureError as error:
        raise DataError(f"[{path}] cannot be read as a picture: {error}") from error


def _holds_light(path: Path) -> bool:
    """Whether a picture that is read as black holds anything but zeros."""
    with no_pillow_warnings(), contextlib.suppress(OSError, PictureError):
        return bool(np.asarray(read_gray(read_file(path, MAX_BYTES))[0]).any())
    return False  # it was changed since


def write_png_folders(
    train: ArrayDataset, test: ArrayDataset, out: str | Path, overwrite: bool = False
) -> None:
    """Write out/train/CLASS/00000.png … and out/test/CLASS/…, grayscale, numbered by position.

    Everything is written to a hidden folder inside and moved to its place at the end: on an error
    or Ctrl-C what was there before stays. With `overwrite`, what an earlier call wrote is replaced;
    a folder that holds anything else is not.

    Raises DataError when out is in the way or in use, when images are not grayscale (C = 1), or
    when a class name is no name for a folder.
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


def _classes(root: Path) -> tuple[str, ...]:
    """The class names, checked to be the same in train and test."""
    if not _is_folder(root):
        raise DataError(f"[{root}] expected a folder with train and test in it, there is none")
    for part in PARTS:
        if not _is_folder(root / part):
            raise DataError(
                f"[{root}] expected the folders train and test in it, {part} is not there"
            )
    names = {}
    for part in PARTS:
        folder = root / part
        names[part] = {entry.name for entry in _visible(folder) if _is_folder(entry)}
        if not names[part]:
            raise DataError(f"[{folder}] expected a folder for each class, got none")
    for part, other in (PARTS, PARTS[::-1]):
        if missing := sorted(names[part] - names[other]):
            raise DataError(
                f"[{root}] expected the same classes in train and test, "
                f"missing from {other}: {', '.join(missing)}"
            )
    return tuple(sorted(names["train"]))


def _picture_files(
    root: Path, part: str, classes: Iterable[str], skipped: list[str]
) -> list[list[Path]]:
    """The sorted pictures of each class; what else is there is added to `skipped`, in words."""
    groups = []
    for name in classes:
        folder, pictures = root / part / name, []
        for path in sorted(_visible(folder)):
            kind = _kind(path)
            if kind == "file" and path.suffix.lower() in SUFFIXES:
                pictures.append(path)
            else:
                skipped.append(_inside(root, path) + ("" if kind == "file" else f" ({kind})"))
        if not pictures:
            raise DataError(f"[{folder}] expected at least one picture, got none")
        groups.append(pictures)
    return groups


def _kind(path: Path) -> str:
    try:
        return kind_of(path.stat().st_mode)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return "link to nothing"
        raise DataError(f"[{path}] cannot be read: {error.strerror}") from error


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:  # one of the folders that it is in cannot be entered
        raise DataError(f"[{path}] cannot be read: {error.strerror}") from error


def _inside(root: Path, path: Path) -> str:
    return printable(path.relative_to(root).as_posix())


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _visible(folder: Path) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"[{folder}] cannot be read: {error.strerror}") from error


def _content_key(root: Path, paths: list[Path], image_size: int) -> str:
    """A hash of every relative path and every byte, and of how they are decoded."""

    def digest(path: Path) -> bytes:
        try:
            with open_file(path, MAX_BYTES) as file:
                return hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            raise DataError(f"[{path}] cannot be read: {error.strerror}") from error

    whole = hashlib.sha256(f"{CACHE_VERSION} {image_size}\n".encode())
    for path, content in zip(paths, _in_parallel(digest, paths), strict=True):
        name = path.relative_to(root).as_posix()
        whole.update(f"{name}\n".encode(errors="surrogateescape") + content)
    return whole.hexdigest()


def _kept(name: str) -> Path | None:
    """The file of this name in the cache; None where the cache cannot be used or trusted."""
    try:
        return private_folder("folders") / name
    except OSError:
        return None


def _read_cache(path: Path, shape: tuple[int, ...]) -> Images | None:
    """The images kept under this name, or None when there are none or they are damaged.

    Nothing is believed before the file's last bytes were found to be the hash of the others.
    """
    try:
        content = read_file(path, math.prod(shape) + CACHE_ROOM)
        if content[-DIGEST:] != _cache_digest(path, content[:-DIGEST]):
            return None
        with np.load(io.BytesIO(content[:-DIGEST]), allow_pickle=False) as stored:
            images: Images = stored["images"]
        return images if images.dtype == np.uint8 and images.shape == shape else None
    except Exception:  # a file that somebody else wrote, hash and all, raises whatever it likes
        return None


def _write_cache(path: Path, images: Images) -> None:
    def write(file: BinaryIO) -> None:
        packed = io.BytesIO()
        np.savez(packed, images=images)
        file.write(packed.getbuffer())
        file.write(_cache_digest(path, packed.getbuffer()))

    # A full or read-only cache costs time at the next start, nothing else.
    with contextlib.suppress(OSError):
        write_atomically(path, write)


def _cache_digest(path: Path, content: bytes | memoryview) -> bytes:
    """Of the name too: one data set's images are not another's."""
    return hashlib.sha256(path.stem.encode() + content).digest()


def _check_writable(dataset: ArrayDataset) -> None:
    if dataset.images.shape[1] != 1:
        raise DataError(
            f"[write_png_folders] expected grayscale images (C = 1), "
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
        Image.fromarray(dataset.images[index, 0]).save(folder / name / f"{index:0{digits}}.png")

    _in_parallel(write, range(len(dataset)))


def _in_parallel(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """[function(item) for item in items] on the CPU threads; stops at the first error.

    Not by `parallel_map`: there the main thread does a share, in which Ctrl-C could take the room
    that a picture waits for (`picture._Room`) along.
    """
    todo = list(items)
    chunks = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]
    pool = ThreadPoolExecutor(thread_count())
    try:
        parts = pool.map(lambda chunk: [function(item) for item in chunk], chunks)
        return [result for part in parts for result in part]
    finally:
        pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C the rest is not done
