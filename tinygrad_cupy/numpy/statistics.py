"""Order statistics, covariances and correlations."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..autograd import TensorBase
from ..backend import is_cuda
from ..backend.dtypes import is_complex
from ..ops import order_statistics, shape
from ..ops.complex_numbers import from_parts
from ..ops.promotion import as_float, in_single
from ..ops.protocols import implements
from ..ops.reduce import Centre
from .arrays import finished, first_tensor, tensor, terms

__all__ = ["corrcoef", "cov", "median", "percentile", "quantile"]


# --- order statistics -----------------------------------------------------------------------------


@implements(np.median)
def median(
    a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: bool = False
) -> Any:
    """The middle element along ``axis``, or the mean of the two middle ones; NaN where one is.

    The gradient goes to these. ``overwrite_input`` is allowed, and not made use of.
    """
    found = order_statistics.median(tensor(a), axis, bool(keepdims), "median")
    return finished(found, None, out)


def quantiles_of(
    name: str,
    a: Any,
    q: Any,
    axis: Any,
    out: Any,
    method: str,
    keepdims: bool,
    weights: Any,
    skip_nan: bool = False,
) -> Any:
    """What `quantile` and the like give; those of a ``name`` with "percentile" divide q by 100."""
    if weights is not None:
        raise TypeError(f"[{name}] takes no weights=: sort, and look for q in their `cumsum`")
    a = tensor(a, first_tensor([q]))
    if is_cuda(q):
        q = tensor(q, a)
    q = q if isinstance(q, TensorBase) else np.asarray(q, np.float64)
    q = q / 100 if "percentile" in name else q
    found = order_statistics.quantile(a, q, axis, method, bool(keepdims), name, skip_nan)
    return finished(found, None, out)


@implements(np.quantile)
def quantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
) -> Any:
    """The quantiles q, from 0 to 1, along ``axis``, in a's dtype: q's axes stand in front.

    By any of NumPy's methods. The gradient goes to the two elements on both sides of the quantile,
    and to q where that is a tensor. No ``weights``.
    """
    return quantiles_of("quantile", a, q, axis, out, method, keepdims, weights)


@implements(np.percentile)
def percentile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
) -> Any:
    """The percentiles q, from 0 to 100, along ``axis``; see `quantile`."""
    return quantiles_of("percentile", a, q, axis, out, method, keepdims, weights)


# --- covariances ----------------------------------------------------------------------------------


@implements(np.cov)
def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    """The covariances (V, V) of V variables: of the rows of m, or its columns without ``rowvar``.

    y has more of them. Divided by N - ddof, where ddof is 1, or 0 with ``bias``. ``fweights`` say
    how often an observation occurs, ``aweights`` how much it counts: the result is differentiable
    in m, y and ``aweights``.
    """
    if ddof is not None and ddof != int(ddof):
        raise ValueError(f"[cov] expected an integer ddof, got {ddof}")
    x = _variables(m, y, rowvar, dtype)
    taken = int(ddof) if ddof is not None else 0 if bias else 1
    return in_single(x, lambda x: _covariance(x, taken, fweights, aweights))


def _covariance(x: Any, taken: int, fweights: Any = None, aweights: Any = None) -> Any:
    """Of the rows of x (V, N): (V, V), without axes of one element."""
    if fweights is None and aweights is None:
        centred, weighted, count = _plain_moments(x, taken)
    else:
        centred, weighted, count = _weighted_moments(x, fweights, aweights, taken)
    found = (weighted @ centred.T.conj()) / count
    return found.reshape([n for n in found.shape if n != 1])


def _variables(m: Any, y: Any, rowvar: bool, dtype: Any) -> Any:
    """m, and y under it, as rows of variables."""
    given = terms(*[part for part in (m, y) if part is not None])
    rows = []
    for part in given:
        if part.ndim > 2:
            raise ValueError(f"[cov] expected at most 2 axes, got shape {part.shape}")
        part = as_float(part if dtype is None else part.astype(dtype))
        flat = part.ndim < 2
        part = part.reshape(1, -1) if flat else part
        rows.append(part if rowvar or flat else part.T)
    return rows[0] if len(rows) == 1 else shape.concat(rows)


def _plain_moments(x: Any, taken: int) -> tuple[Any, Any, Any]:
    """x less its means, twice, and what sums of products are divided by."""
    count = x.shape[1] - taken
    if count <= 0:
        warnings.warn("[cov] no degrees of freedom", RuntimeWarning, stacklevel=5)
    centred = Centre((1,))(x) if x.size else x
    return centred, centred, max(count, 0)


def _weighted_moments(x: Any, fweights: Any, aweights: Any, taken: int) -> tuple[Any, Any, Any]:
    """x less its means, that times the weights, and what sums of products are divided by."""
    given = {"fweights": fweights, "aweights": aweights}
    weights = {name: tensor(w, x) for name, w in given.items() if w is not None}
    for name, w in weights.items():
        if w.shape != x.shape[1:]:
            raise ValueError(f"[cov] expected {name} of shape {x.shape[1:]}, got {w.shape}")
    if fweights is not None and weights["fweights"].dtype.kind not in "iu":
        raise TypeError(f"[cov] expected fweights of integers, got {weights['fweights'].dtype}")
    each = [w.astype(x.dtype) for w in weights.values()]
    both = each[0] * each[1] if len(each) > 1 else each[0]
    total = both.sum()
    centred = x - (x * both).sum(1, True) / total
    if not taken or aweights is None:
        return centred, centred * both, total - taken
    count = total - (both * each[-1]).sum() * taken / total
    return centred, centred * both, count


@implements(np.corrcoef)
def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    """The correlations (V, V) of V variables, see `cov`, limited to [-1, 1].

    Those of a variable that does not vary are NaN, as NumPy's are.
    """
    return in_single(_variables(x, y, rowvar, dtype), _correlation)


def _correlation(x: Any) -> Any:
    covariance = _covariance(x, 1)
    if not covariance.ndim:
        return covariance / covariance
    deviations = covariance.diagonal().real.sqrt()
    found = covariance / deviations.reshape(-1, 1) / deviations
    if not is_complex(found.dtype):
        return found.clip(-1.0, 1.0)
    return from_parts(found.real.clip(-1.0, 1.0), found.imag.clip(-1.0, 1.0))
