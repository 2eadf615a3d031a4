"""What NumPy's arrays have beside operations: copies, filling, ``flat``, bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import TensorBase
from ..backend import array_module, on_device_of

if TYPE_CHECKING:
    from ..autograd.typing import Tensor


class AsArrayMixin(TensorBase):
    """Attributes and methods of NumPy's arrays that code written for them uses."""

    __slots__ = ()

    def copy(self, order: str = "C") -> Tensor:
        """`clone`, as NumPy calls it: memory of its own. ``order`` changes nothing."""
        x: Any = self
        return x.clone()  # type: ignore[no-any-return]

    def fill(self, value: Any) -> None:
        """Write ``value``, a number or a tensor with one, everywhere: ``x[...] = value``."""
        if np.size(value) != 1:
            raise ValueError(f"[fill] expected one number, got shape {np.shape(value)}")
        x: Any = self
        x[...] = value.reshape(()) if np.ndim(value) else value

    def put(self, indices: Any, values: Any, mode: str = "raise") -> None:
        """Write ``values``, repeated, where ``indices`` count elements in C order: `numpy.put`."""
        np.put(self, indices, values, mode)  # type: ignore[arg-type]

    @property
    def flat(self) -> Flat:
        """The elements in C order, to go through, to read and to write: ``x.flat[i] = y``."""
        return Flat(self)

    @flat.setter
    def flat(self, values: Any) -> None:
        Flat(self)[:] = values

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return int(self.dtype.itemsize)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return int(self.data.nbytes)

    @property
    def flags(self) -> Any:
        """How the array lies in memory, and whether it may be written: NumPy's or CuPy's flags."""
        return self.data.flags

    def tobytes(self) -> bytes:
        """The values in C order, as bytes."""
        x: Any = self.detach()  # type: ignore[attr-defined]
        return x.numpy().tobytes()  # type: ignore[no-any-return]

    def __round__(self, ndigits: int | None = None) -> Any:
        """Python's ``round(x)``: an integer of Python's; with ``ndigits`` a tensor, as `round`."""
        x: Any = self
        return round(x.item()) if ndigits is None else x.round(ndigits)


class Flat:
    """The elements of a tensor in C order, as of one axis: `Tensor.flat`."""

    def __init__(self, x: Any) -> None:
        self._x = x

    def __len__(self) -> int:
        return int(self._x.size)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._x.reshape(-1))

    def __getitem__(self, key: Any) -> Tensor:
        """A copy, as NumPy's."""
        return self._x.reshape(-1)[key].clone()  # type: ignore[no-any-return]

    def __setitem__(self, key: Any, values: Any) -> None:
        """Write values, which begin anew where they end."""
        x = self._x
        with on_device_of(x.data):
            numbers = array_module(x.data).arange(x.size)[_index(key)]
        count, given = numbers.size, np.size(values)
        listed = isinstance(values, list | tuple)
        if count and given not in (1, count):
            if not given:
                raise ValueError(f"[flat] expected values for {count} elements, got none")
            values = np.resize(values, (count,))
        elif given == count and np.ndim(values) > 1:
            values = np.reshape(values, numbers.shape)
        if listed and isinstance(values, np.ndarray):
            values = values.tolist()  # which goes where x is
        flat = x.reshape(-1)
        if flat._version is x._version:
            flat[key] = values
        else:
            x[array_module(x.data).unravel_index(numbers, x.shape)] = values

    def copy(self) -> Tensor:
        """A tensor of one axis."""
        return self._x.reshape(-1).clone()  # type: ignore[no-any-return]


def _index(key: Any) -> Any:
    """A key for arrays."""
    return key.data if isinstance(key, TensorBase) else key
