"""Values to and from files and text, by NumPy's own functions: a file holds no gradient."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ..ops.protocols import implements
from .arrays import tensor
from .creation import made_by_numpy

__all__ = [
    *("frombuffer", "fromfile", "fromstring", "genfromtxt", "load", "loadtxt"),
    *("save", "savetxt", "savez", "savez_compressed"),
]


def _values(x: Any) -> Any:
    return tensor(x).detach().numpy()


@implements(np.save)
def save(file: Any, arr: Any, allow_pickle: bool = True) -> None:
    """The values as a ``.npy`` file."""
    np.save(file, _values(arr), allow_pickle)


@implements(np.savez)
def savez(file: Any, *args: Any, allow_pickle: bool = True, **kwds: Any) -> None:
    """The values of several as a ``.npz`` file, by name or as ``arr_0``, ``arr_1``, …."""
    _saved(np.savez, file, args, allow_pickle, kwds)


@implements(np.savez_compressed)
def savez_compressed(file: Any, *args: Any, allow_pickle: bool = True, **kwds: Any) -> None:
    """As `savez`, compressed."""
    _saved(np.savez_compressed, file, args, allow_pickle, kwds)


def _saved(function: Any, file: Any, args: Any, allow_pickle: bool, kwds: Any) -> None:
    named = {name: _values(x) for name, x in kwds.items()}
    function(file, *[_values(x) for x in args], allow_pickle=allow_pickle, **named)


@implements(np.savetxt)
def savetxt(
    fname: Any, X: Any, fmt: Any = "%.18e", delimiter: str = " ", newline: str = "\n",
    header: str = "", footer: str = "", comments: str = "# ", encoding: str | None = None,
) -> None:  # fmt: skip
    """The values as text, a line for each row."""
    np.savetxt(fname, _values(X), fmt, delimiter, newline, header, footer, comments, encoding)


def _reading(theirs: Any) -> Any:
    """A function of NumPy's whose array is given as an `ndarray` on the default device."""

    @functools.wraps(theirs)
    def read(*args: Any, **options: Any) -> Any:
        found = theirs(*args, **options)
        if isinstance(found, np.ndarray):
            return made_by_numpy(found)
        return [made_by_numpy(part) for part in found] if isinstance(found, list) else found

    read.__doc__ = f"`numpy.{theirs.__name__}`, on the default device."
    return read


frombuffer = _reading(np.frombuffer)
fromfile = _reading(np.fromfile)
fromstring = _reading(np.fromstring)
genfromtxt = _reading(np.genfromtxt)
load = _reading(np.load)
loadtxt = _reading(np.loadtxt)
