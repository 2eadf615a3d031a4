"""Functions that see a gradient on its way, and may change it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ..backend.capture import active
from .levels import Tracer
from .mode import mode
from .op import Op
from .tensor_base import TensorBase, facts_of, fits

if TYPE_CHECKING:
    from .typing import Tensor

Hook = Callable[["Tensor"], Any]


class _Leaves:
    hooked = False  # whether one ever had a hook: what a backward pass asks first


leaves = _Leaves()


class LeafHooks(list[Any]):
    """The hooks of a leaf. It holds them itself, so that one that holds it is no leak."""

    changes = 0  # registrations and removals so far: a captured call holds for one state

    def change(self) -> None:
        self.changes += 1


def hooks_of(leaf: TensorBase) -> LeafHooks | None:
    """The hooks of a leaf, where it has any; a captured run is told that it depends on them."""
    run = active.run
    if run is not None and run.is_outside(leaf):
        if leaves.hooked:
            run.reads(leaf, "_hook_changes", leaf._hook_changes)
        else:  # one question for all, before each replay
            run.reads(leaves, "hooked", False)
    return getattr(leaf, "_hooks", None)


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
    hooks: LeafHooks | None = getattr(edge, "_hooks", None)
    if hooks is None:
        hooks = edge._hooks = LeafHooks()
    leaves.hooked = True
    hooks.append(kept)
    hooks.change()
    return HookHandle(hooks, kept, hooks.change)


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
        grad = found._alias(found.data) if found.requires_grad and not mode.recording else found
    return grad
