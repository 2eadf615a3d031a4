"""What operations compute, on arrays: kernels that know neither tensors nor graphs.

``kernels.X`` is the body of ``ops/X.py``: a file, or a folder where a file's name says what it is:
``__init__`` the declared kernels, with shapes; ``reference`` plain, on either kind of array, what
tests hold the others to; ``cpu`` chooses between C and NumPy; ``native`` calls C; ``cuda``
launches; ``plan`` says with which tiles.
"""

from . import (
    activation,
    arrange,
    conv,
    convolve,
    diagonal,
    division,
    dropout,
    einsum,
    fft,
    floating,
    indexing,
    loss,
    matmul,
    norm,
    pool,
    reduce,
    scan,
    scatter,
    sets,
    shape,
    sort,
    take,
    trigonometric,
    unfold,
    windows,
)

__all__ = [
    "activation",
    "arrange",
    "conv",
    "convolve",
    "diagonal",
    "division",
    "dropout",
    "einsum",
    "fft",
    "floating",
    "indexing",
    "loss",
    "matmul",
    "norm",
    "pool",
    "reduce",
    "scan",
    "scatter",
    "sets",
    "shape",
    "sort",
    "take",
    "trigonometric",
    "unfold",
    "windows",
]
