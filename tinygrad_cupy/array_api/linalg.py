"""The standard's extension ``linalg``."""

from ..numpy import matrix_transpose
from ..numpy.linalg import (
    cross,
    matrix_norm,
    matrix_power,
    outer,
    vector_norm,
)
from .functions import matmul, tensordot, vecdot

# fmt: off
__all__ = [
    "cross", "matmul", "matrix_norm", "matrix_power", "matrix_transpose", "outer", "tensordot",
    "vecdot", "vector_norm",
]
# fmt: on
