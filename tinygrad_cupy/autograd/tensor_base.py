"""What the engine needs to know of a tensor."""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..backend import Array, array_module, device_of, on_device_of
from ..backend.capture import active
from .memory import PACKAGE, Version
from .views import Link, refresh, set_apart

if TYPE_CHECKING:
    from .op import Op
    from .typing import Tensor


__all__ = ["PACKAGE", "Edge", "TensorBase", "Version", "expect_real"]
_new = object.__new__
Edge = Any  # an Op (the node that made the input), a leaf TensorBase, or None: no gradient


class TensorBase:
    """What the engine needs to know of a tensor: its array, its place in the graph, its gradient.

    The mixins of the operation families build on this; users see `tinygrad_cupy.Tensor`.
    """

    __slots__ = (
        *("__weakref__", "_grad", "_hooks", "_node", "_requires_grad", "_version", "_view", "data"),
        *("_level", "_primal", "_tangent", "_value"),  # of tracers: any tensor may become one
    )

    data: Array
    _facts: Array  # of its shape, dtype and device; the elements may not be there yet, see `chains`
    _requires_grad: bool
    _view: Link | None  # of a view and of a tensor apart, see `views`
    _grad: Tensor | None
    _fleeting: ClassVar[bool] = False  # whether the memory is written again behind its back
    _float: ClassVar[Any] = np.float32  # what integers become where a float is computed
    _copies_elements: ClassVar[bool] = False  # whether x[i] of a vector is no view, as NumPy's
    _plain: ClassVar[Any]  # the class of every tensor that operations make: `tensor` sets these
    _hooks: Any  # of a leaf, see `hooks`; not set where there are none
    _handed: ClassVar[Any]  # of what a user's rule is handed, see `array_rules`
    _dual: ClassVar[Any]  # of tensors inside of `jvp`, see `forward`
    _batched: ClassVar[Any]  # of tensors inside of `vmap`, see `batching`
    _node: Op | None
    _version: Version

    def __init_subclass__(cls) -> None:
        """An error about a method's arguments names Tensor, not the mixin of its family."""
        super().__init_subclass__()
        for method in vars(cls).values():
            if cls.__name__.endswith("Mixin") and isinstance(method, FunctionType):
                method.__module__ = f"{PACKAGE}.tensor"
                method.__qualname__ = f"Tensor.{method.__name__}"

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of elements along each axis."""
        shape: tuple[int, ...] = self._facts.shape
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements, as NumPy's."""
        dtype: np.dtype[Any] = self._facts.dtype
        return dtype

    @classmethod
    def _wrap(cls, array: Array) -> Tensor:
        """A plain tensor around ``array``, outside the graph."""
        tensor: Tensor = _new(cls._plain)
        tensor.data = np.asarray(array) if isinstance(array, np.generic) else array
        tensor._grad = None
        tensor._requires_grad = False
        tensor._node = tensor._view = None
        version = tensor._version = _new(Version)  # as Version(): for each result, so in less time
        version.count = version.recorded = 0
        version.inside = active.inside
        return tensor

    def _zeros(self) -> Tensor:
        """Zeros like this tensor, outside the graph."""
        array = self._facts
        with on_device_of(array):
            return self._wrap(array_module(array).zeros(array.shape, array.dtype))

    def _alias(self, array: Array) -> Tensor:
        """A plain tensor around ``array``, a view of this one's memory."""
        tensor = self._wrap(array)
        tensor._version = self._version
        if active.chains is not None:
            active.chains.mark(tensor)
        return tensor

    @property
    def grad(self) -> Tensor | None:
        """What `backward` found, or None."""
        if active.run is not None:
            active.run.reads_grad(self)
        return self._grad

    @grad.setter
    def grad(self, grad: Tensor | None) -> None:
        if grad is not None:
            self._expect_gradient(grad)
        if active.run is not None:
            active.run.sets_grad(self)
        self._grad = grad

    def _set_grad(self, grad: Tensor) -> None:
        """Set a gradient that is known to fit."""
        if active.run is not None:
            active.run.sets_grad(self)
        self._grad = grad

    def _expect_gradient(self, grad: Any) -> None:
        """Raise unless ``grad`` is a tensor of this one's shape, dtype and device."""
        if not isinstance(grad, TensorBase):
            raise TypeError(f"[grad] expected a Tensor or None, got {type(grad).__name__}")
        if not fits(grad._facts, self._facts):
            raise ValueError(
                f"[grad] expected {facts_of(self._facts)}, as the tensor has, got "
                f"{facts_of(grad._facts)}"
            )

    @property
    def _hook_changes(self) -> int:
        """How often hooks of this leaf were registered or removed."""
        hooks = getattr(self, "_hooks", None)
        return 0 if hooks is None else hooks.changes

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient of it may be wanted: of a leaf that asks, and what comes of one."""
        if self._version.recorded:
            refresh(self)
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if wanted and not self.requires_grad and self._view is not None:
            set_apart(self)  # a leaf is where a graph begins
        self._requires_grad = wanted

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by the user, not computed from tensors that require a gradient."""
        edge = self._edge()
        return edge is None or edge is self

    def _edge(self) -> Edge:
        """Where a gradient of this tensor goes: its node, itself when it is a leaf, or nowhere."""
        if self._version.recorded:
            refresh(self)
        if not self._requires_grad:
            return None
        return self if self._node is None else self._node


TensorBase._facts = TensorBase.data  # the slot by a second name, whatever a class makes of .data


def expect_real(name: str, *tensors: TensorBase) -> None:
    """Raise ``TypeError`` by ``name`` where one of the tensors holds complex numbers."""
    for x in tensors:
        if x._facts.dtype.kind == "c":
            raise TypeError(
                f"[{name}] expected real numbers, got dtype {x._facts.dtype}; take .real, .imag or "
                ".abs() first"
            )


def fits(array: Array, other: Array) -> bool:
    """Whether both arrays have one shape, dtype and device."""
    return bool(
        array.shape == other.shape
        and array.dtype == other.dtype
        and device_of(array) == device_of(other)
    )


def facts_of(array: Array) -> str:
    """Shape, dtype and device of an array, for an error."""
    return f"shape {tuple(array.shape)}, dtype {array.dtype} on {device_of(array)}"
