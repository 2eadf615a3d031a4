"""Names of NumPy and PyTorch that are not ours raise errors that say which are.

Nothing here is on the way of a name that exists.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import numpy as np

from ..autograd import TensorBase
from .foreign_names import FUNCTIONS, IN_PLACE, METHODS, NUMPY, SAME

F = TypeVar("F", bound=Callable[..., Any])

# Keywords of PyTorch's and NumPy's, and what parameters of ours may be meant, the likeliest first.
KEYWORDS = {
    "dim": ("axis", "axes"),
    "dims": ("axis", "axes"),
    "dim0": ("axis1",),
    "dim1": ("axis2",),
    "keepdim": ("keepdims",),
    "start_dim": ("start_axis",),
    "end_dim": ("end_axis",),
    "correction": ("ddof",),
    "ddof": ("correction",),
    "unbiased": ("correction", "ddof"),
    "diagonal": ("k", "offset"),
    "shifts": ("shift",),
    "tensors": ("arrays",),
    "min": ("low", "a_min"),
    "max": ("high", "a_max"),
    "a_min": ("low",),
    "a_max": ("high",),
}

# Keywords of NumPy's methods, with values that ask for nothing.
IDLE = {
    "out": None,
    "dtype": None,
    "copy": False,
    "casting": "unsafe",
    "order": "K",
    "subok": True,
}
REORDERED = ("sum", "prod", "mean")  # whose dtype and out stand before keepdims in NumPy and CuPy
FLAGS = (bool, int, np.bool_)
SIMPLE = (type(None), bool, str)


class Elsewhere:
    """A name that is not ours: reading it raises ``AttributeError`` with what is."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type | None = None) -> NoReturn:
        raise AttributeError(f"[Tensor] has no {self.name}: use {for_method(self.name)}")


class HintMixin(TensorBase):
    """What a tensor says to names from elsewhere, which come last: no family's own is hidden."""

    __slots__ = ()

    if not TYPE_CHECKING:  # a type checker would take it that tensors have these names
        locals().update({name: Elsewhere() for name in (*METHODS, *SAME, *IN_PLACE)})

    def __dir__(self) -> Iterable[str]:
        foreign = {name for name, x in vars(HintMixin).items() if isinstance(x, Elsewhere)}
        ours = {name for family in _families if family is not HintMixin for name in vars(family)}
        return [name for name in super().__dir__() if name not in foreign or name in ours]


def for_method(name: str) -> str | None:
    """What stands for a method or an attribute of this name, or None."""
    if name in METHODS:
        return METHODS[name]
    if _is_dispatched(name):
        return f"np.{name}(x)"
    if not name.endswith("_") or name.endswith("__"):
        return None
    plain = name[:-1]  # PyTorch's of writing in place
    ours = f".{plain}()" if _is_ours(plain) else for_method(plain)
    if ours is None or not ours.startswith((".", "x ", "np.", "-")):
        return None
    return f"x[...] = {'x' if ours.startswith('.') else ''}{ours}"


def for_function(name: str) -> str | None:
    """What stands for a function of this name, or None."""
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    if _is_ours(name):
        return f"x.{name}()"
    found = METHODS.get(name)
    if found is not None:
        return f"x{found}" if found.startswith(".") else found
    return f"np.{name}(x)" if _is_dispatched(name) else None


def _is_ours(name: str) -> bool:
    mine = (family for family in _families if family is not HintMixin)
    return not name.startswith("_") and any(name in vars(family) for family in mine)


def _is_dispatched(name: str) -> bool:
    """Whether NumPy has a function of this name that arrays of others can do."""
    function = getattr(np, name, None)
    return isinstance(function, np.ufunc) or hasattr(function, "_implementation")


_families: list[Any] = []  # the classes whose methods are Tensor's


def nearest(name: str) -> str:
    """What to use for NumPy's function of this name, as an error says it."""
    ours = NUMPY.get("vectorize" if name.endswith(" (vectorized)") else name)
    if ours is None and name not in METHODS and _is_ours(name):
        ours = f"x.{name}()"
    return f"use {ours}, or" if ours else "no operation of tensors does it;"


def name_ours(function: F) -> F:
    """``function``, which says of a keyword like ``dim`` what it is called here.

    CuPy's functions call methods with all that NumPy's take: by keywords, which are let pass where
    they ask for nothing, or, of ``sum(axis, keepdims)``, in NumPy's order.
    """
    parameters = inspect.signature(function).parameters
    foreign = {
        theirs: next(name for name in ours if name in parameters)
        for theirs, ours in KEYWORDS.items()
        if theirs not in parameters and not parameters.keys().isdisjoint(ours)
    }
    variable = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    idle = {} if variable else {k: v for k, v in IDLE.items() if k not in parameters}
    reordered = function.__name__ in REORDERED and "self" in parameters

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if reordered and len(args) > 2 and (len(args) > 3 or not isinstance(args[2], FLAGS)):
            given = dict(zip(("dtype", "out", "keepdims"), args[2:], strict=False))
            args, kwargs = args[:2], given | kwargs
        for name in kwargs:
            if name in foreign:
                raise TypeError(f"[{function.__name__}] takes {foreign[name]}=, not {name}=")
            if name in idle and type(kwargs[name]) in SIMPLE and kwargs[name] == idle[name]:
                return wrapper(*args, **{key: kwargs[key] for key in kwargs if key != name})
        return function(*args, **kwargs)

    return cast(F, wrapper) if foreign or "dtype" in parameters else function


def hinting(cls: Any) -> Any:
    """The class decorator of `Tensor`: its families' methods name our keywords."""
    for family in cls.__mro__[1:]:
        if family is not TensorBase and issubclass(family, TensorBase):
            _families.append(family)
            for name, method in list(vars(family).items()):
                if inspect.isfunction(method) and not name.startswith("_"):
                    setattr(family, name, name_ours(method))
    return cls
