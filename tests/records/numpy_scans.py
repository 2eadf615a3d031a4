"""Records of `tinygrad_cupy.numpy`'s scans: cumulative sums, differences, integrals of samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy.numpy as tnp
from support.sampling import NUMBERS, Case, Draw, Error, Sample, draw_axis, normal, rng_of, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import arithmetic, scan, shape

from .numpy_reductions import called
from .product import with_zeros


def _case(values: Any, several: bool = False, least: int = 1) -> Any:
    def cases(draw: Draw) -> Case:
        size = draw(shapes(min_dims=1, min_side=least))
        axis = draw_axis(draw, len(size), several)
        return Case((values(draw, size),), {"axis": axis})

    return cases


def _one_axis(draw: Draw, **more: Any) -> Case:
    size = draw(shapes(min_dims=1))
    axis = draw(st.integers(-len(size), len(size) - 1))
    return Case((normal(draw, size),), {"axis": axis, **more})


def _scan(name: str) -> Any:
    def reference(torch: Any, x: Any, axis: Any) -> Any:
        return getattr(torch, name)(x.reshape(-1) if axis is None else x, axis or 0)

    return reference


def _initial(scan_name: str, value: float) -> Any:
    def reference(torch: Any, x: Any, axis: int, include_initial: bool) -> Any:
        found = getattr(torch, scan_name)(x, axis)
        if not include_initial:
            return found
        first = torch.full_like(found.narrow(axis, 0, 1), value)
        return torch.cat([first, found], axis)

    return reference


def _cumulative(name: str, scan_name: str, op: Any, value: float, values: Any) -> Sample:
    def cases(draw: Draw) -> Case:
        size = draw(shapes(min_dims=1))
        axis = draw(st.integers(-len(size), len(size) - 1))
        return Case((values(draw, size),), {"axis": axis, "include_initial": draw(st.booleans())})

    return Sample(
        f"np.{name}",
        called(name),
        cases,
        _initial(scan_name, value),
        (op,),
        (f"np.{name}",),
        dtypes=NUMBERS,
        errors=(
            Error(
                lambda: getattr(tnp, name)(Tensor.ones(2, 3)),
                ValueError,
                f"[{name}] expected an axis for a tensor of 2 axes, got None",
            ),
        ),
    )


def _diff_case(draw: Draw) -> Case:
    case = _one_axis(draw)
    (x,), axis = case.values, case.options["axis"]
    ends = [list(x.shape), list(x.shape)]
    for end in ends:
        end[axis] = draw(st.integers(0, 2))
    values = (x, *[normal(draw, tuple(end)) for end in ends])
    return Case(values, {"n": draw(st.integers(0, 3)), "axis": axis})


def _diff(torch: Any, x: Any, before: Any, behind: Any, n: int, axis: int) -> Any:
    if not n:
        return x.clone()
    x = torch.cat([before, x, behind], axis)
    for _ in range(n):
        x = torch.diff(x, dim=axis) if x.shape[axis] else x
    return x


def _pieces(draw: Draw) -> Case:
    sizes = (draw(shapes()), (draw(st.integers(0, 2)),), (draw(st.integers(0, 2)),))
    return Case(tuple(normal(draw, size) for size in sizes))


def _samples(draw: Draw) -> Case:
    """y, and points x of its shape or of its axis."""
    case = _one_axis(draw)
    (y,), axis = case.values, case.options["axis"]
    size = y.shape if draw(st.booleans()) else (y.shape[axis],)
    return Case((y, normal(draw, size)), case.options)


def _gradient_case(draw: Draw) -> Case:
    size = draw(shapes(min_dims=1, max_dims=2, min_side=3))
    axis = draw(st.integers(-len(size), len(size) - 1))
    places = np.cumsum(rng_of(draw).uniform(0.5, 1.5, size[axis]))
    return Case((normal(draw, size), places), {"axis": axis, "edge_order": draw(st.integers(1, 2))})


def _gradient(torch: Any, x: Any, places: Any, axis: int, edge_order: int) -> Any:
    x = torch.movedim(x, axis, -1)
    d = torch.diff(places)
    a, b = d[:-1], d[1:]
    inner = (
        x[..., 2:] * (a / (b * (a + b)))
        - x[..., :-2] * (b / (a * (a + b)))
        + x[..., 1:-1] * ((b - a) / (a * b))
    )
    ends = []
    for y, one, two in ((x, d[0], d[1]), (x.flip(-1), -d[-1], -d[-2])):
        slope = (y[..., 1] - y[..., 0]) / one
        if edge_order == 2:  # the slope at 0 of the parabola through three points
            second = (y[..., 2] - y[..., 1]) / two
            slope = slope - one * (second - slope) / (one + two)
        ends.append(slope.unsqueeze(-1))
    return torch.movedim(torch.cat([ends[0], inner, ends[1]], -1), -1, axis)


SAMPLES = [
    Sample(
        "np.cumsum",
        called("cumsum"),
        _case(normal),
        _scan("cumsum"),
        (scan.CumSum,),
        ("np.cumsum", "cumsum"),
        dtypes=NUMBERS,
    ),
    Sample(
        "np.cumprod",
        called("cumprod"),
        _case(with_zeros),
        _scan("cumprod"),
        (scan.CumProd,),
        ("np.cumprod", "cumprod"),
        dtypes=NUMBERS,
    ),
    _cumulative("cumulative_sum", "cumsum", scan.CumSum, 0, normal),
    _cumulative("cumulative_prod", "cumprod", scan.CumProd, 1, with_zeros),
    Sample(
        "np.diff",
        lambda x, before, behind, n, axis: tnp.diff(x, n, axis, before, behind),
        _diff_case,
        _diff,
        (arithmetic.Sub, shape.Concat),
        ("np.diff",),
        dtypes=NUMBERS,
        errors=(
            Error(
                lambda: tnp.diff(Tensor.ones(3), -1),
                ValueError,
                "[diff] expected a number of differences ≥ 0, got -1",
            ),
            Error(
                lambda: tnp.diff(Tensor(1.0)),
                ValueError,
                "[diff] expected at least one axis, got a tensor of none",
            ),
            Error(
                lambda: tnp.diff(Tensor.ones(3), axis=1),
                ValueError,
                "[diff] axis 1 is out of range for a tensor of 1 axes",
            ),
        ),
    ),
    Sample(
        "np.ediff1d",
        lambda x, end, begin: tnp.ediff1d(x, end, begin),
        _pieces,
        lambda torch, x, end, begin: torch.cat([begin, torch.diff(x.reshape(-1)), end]),
        (arithmetic.Sub,),
        ("np.ediff1d",),
        dtypes=NUMBERS,
    ),
    Sample(
        "np.trapezoid",
        lambda y, x, axis: tnp.trapezoid(y, x, axis=axis),
        _samples,
        lambda torch, y, x, axis: torch.trapezoid(y, x, dim=axis),
        (arithmetic.Mul,),
        ("np.trapezoid",),
    ),
    Sample(
        "np.trapezoid even",
        lambda y, axis: tnp.trapezoid(y, dx=0.25, axis=axis),
        _one_axis,
        lambda torch, y, axis: torch.trapezoid(y, dx=0.25, dim=axis),
        (arithmetic.Mul,),
        ("np.trapezoid",),
    ),
    Sample(
        "np.gradient",
        called("gradient"),
        _gradient_case,
        _gradient,
        (arithmetic.Sub, shape.Concat),
        ("np.gradient",),
        kinks=True,
        errors=(
            Error(
                lambda: tnp.gradient(Tensor.ones(1)),
                ValueError,
                "[gradient] expected at least 2 elements along axis 0, got shape (1,)",
            ),
            Error(
                lambda: tnp.gradient(Tensor.ones(3), edge_order=3),
                ValueError,
                "[gradient] expected edge_order 1 or 2, got 3",
            ),
            Error(
                lambda: tnp.gradient(Tensor.ones(3, 3), 1.0, 1.0, 1.0),
                TypeError,
                "[gradient] expected distances for 2 axes, got 3 of them",
            ),
            Error(
                lambda: tnp.gradient(Tensor.ones(3), [1.0, 2.0]),
                ValueError,
                "[gradient] expected 3 places along axis 0, got shape (2,)",
            ),
        ),
    ),
]
