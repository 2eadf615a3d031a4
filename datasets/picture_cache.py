"""Decoded pictures, kept under a hash of the files that they came from.

Whoever changes one picture gets the new one, whoever copies the folder need not decode again.
"""

import contextlib
import hashlib
import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from tinygrad_cupy.backend.cache import private_folder, write_atomically

from .dataset import DataError
from .files import open_file, read_file
from .parallel import in_parallel
from .picture import MAX_BYTES
from .picture_form import PictureForm

VERSION = 3  # counts up when the same files would be decoded to other pixels
ROOM = 4096  # bytes of a cached file beside its pixels
MOST = 1 << 31  # bytes of pixels; more are decoded anew each time
DIGEST = hashlib.sha256().digest_size

Images = npt.NDArray[np.uint8]


def content_key(root: Path, paths: list[Path], form: PictureForm) -> str:
    """A hash of every relative path and every byte, and of how they are to be decoded."""

    whole = hashlib.sha256(f"{VERSION} {form.size} {form.channels} {form.resize}\n".encode())
    for path, content in zip(paths, in_parallel(_digest, paths, apart=True), strict=True):
        name = path.relative_to(root).as_posix()
        whole.update(f"{name}\n".encode(errors="surrogateescape") + content)
    return whole.hexdigest()


def _digest(path: Path) -> bytes:
    try:
        with open_file(path, MAX_BYTES) as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise DataError(f"[{path}] cannot be read: {error.strerror}") from error


def place_of(key: str) -> Path | None:
    """The file of this key; None where the cache cannot be used or trusted."""
    try:
        return private_folder("folders") / f"{key}.npz"
    except OSError:
        return None


def read(path: Path, count: int, form: PictureForm) -> Images | None:
    """The images (count, C, H, W) kept there, or None when there are none or they are damaged.

    Nothing is believed before the file's last bytes were found to be the hash of the others.
    """
    try:
        content = read_file(path, MOST + ROOM)
        if content[-DIGEST:] != digest_of(path, content[:-DIGEST]):
            return None
        with np.load(io.BytesIO(content[:-DIGEST]), allow_pickle=False) as stored:
            images: Images = stored["images"]
        return images if images.dtype == np.uint8 and _fit(images.shape, count, form) else None
    except Exception:  # a file that somebody else wrote, hash and all, raises whatever it likes
        return None


def _fit(shape: tuple[int, ...], count: int, form: PictureForm) -> bool:
    return (
        len(shape) == 4
        and shape[0] == count
        and shape[1] in (1, 3)
        and form.channels in (None, shape[1])
        and form.size in (None, shape[2:])
    )


def write(path: Path, images: Images) -> None:
    """Keep the images there; a cache that is full or cannot be written costs time, no error."""

    def fill(file: BinaryIO) -> None:
        packed = io.BytesIO()
        np.savez(packed, images=images)
        file.write(packed.getbuffer())
        file.write(digest_of(path, packed.getbuffer()))

    if images.nbytes <= MOST:
        with contextlib.suppress(OSError):
            write_atomically(path, fill)


def digest_of(path: Path, content: bytes | memoryview) -> bytes:
    """Of the name too: one data set's images are not another's."""
    return hashlib.sha256(path.stem.encode() + content).digest()
