"""Records of ops/solve.py: equations, inverses, log |det|."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_cupy as tg
from support.matrices import regular, several, small, square, system
from support.sampling import Case, Draw, Error, Sample
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import solve
from tinygrad_cupy.ops.complex_numbers import from_parts

LINALG: Any = np.linalg  # NumPy's stubs know no tensors
SINGULAR = np.linalg.LinAlgError


def _solve(torch: Any, a: Any, b: Any) -> Any:
    """Where a stack's right side has one axis less PyTorch takes it for vectors; not NumPy."""
    b = b[:, None] if (vector := b.ndim == 1) else b
    if b.ndim < a.ndim:
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        a, b = a.expand(*lead, *a.shape[-2:]), b.expand(*lead, *b.shape[-2:])
    found = torch.linalg.solve_ex(regular(a), b)[0]
    return found[..., 0] if vector else found


def _phase(module: Any, z: Any) -> Any:
    """Both parts of det / |det|, and log |det|."""
    sign, size = module.linalg.slogdet(z)
    return [sign.real, sign.imag, size]


def _complex_square(draw: Draw) -> Case:
    (a,) = square(draw).values
    return Case((a, small(draw, a.shape)))


def _tensor_case(draw: Draw) -> Case:
    return Case((small(draw, (2, 3, 6)),))


def _tensor_system(draw: Draw) -> Case:
    return Case((small(draw, (2, 3, 6)), small(draw, (2, 3))))


def _boxed(x: Any) -> Any:
    return regular(x.reshape(6, 6)).reshape(*x.shape)


def several_square(draw: Draw) -> Case:
    (x,) = several(draw).values
    n = min(x.shape[-2:])
    return Case((x[..., :n, :n],))


SAMPLES = [
    Sample(
        "np.linalg.solve",
        lambda a, b: LINALG.solve(regular(a), b),
        system,
        _solve,
        (solve.LUFactors, solve.Solve),
        ("np.linalg.solve",),
        errors=(
            Error(
                lambda: LINALG.solve(Tensor.ones(2, 3), Tensor.ones(2)),
                ValueError,
                "[solve] expected square matrices (…, N, N), got shape (2, 3)",
            ),
            Error(
                lambda: LINALG.solve(Tensor.ones(2, 2), Tensor.ones(3)),
                ValueError,
                "[solve] expected b (…, 2, K) or (2,) beside a (2, 2), got shape (3,)",
            ),
            Error(
                lambda: LINALG.solve(Tensor.ones(2, 2), Tensor(1.0)),
                ValueError,
                "[solve] expected b of one axis or more, got a number",
            ),
            Error(
                lambda: LINALG.solve(Tensor.zeros(3, 2, 2), Tensor.ones(2)),
                SINGULAR,
                "[solve] matrix 0 is singular",
                on_gpu=False,
            ),
        ),
    ),
    Sample(
        "np.linalg.inv",
        lambda a: LINALG.inv(regular(a)),
        square,
        lambda torch, a: torch.linalg.inv(regular(a)),
        (solve.Inverse,),
        ("np.linalg.inv",),
        errors=(
            Error(
                lambda: LINALG.inv(Tensor.ones(2, 3)),
                ValueError,
                "[inv] expected square matrices (…, N, N), got shape (2, 3)",
            ),
            Error(
                lambda: LINALG.inv(Tensor.ones(2, 2)),
                SINGULAR,
                "[inv] the matrix is singular",
                on_gpu=False,
            ),
        ),
    ),
    Sample(
        "np.linalg.slogdet",
        lambda a: LINALG.slogdet(regular(a)).logabsdet,
        square,
        lambda torch, a: torch.linalg.slogdet(regular(a)).logabsdet,
        (solve.LUFactors, solve.LogAbsDet, solve.Solve),
        ("np.linalg.slogdet",),
        errors=(
            Error(
                lambda: LINALG.slogdet(Tensor.ones(2)),
                ValueError,
                "[slogdet] expected square matrices (…, N, N), got shape (2,)",
            ),
        ),
    ),
    Sample(
        "slogdet's sign",
        lambda a: tg.linalg.slogdet(regular(a).flip(-2)).sign,
        square,
        lambda torch, a: torch.linalg.slogdet(regular(a).flip(-2)).sign,
        (solve.SignOfDet,),
        (),
        order=0,
    ),
    Sample(
        "phase of a determinant",
        call=lambda a, b: _phase(np, from_parts(regular(a), b)),
        cases=_complex_square,
        torch=lambda t, a, b: _phase(t, t.complex(regular(a), b)),
        ops=(solve.PhaseOfDet, solve.LogAbsDet),
        covers=(),
    ),
    Sample(
        "np.linalg.tensorinv",
        lambda a: LINALG.tensorinv(_boxed(a), ind=2),
        _tensor_case,
        lambda torch, a: torch.linalg.tensorinv(_boxed(a), ind=2),
        (solve.Inverse,),
        ("np.linalg.tensorinv",),
        errors=(
            Error(
                lambda: LINALG.tensorinv(Tensor.ones(2, 3), ind=1),
                ValueError,
                "[tensorinv] expected as many elements in (2,) as in (3,)",
            ),
            Error(
                lambda: LINALG.tensorinv(Tensor.ones(2, 2), ind=0),
                ValueError,
                "[tensorinv] expected ind of 1 or more, got 0",
            ),
        ),
    ),
    Sample(
        "np.linalg.tensorsolve",
        lambda a, b: LINALG.tensorsolve(_boxed(a), b),
        _tensor_system,
        lambda torch, a, b: torch.linalg.tensorsolve(_boxed(a), b),
        (solve.Solve,),
        ("np.linalg.tensorsolve",),
        errors=(
            Error(
                lambda: LINALG.tensorsolve(Tensor.ones(2, 3), Tensor.ones(2)),
                ValueError,
                "[tensorsolve] expected a of the shape of b and as many elements again, got (2, 3) "
                "and (2,)",
            ),
        ),
    ),
    Sample(
        "np.linalg.matrix_power of inverses",
        lambda a: LINALG.matrix_power(regular(a), -2),
        square,
        lambda torch, a: torch.linalg.matrix_power(regular(a), -2),
        (solve.Inverse,),
        ("np.linalg.matrix_power",),
    ),
    Sample(
        "np.linalg.cond by inverses",
        lambda a: tg.linalg.cond(regular(a), "fro"),
        several_square,
        lambda torch, a: (
            torch.linalg.matrix_norm(regular(a)) * torch.linalg.matrix_norm(regular(a).inverse())
        ),
        (solve.Inverse,),
        (),
    ),
]
