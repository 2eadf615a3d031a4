"""NumPy's functions that hand a call to whose arrays they are given: found by looking at NumPy."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

MODULES = ("numpy", "numpy.lib.stride_tricks", "numpy.emath", "numpy.linalg", "numpy.fft")
_DISPATCHER = type(np.sum)


def dispatching() -> dict[str, Any]:
    """Every ufunc, and every function that asks `__array_function__`, once, by its name.

    ``linalg.norm``, and ``sum`` for what numpy itself has.
    """
    found: dict[int, tuple[str, Any]] = {}
    for name in MODULES:
        module = _module(name)
        prefix = name.removeprefix("numpy").removeprefix(".")
        for attribute in sorted(dir(module), key=lambda n: (_is_alias(module, n), n)):
            function = getattr(module, attribute)
            if isinstance(function, (np.ufunc, _DISPATCHER)):
                full = f"{prefix}.{attribute}" if prefix else attribute
                found.setdefault(id(function), (full, function))
    return dict(found.values())


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:  # numpy.emath is an attribute alone
        parent, _, last = name.rpartition(".")
        return getattr(importlib.import_module(parent), last)


def _is_alias(module: Any, name: str) -> bool:
    return bool(getattr(getattr(module, name), "__name__", name) != name)
