"""Matrix products on either device.

The one door to BLAS: everything that multiplies matrices comes through here, so that how a product
is computed (its precision, its stream, its workspace) is decided in one place.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from . import cublaslt, product
from .arrays import Array, array_module, is_cuda
from .cpu_memory import aligned_empty
from .cpu_threads import PARTS, by_parts, is_working, parallel_map, part_along, spans
from .cublaslt_library import library, why_missing
from .dtypes import common_dtype, is_narrow, through_single
from .install import how_to_install

PRECISIONS = ("fp32", "tf32", "bf16")
LARGE = 1 << 18  # multiplications; BLAS computes smaller products in one thread by itself
LONG = 1 << 16  # terms that one float32 adds up at most
# The same where the result is rounded to 16 bits, which hides more of a sum's error.
LONGER = {"float16": 2 * LONG, "bfloat16": 8 * LONG}
PART = 1 << 24  # multiplications for which it pays to wake a thread
FEW = 1 << 12  # elements of a product of long sums whose parts are kept
KEPT = 1 << 24  # elements of all such parts on a GPU
EACH = 1 << 10  # multiplications in the time that a matrix of a stack takes by itself
MOVED = 8  # multiplications in the time in which an element comes from memory

_precision = "tf32"


def set_precision(precision: str) -> None:
    """How products of float32 are computed on a GPU: "fp32", "tf32" (the default) or "bf16".

    It holds for matrix products and convolutions, forward and backward, in the whole process:

    ======  =====================================================  ==============
    name    factors are rounded to                                 relative error
    ======  =====================================================  ==============
    fp32    nothing: true float32 products                         about 1e-7
    tf32    11 significant bits (TF32), on tensor cores            about 5e-4
    bf16    8 significant bits (bfloat16), on tensor cores         about 4e-3
    ======  =====================================================  ==============

    They may be rounded, they need not be: what the memory holds up anyway is computed in true
    float32 whatever is set. These are `linear` with at most 16 outputs (with its gradients of
    order 1) and convolutions over few channels.

    Sums are float32 in all three (those of more than 65,536 terms are put together from shorter
    ones in float64; of float16 it is those of more than 131,072, of bfloat16 of more than
    524,288), and tensors stay float32: parameters, gradients and optimizer state keep all their
    digits. Other dtypes are not touched by it, and neither are the CPU and GPUs older than Ampere
    (compute capability 8.0), where float32 products are always exact ones.

    Raises ``ValueError`` for another name.

    >>> tg.set_precision("fp32")  # to compare with a CPU, say
    >>> tg.get_precision()
    'fp32'
    >>> tg.set_precision("tf32")
    """
    global _precision
    if precision not in PRECISIONS:
        raise ValueError(f"[set_precision] expected one of {PRECISIONS}, got {precision!r}")
    _precision = precision


def get_precision() -> str:
    """What `set_precision` set last: "fp32", "tf32" or "bf16".

    >>> tg.get_precision()
    'tf32'
    """
    return _precision


def matmul(a: Array, b: Array, out: Array | None = None) -> Array:
    """a @ b over the last two axes, leading axes broadcast; into ``out`` when it is given.

    Terms are added up in a type that is wide enough: those of float16 and bfloat16 in float32, the
    result being rounded once; those of integers and booleans in int64, which the result is then of.
    Longer sums than `LONG` says are put together from shorter ones in float64.
    """
    kind = a.dtype if a.dtype == b.dtype else common_dtype(a.dtype, b.dtype)
    if kind.kind in "biu":
        wide = np.int64 if out is None else out.dtype
        a, b = a.astype(wide, copy=False), b.astype(wide, copy=False)
        if out is None and (found := _through_double(a, b)) is not None:
            return found
    elif a.shape[-1] > LONG and kind.itemsize < 8 and a.shape[-1] > longest(kind):
        return _long(a, b, kind, out)
    if type(a) is not np.ndarray and is_cuda(a):
        return _matmul_cuda(a, b, out)
    narrow = a.dtype.itemsize == 2 or b.dtype.itemsize == 2
    return (_matmul_narrow if narrow else _matmul_cpu)(a, b, out)


def each(a: Array, b: Array, out: Array) -> Callable[[int, int], Any]:
    """What writes a[i] @ b into out[j] when it is called with i and j: a (T, M, K), b (K, N).

    For loops of products that are alike: how they are done is decided once, and on a GPU a call is
    little more than the launch. What the arrays hold may change between calls. All are of one float
    dtype.
    """
    if is_cuda(a) and a.shape[-1] <= LONG:
        found = cublaslt.each(a, b, out, _precision)
        if found is not None:
            return found
    return lambda i, j: matmul(a[i], b, out[j])


def _through_double(a: Array, b: Array) -> Array | None:
    """a @ b of integers as a product of float64, which BLAS is fast at, where that is exact.

    On the CPU alone: to look at the numbers, a GPU would have to be waited for.
    """
    if type(a) is not np.ndarray or a.size * b.shape[-1] < LARGE or not b.size:
        return None
    largest = [max(int(x.max()), -int(x.min())) for x in (a, b)]
    if largest[0] * largest[1] * a.shape[-1] >= 1 << 53:  # a sum might be rounded
        return None
    return _matmul_cpu(a.astype(np.float64), b.astype(np.float64), None).astype(np.int64)


def has_cublaslt() -> bool:
    """Whether products on a GPU are cuBLASLt's, which alone may be part of a CUDA graph."""
    return library() is not None


def longest(dtype: Any) -> int:
    """Terms that a product of such numbers adds up at once."""
    return LONGER.get(dtype.name, LONG)


def _long(a: Array, b: Array, dtype: Any, out: Array | None) -> Array:
    """a @ b of so many terms that a float32 would not hold their sum exactly enough."""
    on_cpu, terms = array_module(a) is np, a.shape[-1]
    parts = -(-terms // LONG)
    each = LONG if terms % parts else terms // parts
    total: Any = 0
    whole = 0
    if a.ndim == b.ndim == 2:
        elements, runs = len(a) * b.shape[1], terms // each
        if elements <= FEW or (not on_cpu and runs * elements <= KEPT):  # all at once: a stack
            whole = runs * each
            left = a[:, :whole].reshape(len(a), runs, each).swapaxes(0, 1)
            right = b[:whole].reshape(runs, each, b.shape[1])
            total = _in_single(left, right).sum(0, np.float64)
    for part in spans(terms - whole, LONG):
        here = slice(whole + part.start, whole + part.stop)
        total = total + _in_single(a[..., here], b[..., here, :]).astype(np.float64)
    if out is None:
        return total.astype(dtype)
    out[...] = total
    return out


def _in_single(a: Array, b: Array) -> Array:
    """a @ b in float32, of 16-bit numbers too."""
    xp = array_module(a)
    if xp is not np and a.dtype == b.dtype and is_narrow(a.dtype):
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        made = xp.empty((*lead, a.shape[-2], b.shape[-1]), np.float32)
        found = cublaslt.product(a, b, made, _precision)
        if found is not None:
            return found
    return matmul(a.astype(np.float32, copy=False), b.astype(np.float32, copy=False))


def linear(x: Array, weight: Array, bias: Array | None = None, relu: bool = False) -> Array:
    """x @ weight.T + bias, then max(·, 0) if ``relu``: x (N, I), weight (O, I), bias (O,).

    All of one dtype.
    """
    xp = array_module(x)
    if xp is np and is_narrow(x.dtype):
        return _linear_narrow(x, weight, bias, relu)
    if x.shape[1] <= longest(x.dtype):
        at_once = _linear_in_c if xp is np else _linear_by_cublaslt
        if (found := at_once(x, weight, bias, relu)) is not None:
            return found
    y = matmul(x, weight.T)  # (N, O)
    if bias is not None:
        y += bias
    return xp.maximum(y, y.dtype.type(0), out=y) if relu else y


def _linear_in_c(x: Array, weight: Array, bias: Array | None, relu: bool) -> Array | None:
    """A layer of float32 on a CPU that is large enough for threads; None where BLAS shall do it."""
    if x.dtype != np.float32 or x.size * len(weight) < LARGE or is_working():
        return None
    y = aligned_empty((len(x), len(weight)), x.dtype)
    done = product.pays(x, weight.T) and product.product(x, weight.T, y, bias, relu)
    return y if done else None


def _linear_by_cublaslt(x: Array, weight: Array, bias: Array | None, relu: bool) -> Array | None:
    vector = bias if bias is None else array_module(x).ascontiguousarray(bias)
    return cublaslt.product(x, weight.T, None, _precision, vector, relu)


@through_single
def _linear_narrow(x: Array, weight: Array, bias: Array | None, relu: bool) -> Array:
    return linear(x, weight, bias, relu)


def _matmul_cuda(a: Array, b: Array, out: Array | None) -> Array:
    if a.dtype != b.dtype:
        common = common_dtype(a.dtype, b.dtype)
        a, b = a.astype(common, copy=False), b.astype(common, copy=False)
    if min(a.ndim, b.ndim) >= 2 and (out is None or out.dtype == a.dtype):
        found = cublaslt.product(a, b, out, _precision)
        if found is not None:
            return found
    try:
        return array_module(a).matmul(a, b, out=out)
    except NotImplementedError as error:  # CuPy's, in a capture
        raise NotImplementedError(
            "[matmul] a product in a captured function needs cuBLASLt "
            f"({why_missing() or 'which refuses this one'}): {how_to_install('cuda12', 'cuda13')}"
        ) from error


def _matmul_narrow(a: Array, b: Array, out: Array | None) -> Array:
    """`_matmul_cpu` of 16-bit numbers: NumPy has no product for bfloat16, and a slow one else."""
    dtype = common_dtype(a.dtype, b.dtype)
    if not is_narrow(dtype):
        return _matmul_cpu(a.astype(dtype, copy=False), b.astype(dtype, copy=False), out)
    product = _matmul_cpu(a.astype(np.float32), b.astype(np.float32), None)
    if out is None:
        return product.astype(dtype)
    out[...] = product
    return out


def _matmul_cpu(a: Array, b: Array, out: Array | None) -> Array:
    """A large product is done in C, or split by matrices, or one matrix into blocks, over threads.

    BLAS would use its own, and those go on spinning for a while when they are done, which takes
    the cores from whatever runs next.
    """
    if a.ndim < 2 or b.ndim < 2 or max(a.size * b.shape[-1], b.size * a.shape[-2]) < LARGE:
        return np.matmul(a, b, out)
    if is_working():
        return np.matmul(a, b, out)
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    shape = (*lead, a.shape[-2], b.shape[-1])
    y = aligned_empty(shape, np.result_type(a, b)) if out is None else out
    apart = out is None or not (np.may_share_memory(a, y) or np.may_share_memory(b, y))
    in_c = product.product if a.ndim == b.ndim == 2 else product.stacked
    if apart and product.pays(a, b) and in_c(a, b, y):
        return y
    parts = min(PARTS, max(1, _work(a, b, y) // PART))
    if (stacks := max(lead, default=1)) > 1:
        if parts == 1 and shape[-2] * shape[-1] * a.shape[-1] < LARGE:
            return np.matmul(a, b, y)  # BLAS takes one thread for each by itself
        axis = lead.index(stacks) - len(shape)

        def of_stack(part: slice) -> None:
            left, right, out = (part_along(x, axis, part) for x in (a, b, y))
            np.matmul(left, right, out)

        by_parts(np, of_stack, stacks, -(-stacks // parts))
        return y

    def of_matrix(block: tuple[slice, slice]) -> None:
        rows, columns = block
        np.matmul(a[..., rows, :], b[..., columns], y[..., rows, columns])

    parallel_map(of_matrix, _blocks(shape[-2], shape[-1], parts))
    return y


@functools.lru_cache(1024)
def _blocks(rows: int, columns: int, parts: int) -> list[tuple[slice, slice]]:
    """A matrix cut into so many blocks, at most: as square as can be, and two or none below 256.

    BLAS copies what a block is the product of, and is slower at small ones: 16 blocks of a product
    of 1000 by 1000 take 1.4 times as long as the whole, 4 take 1.1 times as long.
    """
    height, width, count = rows, columns, 1
    while 2 * count <= parts and max(height, width) >= (128 if count == 1 else 512):
        count *= 2
        if height >= width:
            height = -(-height // 2)
        else:
            width = -(-width // 2)
    return [(r, c) for r in spans(rows, max(height, 1)) for c in spans(columns, max(width, 1))]


def _work(a: Array, b: Array, y: Array) -> int:
    """The time of a product, as that of so many multiplications in a large one."""
    matrices = y.size // max(1, y.shape[-2] * y.shape[-1])
    return int(y.size * a.shape[-1] + EACH * matrices + MOVED * (a.size + b.size + y.size))
