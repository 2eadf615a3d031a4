"""Layers applied one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tinygrad_cupy.nn.hooks import hooks_of
from tinygrad_cupy.nn.module import Module


class Sequential(Module):
    """Layers applied one after the other; parameters are named "0.weight", "1.bias", ...

    Indexable and iterable; a slice is a Sequential that shares the layers. Runs like Conv2d, ReLU,
    MaxPool2d(2) are computed as one operation, with the same values.
    """

    def __init__(self, *layers: Module) -> None:
        for position, layer in enumerate(layers):
            if not isinstance(layer, Module):
                raise TypeError(
                    f"[Sequential] expected Modules, got {type(layer).__name__} at position "
                    f"{position}"
                )
        self.layers = layers

    def _attributes(self) -> Iterable[tuple[object, object]]:
        yield from enumerate(self.layers)
        yield from ((name, value) for name, value in vars(self).items() if name != "layers")

    def forward(self, x: Any) -> Any:
        for layer, together in _steps(self.layers):
            x = layer(x, **together)
        return x

    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            return Sequential(*self.layers[index])
        return self.layers[index]

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)


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
