"""cuBLAS and cuSOLVER as linear algebra calls them: routines by LAPACK's names.

CuPy refuses both while a CUDA graph is captured, so they go through nvmath-python's bindings where
there are some, else through CuPy's. Names are nvmath's: `getrf`, `getrf_batched`,
`getrf_buffer_size`, behind the letter of the dtype.
"""

from __future__ import annotations

import functools
import importlib
import threading
from typing import Any

from .arrays import Array, import_cupy

LETTERS = {"f": "s", "d": "d", "F": "c", "D": "z"}


def letter_of(x: Array) -> str:
    """LAPACK's letter for the dtype of x."""
    return LETTERS[x.dtype.char]


def blas(name: str, *arguments: int) -> Any:
    """Call a routine of cuBLAS with a handle, on the current stream."""
    return _call("cublas", name, arguments)


def solver(name: str, *arguments: int) -> Any:
    """Call a routine of cuSOLVER with a handle, on the current stream; sizes are returned."""
    return _call("cusolverDn", name, arguments)


def spectra(name: str, *arguments: int) -> Any:
    """As `solver`, of routines that wait for the GPU: by CuPy, which says so in a capture."""
    return _by_cupy("cusolverDn", name, arguments)


def _call(library: str, name: str, arguments: tuple[int, ...]) -> Any:
    module = _bindings(library)
    if module is None:
        return _by_cupy(library, name, arguments)
    return getattr(module, name)(_handle(library, module), *arguments)


def _by_cupy(library: str, name: str, arguments: tuple[int, ...]) -> Any:
    device = importlib.import_module("cupy.cuda.device")
    handles = {"cublas": device.get_cublas_handle, "cusolverDn": device.get_cusolver_handle}
    name = name.replace("_batched", "Batched").replace("_buffer_size", "_bufferSize")
    libraries = importlib.import_module(f"cupy_backends.cuda.libs.{library.removesuffix('Dn')}")
    return getattr(libraries, name)(handles[library](), *arguments)


@functools.cache
def _bindings(library: str) -> Any:
    """nvmath's module, or None where there is none, or none for this CUDA."""
    try:
        module = importlib.import_module(f"nvmath.bindings.{library}")
        module.destroy(module.create())  # what it binds is there
    except Exception:  # not installed, or errors of its own
        return None
    return module


_own = threading.local()  # handles of this thread: they hold a stream


def _handle(library: str, module: Any) -> int:
    cuda = import_cupy().cuda
    handles: dict[tuple[str, int], int] = vars(_own).setdefault("handles", {})
    key = library, cuda.runtime.getDevice()
    if key not in handles:
        handles[key] = module.create()
    module.set_stream(handles[key], cuda.get_current_stream().ptr)
    return handles[key]
