"""Records of ops/matmul.py."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from support.sampling import Case, Draw, Error, Sample, method, normal, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import matmul

SIDE = st.integers(1, 4)


def _matmul_case(draw: Draw) -> Case:
    """Matrices, vectors and stacks of matrices whose leading axes broadcast."""
    rows, inner, columns = draw(st.tuples(SIDE, st.integers(0, 4), SIDE))
    lead = draw(shapes(max_dims=2))
    left = tuple(draw(st.sampled_from([1, n])) for n in lead)
    right = lead[draw(st.integers(0, len(lead))) :]
    a = draw(st.sampled_from([(inner,), (*left, rows, inner)]))
    b = draw(st.sampled_from([(inner,), (*right, inner, columns)]))
    return Case((normal(draw, a), normal(draw, b)))


def _array_case(draw: Draw) -> Case:
    a, b = _matmul_case(draw).values
    return Case((b,), {"array": a})


def _linear_case(draw: Draw) -> Case:
    features, outputs = draw(st.tuples(SIDE, SIDE))
    lead = draw(shapes(max_dims=3))
    values = [normal(draw, (*lead, features)), normal(draw, (outputs, features))]
    if draw(st.booleans()):
        values.append(normal(draw, (outputs,)))
    return Case(tuple(values))


def _linear(torch: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    return torch.nn.functional.linear(x, weight, bias)


def _linear_relu(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return x.linear(weight, bias, relu=True)


SAMPLES = [
    Sample(
        "matmul",
        method("matmul"),
        _matmul_case,
        lambda torch, a, b: torch.matmul(a, b),
        (matmul.MatMul,),
        ("matmul",),
        errors=(
            Error(
                lambda: Tensor.ones(2, 3).matmul(Tensor.ones(2, 3)),
                ValueError,
                "[matmul] expected the last axis of (2, 3) to match the next-to-last of (2, 3)",
            ),
            Error(
                lambda: Tensor.ones(2, 3).matmul(Tensor(1.0)),
                ValueError,
                "[matmul] expected at least 1 axis each, got (2, 3) and ()",
            ),
            Error(
                lambda: Tensor.ones(2, 3, 3).matmul(Tensor.ones(4, 3, 3)),
                ValueError,
                "[matmul] leading axes of (2, 3, 3) and (4, 3, 3) do not broadcast",
            ),
            Error(
                lambda: Tensor.ones(2, 3) @ 2,
                TypeError,
                "[matmul] expected a tensor or an array, got int",
            ),
        ),
    ),
    Sample(
        "@",
        lambda a, b: a @ b,
        _matmul_case,
        lambda _, a, b: a @ b,
        (matmul.MatMul,),
        ("__matmul__",),
    ),
    Sample(
        "array @ tensor",  # of a list, or of CuPy's: NumPy's arrays ask for np.matmul
        lambda x, array: x.__rmatmul__(array),
        _array_case,
        lambda _, x, array: array.to(x.dtype) @ x,
        (matmul.MatMul,),
        ("__rmatmul__",),
        dtypes=("float64",),
    ),
    Sample(
        "linear",
        method("linear"),
        _linear_case,
        _linear,
        (matmul.Linear,),
        ("linear",),
        errors=(
            Error(
                lambda: Tensor.ones(2, 3).linear(Tensor.ones(4, 5)),
                ValueError,
                "[linear] expected input (..., I) and weight (O, I), got (2, 3) and (4, 5)",
            ),
            Error(
                lambda: Tensor.ones(2, 3).linear(Tensor.ones(4, 3), Tensor.ones(3)),
                ValueError,
                "[linear] expected bias (4,), got (3,)",
            ),
        ),
    ),
    Sample(
        "linear and relu",
        _linear_relu,
        _linear_case,
        lambda torch, *tensors: torch.relu(_linear(torch, *tensors)),
        (matmul.LinearRelu,),
        ("linear",),
        kinks=True,
    ),
]
