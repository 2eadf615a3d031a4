"""Arrays that lie in a file (`np.memmap`): rows are read as they are asked for, never the whole.

They are sent to other processes as the name of the file, not as its contents.
"""

from __future__ import annotations

import mmap
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinygrad_cupy.backend.arrays import strides_of


def mapping_of(array: object) -> np.memmap[Any, Any] | None:
    """The memory map that an array, or the one it is a view of, lies in."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap):
            return array
        array = array.base
    return None


def is_mapped(array: object) -> bool:
    """Whether the values of an array, or of `Rows`, lie in a file."""
    return isinstance(array, Rows) or mapping_of(array) is not None


class Rows:
    """Rows of an array in a file, by their numbers: what `array[rows]` would read at once."""

    def __init__(self, array: Any, rows: npt.NDArray[np.int64]) -> None:
        self.array, self.rows = array, rows

    @property
    def shape(self) -> tuple[int, ...]:
        """As that of an array."""
        return (len(self.rows), *self.array.shape[1:])

    @property
    def dtype(self) -> Any:
        """As that of an array."""
        return self.array.dtype

    @property
    def ndim(self) -> int:
        """As that of an array."""
        return len(self.shape)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        """A row for a number, `Rows` for a slice, an array for several numbers."""
        rows = self.rows[index]
        return Rows(self.array, rows) if isinstance(index, slice) else self.array[rows]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of them, read."""
        return np.asarray(self.array[self.rows], dtype)

    def __getstate__(self) -> dict[str, Any]:
        return {"array": to_send(self.array), "rows": self.rows}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.array, self.rows = received(state["array"]), state["rows"]


class InFile(NamedTuple):
    """Where an array lies: what another process needs to map it, too."""

    path: str
    start: int  # of the mapping, in bytes
    size: int
    offset: int  # of the array within
    shape: tuple[int, ...]
    steps: tuple[int, ...]  # from element to element of each axis, in bytes
    dtype: Any


def to_send(array: Any) -> Any:
    """What to pickle for an array: `InFile` where its values are those of a file, else itself."""
    root = mapping_of(array)
    if root is None or root.filename is None or root.mode == "c":  # copied on write: not the file's
        return array
    offset = array.__array_interface__["data"][0] - root.__array_interface__["data"][0]
    place = (str(root.filename), root.offset, root.nbytes, offset)
    return InFile(*place, array.shape, strides_of(array), array.dtype)


def received(sent: Any) -> Any:
    """The array of `to_send`, read only where it lies in a file."""
    if not isinstance(sent, InFile):
        return sent
    whole = np.memmap(sent.path, np.uint8, "r", sent.start, sent.size)
    return np.ndarray(sent.shape, sent.dtype, whole, sent.offset, sent.steps)
