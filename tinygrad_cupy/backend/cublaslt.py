"""Matrix products on a GPU by cuBLASLt, which may be called while a CUDA graph is captured.

CuPy refuses every cuBLAS call in a capture, so these go through nvmath-python's bindings. What is
done for matrices of given shapes and strides is decided once (a `Plan`) and kept; a call then costs
a look-up, the output's memory and the launch.

cuBLASLt's matrices are stored column by column. Ours, row by row, are their transposes, so it is
asked for yᵀ = bᵀ aᵀ: its first operand is b, its second a, and its rows are our columns.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from .arrays import Array, import_cupy, one_stride, strides_of
from .cublaslt_library import Library, library

WORKSPACE = 32 << 20  # bytes that an algorithm may ask for
ALIGNED = 16  # bytes, the widest load of a kernel; memory that is less aligned has plans of its own
PLANS = 4096  # kept at most: then all are dropped
IN_COMPUTE_TYPE = 2  # where a sum is split, its parts are added up so, not rounded to the result's

DATA = {
    "float16": "CUDA_R_16F",
    "bfloat16": "CUDA_R_16BF",
    "float32": "CUDA_R_32F",
    "float64": "CUDA_R_64F",
    "complex64": "CUDA_C_32F",
    "complex128": "CUDA_C_64F",
}
FAST = {"tf32": "COMPUTE_32F_FAST_TF32", "bf16": "COMPUTE_32F_FAST_16BF"}  # of float32, on sm_80


class _Matrix(NamedTuple):
    """How the matrices (…, R, C) of an array lie in memory, counted in elements."""

    rows: int
    columns: int
    by_columns: bool
    leading: int  # from row to row, or from column to column
    step: int  # from matrix to matrix; 0 where all are one


def _matrix(array: Array, lead: tuple[int, ...]) -> _Matrix | None:
    """How ``array`` lies when it is broadcast to leading axes ``lead``; None: too irregularly."""
    *_, rows, columns = array.shape
    size = array.dtype.itemsize
    strides = strides_of(array)
    *outer, down, right = (stride // size for stride in strides)
    if (columns == 1 or right == 1) and (rows == 1 or down >= columns):
        by_columns, leading = False, columns if rows == 1 else down
    elif (rows == 1 or down == 1) and (columns == 1 or right >= rows):
        by_columns, leading = True, rows if columns == 1 else right
    else:
        return None
    missing = len(lead) - len(outer)
    step = one_stride(lead, (*(0,) * missing, *outer))  # 0 along what is broadcast
    if step is None or step < 0 or any(stride % size for stride in strides):
        return None
    return _Matrix(rows, columns, by_columns, leading, step)


class Plan(Protocol):
    """What is done for products of one kind: of one dtype, with these shapes and strides."""

    def __call__(self, a: Array, b: Array, y: Array, bias: Array | None) -> Array | None:
        """Write the product into y, on the current stream; y, or None where it cannot be done."""


class Product:
    """cuBLASLt multiplies: the operands' layouts, and the algorithm that it proposes for them.

    Operands are of ``dtype``, the result is of ``made``.
    """

    def __init__(
        self,
        found: Library,
        dtype: Any,
        made: Any,
        compute: str,
        matrices: tuple[_Matrix, _Matrix, _Matrix],
        batch: int,
        alignment: int,
        bias: Array | None,
        relu: bool,
    ) -> None:
        self.library, lt = found, found.lt
        self.handle = found.handle(import_cupy().cuda.runtime.getDevice())
        real = "float64" if compute == "COMPUTE_64F" else "float32"
        kind = dtype.name if dtype.kind == "c" else real
        scales, scaled_in = found.scales[kind], found.data[DATA[kind]]
        self.alpha, self.beta = scales.ctypes.data, scales.ctypes.data + scales.itemsize
        compute_type = found.cublas.ComputeType[compute]
        self.operation = self._owned("matmul_desc", int(compute_type), int(scaled_in))
        a, b, y = matrices
        turned = {False: found.cublas.Operation.N, True: found.cublas.Operation.T}
        self._set("TRANSA", int(turned[b.by_columns]))
        self._set("TRANSB", int(turned[a.by_columns]))
        epilogue = "_".join(["RELU"] * relu + ["BIAS"] * (bias is not None)) or "DEFAULT"
        self._set("EPILOGUE", int(lt.Epilogue[epilogue]))
        self.lock = threading.Lock()  # held from setting the operation's bias to its launch
        self.bias = 0
        if bias is not None:
            self._point_at(bias)
        of, to = (int(found.data[DATA[one.name]]) for one in (dtype, made))
        self.layouts = [self._layout(*one, batch) for one in ((b, of), (a, of), (y, to))]
        self.choice = self._choose(alignment)
        self.works = self.choice is not None
        self.algorithm = self.choice.ptr if self.works else 0
        self.workspace = int(self.choice.workspace_size) if self.works else 0

    def _owned(self, kind: str, *arguments: int) -> int:
        """A new descriptor that goes with this plan, but not while Python shuts down."""
        made: int = getattr(self.library.lt, f"{kind}_create")(*arguments)
        destroy = getattr(self.library.lt, f"{kind}_destroy")
        weakref.finalize(self, destroy, made).atexit = False
        return made

    def _set(self, name: str, value: int) -> None:
        self.library.set("matmul_desc", self.operation, name, value)

    def _point_at(self, bias: Array) -> None:
        if self.bias != bias.data.ptr:
            self.bias = bias.data.ptr
            self._set("BIAS_POINTER", self.bias)

    def _layout(self, matrix: _Matrix, data: int, batch: int) -> int:
        sides = matrix.rows, matrix.columns
        stored = sides if matrix.by_columns else sides[::-1]
        made = self._owned("matrix_layout", data, *stored, matrix.leading)
        if batch > 1:
            self.library.set("matrix_layout", made, "BATCH_COUNT", batch)
            self.library.set("matrix_layout", made, "STRIDED_BATCH_OFFSET", matrix.step)
        return made

    def _choose(self, alignment: int) -> Any:
        """What cuBLASLt expects to be the fastest; None where it has nothing at all."""
        lt, kind = self.library.lt, "matmul_preference"
        preference = lt.matmul_preference_create()
        result, count = lt.MatmulHeuristicResult(1), np.zeros(1, np.int32)
        b, a, y = self.layouts
        try:
            self.library.set(kind, preference, "MAX_WORKSPACE_BYTES", WORKSPACE)
            self.library.set(kind, preference, "REDUCTION_SCHEME_MASK", IN_COMPUTE_TYPE)
            for operand in "ABCD":
                name = f"MIN_ALIGNMENT_{operand}_BYTES"
                self.library.set(kind, preference, name, alignment)
            lt.matmul_algo_get_heuristic(
                *(self.handle, self.operation, b, a, y, y, preference),
                *(1, result.ptr, count.ctypes.data),
            )
        except lt.cuBLASLtError:  # such a product is not supported
            return None
        finally:
            lt.matmul_preference_destroy(preference)
        return result if count[0] and int(result.state) == 0 else None

    def __call__(self, a: Array, b: Array, y: Array, bias: Array | None) -> Array:
        cupy = import_cupy()
        # The memory is free again when this returns: what gets it next comes later in the stream.
        scratch = cupy.empty(self.workspace, np.uint8) if self.workspace else None
        run = self.runner(b, scratch)
        if bias is None:
            run(a.data.ptr, y.data.ptr)
            return y
        with self.lock:
            self._point_at(bias)
            run(a.data.ptr, y.data.ptr)
        return y

    def runner(self, b: Array, scratch: Array | None) -> Callable[[int, int], Any]:
        """What multiplies matrices at an address with b, to another, on the current stream."""
        left, right, result = self.layouts
        multiply, address = self.library.lt.matmul, b.data.ptr
        start = self.handle, self.operation, self.alpha
        end = (
            *(self.algorithm, 0 if scratch is None else scratch.data.ptr, self.workspace),
            import_cupy().cuda.get_current_stream().ptr,
        )

        def run(a: int, y: int) -> None:
            multiply(*start, address, left, a, right, self.beta, y, result, y, result, *end)

        return run


class Each:
    """What writes a[i] @ b into out[j] when it is called with i and j, on the current stream."""

    def __init__(self, plan: Product, a: Array, b: Array, out: Array) -> None:
        size = plan.workspace
        scratch = import_cupy().empty(size, np.uint8) if size else None
        self.arrays = a, b, out, scratch  # whose addresses are known below
        self.run = plan.runner(b, scratch)
        self.start, self.into = a.data.ptr, out.data.ptr
        self.step, self.stride = strides_of(a)[0], strides_of(out)[0]

    def __call__(self, i: int, j: int) -> Any:
        return self.run(self.start + i * self.step, self.into + j * self.stride)


class Zeros:
    """Nothing is added up."""

    def __call__(self, a: Array, b: Array, y: Array, bias: Array | None) -> Array:
        y.fill(0)
        return y


class Transposed(NamedTuple):
    """y is stored by columns, so yᵀ = bᵀ aᵀ is computed; without bias or ReLU."""

    precision: str

    def __call__(self, a: Array, b: Array, y: Array, bias: Array | None) -> Array | None:
        left, right, result = (x.swapaxes(-1, -2) for x in (b, a, y))
        return None if product(left, right, result, self.precision) is None else y


class CopiedOperands(NamedTuple):
    """The strides of a or b are none that cuBLASLt reads, so it is given copies."""

    precision: str
    relu: bool

    def __call__(self, a: Array, b: Array, y: Array, bias: Array | None) -> Array | None:
        lead = y.shape[:-2]
        left, right = _regular(a, lead), _regular(b, lead)
        return product(left, right, y, self.precision, bias, self.relu)


class CopiedResult(NamedTuple):
    """Those of y are none that it writes, so the product is copied there."""

    precision: str
    relu: bool

    def __call__(self, a: Array, b: Array, y: Array, bias: Array | None) -> Array | None:
        made = import_cupy().empty(y.shape, y.dtype)
        if product(a, b, made, self.precision, bias, self.relu) is None:
            return None
        y[...] = made
        return y


class Refused:
    """cuBLASLt is missing, or cannot do this."""

    def __call__(self, a: Array, b: Array, y: Array, bias: Array | None) -> None:
        return None


_plans: dict[Any, Plan] = {}


def product(
    a: Array,
    b: Array,
    out: Array | None,
    precision: str,
    bias: Array | None = None,
    relu: bool = False,
) -> Array | None:
    """a @ b, plus ``bias`` (N,), then ReLU; into ``out``, which nothing else overlaps, or new.

    a (…, M, K) and b (…, K, N), bias and out have one dtype and are on the current device; of
    16-bit numbers out may be float32. None where cuBLASLt is missing or cannot do it.
    """
    y = out
    if y is None:
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2]) if a.ndim + b.ndim > 4 else ()
        y = import_cupy().empty((*lead, a.shape[-2], b.shape[-1]), a.dtype)
    return _known(a, b, y, precision, bias, relu)(a, b, y, bias)


def each(a: Array, b: Array, out: Array, precision: str) -> Each | None:
    """Products a[i] @ b, written into out[j]: a (T, M, K), b (K, N), as `product` takes them.

    None where cuBLASLt is missing, or cannot do it without copies.
    """
    apart = strides_of(a)[0] | strides_of(out)[0]
    plan = _known(a[0], b, out[0], precision, None, False, apart)
    return Each(plan, a, b, out) if isinstance(plan, Product) else None


def _known(
    a: Array,
    b: Array,
    y: Array,
    precision: str,
    bias: Array | None,
    relu: bool,
    apart: int = 0,
) -> Plan:
    """The plan, made where there is none; ``apart`` are bytes between matrices that are alike."""
    bits = apart | a.data.ptr | b.data.ptr | y.data.ptr | (0 if bias is None else bias.data.ptr)
    aligned = bits % ALIGNED == 0
    key = (
        *(a.dtype.num, a.shape, a.strides, b.shape, b.strides, y.shape, y.strides),
        *(y.dtype.num, precision, bias is None, relu, aligned, a.data.device_id),
    )
    plan = _plans.get(key)
    if plan is None:
        if len(_plans) >= PLANS:
            _plans.clear()
        plan = _plans[key] = _plan(a, b, y, precision, bias, relu, aligned)
    return plan


def _plan(
    a: Array, b: Array, y: Array, precision: str, bias: Array | None, relu: bool, aligned: bool
) -> Plan:
    """What to do for products like this one."""
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if a.shape[-1] != b.shape[-2] or y.shape != (*lead, a.shape[-2], b.shape[-1]):
        raise ValueError(f"[matmul] shapes {a.shape} and {b.shape} do not give {y.shape}")
    found = library()
    if found is None or a.dtype.name not in DATA:
        return Refused()
    if 0 in y.shape or not a.shape[-1]:
        return Zeros() if bias is None else Refused()
    left, right, result = (_matrix(x, lead) for x in (a, b, y))
    plain = bias is None and not relu
    if result is None or (result.by_columns and not plain):
        return CopiedResult(precision, relu)
    if result.by_columns:
        return Transposed(precision)
    if left is None or right is None:
        return CopiedOperands(precision, relu)
    batch = math.prod(lead)
    stacked = not left.by_columns and all(m.step == m.rows * m.leading for m in (left, result))
    if batch > 1 and right.step == 0 and stacked:  # one b for all: the matrices of a are one
        left, result = (m._replace(rows=batch * m.rows, step=0) for m in (left, result))
        batch = 1
    alignment = ALIGNED if aligned else a.dtype.itemsize
    for compute in _compute_types(a, precision):
        matrices = (left, right, result)
        plan = Product(found, a.dtype, y.dtype, compute, matrices, batch, alignment, bias, relu)
        if plan.works:
            return plan
    return Refused()


def _compute_types(array: Array, precision: str) -> list[str]:
    """How cuBLASLt should multiply and add up, best first."""
    if array.dtype in (np.float64, np.complex128):
        return ["COMPUTE_64F"]
    fast = array.dtype == np.float32 and int(array.device.compute_capability) >= 80
    return [FAST[precision], "COMPUTE_32F"] if fast and precision in FAST else ["COMPUTE_32F"]


def _regular(array: Array, lead: tuple[int, ...]) -> Array:
    """``array`` itself, or a copy of it that has a `_matrix`."""
    if _matrix(array, lead) is not None:
        return array
    cupy = import_cupy()
    copied = cupy.ascontiguousarray(array)
    if _matrix(copied, lead) is None:
        copied = cupy.ascontiguousarray(cupy.broadcast_to(array, (*lead, *array.shape[-2:])))
    return copied
