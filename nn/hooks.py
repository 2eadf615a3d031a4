"""Functions that see what goes into a module and comes out of it, forward and backward."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_cupy.autograd.hooks import HookHandle
from tinygrad_cupy.autograd.joint import joined
from tinygrad_cupy.autograd.mode import is_grad_enabled
from tinygrad_cupy.backend.capture import active, observe
from tinygrad_cupy.pytree import flatten, rebuild
from tinygrad_cupy.tensor import Tensor

if TYPE_CHECKING:
    from .module import Module

KINDS = ("forward_pre", "forward", "full_backward_pre", "full_backward")


class Hooks:
    """The hooks of one module, by kind, in the order in which they were registered."""

    def __init__(self, owner: Module | None = None) -> None:
        self.owner = None if owner is None else weakref.ref(owner)
        self.by_kind: dict[str, list[Callable[..., Any]]] = {kind: [] for kind in KINDS}
        self.changes = 0  # registrations and removals so far: a captured call holds for one state

    def change(self) -> None:
        self.changes += 1

    def __bool__(self) -> bool:
        return any(self.by_kind.values())

    def __reduce__(self) -> Any:
        return Hooks, ()  # a copy or a pickle of a module takes no functions along


class _Modules:
    hooked = False  # whether one ever had a hook


modules = _Modules()

ATTRIBUTE = "_module_hooks"  # the module holds them itself: a hook that holds it is no leak


def _own(module: Module) -> Hooks | None:
    hooks: Hooks | None = module.__dict__.get(ATTRIBUTE)
    if hooks is None or hooks.owner is None or hooks.owner() is not module:  # of what it copies
        return None
    return hooks


def hooks_of(module: Module) -> Hooks | None:
    """The hooks of a module, where it has any."""
    if active.run is not None:
        if modules.hooked:
            observe(module, "_hook_changes")
        else:  # one question for all, before each replay
            observe(modules, "hooked")
    return _own(module) or None


def changes_of(module: Module) -> int:
    """How often hooks of a module were registered or removed."""
    hooks = _own(module)
    return 0 if hooks is None else hooks.changes


def register(module: Module, kind: str, hook: Callable[..., Any]) -> HookHandle:
    """Add a hook of a kind; see the methods of `Module`."""
    if not callable(hook):
        name = f"register_{kind}_hook"
        raise TypeError(f"[{name}] expected a function, got {type(hook).__name__}")

    def call(*arguments: Any) -> Any:  # of its own: the same function may be registered twice
        return hook(*arguments)

    modules.hooked = True
    hooks = _own(module)
    if hooks is None:
        hooks = module.__dict__[ATTRIBUTE] = Hooks(module)
    hooks.by_kind[kind].append(call)
    hooks.change()
    return HookHandle(hooks.by_kind[kind], call, hooks.change)


def call(module: Module, hooks: Hooks, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``module.forward`` with its hooks around it."""
    for hook in list(hooks.by_kind["forward_pre"]):  # one may remove itself
        changed = hook(module, args)
        if changed is not None:
            args = changed if isinstance(changed, tuple) else (changed,)
    way_back = _WayBack(module, hooks)
    if way_back.wanted:
        args = way_back.entering(args)
    result = module.forward(*args, **kwargs)
    for hook in list(hooks.by_kind["forward"]):
        changed = hook(module, args, result)
        if changed is not None:
            result = changed
    return way_back.leaving(result) if way_back.wanted else result


class _WayBack:
    """The backward hooks of one call: they see the gradients of its arguments and results.

    One for each positional argument, or each leaf of the results; None for what wants none.
    """

    def __init__(self, module: Module, hooks: Hooks) -> None:
        self.module, self.hooks = module, hooks
        lists = (hooks.by_kind["full_backward_pre"], hooks.by_kind["full_backward"])
        self.wanted = is_grad_enabled() and any(lists)
        self.arguments = self.results = _Places(())
        self.by_result: tuple[Any, ...] = ()

    def entering(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The positional arguments, their gradients seen by the hooks."""
        self.arguments = _Places(args)
        return tuple(self.arguments.passed(args, self._arguments))

    def leaving(self, result: Any) -> Any:
        """The results, their gradients seen by the hooks."""
        leaves: list[Any] = []
        structure = flatten(result, leaves)
        self.results = _Places(leaves)
        return rebuild(structure, self.results.passed(leaves, self._results))

    def _results(self, gradients: list[Any]) -> Sequence[Any]:
        found = self.results.spread(gradients)
        for hook in list(self.hooks.by_kind["full_backward_pre"]):
            found = _changed(hook(self.module, found), found, "full_backward_pre")
        self.by_result = found
        if not self.arguments.wanting:  # the weights alone want one
            self._arguments([])
        return self.results.gathered(found)

    def _arguments(self, gradients: list[Any]) -> Sequence[Any]:
        found = self.arguments.spread(gradients)
        for hook in list(self.hooks.by_kind["full_backward"]):
            found = _changed(hook(self.module, found, self.by_result), found, "full_backward")
        return self.arguments.gathered(found)


class _Places:
    """Where among some values those are that want a gradient."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.count = len(values)
        self.wanting = [
            i for i, x in enumerate(values) if isinstance(x, Tensor) and x.requires_grad
        ]

    def passed(self, values: Sequence[Any], rule: Callable[..., Any]) -> list[Any]:
        """The values; those that want a gradient come out of one step, of backward ``rule``."""
        after = list(values)
        if self.wanting:
            tensors = self.gathered(values)
            made = joined(tensors, [x.detach() for x in tensors], rule)
            for i, x in zip(self.wanting, made, strict=True):
                after[i] = x
        return after

    def gathered(self, values: Sequence[Any]) -> list[Any]:
        return [values[i] for i in self.wanting]

    def spread(self, gradients: Sequence[Any]) -> tuple[Any, ...]:
        found: list[Any] = [None] * self.count
        for i, grad in zip(self.wanting, gradients, strict=False):
            found[i] = grad
        return tuple(found)


def _changed(given: Any, before: tuple[Any, ...], kind: str) -> tuple[Any, ...]:
    if given is None:
        return before
    after = given if isinstance(given, tuple) else (given,)
    if len(after) != len(before):
        raise ValueError(
            f"[register_{kind}_hook] expected {len(before)} gradients from the hook, got "
            f"{len(after)}"
        )
    return after
