"""NumPy or CuPy of an array, and what is asked of an array of either kind.

The only file that imports CuPy, and it does so on first use: a machine without a GPU never pays
for it.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from .install import how_to_install

LINE = 64  # bytes of the cache
MOST_BYTES = 1 << 47  # of an array: what addresses are made for
Array = Any  # numpy.ndarray or cupy.ndarray: CuPy carries no types


@functools.cache
def import_cupy() -> Any:
    """The module ``cupy``, imported on first use.

    Raises ``RuntimeError`` with the install command when CuPy is missing or broken.
    """
    try:
        import cupy
    except ImportError as error:
        raise RuntimeError(
            "[device] CUDA was asked for, but CuPy cannot be imported "
            f"({error}): {how_to_install('cuda12', 'cuda13')}"
        ) from error
    global _cupy_array
    _cupy_array = cupy.ndarray
    return cupy


_cupy_array: Any = None  # the class, once CuPy is imported


@functools.cache
def cuda_available() -> bool:
    """Whether CuPy is installed and sees at least one CUDA device.

    >>> device = "cuda" if tg.cuda_available() else "cpu"
    >>> Tensor([1.0, 2.0], device=device).sum().item()
    3.0
    """
    if importlib.util.find_spec("cupy") is None:
        return False
    try:
        return bool(import_cupy().cuda.runtime.getDeviceCount() > 0)
    except Exception:  # whatever a broken driver raises, the answer is no
        return False


@functools.cache
def cuda_count() -> int:
    """How many CUDA devices CuPy sees."""
    return int(import_cupy().cuda.runtime.getDeviceCount())


def is_cuda(array: Array) -> bool:
    """Whether ``array`` lives on a CUDA device (is a CuPy array)."""
    if type(array) is _cupy_array:
        return True
    if isinstance(array, (np.ndarray, np.generic)):
        return False
    # CuPy makes a new dictionary whenever the attribute is read, so its own arrays are known.
    kind = type(array).__module__.partition(".")[0]
    return kind == "cupy" or hasattr(array, "__cuda_array_interface__")


def plain_array(array: Array) -> Array:
    """``array``, of a subclass of NumPy's (a memmap, a matrix) the same memory as a plain one.

    Raises ``TypeError`` for a masked array that masks something, which would be forgotten.
    """
    if type(array) is np.ndarray or is_cuda(array):
        return array
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise TypeError(
            f"[Tensor] expected an array without masked elements, got {np.ma.getmask(array).sum()} "
            "of them: say what stands there with .filled(value)"
        )
    return np.asarray(array)


def array_module(array: Array) -> Any:
    """``numpy`` or ``cupy``, whichever ``array`` belongs to."""
    return import_cupy() if is_cuda(array) else np


def special_functions(array: Array) -> Any:
    """``scipy.special`` or ``cupyx.scipy.special``, whichever fits ``array``."""
    if is_cuda(array):
        return importlib.import_module("cupyx.scipy.special")
    return importlib.import_module("scipy.special")


def may_share_memory(a: Array, b: Array) -> bool:
    """Whether one array may be a view of the other's memory; one without elements is of none."""
    if is_cuda(a) and is_cuda(b):
        return a.data.mem is b.data.mem and a.size > 0 and b.size > 0
    return np.may_share_memory(a, b)


def is_alone(array: Array) -> bool:
    """Whether no other array is known to have memory of ``array``.

    It has its own, or is all of an array that nothing else refers to, as what a function returns
    that ends with a reshape; but for a line of the cache, of one that was aligned.
    """
    base = array.base
    return base is None or bool(
        type(base) is type(array)
        and base.base is None
        and base.nbytes <= array.nbytes + LINE
        and array.flags.c_contiguous
        and _references_of_base(array) == _ALONE + 1  # and the name here
    )


def _references_of_base(array: Array) -> int:
    return sys.getrefcount(array.base)


_ALONE = _references_of_base(np.empty(2).reshape(1, 2))


def elements_overlap(array: Array) -> bool:
    """Whether elements of ``array`` may share their memory, as in one that was broadcast."""
    extent = array.dtype.itemsize
    for step, n in sorted(zip(map(abs, array.strides), array.shape, strict=True)):
        if n > 1:
            if step < extent:
                return bool(array.size)
            extent += (n - 1) * step
    return False


def address_of(array: Array) -> int:
    """Where the first element of ``array`` lies."""
    return int(array.data.ptr if is_cuda(array) else array.__array_interface__["data"][0])


def is_same_view(a: Array, b: Array) -> bool:
    """Whether both arrays have the same elements of one memory in the same places."""
    return bool(
        a.shape == b.shape
        and a.dtype == b.dtype
        and address_of(a) == address_of(b)
        and strides_of(a) == strides_of(b)
    )


def strides_of(array: Array) -> tuple[int, ...]:
    """The strides of ``array`` in bytes, 0 for an axis of one element.

    What NumPy and CuPy call the stride of such an axis may be any number, so no address, no layout
    and no size may be derived from it. Whoever reads strides reads them here.
    """
    shape, strides = array.shape, array.strides
    if 1 not in shape:
        return strides  # type: ignore[no-any-return]
    return tuple([0 if n == 1 else s for n, s in zip(shape, strides, strict=True)])


def one_stride(shape: tuple[int, ...], strides: tuple[int, ...]) -> int | None:
    """The stride that counts through axes of this shape and `strides_of` in C order, if one does.

    0 where they have one element together.
    """
    step, count = 0, 1  # of the axes from the last one on
    for n, stride in zip(reversed(shape), reversed(strides), strict=True):
        if n == 1:
            continue
        if count == 1:
            step = stride
        elif stride != step * count:
            return None
        count *= n
    return step


@functools.cache
def memory_size() -> int:
    """Bytes of memory that a CPU array can have at most: all of the machine's, swap included."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        sizes = {
            name: int(rest.split()[0]) << 10 for name, _, rest in (x.partition(":") for x in lines)
        }
        swap = sizes["SwapTotal"]
        most = sizes["MemTotal"] + swap
    except (OSError, LookupError, ValueError):  # no Linux
        return MOST_BYTES
    try:  # of a container
        return min(most, int(Path("/sys/fs/cgroup/memory.max").read_text()) + swap)
    except (OSError, ValueError):  # none, or "max"
        return most


def expect_memory(op: str, shape: tuple[int, ...], itemsize: int, on_gpu: bool = False) -> None:
    """Raise ``MemoryError`` naming ``op`` where no memory holds an array of this shape.

    A GPU's own allocator knows what it has; here it is only kept from what overflows.
    """
    size = math.prod(shape) * itemsize
    most = MOST_BYTES if on_gpu else memory_size()
    if size > most:
        raise MemoryError(
            f"[{op}] expected an array of at most {most} bytes, all the memory there is, got shape "
            f"{shape} of {size} bytes"
        )
