"""Functions that see a gradient on its way, and may change it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .levels import Tracer
from .op import Op
from .tensor_base import TensorBase, facts_of, fits

if TYPE_CHECKING:
    from .typing import Tensor

Hook = Callable[["Tensor"], Any]
on_leaves: dict[int, list[Hook]] = {}  # by id, of those that live


class HookHandle:
    """A hook that was registered; `remove` it, or use the handle as a context."""

    def __init__(self, hooks: list[Any], hook: Any, changed: Callable[[], Any] = int) -> None:
        self._hooks, self._hook, self._changed = hooks, hook, changed

    def remove(self) -> None:
        """The hook is not called any more. Removing it again does nothing."""
        self._hooks[:] = [one for one in self._hooks if one is not self._hook]
        self._changed()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()


def register(tensor: TensorBase, hook: Hook) -> HookHandle:
    """See `tinygrad_cupy.Tensor.register_hook`."""
    if not callable(hook):
        raise TypeError(f"[register_hook] expected a function, got {type(hook).__name__}")
    if isinstance(tensor, Tracer):
        raise RuntimeError(
            f"[register_hook] a tensor inside of {tensor._level.name} has no hooks: change what "
            "tg.grad returns"
        )
    edge = tensor._edge()
    if edge is None:
        raise RuntimeError(
            f"[register_hook] the tensor (shape {tensor.shape}) does not require a gradient"
        )
    kept = _Kept(hook)
    if isinstance(edge, Op):
        edge.hooks = edge.hooks if edge.hooks is not None else []
        edge.hooks.append(kept)
        return HookHandle(edge.hooks, kept)
    hooks = on_leaves.get(id(edge))
    if hooks is None:
        hooks = on_leaves[id(edge)] = []
        weakref.finalize(edge, on_leaves.pop, id(edge), None).atexit = False
    hooks.append(kept)
    return HookHandle(hooks, kept)


class _Kept:
    """One registration: the same function may be registered twice."""

    __slots__ = ("call",)

    def __init__(self, call: Hook) -> None:
        self.call = call

    def __call__(self, grad: Any) -> Any:
        return self.call(grad)


def hooked(hooks: list[Any], grad: Any) -> Any:
    """The gradient after all hooks, in the order in which they were registered."""
    for hook in list(hooks):
        found = hook(grad)
        if found is None:
            continue
        name = getattr(hook.call, "__name__", type(hook.call).__name__)
        if not isinstance(found, TensorBase):
            raise TypeError(
                f"[register_hook] expected {name} to return a tensor or None, got "
                f"{type(found).__name__}"
            )
        if not fits(found.data, grad.data):
            raise ValueError(
                f"[register_hook] expected {name} to return {facts_of(grad.data)}, got "
                f"{facts_of(found.data)}"
            )
        grad = found
    return grad
