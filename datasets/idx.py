"""The IDX format of MNIST: a header that says dtype and shape, then the raw values.

Header: two zero bytes, a dtype code (8 is uint8), the number of axes, and the length of each axis
as a big-endian uint32. See http://yann.lecun.com/exdb/mnist/ (LeCun, Cortes, Burges).
"""

import gzip
import hashlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .dataset import DataError
from .files import read_file

MAX_BYTES = 1 << 28  # five times MNIST
UINT8_CODE = 8
GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: Path, axes: int, sha256: str | None = None) -> npt.NDArray[np.uint8]:
    """Read the uint8 array with `axes` axes in an IDX file, gzipped or plain (told by its bytes).

    `sha256`, where given, is the hash of the decompressed file. Raises DataError when the file
    cannot be read, is no intact gzip, says it holds something else, is too short or too long
    (decompressed, `MAX_BYTES` at most), or has another hash.
    """
    try:
        stored = read_file(path, MAX_BYTES)
    except OSError as error:
        raise DataError(f"[{path}] cannot be read: {error.strerror}") from error
    content = decompress(stored, path)
    array = parse_idx(content, axes, path)
    if sha256 is not None:
        check_sha256(content, sha256, path)
    return array


def decompress(stored: bytes, path: Path) -> bytes:
    """The bytes behind the gzip layer, or `stored` itself where there is none."""
    if not stored.startswith(GZIP_MAGIC):
        return stored
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(stored)) as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"[{path}] expected an intact gzip file, got a corrupt one ({error})"
        ) from error
    if len(content) > MAX_BYTES:
        raise DataError(f"[{path}] expected at most {MAX_BYTES:,} bytes decompressed, got more")
    return content


def parse_idx(content: bytes, axes: int, path: Path) -> npt.NDArray[np.uint8]:
    """The array in the decompressed bytes of an IDX file; `path` is for error texts."""
    header = 4 + 4 * axes
    if len(content) < header:
        raise DataError(
            f"[{path}] expected an IDX header of {header} bytes, got a file of {len(content)} bytes"
        )
    expected = bytes((0, 0, UINT8_CODE, axes))
    if content[:4] != expected:
        raise DataError(
            f"[{path}] expected the IDX magic number 0x{expected.hex()} "
            f"(uint8, {axes} {'axis' if axes == 1 else 'axes'}), got 0x{content[:4].hex()}"
        )
    shape = struct.unpack(f">{axes}I", content[4:header])
    # Python's own product: four lengths of 32 bits can pass 64 bits.
    size = 1
    for length in shape:
        size *= length
    if len(content) - header != size:
        raise DataError(
            f"[{path}] expected {size} bytes of data for shape {shape}, got {len(content) - header}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def check_sha256(content: bytes, expected: str, path: Path) -> None:
    """Raise DataError unless the hash of the decompressed bytes is the expected one."""
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise DataError(
            f"[{path}] expected sha256 {expected} of the decompressed file, got {found}"
        )
