"""Attention with all scores in memory, on either kind of array: what the kernels are held to."""

from __future__ import annotations

import math

import numpy as np

from ...backend import Array, array_module, blas
from ...backend.dtypes import is_narrow
from .plan import Rule


def forward(
    q: Array, k: Array, v: Array, mask: Array | None, rule: Rule, recording: bool
) -> tuple[Array, Array]:
    """y, and log₂ Σ 2^score of each row."""
    xp, dtype = array_module(q), q.dtype
    q, k, v = (_in_wide(x) for x in (q, k, v))
    scores = _scores(q, k, mask, rule)
    with np.errstate(divide="ignore"):  # a row that sees no key
        top = scores.max(-1, keepdims=True)
        top = xp.where(top == -math.inf, top.dtype.type(0), top)
        weights = xp.exp(scores - top)
        total = weights.sum(-1, keepdims=True)
        logs = xp.where(total == 0, total.dtype.type(math.inf), xp.log(total) + top)
    weights /= xp.where(total == 0, total.dtype.type(1), total)
    y = blas.matmul(weights, _shared(v, q))
    return y.astype(dtype, copy=False), logs[..., 0] / math.log(2)


def backward(
    g: Array,
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    y: Array,
    logs: Array,
    rule: Rule,
    needs: tuple[bool, ...],
) -> tuple[Array | None, ...]:
    """dq, dk and dv; the scores are made again."""
    xp, dtype, shape = array_module(q), q.dtype, k.shape
    g, q, k, v, y = (_in_wide(x) for x in (g, q, k, v, y))
    scores = _scores(q, k, mask, rule)
    p = xp.exp(scores - logs[..., None] * math.log(2))
    ds = blas.matmul(g, _shared(v, q).swapaxes(-1, -2)) - (g * y).sum(-1, keepdims=True)
    ds *= p * p.dtype.type(rule.scale)
    dq = blas.matmul(ds, _shared(k, q))
    dk = blas.matmul(ds.swapaxes(-1, -2), q)
    dv = blas.matmul(p.swapaxes(-1, -2), g)
    batches, heads, keys, width = shape
    apart = (batches, heads, q.shape[1] // heads, keys, width)
    found = dq, dk.reshape(apart).sum(2), dv.reshape(apart).sum(2)
    pairs = zip(found, needs, strict=True)
    return tuple(x.astype(dtype, copy=False) if need else None for x, need in pairs)


def _in_wide(x: Array) -> Array:
    return x.astype(np.float32) if is_narrow(x.dtype) else x


def _shared(x: Array, q: Array) -> Array:
    """Keys or values, once for each head of queries."""
    return x if x.shape[1] == q.shape[1] else x.repeat(q.shape[1] // x.shape[1], axis=1)


def _scores(q: Array, k: Array, mask: Array | None, rule: Rule) -> Array:
    xp = array_module(q)
    scores = blas.matmul(q * q.dtype.type(rule.scale), _shared(k, q).swapaxes(-1, -2))
    hidden = scores.dtype.type(-math.inf)
    if rule.causal:
        queries, keys = scores.shape[-2:]
        scores = xp.where(xp.arange(queries)[:, None] >= xp.arange(keys), scores, hidden)
    if mask is None:
        return scores
    return (
        xp.where(mask, scores, hidden)
        if mask.dtype == np.bool_
        else scores + mask.astype(scores.dtype)
    )
