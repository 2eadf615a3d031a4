"""What a captured function returns: tensors in memory that the next call writes over."""

from __future__ import annotations

from typing import Any

from ..autograd import Version
from ..backend import Array
from ..tensor import Tensor


class Generation:
    """Which call of a function wrote last into the memory of one of its captures."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.call = 0


class JitResult(Tensor):
    """A tensor that may be read until the call that made it is followed by another.

    It is any other tensor otherwise. Reading it later raises `RuntimeError`. So do its views. A
    copy (`clone`, `copy.copy`, `Tensor(output)`, a pickle) is a plain tensor that lasts.
    """

    __slots__ = ("_array", "_generation", "_made")
    _fleeting = True

    _array: Array
    _generation: Generation | None
    _made: int

    @classmethod
    def around(cls, array: Array, version: Version, generation: Generation) -> JitResult:
        """The output that the generation's present call leaves in ``array``."""
        output = object.__new__(cls)
        output._array, output._generation, output._made = array, generation, generation.call
        output._version = version
        output._node = output._grad = output._view = None
        output._requires_grad = False
        return output

    @property
    def stale(self) -> bool:
        """Whether a later call has written over the values."""
        return self._generation is not None and self._made != self._generation.call

    @property
    def data(self) -> Array:
        """The array itself."""
        generation = self._generation
        if generation is not None and self._made != generation.call:
            raise RuntimeError(
                f"[jit] this tensor is a result of call {self._made} of {generation.name}, and "
                f"call {generation.call} wrote over it: before the next call read it with "
                ".item() or .numpy(), or keep a copy with .detach().clone()"
            )
        return self._array

    @data.setter
    def data(self, array: Array) -> None:
        self._array, self._generation = array, None

    _facts = data

    def _alias(self, array: Array) -> Tensor:
        if self._generation is None:
            return super()._alias(array)
        view = JitResult.around(array, self._version, self._generation)
        view._made = self._made
        return view

    def __repr__(self) -> str:
        if self.stale:
            return f"Tensor(of call {self._made} of {self._generation.name}, overwritten)"  # type: ignore[union-attr]
        return super().__repr__()

    def __copy__(self) -> Tensor:
        return Tensor(self)

    def __deepcopy__(self, memo: Any) -> Tensor:
        return self if self.stale else Tensor(self)  # who keeps a stale one can still be copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Tensor, (self.data.copy(),)
