"""Records of ops/order_statistics.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy.numpy as tnp
from support.axes import dims, empty
from support.sampling import Case, Draw, Error, Sample, distinct, draw_axis, rng_of, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import order_statistics
from tinygrad_cupy.ops.order_statistics import METHODS

from .numpy_reductions import called, holes, reduction


def _rows(torch: Any, x: Any, axis: Any) -> Any:
    """x with the elements along ``axis`` in the last one."""
    over = [a % x.ndim for a in dims(x, axis)]
    others = [a for a in range(x.ndim) if a not in over]
    return x.permute([*others, *over]).reshape([*[x.shape[a] for a in others], -1])


def _kept(x: Any, found: Any, axis: Any, keepdims: bool) -> Any:
    over = [a % x.ndim for a in dims(x, axis)]
    shape = [1 if a in over else n for a, n in enumerate(x.shape)]
    return (
        found.reshape(*found.shape[: found.ndim - x.ndim + len(over)], *shape)
        if keepdims
        else found
    )


def _sorted_quantile(torch: Any, rows: Any, q: Any, method: str) -> Any:
    """By sorting; ``NumPy`` says how far it is from which element to the next."""
    rows = torch.sort(rows, -1).values
    n = rows.shape[-1]
    rule: Any = method
    at = np.quantile(np.arange(float(n)), q, method=rule)  # between which ranks
    low = np.floor(at).astype(int)
    high, share = np.minimum(low + 1, n - 1), torch.from_numpy(np.asarray(at - low)).to(rows.dtype)
    return rows[..., low] * (1 - share) + rows[..., high] * share


def _quantile_case(divisor: float) -> Any:
    def cases(draw: Draw) -> Case:
        shape = draw(shapes(min_dims=1))
        count = draw(st.integers(0, 3))
        # Nowhere near the place of an element, where the two neighbours change.
        q = rng_of(draw).choice([0.13, 0.37, 0.61, 0.89], count or None)
        options = {
            "q": np.asarray(q) * divisor if count else float(q) * divisor,
            "axis": draw_axis(draw, len(shape)),
            "method": draw(st.sampled_from(METHODS)),
            "keepdims": draw(st.booleans()),
        }
        return Case((distinct(draw, shape),), options)

    return cases


def _quantile(divisor: float) -> Any:
    def reference(torch: Any, x: Any, q: Any, axis: Any, method: str, keepdims: bool) -> Any:
        q = q.numpy() if isinstance(q, torch.Tensor) else q
        found = _sorted_quantile(torch, _rows(torch, x, axis), q / divisor, method)
        found = torch.movedim(found, -1, 0) if np.ndim(q) else found
        return _kept(x, found, axis, keepdims)

    return reference


def _median(torch: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    found = _sorted_quantile(torch, _rows(torch, x, axis), 0.5, "linear")
    return _kept(x, found, axis, keepdims)


def _by_row(torch: Any, x: Any, axis: Any, q: float) -> Any:
    """Row by row, of what is not NaN."""
    rows = _rows(torch, x, axis)
    flat = rows.reshape(-1, rows.shape[-1])
    found = [_sorted_quantile(torch, row[~torch.isnan(row)], q, "linear") for row in flat]
    return torch.stack(found).reshape(rows.shape[:-1])


def _nan_median(torch: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    return _kept(x, _by_row(torch, x, axis, 0.5), axis, keepdims)


def _nan_quantile(divisor: float) -> Any:
    def reference(torch: Any, x: Any, axis: Any, keepdims: bool, q: float) -> Any:
        return _kept(x, _by_row(torch, x, axis, q / divisor), axis, keepdims)

    return reference


def _moving_q(draw: Draw) -> Case:
    """Quantiles that a batch may double, between two elements."""
    n = draw(st.integers(5, 8))
    place = rng_of(draw).integers(0, (n - 1) // 2, 3) + rng_of(draw).uniform(0.2, 0.7, 3)
    return Case((distinct(draw, (n,)), place * 0.5 / ((n - 1) // 2)))


QUANTILES = [
    Sample(
        f"np.{name}",
        called(name),
        _quantile_case(divisor),
        _quantile(divisor),
        (order_statistics.Places,),
        (f"np.{name}",),
        kinks=True,
        errors=(
            empty(lambda x, name=name: getattr(tnp, name)(x, 0.5, 0), name),  # type: ignore[misc]
            Error(
                lambda name=name: getattr(tnp, name)(Tensor.ones(3), 101.0),  # type: ignore[misc]
                ValueError,
                f"[{name}] expected quantiles from 0 to 1, got {101.0 / divisor}",
            ),
            Error(
                lambda name=name: getattr(tnp, name)(Tensor.ones(3), 0.5, weights=[1.0] * 3),  # type: ignore[misc]
                TypeError,
                f"[{name}] takes no weights=: sort, and look for q in their `cumsum`",
            ),
        ),
    )
    for name, divisor in (("quantile", 1.0), ("percentile", 100.0))
]

SAMPLES = [
    *QUANTILES,
    Sample(
        "np.quantile by q",
        lambda x, q: tnp.quantile(x, q),
        _moving_q,
        lambda torch, x, q: torch.quantile(x, q),
        (order_statistics.Places,),
        ("np.quantile",),
        dtypes=("float64",),
        kinks=True,
    ),
    reduction("median", order_statistics.Places, distinct, _median, kinks=True),
    reduction(
        "nanmedian",
        order_statistics.Places,
        holes,
        _nan_median,
        kinks=True,
    ),
    *[
        reduction(
            name,
            order_statistics.Places,
            holes,
            _nan_quantile(divisor),
            kinks=True,
            extra={"q": st.sampled_from([0.13 * divisor, 0.61 * divisor])},
        )
        for name, divisor in (("nanquantile", 1.0), ("nanpercentile", 100.0))
    ],
]
