"""Products with logarithms, on arrays."""

from __future__ import annotations

from ..backend import Array, Elementwise, kernel
from .common.special import scipys

# CuPy's takes 0 · log(1 + NaN) for 0.
_xlog1py = Elementwise(
    "T a, T b", "T y", "y = a == 0 && b == b ? T(0) : T(a * log1p(b))", "entropy_xlog1py"
)


def _xlog1py_cpu(a: Array, b: Array) -> Array:
    return scipys("xlog1py")(a, b)


@kernel(cpu=_xlog1py_cpu, cuda=_xlog1py)
def xlog1py(a: Array, b: Array) -> Array:
    """a log(1 + b); 0 where a is 0 and b is not NaN."""
