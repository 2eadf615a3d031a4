"""Calling a module as a function of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinygrad_cupy.tensor import Tensor

from .module import Module


def functional_call(module: Module, state: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
    """What ``module(*args, **kwargs)`` gives with other parameters and buffers.

    state:
        tensors by the names of `Module.named_parameters` and `named_buffers`, of the same shapes;
        what is not named stays the module's own. A parameter that is shared is replaced wherever
        it stands. Buffers that the call moves (batch norm in training) are moved in ``state``.

    Nothing of the module is changed when it returns; while it runs, other threads see the tensors
    of ``state``. ValueError for a name that the module does not have and for another shape.

    >>> net = nn.Linear(2, 3)
    >>> weights = {name: p.detach() for name, p in net.named_parameters()}
    >>> loss = lambda weights, x, y: tg.functional_call(net, weights, x).cross_entropy(y)
    >>> by_sample = tg.vmap(tg.grad(loss), in_axes=(None, 0, 0))
    >>> by_sample(weights, Tensor.rand(5, 1, 2), Tensor([[0], [1], [2], [0], [1]]))["weight"].shape
    (5, 3, 2)
    """
    if not isinstance(module, Module):
        raise TypeError(f"[functional_call] expected a Module, got {type(module).__name__}")
    known = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    others: dict[int, Any] = {}
    for name, value in state.items():
        if name not in known:
            raise ValueError(
                f"[functional_call] {type(module).__name__} has no parameter or buffer {name!r}"
            )
        tensor = value if isinstance(value, Tensor) else Tensor(value)
        if tensor.shape != known[name].shape:
            raise ValueError(
                f"[functional_call] expected shape {known[name].shape} for {name!r}, got "
                f"{tensor.shape}"
            )
        others[id(known[name])] = tensor
    changed: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for _, part in module.named_modules():
            attributes = vars(part)
            for key, value in list(attributes.items()):
                replaced = _replaced(value, others)
                if replaced is not value:
                    changed.append((attributes, key, value))
                    attributes[key] = replaced
        return module(*args, **kwargs)
    finally:
        for attributes, key, value in changed:
            attributes[key] = value


def _replaced(value: Any, others: Mapping[int, Any]) -> Any:
    """``value`` itself, or one with other tensors in it."""
    if id(value) in others:
        return others[id(value)]
    if isinstance(value, dict):
        items = {key: _replaced(item, others) for key, item in value.items()}
        return items if any(items[key] is not value[key] for key in items) else value
    if type(value) in (list, tuple):
        parts = [_replaced(item, others) for item in value]
        same = all(part is item for part, item in zip(parts, value, strict=True))
        return value if same else type(value)(parts)
    return value
