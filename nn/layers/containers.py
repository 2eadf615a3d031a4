"""Modules that hold others, or parameters, by position or by name.

A plain list or dict as an attribute does so as well. These are modules by themselves: they are
called, printed, moved and saved alone, and have PyTorch's methods and names in a state_dict. What
they hold changes as a whole, so that a function under `tg.jit` notices and is captured anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, Self, TypeVar, overload

from tinygrad_cupy.backend.capture import observe
from tinygrad_cupy.nn.module import Module, Parameter
from tinygrad_cupy.tensor import Tensor

T = TypeVar("T")


class _Holder(Module, Generic[T]):
    """What all have: a check of what is put in."""

    def _checked(self, value: Any, place: object) -> T:
        raise NotImplementedError

    def _named(self) -> Iterable[tuple[object, T]]:
        """What is held, with its names in a state_dict."""
        raise NotImplementedError

    def _attributes(self) -> Iterable[tuple[object, object]]:
        yield from self._named()
        yield from ((name, value) for name, value in vars(self).items() if name != "_held")


def module_at(owner: object, value: Any, place: object) -> Module:
    """A module as it is; TypeError, with its position or name, for anything else."""
    if not isinstance(value, Module):
        where = f"position {place}" if isinstance(place, int) else repr(place)
        raise TypeError(
            f"[{type(owner).__name__}] expected Modules, got {type(value).__name__} at {where}"
        )
    return value


def parameter_at(owner: object, value: Any, place: object) -> Parameter:
    """A Parameter as it is, a Tensor as one; TypeError for anything else."""
    if isinstance(value, Parameter):
        return value
    if not isinstance(value, Tensor):
        where = f"position {place}" if isinstance(place, int) else repr(place)
        raise TypeError(
            f"[{type(owner).__name__}] expected Parameters or Tensors, got {type(value).__name__} "
            f"at {where}"
        )
    return Parameter(value.detach())


# --- by position ----------------------------------------------------------------------------------


class ListOf(_Holder[T]):
    """What is held by position: indexable, sliceable and changed as a list is."""

    _held: tuple[T, ...]

    def __init__(self, values: Iterable[Any] = ()) -> None:
        self._held = ()
        self.extend(values)

    def _named(self) -> Iterable[tuple[object, T]]:
        return enumerate(self._held)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Any:
        observe(self, "_held")
        return type(self)(self._held[index]) if isinstance(index, slice) else self._held[index]

    def __setitem__(self, index: int, value: Any) -> None:
        held = list(self._held)
        held[index] = self._checked(value, index)
        self._held = tuple(held)

    def __delitem__(self, index: int | slice) -> None:
        held = list(self._held)
        del held[index]
        self._held = tuple(held)

    def __len__(self) -> int:
        observe(self, "_held")
        return len(self._held)

    def __iter__(self) -> Iterator[T]:
        observe(self, "_held")
        return iter(self._held)

    def __add__(self, other: Iterable[Any]) -> Self:
        return type(self)((*self._held, *other))

    def __iadd__(self, other: Iterable[Any]) -> Self:
        return self.extend(other)

    def append(self, value: Any) -> Self:
        """Put one more at the end; returns self."""
        return self.extend((value,))

    def extend(self, values: Iterable[Any]) -> Self:
        """Put several more at the end; returns self."""
        start = len(self._held)
        more = [self._checked(value, start + i) for i, value in enumerate(values)]
        self._held = (*self._held, *more)
        return self

    def insert(self, index: int, value: Any) -> Self:
        """Put one before the one at `index`; returns self."""
        held = list(self._held)
        held.insert(index, self._checked(value, index))
        self._held = tuple(held)
        return self

    def pop(self, index: int = -1) -> T:
        """Take one out, the last by default, and return it."""
        value = self._held[index]
        del self[index]
        return value


class ModuleList(ListOf[Module]):
    """Modules in a list; parameters are named "0.weight", "1.bias", ... Not to be called itself.

    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])
    ...     def forward(self, x):
    ...         for layer in self.layers:
    ...             x = layer(x).relu()
    ...         return x
    >>> [name for name, _ in Net().named_parameters()][:2]
    ['layers.0.weight', 'layers.0.bias']
    """

    def _checked(self, value: Any, place: object) -> Module:
        return module_at(self, value, place)


class ParameterList(ListOf[Parameter]):
    """Parameters in a list, named "0", "1", ...; a Tensor that is put in becomes a Parameter.

    >>> scales = nn.ParameterList([Tensor.ones(3), Tensor.ones(4)])
    >>> scales.append(Tensor.ones(5))
    ParameterList((3,), (4,), (5,))
    >>> [name for name, _ in scales.named_parameters()]
    ['0', '1', '2']
    """

    def _checked(self, value: Any, place: object) -> Parameter:
        return parameter_at(self, value, place)

    def extra_repr(self) -> str:
        return ", ".join([str(value.shape) for value in self._held])


# --- by name --------------------------------------------------------------------------------------


class DictOf(_Holder[T]):
    """What is held by name: used and changed as a dict is."""

    _held: dict[str, T]

    def __init__(self, values: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        self._held = {}
        self.update(values)

    def _named(self) -> Iterable[tuple[object, T]]:
        return self._held.items()

    def __getitem__(self, key: str) -> T:
        observe(self, "_held")
        return self._held[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        held = dict(self._held)
        del held[key]
        self._held = held

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[str]:
        observe(self, "_held")
        return iter(self._held)

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def keys(self) -> Iterable[str]:
        """The names, in the order in which they came."""
        observe(self, "_held")
        return self._held.keys()

    def values(self) -> Iterable[T]:
        """What is held."""
        observe(self, "_held")
        return self._held.values()

    def items(self) -> Iterable[tuple[str, T]]:
        """Names and what is held under them."""
        observe(self, "_held")
        return self._held.items()

    def update(self, values: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Put several in, in the place of those with the same names.

        ValueError for a name that is no string, is empty or has a dot, which separates names.
        """
        more: dict[str, T] = {}
        for key, value in dict(values).items():
            if not isinstance(key, str) or not key or "." in key:
                raise ValueError(
                    f"[{type(self).__name__}] expected names without dots, got {key!r}"
                )
            more[key] = self._checked(value, key)
        self._held = {**self._held, **more}

    def pop(self, key: str) -> T:
        """Take one out and return it."""
        value = self._held[key]
        del self[key]
        return value


class ModuleDict(DictOf[Module]):
    """Modules by name; parameters are named "name.weight". Not to be called itself.

    >>> heads = nn.ModuleDict({"age": nn.Linear(8, 1), "kind": nn.Linear(8, 5)})
    >>> {name: head(Tensor.rand(2, 8)).shape for name, head in heads.items()}
    {'age': (2, 1), 'kind': (2, 5)}
    """

    def _checked(self, value: Any, place: object) -> Module:
        return module_at(self, value, place)


class ParameterDict(DictOf[Parameter]):
    """Parameters by name; a Tensor that is put in becomes a Parameter.

    >>> vectors = nn.ParameterDict({"query": Tensor.ones(4)})
    >>> vectors["query"].requires_grad, list(vectors.state_dict())
    (True, ['query'])
    """

    def _checked(self, value: Any, place: object) -> Parameter:
        return parameter_at(self, value, place)

    def extra_repr(self) -> str:
        return ", ".join([f"{name}: {value.shape}" for name, value in self._held.items()])


# --- around a module ------------------------------------------------------------------------------


class Identity(Module):
    """The input as it is: in the place of a layer that is not wanted. Takes any arguments.

    >>> nn.Identity()(Tensor([1.0, 2.0]))
    Tensor([1., 2.])
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def forward(self, x: Any) -> Any:
        return x


class Residual(Module):
    """module(x) + x, or module(x) + shortcut(x) where the shapes differ.

    He et al., "Deep residual learning for image recognition" (2015). ValueError where the two
    cannot be added without one being repeated.

    >>> block = nn.Residual(nn.Conv2d(8, 16, 3, padding=1), shortcut=nn.Conv2d(8, 16, 1))
    >>> block(Tensor.rand(2, 8, 6, 6)).shape
    (2, 16, 6, 6)
    """

    def __init__(self, module: Module, shortcut: Module | None = None) -> None:
        self.module = module_at(self, module, "module")
        self.shortcut = None if shortcut is None else module_at(self, shortcut, "shortcut")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.module(x)
        kept = x if self.shortcut is None else self.shortcut(x)
        if y.shape != kept.shape:
            raise ValueError(
                f"[Residual] expected one shape to add, got {y.shape} of the module and "
                f"{kept.shape} beside it: give a shortcut that makes the shapes equal"
            )
        return y + kept
