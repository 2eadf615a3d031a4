"""Records of NumPy's reductions: `tinygrad_cupy.numpy`'s reductions and nanfunctions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy.numpy as tnp
from support.axes import dims, out_of_range, over_axis
from support.sampling import (
    FLOATS,
    NUMBERS,
    Case,
    Draw,
    Error,
    Sample,
    distinct,
    draw_axis,
    normal,
    positive,
    rng_of,
    shapes,
)
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import extrema, logical_reduce, product, reduce, scan

from .product import _prod, with_zeros

Reference = Callable[..., Any]


def called(name: str) -> Callable[..., Any]:
    """A call of the namespace's function of that name."""
    return lambda *tensors, **options: getattr(tnp, name)(*tensors, **options)


def holes(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """Values that differ, and NaN among them, but no row of NaN alone."""
    values = distinct(draw, shape)
    missing = rng_of(draw).random(shape) < 0.3
    missing[(slice(None, None, 2),) * len(shape)] = False
    for axis in range(len(shape)):
        missing[(slice(None),) * axis + (0,)] = False
    return np.where(missing, np.nan, values)


def factors(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """`holes` among factors near 1, whose product 16 bits hold."""
    rng = rng_of(draw)
    values = rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)
    return np.where(np.isnan(holes(draw, shape)), np.nan, values)


def reduction(name: str, ops: Any, values: Any, torch: Reference, **options: Any) -> Sample:
    """A function of one tensor, an axis and keepdims."""
    limits = {k: options.pop(k) for k in ("min_dims", "min_side") if k in options}
    extra = options.pop("extra", {})
    return Sample(
        f"np.{name}",
        called(name),
        over_axis(values, **{"min_dims": 1, **limits}, **extra),
        torch,
        ops if isinstance(ops, tuple) else (ops,),
        (f"np.{name}",),
        **options,
    )


def _over(name: str) -> Reference:
    """PyTorch's function of that name over axes."""

    def reference(torch: Any, x: Any, axis: Any, keepdims: bool) -> Any:
        return getattr(torch, name)(x, dims(x, axis), keepdim=keepdims)

    return reference


def _spread(name: str, key: str) -> Reference:
    def reference(torch: Any, x: Any, axis: Any, keepdims: bool, **given: int) -> Any:
        return getattr(torch, name)(x, dims(x, axis), correction=given[key], keepdim=keepdims)

    return reference


def _ptp(torch: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    return torch.amax(x, dims(x, axis), keepdims) - torch.amin(x, dims(x, axis), keepdims)


def _counted(torch: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    return (x != 0).sum(dims(x, axis), keepdim=keepdims)


def _few(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    return rng_of(draw).choice([0.0, 1.0], shape)


SPREADS = [
    reduction(
        name,
        (reduce.Centre, reduce.Mean),
        distinct,
        _spread(name, key),
        min_side=2,
        extra={key: st.integers(0, 1)},
        kinks=name == "std",
        errors=(
            Error(
                functools.partial(getattr(tnp, name), [1.0, 2.0], ddof=1, correction=1),
                ValueError,
                f"[{name}] expected correction= or ddof=, not both",
            ),
        ),
    )
    for name, key in (("var", "ddof"), ("std", "correction"))
]

EXTREMA = [
    reduction(
        name,
        extrema.Extremum,
        distinct,
        _over(f"a{name[-3:]}"),
        dtypes=NUMBERS,
        kinks=True,
    )
    for name in ("max", "amax", "min", "amin")
]


# --- positions ----------------------------------------------------------------------------------


def _position_case(values: Any) -> Callable[[Draw], Case]:
    def cases(draw: Draw) -> Case:
        shape = draw(shapes(min_dims=1))
        axis = draw_axis(draw, len(shape), several=False)
        return Case((values(draw, shape),), {"axis": axis, "keepdims": draw(st.booleans())})

    return cases


def _position(name: str, fill: float) -> Reference:
    def reference(torch: Any, x: Any, axis: Any, keepdims: bool) -> Any:
        filled = torch.nan_to_num(x, nan=fill) if x.is_floating_point() else x
        return getattr(torch, name)(filled, axis, keepdim=keepdims)

    return reference


POSITIONS = [
    Sample(
        f"np.{prefix}{name}",
        called(f"{prefix}{name}"),
        _position_case(holes if prefix else distinct),
        _position(name, -np.inf if name == "argmax" else np.inf),
        (extrema.ArgExtremum,),
        (f"np.{prefix}{name}",),
        dtypes=FLOATS if prefix else NUMBERS,
        order=0,
        kinks=True,
        errors=(
            (
                Error(
                    functools.partial(getattr(tnp, f"nan{name}"), [[1.0, np.nan]], 0),
                    ValueError,
                    f"[nan{name}] expected a number in each row along axis 0, got only NaN",
                    on_gpu=False,
                ),
            )
            if prefix
            else ()
        ),
    )
    for prefix in ("", "nan")
    for name in ("argmax", "argmin")
]


# --- averages -----------------------------------------------------------------------------------


def _average_case(draw: Draw) -> Case:
    shape = draw(shapes(min_dims=1))
    axis = draw_axis(draw, len(shape))
    values, weights = normal(draw, shape), positive(draw, shape)
    if isinstance(axis, tuple) and draw(st.booleans()):
        weights = positive(draw, tuple(shape[a] for a in axis))
    elif isinstance(axis, int) and draw(st.booleans()):
        weights = positive(draw, (shape[axis],))
    return Case((values, weights), {"axis": axis, "keepdims": draw(st.booleans())})


def _average(torch: Any, x: Any, weights: Any, axis: Any, keepdims: bool) -> Any:
    if weights.shape != x.shape:
        given = [a % x.ndim for a in dims(x, axis)]
        order = sorted(range(len(given)), key=lambda i: given[i])
        kept = [n if i in given else 1 for i, n in enumerate(x.shape)]
        weights = weights.permute(order).reshape(kept).expand(x.shape)
    total, scale = (v.sum(dims(x, axis), keepdim=keepdims) for v in (x * weights, weights))
    return total / scale


AVERAGE = Sample(
    "np.average",
    lambda x, weights, axis, keepdims: tnp.average(x, axis, weights, keepdims=keepdims),
    _average_case,
    _average,
    (reduce.Sum,),
    ("np.average",),
    errors=(
        Error(
            lambda: tnp.average(Tensor.ones(2, 3), weights=Tensor.ones(3)),
            TypeError,
            "[average] expected an axis, or weights of shape (2, 3), got shape (3,)",
        ),
        Error(
            lambda: tnp.average(Tensor.ones(2, 3), 0, Tensor.ones(3)),
            ValueError,
            "[average] expected weights of shape (2,), that of axis 0, got (3,)",
        ),
    ),
)


# --- leaving NaN out ----------------------------------------------------------------------------


def _filled(name: str, fill: float) -> Reference:
    """PyTorch's function with NaN replaced, as its gradient is that of what is left."""

    def reference(torch: Any, x: Any, axis: Any, keepdims: bool) -> Any:
        x = torch.where(torch.isnan(x), torch.full_like(x, fill), x)
        if name == "prod":
            return _prod(torch, x, axis, keepdims)
        return getattr(torch, name)(x, dims(x, axis), keepdim=keepdims)

    return reference


def _nan_spread(root: bool) -> Reference:
    def reference(torch: Any, x: Any, axis: Any, keepdims: bool) -> Any:
        there, over = ~torch.isnan(x), dims(x, axis)
        x = torch.where(there, x, torch.zeros_like(x))
        count = there.sum(over, keepdim=True)
        mean = x.sum(over, keepdim=True) / count
        squares = torch.where(there, ((x - mean) * (x - mean).conj()).real, 0.0)
        found = squares.sum(over, keepdim=keepdims) / there.sum(over, keepdim=keepdims)
        still = found == 0
        safe = torch.where(still, torch.ones_like(found), found).sqrt()
        return torch.where(still, torch.zeros_like(found), safe) if root else found

    return reference


NAN = [
    reduction("nansum", reduce.Sum, holes, _over("nansum")),
    reduction("nanmean", reduce.Sum, holes, _over("nanmean")),
    reduction("nanprod", product.Prod, factors, _filled("prod", 1)),
    reduction("nanvar", reduce.Sum, holes, _nan_spread(False)),
    reduction("nanstd", reduce.Sum, holes, _nan_spread(True), kinks=True),
    reduction("nanmax", extrema.MaskedExtremum, holes, _filled("amax", -np.inf), kinks=True),
    reduction("nanmin", extrema.MaskedExtremum, holes, _filled("amin", np.inf), kinks=True),
]


def _scan_case(draw: Draw) -> Case:
    shape = draw(shapes(min_dims=1))
    return Case((holes(draw, shape),), {"axis": draw_axis(draw, len(shape), several=False)})


def _nan_scan(name: str, fill: float) -> Reference:
    def reference(torch: Any, x: Any, axis: Any) -> Any:
        x = torch.where(torch.isnan(x), torch.full_like(x, fill), x)
        return getattr(torch, name)(x.reshape(-1) if axis is None else x, axis or 0)

    return reference


def _small_case(draw: Draw) -> Case:
    """Values of at most about 1, whose products stay within 16 bits."""
    case = _scan_case(draw)
    return Case(tuple(0.3 * values for values in case.values), case.options)


NAN_SCANS = [
    Sample(
        f"np.nan{name}",
        called(f"nan{name}"),
        _small_case if name == "cumprod" else _scan_case,
        _nan_scan(name, fill),
        (op,),
        (f"np.nan{name}",),
    )
    for name, op, fill in (("cumsum", scan.CumSum, 0), ("cumprod", scan.CumProd, 1))
]

SAMPLES = [
    reduction(
        "sum",
        reduce.Sum,
        normal,
        _over("sum"),
        errors=(out_of_range(lambda x: tnp.sum(x, 2), "sum"),),
    ),
    reduction("prod", product.Prod, with_zeros, _prod),
    reduction("mean", reduce.Mean, normal, _over("mean")),
    *SPREADS,
    *EXTREMA,
    reduction("ptp", extrema.Extremum, distinct, _ptp, kinks=True),
    reduction("all", logical_reduce.LogicalReduce, _few, _over("all"), order=0, dtypes=NUMBERS),
    reduction("any", logical_reduce.LogicalReduce, _few, _over("any"), order=0, dtypes=NUMBERS),
    reduction("count_nonzero", reduce.Sum, _few, _counted, order=0, dtypes=NUMBERS),
    *POSITIONS,
    AVERAGE,
    *NAN,
    *NAN_SCANS,
]
