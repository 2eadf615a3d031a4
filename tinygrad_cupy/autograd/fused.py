"""Operations with a kernel each way, and a reference that higher derivatives are taken of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend import Array, on_device_of
from ..backend.capture import launch_all
from .array_rules import note_read
from .backward import transposed
from .levels import Tracer, without_graph
from .mode import set_grad_enabled
from .op import Op, names_of_inputs
from .tensor_base import TensorBase

if TYPE_CHECKING:
    from .typing import Tensor


class FusedOp(Op):
    """An operation with one kernel forward and one backward, and a plain `reference` beside them.

    While no graph of the backward is wanted, `backward_arrays` runs on arrays. When it is, the
    reference, written in Tensor operations, is differentiated instead. The reference gets every
    input and may use what ``forward`` decided (kept as attributes), and changes nothing. Without
    one the gradient cannot be differentiated again, and raises. What both read are all inputs,
    unless ``saves`` names others; then ``backward``, in tensors, takes the reference's place.

    >>> class Square(tg.FusedOp):
    ...     def forward(self, x):
    ...         return x * x
    ...     def backward_arrays(self, grad, x):
    ...         return 2 * grad * x
    ...     def reference(self, x):
    ...         return x**2
    >>> x = Tensor(3.0, requires_grad=True)
    >>> first = tg.grad(Square()(x), x, create_graph=True)
    >>> tg.grad(first, x)
    Tensor(2.)
    """

    also_on_gpu: bool = True  # whether its backward on arrays is one for GPUs
    _reads_attributes = False
    _has_reference = False

    def __init_subclass__(cls) -> None:
        parent = next(base for base in cls.__mro__[1:] if issubclass(base, FusedOp))
        if "saves" not in vars(cls) and cls.forward is not parent.forward:
            cls.saves = tuple(names_of_inputs(cls))
        super().__init_subclass__()
        cls._has_reference = (
            cls.reference is not FusedOp.reference or cls.backward is not FusedOp.backward
        )

    def reference(self, *inputs: Any) -> Tensor:
        """The output in Tensor operations, for the same inputs as ``forward``.

        Forward mode, batches and gradients of higher order come from it.
        """
        raise NotImplementedError

    def backward_arrays(self, grad: Array, *inputs: Any) -> Any:
        """The gradients by the inputs, as arrays; None where ``self.needs`` does not ask."""
        raise NotImplementedError

    def _run_backward(self, grad: Tensor, create_graph: bool) -> Any:
        if create_graph and self._has_reference:
            return super()._run_backward(grad, create_graph)
        if isinstance(grad, Tracer):  # kernels take arrays
            if not self._has_reference:
                return grad._level.rule(self, grad, create_graph)
            with set_grad_enabled(True):
                found = super()._run_backward(grad, True)
            return [without_graph(g) for g in _several(found)]
        if not self.also_on_gpu and type(grad._facts) is not np.ndarray:
            return super()._run_backward(grad, create_graph)
        note_read("backward_arrays")
        self._check_saved()
        if self.elementwise:  # what a capture may have in a chain that is not launched yet
            launch_all()
        array, saved = grad.data, [value for value, *_ in self._saved or ()]
        if type(array) is np.ndarray:
            found = self.backward_arrays(array, *saved)
        else:
            with on_device_of(array):
                found = self.backward_arrays(array, *saved)
        return [None if array is None else grad._wrap(array) for array in _several(found)]

    def backward(self, grad: Tensor, *inputs: Any) -> Any:
        return through_reference(self.reference, grad, inputs, self.needs)


def _several(found: Any) -> Sequence[Any]:
    """What a rule gave, as that of an operation with several inputs."""
    return found if isinstance(found, tuple | list) else (found,)


def through_reference(
    reference: Callable[..., Any], grad: Tensor, inputs: Sequence[Any], needs: Sequence[bool]
) -> tuple[Any, ...]:
    """The gradients by the inputs that are needed, with their graph, from the plain operation."""
    # Aliases, so that in f(x, g(x)) the path from g(x) to x is not followed here as well.
    aliases = [Alias()(x) if isinstance(x, TensorBase) else x for x in inputs]
    wanted = [alias for alias, need in zip(aliases, needs, strict=True) if need]
    output = reference(*aliases)
    found = iter(transposed([output], wanted, [grad], create_graph=True, allow_unused=True))
    return tuple(next(found) if need else None for need in needs)


class Alias(Op):
    """The same array as a new node of the graph: y = x."""

    view = True
    elementwise = True
    linear = ("x",)

    def forward(self, x: Array) -> Array:
        return x

    def backward(self, grad: Tensor) -> Tensor:
        return grad
