"""Polynomials from points and from products: fits, zeros, quotients."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import array_module, on_device_of, to_numpy
from ..backend.dtypes import is_complex, with_imaginary
from ..ops.promotion import as_float, in_one_dtype, single
from ..ops.protocols import implements
from ..ops.shape import concat, stack
from . import decompositions, equations, sorting
from .arrays import tensor, terms
from .creation import vander
from .polynomials import expect_coefficients

__all__ = ["polydiv", "polyfit", "roots", "sort_complex"]


@implements(np.polyfit)
def polyfit(
    x: Any, y: Any, deg: int, rcond: float | None = None, full: bool = False, w: Any = None,
    cov: Any = False,
) -> Any:  # fmt: skip
    """The coefficients of the polynomial of degree ``deg`` nearest to the points (x, y).

    y (M,) or (M, K); ``w`` (M,) are the weights of residuals. ``full`` gives NumPy's five results,
    ``cov`` the covariance too. Differentiable in x, y and w: least squares of scaled powers of x.
    """
    x, y = (single(as_float(v)) for v in terms(x, y))
    x, y = in_one_dtype(x, y)
    count = int(deg) + 1
    if count < 1 or x.ndim != 1 or not x.size or y.ndim not in (1, 2) or len(x) != len(y):
        raise ValueError(
            f"[polyfit] expected deg ≥ 0, x (M,) and y (M,) or (M, K), got {deg}, {x.shape} and "
            f"{y.shape}"
        )
    rcond = len(x) * float(np.finfo(x.dtype).eps) if rcond is None else rcond
    left, right = vander(x, count), y
    if w is not None:
        weights = tensor(w, x).astype(x.dtype)
        if weights.shape != x.shape:
            raise ValueError(f"[polyfit] expected w of shape {x.shape}, got {weights.shape}")
        left = left * weights.unsqueeze(1)
        right = right * (weights if y.ndim == 1 else weights.unsqueeze(1))
    scale = (left * left).sum(0).sqrt()
    found, residuals, rank, values = equations.lstsq(left / scale, right, rcond)
    found = found / (scale if y.ndim == 1 else scale.unsqueeze(1))
    if full:
        return found, residuals, rank, values, rcond
    if not cov:
        return found
    scaled = left / scale
    base = equations.inv(scaled.T @ scaled) / (scale.unsqueeze(1) * scale)
    if cov == "unscaled":
        return found, base
    if len(x) <= count:
        raise ValueError(f"[polyfit] expected more than {count} points for a covariance")
    spread = ((right - left @ found) ** 2).sum(0) / (len(x) - count)
    return found, base * spread if y.ndim == 1 else base.unsqueeze(-1) * spread


@implements(np.roots)
def roots(p: Any) -> Any:
    """The zeros of a polynomial (its coefficients, the highest power first), as complex numbers.

    They are the eigenvalues of its companion matrix, differentiable where they are apart. Zeros at
    both ends of p are looked for on the host. Real where all are, as NumPy's.
    """
    (p,) = expect_coefficients("roots", p)
    p = single(as_float(p))
    there = np.flatnonzero(to_numpy(p.detach().data))
    if not there.size:
        return p[:0]
    trailing = len(p) - 1 - int(there[-1])
    p = p[int(there[0]) : int(there[-1]) + 1]
    if len(p) < 2:
        return p[:0] if not trailing else p._zeros()[:1].broadcast_to(trailing)
    with on_device_of(p.data):
        xp = array_module(p.data)
        below = p._wrap(xp.eye(len(p) - 2, len(p) - 1, dtype=p.dtype))
    companion = concat([(-p[1:] / p[0]).unsqueeze(0), below])
    found = decompositions.eigvals(companion)
    if is_complex(found.dtype) and not (to_numpy(found.detach().data).imag != 0).any():
        found = found.real
    if not trailing:
        return found
    return concat([found, found._zeros()[:1].broadcast_to(trailing)])


@implements(np.polydiv)
def polydiv(u: Any, v: Any) -> tuple[Any, Any]:
    """Quotient and remainder of polynomials.

    What NumPy takes for 0 at the head of the remainder is dropped, and looked for on the host.
    """
    u, v = (single(as_float(x)) + 0.0 for x in expect_coefficients("polydiv", u, v))
    u, v = in_one_dtype(u, v)
    steps = max(len(u) - len(v) + 1, 1)
    quotient, rest = [], u
    for k in range(len(u) - len(v) + 1):
        factor = rest[k] / v[0]
        quotient.append(factor)
        taken = factor * v
        rest = concat([rest[:k], rest[k : k + len(v)] - taken, rest[k + len(v) :]])
    made = stack(quotient) if quotient else u._zeros()[:steps]
    values = to_numpy(rest.detach().data)
    first = 0
    while first < len(values) - 1 and np.allclose(values[first], 0, rtol=1e-14):
        first += 1
    return made, rest[first:]


@implements(np.sort_complex)
def sort_complex(a: Any) -> Any:
    """A sorted copy, as complex numbers: by real part, then by imaginary part."""
    x = as_float(tensor(a))
    x = x if is_complex(x.dtype) else x.astype(with_imaginary(x.dtype))
    return sorting.sort(x)
