"""NumPy's protocols: `np.exp(x)` and `np.sum(x, axis=1)` of a tensor are operations of ours.

NumPy hands a call that has a tensor among its arguments to `__array_ufunc__` or
`__array_function__`, which look in `TABLE` for what does it here. `tinygrad_cupy.numpy` fills it, a
floor above, and is loaded when the first such call comes; so does `tinygrad_cupy.special`, for
SciPy's ufuncs.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from ..autograd import TensorBase
from ..backend import is_cuda
from .hints import name_ours, nearest

F = TypeVar("F", bound=Callable[..., Any])

TABLE: dict[Any, Callable[..., Any]] = {}  # what stands for NumPy's functions and ufuncs
_providers: list[str] = []  # the modules that fill it, in turn, until they have


def provided_by(module: str) -> None:
    """Have ``module`` loaded when NumPy asks for what is not in `TABLE` yet: it fills that."""
    _providers.append(module)


def implements(*functions: Any) -> Callable[[F], F]:
    """Decorate what does the work of NumPy's ``functions`` for tensors, with their parameters.

    A keyword of PyTorch's (``dim=``) is an error that says ours.
    """

    def enter(ours: F) -> F:
        named = name_ours(ours)
        TABLE.update(dict.fromkeys(functions, named))
        return named

    return enter


def ours_for(function: Any) -> Callable[..., Any]:
    """What does the work of NumPy's ``function`` here. Raises ``TypeError`` where nothing does."""
    found = TABLE.get(function)
    for module in _providers:
        if found is None:
            importlib.import_module(module)
            found = TABLE.get(function)
    if found is None:
        raise TypeError(
            f"[{_full_name(function)}] expected arrays, got a Tensor: "
            f"{nearest(function.__name__)} take the values out of the graph with .detach().numpy()"
        )
    return found


def _full_name(function: Any) -> str:
    """As users write it: numpy.linalg.norm. (A ufunc does not say whose it is.)"""
    return f"{getattr(function, '__module__', None) or 'numpy'}.{function.__name__}"


class _ArrayUfunc:
    """`ProtocolMixin._ufunc` for NumPy, which asks the class; None for CuPy, which asks the tensor.

    NumPy then hands over what ``array * tensor`` and ``np.exp(tensor)`` ask for; CuPy's arrays
    leave ``array * tensor`` to the tensor's own operator.
    """

    def __get__(self, instance: object, owner: Any = None) -> Any:
        return owner._ufunc if instance is None else None


STANDARDS = ("2021.12", "2022.12", "2023.12", "2024.12")  # of the array API, each in the next


class ProtocolMixin(TensorBase):
    """What a tensor answers to NumPy's functions."""

    __slots__ = ()
    __array_ufunc__ = _ArrayUfunc()
    __array_priority__ = 1000

    def _ufunc(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        ours = TABLE.get(ufunc) or ours_for(ufunc)
        if method == "__call__":
            return ours(*inputs, **options)
        own = getattr(ours, method, None)
        if own is None:
            raise TypeError(f"[numpy.{ufunc.__name__}] has no .{method} for tensors")
        return own(*inputs, **options)

    def __array_function__(
        self, func: Any, types: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        known = (TensorBase, np.ndarray, np.generic)
        if not all(issubclass(kind, known) or kind.__module__ == "cupy" for kind in types):
            return NotImplemented
        return ours_for(func)(*args, **kwargs)

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """The functions of the array API standard: `tinygrad_cupy.array_api`."""
        if api_version not in (None, *STANDARDS):
            raise ValueError(
                f"[Tensor] expected api_version to be one of {STANDARDS}, got {api_version!r}"
            )
        return importlib.import_module("tinygrad_cupy.array_api")


def is_array(x: Any) -> bool:
    """Whether ``x`` is a NumPy or CuPy array (no scalar)."""
    return isinstance(x, np.ndarray) or is_cuda(x)
