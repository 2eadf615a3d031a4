"""Attention, and rows of a table: what sequences of words are made into."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import FusedOp, TensorBase
from ..autograd.autocast import of_product
from ..autograd.fused import through_reference
from ..autograd.mode import mode
from ..backend import Array, array_module, device_of, on_device_of
from ..backend.capture import active
from ..kernels.attention import Rule
from .promotion import as_float, constant_like, in_one_dtype, in_single
from .take import Take, bounds_error

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class AttentionMixin(TensorBase):
    """Functions of transformers as methods."""

    __slots__ = ()

    def scaled_dot_product_attention(
        self,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """softmax(self @ keyᵀ · scale + mask) @ value (Vaswani et al. 2017); PyTorch's function.

        self (…, L, E) are queries, key (…, S, E), value (…, S, V); leading axes broadcast. The
        result is (…, L, V). On a GPU from Ampere on, heads of E = V from 16 to 128 features have
        kernels of their own that keep none of the L × S products (Dao 2023, FlashAttention-2): for
        16-bit floats, whose products are rounded to 16 bits and summed in float32, and for float32
        where `set_precision` allows TF32, without dropout and for a mask that has no gradient.
        Elsewhere all products are kept for the gradient.

        attn_mask:
            broadcasts to (…, L, S): booleans that say which keys a query sees, or numbers to add. A
            query that sees none gets zeros.
        dropout_p:
            the probability with which a weight is zeroed (`dropout`): also in evaluation, as it is
            an argument.
        is_causal:
            query i sees the keys up to i alone; not beside a mask.
        scale:
            defaults to 1 / √E.
        enable_gqa:
            of axis -3, the heads, self may have a multiple of key's and value's: neighbours share.

        Raises ``ValueError`` where shapes do not fit, ``TypeError`` for a mask of integers.
        """
        query, key, value = in_one_dtype(as_float(self), as_float(key), as_float(value))
        q, k, v = query.shape, key.shape, value.shape
        if min(map(len, (q, k, v))) < 2 or q[-1] != k[-1] or k[-2] != v[-2]:
            raise ValueError(
                "[scaled_dot_product_attention] expected queries (…, L, E), keys (…, S, E) and "
                f"values (…, S, V), got {q}, {k} and {v}"
            )
        if is_causal and attn_mask is not None:
            raise ValueError(
                "[scaled_dot_product_attention] expected either attn_mask or is_causal, got both"
            )
        if attn_mask is not None and attn_mask.dtype.kind in "iuc":  # 0 and 1 to add, or to see by?
            raise TypeError(
                "[scaled_dot_product_attention] expected a mask of booleans, which keys are seen, "
                f"or of real numbers to add, got dtype {attn_mask.dtype}"
            )
        factor = 1 / math.sqrt(q[-1] or 1) if scale is None else scale
        shared = _heads(q, k, v) if enable_gqa else 0
        rule = Rule(is_causal, factor)
        if not dropout_p and _is_fused(query, key, value, attn_mask, rule, shared):
            return _fused(query, key, value, attn_mask, rule, shared)
        return _in_steps(query, key, value, attn_mask, rule, shared, dropout_p)

    def embedding(
        self,
        weight: Tensor,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Tensor:
        """The rows (…, D) of weight (V, D) whose numbers self (…) holds; PyTorch's function.

        padding_idx:
            the row that has no gradient.

        What is said several times is added up in the gradient, in one order. Raises ``IndexError``
        for a number that is none (on a GPU it is taken modulo V), and ``NotImplementedError`` for
        PyTorch's ``max_norm`` (which writes into the weights), ``scale_grad_by_freq`` and
        ``sparse``.
        """
        for name, asked in (
            ("max_norm", max_norm is not None),
            ("scale_grad_by_freq", scale_grad_by_freq),
            ("sparse", sparse),
        ):
            if asked:
                raise NotImplementedError(f"[embedding] {name} is not there: leave it out")
        rows: Any = self
        if rows.dtype.kind not in "iu" or len(weight.shape) != 2:
            raise ValueError(
                "[embedding] expected integers, and a weight (V, D), got dtype "
                f"{rows.dtype} and shape {weight.shape}"
            )
        if rows.dtype.kind == "i" and type(rows.data) is np.ndarray and (rows.data < 0).any():
            raise IndexError(
                f"[embedding] expected numbers of {weight.shape[0]} rows, from 0, got "
                f"{rows.data.min()}"
            )
        try:
            found = Take(0)(weight, rows)
        except IndexError as error:
            raise bounds_error("embedding", weight, error) from error
        if padding_idx is None:
            return found
        count = weight.shape[0]
        if not -count <= padding_idx < count:
            raise ValueError(
                f"[embedding] expected padding_idx to be one of {count} rows, got {padding_idx}"
            )
        keeps = (rows.astype(np.int64) % count != padding_idx % count).unsqueeze(-1)
        return found.where(keeps, found.detach())


class Attention(FusedOp):
    """`kernels.attention`: q (B, H, L, E), k and v (B, K, S, E), and a mask, of a `Rule`.

    The mask, booleans or numbers to add, has no gradient.
    """

    autocast = "narrow"
    only_real = True
    saves = ("query", "key", "value", "mask", "y")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    def forward(self, query: Array, key: Array, value: Array, mask: Array | None) -> Array:
        given = (query, key, value, mask, self.rule, mode.recording)
        y, self.logs = kernels.attention.forward(*given)
        return y

    def backward_arrays(
        self, grad: Array, query: Array, key: Array, value: Array, mask: Array | None, y: Array
    ) -> Any:
        given = (grad, query, key, value, mask, y, self.logs, self.rule, self.needs[:3])
        return (*kernels.attention.backward(*given), None)

    def batch(self, b: BatchLevel, query: Any, key: Any, value: Any, mask: Any) -> Tensor:
        if mask is not None:  # its first axis takes the batch, as theirs
            shape = (*(1,) * (4 - mask.ndim), *mask.shape)
            whole = b.whole(mask).reshape(b.size, *shape)
            whole = whole.broadcast_to(b.size, query.shape[0], *shape[1:])
            mask = whole.reshape(-1, *shape[1:])
        y = Attention(self.rule)(*[b.join(x, 0) for x in (query, key, value)], mask)
        return b.split(y, 0)  # type: ignore[no-any-return]

    def reference(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        shared = query.shape[1] // key.shape[1]
        return _in_steps(query, key, value, mask, self.rule, shared if shared > 1 else 0, 0.0)

    def backward(self, grad: Tensor, *saved: Any) -> Any:
        return through_reference(self.reference, grad, saved[:4], self.needs)


def _is_fused(query: Any, key: Any, value: Any, mask: Any, rule: Rule, shared: int) -> bool:
    """Whether `_fused` is for these, see `kernels.attention.suits`."""
    q, k, v = query.shape, key.shape, value.shape
    if active.level is not None or not rule.scale > 0 or 0 in q or 0 in k or 0 in v:
        return False  # transforms take the steps apart
    device, dtype = device_of(query._facts), of_product(query.dtype)
    if not kernels.attention.suits(device, dtype, q, k, v):
        return False
    if mask is None:
        return True
    if not isinstance(mask, TensorBase) or mask._requires_grad:
        return False
    scores = (*_lead(q, k, v, shared), q[-2], k[-2])
    return len(mask.shape) <= len(scores) and np.broadcast_shapes(mask.shape, scores) == scores


def _lead(q: Any, k: Any, v: Any, shared: int) -> tuple[int, ...]:
    """The leading axes of the result; of heads that are ``shared``, those of queries."""
    if not shared:
        return np.broadcast_shapes(q[:-2], k[:-2], v[:-2])
    return (*np.broadcast_shapes(q[:-3], k[:-3], v[:-3]), q[-3])


def _fused(query: Any, key: Any, value: Any, mask: Any, rule: Rule, shared: int) -> Tensor:
    """`Attention` of what has any leading axes."""
    lead = _lead(query.shape, key.shape, value.shape, shared)

    def of_four_axes(x: Any) -> Any:
        own = (*lead[:-1], x.shape[-3]) if shared else lead
        if x.shape[:-2] != own:
            x = x.broadcast_to(*own, *x.shape[-2:])
        return x if x.ndim == 4 else x.reshape(-1, *(1, 1, *x.shape)[-3:])

    if mask is not None and len(lead) > 2 and mask.ndim > 3:
        mask = mask.broadcast_to(*lead, *mask.shape[-2:]).reshape(-1, lead[-1], *mask.shape[-2:])
    y: Any = Attention(rule)(*[of_four_axes(x) for x in (query, key, value)], mask)
    return y if len(lead) == 2 else y.reshape(*lead, *y.shape[-2:])  # type: ignore[no-any-return]


def _in_steps(
    query: Any, key: Any, value: Any, mask: Any, rule: Rule, shared: int, dropout_p: float
) -> Tensor:
    """Attention by products and a softmax, whose results are kept."""
    q, k = query.shape, key.shape
    mask = _causal(query, q[-2], k[-2]) if rule.causal else mask

    def compute(a: Any) -> Any:
        b, c = (x.astype(a.dtype) for x in (key, value))
        if shared:  # (…, H, L, E) as (…, heads of keys, those that share one, L, E)
            a = a.reshape(*q[:-3], k[-3], shared, *q[-2:])
            b, c = b.unsqueeze(-3), c.unsqueeze(-3)
        scores = (a * rule.scale) @ b.swapaxes(-1, -2)
        if shared:
            scores = scores.reshape(*scores.shape[:-4], q[-3], *scores.shape[-2:])
        weights = _weights(scores, mask)
        weights = weights.dropout(dropout_p) if dropout_p else weights
        if not shared:
            return weights @ c
        weights = weights.reshape(*weights.shape[:-3], k[-3], shared, *weights.shape[-2:])
        found = weights @ c
        return found.reshape(*found.shape[:-4], q[-3], *found.shape[-2:])

    return in_single(query, compute)


def _heads(q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...]) -> int:
    """How many heads of queries share one of keys."""
    if min(map(len, (q, k, v))) < 3 or k[-3] != v[-3] or q[-3] % max(k[-3], 1):
        raise ValueError(
            "[scaled_dot_product_attention] expected a multiple of the heads of keys and values, "
            f"along axis -3, got {q}, {k} and {v}"
        )
    return q[-3] // max(k[-3], 1)


def _causal(like: Any, queries: int, keys: int) -> Any:
    """(L, S): whether a query comes no sooner than a key."""
    with on_device_of(like.data):
        xp = array_module(like.data)
        seen = xp.arange(queries)[:, None] >= xp.arange(keys)
    return like._wrap(seen)


def attention_weights(query: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(query @ keyᵀ / √E + mask), (…, L, S): what `scaled_dot_product_attention` weighs by.

    The mask is as it is there: booleans say which keys are seen.
    """
    query, key = in_one_dtype(as_float(query), as_float(key))
    factor = 1 / math.sqrt(query.shape[-1] or 1)

    def compute(a: Any) -> Any:
        return _weights((a * factor) @ key.astype(a.dtype).swapaxes(-1, -2), mask)

    return in_single(query, compute)


def attention_mask(
    query: Tensor,
    heads: tuple[int, int, int, int],
    mask: Any,
    padding: Any,
    causal: bool,
    more: int = 0,
) -> Tensor | None:
    """The masks of a layer in one: booleans that say what is seen, or numbers to add; or None.

    heads:
        N, H, L and S of the scores (N, H, L, S), which the result broadcasts to.
    mask, padding:
        (L, S) or (N · H, L, S), and (N, S): booleans that say what is hidden, or numbers to add.
    causal:
        whether query i sees the keys up to i alone.
    more:
        of S keys that many, the last, are seen by all; masks have no place for them.
    """
    n, h, rows, own = (*heads[:3], heads[3] - more)
    given: list[Any] = []
    wide: dict[tuple[int, ...], tuple[int, ...]]
    wide = {(rows, own): (1, 1, rows), (n * h, rows, own): (n, h, rows)}
    for_padding: dict[tuple[int, ...], tuple[int, ...]] = {(n, own): (n, 1, 1)}
    for name, value, shapes in (
        ("attn_mask", mask, wide),
        ("key_padding_mask", padding, for_padding),
    ):
        if value is None:
            continue
        value = constant_like(query, value)
        if value.shape not in shapes:
            expected = " or ".join(map(str, shapes))
            raise ValueError(f"[attention] expected {name} {expected}, got shape {value.shape}")
        if value.dtype.kind in "iuc":
            raise TypeError(
                f"[attention] expected {name} of booleans, which say what is hidden, or of real "
                f"numbers to add, got dtype {value.dtype}"
            )
        given.append(value.reshape(*shapes[value.shape], own))
    if causal:
        given.append(~_causal(query, rows, own))
    if more:
        given = [m.pad([(0, 0)] * (m.ndim - 1) + [(0, more)]) for m in given]
    if not given:
        return None
    if all(m.dtype.kind == "b" for m in given):
        hidden = given[0]
        for m in given[1:]:
            hidden = hidden | m
        return ~hidden  # type: ignore[no-any-return]
    total: Any = 0
    for m in given:
        bits = m.dtype.kind == "b"
        total = total + (m.astype(query.dtype).where(~m, -math.inf) if bits else m)
    return total  # type: ignore[no-any-return]


def _weights(scores: Any, mask: Any) -> Any:
    """softmax of the scores with their mask; 0 for a query that sees no key."""
    if mask is None:
        return scores.softmax(-1) if scores.shape[-1] else scores
    if mask.dtype.kind == "b":
        scores = scores.where(mask, -math.inf)
    else:
        scores = scores + mask.astype(scores.dtype)
    if not scores.shape[-1]:
        return scores
    sees = scores.detach().max(-1, keepdims=True) != -math.inf
    return scores.where(sees, 0).softmax(-1).where(sees, 0)
