"""What code can ask of the namespace: the standard's inspection API."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backend

_KINDS = {
    "bool": ("bool",),
    "signed integer": ("int8", "int16", "int32", "int64"),
    "unsigned integer": ("uint8", "uint16", "uint32", "uint64"),
    "real floating": ("float32", "float64"),
    "complex floating": ("complex64", "complex128"),
}
_KINDS["integral"] = _KINDS["signed integer"] + _KINDS["unsigned integer"]
_KINDS["numeric"] = _KINDS["integral"] + _KINDS["real floating"] + _KINDS["complex floating"]

MOST_AXES = 64  # NumPy's; of CuPy's operations some take 32


class Info:
    """Capabilities, devices and data types."""

    def capabilities(self) -> dict[str, Any]:
        """Indexing by booleans and results whose shape depends on values are there."""
        return {
            "boolean indexing": True,
            "data-dependent shapes": True,
            "max dimensions": MOST_AXES,
        }

    def default_device(self) -> str:
        """Where tensors are made: `tinygrad_cupy.default_device()`."""
        return backend.default_device()

    def devices(self) -> list[str]:
        """ "cpu", and "cuda:N" of each GPU."""
        count = backend.cuda_count() if backend.cuda_available() else 0
        return ["cpu", *(f"cuda:{i}" for i in range(count))]

    def default_dtypes(self, *, device: Any = None) -> dict[str, Any]:
        """The data types of what is made without one."""
        kinds = {"real floating": "float64", "complex floating": "complex128"}
        kinds |= {"integral": "int64", "indexing": "int64"}
        return {kind: np.dtype(name) for kind, name in kinds.items()}

    def dtypes(self, *, device: Any = None, kind: str | tuple[str, ...] | None = None) -> Any:
        """The data types of a kind, or several, by their names; all without one."""
        kinds = tuple(_KINDS) if kind is None else kind if isinstance(kind, tuple) else (kind,)
        unknown = [one for one in kinds if one not in _KINDS]
        if unknown:
            raise ValueError(f"[dtypes] expected kinds among {(*_KINDS,)}, got {unknown}")
        return {name: np.dtype(name) for one in kinds for name in _KINDS[one]}
