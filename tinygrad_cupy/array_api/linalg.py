"""The standard's extension ``linalg``."""

from ..numpy.linalg import (
    cross,
    matmul,
    matrix_norm,
    matrix_power,
    outer,
    tensordot,
    vecdot,
    vector_norm,
)
from ..numpy import matrix_transpose

__all__ = [
    *("cross", "matmul", "matrix_norm", "matrix_power", "matrix_transpose", "outer"),
    *("tensordot", "vecdot", "vector_norm"),
]
