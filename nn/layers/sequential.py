"""Layers applied one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from tinygrad_cupy.backend.capture import observe
from tinygrad_cupy.nn.hooks import hooks_of
from tinygrad_cupy.nn.module import Module

from .containers import ListOf, module_at


class Sequential(ListOf[Module]):
    """Layers applied one after the other; parameters are named "0.weight", "1.bias", ...

    `Sequential({"conv": layer, ...})` names them instead, and `net.conv` is the layer. Used and
    changed as a list is: indexable, iterable, `net[1] = layer`, `append`, `insert`, `del`; a slice
    is a Sequential that shares the layers, and counts those without a name from 0 on (PyTorch's
    keeps their old numbers). Runs like Conv2d, ReLU, MaxPool2d(2) are computed as one
    operation, with the same values.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> net(Tensor.rand(5, 4)).shape
    (5, 3)
    >>> list(net.state_dict()), list(net[:-1].state_dict())
    (['0.weight', '0.bias', '2.weight', '2.bias'], ['0.weight', '0.bias'])
    >>> named = nn.Sequential({"body": nn.Linear(4, 8), "head": nn.Linear(8, 3)})
    >>> named.head, list(named.state_dict())[:2]
    (Linear(8, 3, bias=True), ['body.weight', 'body.bias'])
    """

    _names: tuple[str | None, ...]  # None: named by its position

    def __init__(self, *layers: Module | Mapping[str, Module]) -> None:
        self._held, self._names = (), ()
        first = layers[0] if len(layers) == 1 else None
        if isinstance(first, Mapping):
            named = [(str(name), self._checked(layer, name)) for name, layer in first.items()]
            self._become(named)
        else:
            self.extend(layers)

    @property
    def layers(self) -> tuple[Module, ...]:
        """The layers, in order."""
        return self._held

    def _become(self, named: Sequence[tuple[str | None, Module]]) -> None:
        names = [name for name, _ in named if name is not None]
        if len(set(names)) < len(names) or any("." in name or not name for name in names):
            raise ValueError(f"[Sequential] expected different names without dots, got {names}")
        self._names = tuple([name for name, _ in named])
        self._held = tuple([layer for _, layer in named])

    def _checked(self, value: Any, place: object) -> Module:
        return module_at(self, value, place)

    def _pairs(self) -> list[tuple[str | None, Module]]:
        return list(zip(self._names, self._held, strict=True))

    def _named(self) -> Iterable[tuple[object, Module]]:
        return [(i if name is None else name, m) for i, (name, m) in enumerate(self._pairs())]

    def __getattr__(self, name: str) -> Any:
        names = self.__dict__.get("_names", ())  # a copy under way has none yet
        if name in names:
            return self._held[names.index(name)]
        return super().__getattr__(name)  # type: ignore[misc]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("_names", ()):
            self[self._names.index(name)] = value
        else:
            super().__setattr__(name, value)

    def forward(self, x: Any) -> Any:
        observe(self, "_held")
        for layer, together in _steps(self._held):
            x = layer(x, **together)
        return x

    # Changing ------------------------------------------------------------------------------------

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Module | Sequential:
        if not isinstance(index, slice):
            return super().__getitem__(index)
        part = Sequential()
        part._become(self._pairs()[index])
        return part

    def __delitem__(self, index: int | slice) -> None:
        pairs = self._pairs()
        del pairs[index]
        self._become(pairs)

    def __add__(self, other: Iterable[Any]) -> Any:
        both = Sequential()
        both._become(self._pairs())
        return both.extend(other)

    def extend(self, values: Iterable[Any]) -> Any:
        """Put several more at the end, named by their positions; returns self."""
        start = len(self._held)
        more = [(None, self._checked(value, start + i)) for i, value in enumerate(values)]
        self._become([*self._pairs(), *more])
        return self

    def insert(self, index: int, value: Any) -> Any:
        """Put one before the one at `index`, named by its position; returns self."""
        pairs = self._pairs()
        pairs.insert(index, (None, self._checked(value, index)))
        self._become(pairs)
        return self


def _steps(layers: Sequence[Module]) -> Iterator[tuple[Module, dict[str, bool]]]:
    """The layers in order, each with those behind it that its own kernel does as well.

    A layer's class names them in `fuses`, in the order in which they may follow: a Conv2d with
    `fuses = ("relu", "pool")` is called as conv(x, relu=True) when a layer that `acts_as` "relu"
    follows. Both are read in the very class: a subclass may do something else, and runs by itself.
    """
    waiting = list(layers[::-1])
    while waiting:
        layer, together = waiting.pop(), {}
        for act in _own(layer, "fuses") or ():
            if waiting and _own(waiting[-1], "acts_as") == act:
                together[act] = True
                waiting.pop()
        yield layer, together


def _own(layer: Module, name: str) -> Any:
    """An attribute that the layer's class defines itself; None when `forward` was replaced.

    Or has hooks around it.
    """
    defined = name in vars(type(layer)) and "forward" not in vars(layer)
    defined = defined and hooks_of(layer) is None
    return getattr(layer, name) if defined else None
