"""Attention of several heads, what the layers of a transformer are made of.

Letters in shapes: N batch, L queries, S keys and values, E features, h heads.
"""

from __future__ import annotations

import math

from tinygrad_cupy.backend.capture import observe
from tinygrad_cupy.nn import checks, init
from tinygrad_cupy.nn.layers.linear import Linear
from tinygrad_cupy.nn.module import Module, Parameter
from tinygrad_cupy.ops.attention import attention_mask, attention_weights
from tinygrad_cupy.ops.shape import concat
from tinygrad_cupy.tensor import Tensor


class MultiheadAttention(Module):
    """softmax(Q K^T / sqrt(E / h) + mask) V for each of h heads, joined and projected.

    Vaswani et al., "Attention is all you need" (2017). Called as attention(query, key, value) with
    query (L, N, E), key (S, N, kdim) and value (S, N, vdim); with `batch_first` (N, L, E) and so
    on; or without N. Returns the output, laid out as the query is, and the weights, averaged over
    heads, (N, L, S); `average_attn_weights=False` gives those of each head, (N, h, L, S), and
    `need_weights=False` None, without which all scores are kept.

    Masks are PyTorch's: booleans say what is hidden, numbers are added. `key_padding_mask` (N, S)
    hides keys of each sequence, `attn_mask` (L, S) or (N * h, L, S) from each query; `is_causal`
    hides from query i the keys behind i, by itself or beside them. For a query that sees no key the
    heads give 0 (PyTorch's give NaN). `dropout` zeroes weights in training.

    in_proj_weight (3 E, E) starts from U(-b, b), b = sqrt(6 / (4 E)) (Glorot and Bengio 2010),
    in_proj_bias (3 E,) and out_proj.bias (E,) at 0, out_proj.weight (E, E) as a Linear's. Where
    kdim or vdim are not E there are q_proj_weight, k_proj_weight and v_proj_weight instead.
    `add_bias_kv` adds a learned key and value, bias_k and bias_v (1, 1, E), `add_zero_attn` a key
    and value of zeros. ValueError for num_heads that do not divide embed_dim, and for inputs or
    masks of other shapes.

    >>> attention = nn.MultiheadAttention(16, 4, batch_first=True)
    >>> x = Tensor.rand(2, 5, 16)
    >>> y, weights = attention(x, x, x, is_causal=True)
    >>> y.shape, weights.shape
    ((2, 5, 16), (2, 5, 5))
    >>> weights[0, 0].detach().round(3)  # the first query sees itself alone
    Tensor([1., 0., 0., 0., 0.])
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
    ) -> None:
        self.embed_dim = size = checks.integer(self, "embed_dim", embed_dim)
        self.num_heads = checks.integer(self, "num_heads", num_heads)
        if size % self.num_heads:
            raise ValueError(
                f"[{type(self).__name__}] num_heads must divide embed_dim, got {num_heads} heads "
                f"of {embed_dim} features"
            )
        self.dropout = checks.fraction(self, "dropout", dropout)
        self.kdim = size if kdim is None else checks.integer(self, "kdim", kdim)
        self.vdim = size if vdim is None else checks.integer(self, "vdim", vdim)
        self.batch_first, self.add_zero_attn = bool(batch_first), bool(add_zero_attn)
        self.in_proj_weight = None
        if self.kdim == self.vdim == size:
            self.in_proj_weight = _glorot(self, 3 * size, size)
        else:
            self.q_proj_weight = _glorot(self, size, size)
            self.k_proj_weight = _glorot(self, size, self.kdim)
            self.v_proj_weight = _glorot(self, size, self.vdim)
        self.in_proj_bias = Parameter(Tensor.zeros(3 * size)) if bias else None
        self.bias_k = _glorot_normal(size) if add_bias_kv else None
        self.bias_v = _glorot_normal(size) if add_bias_kv else None
        self.out_proj = Linear(size, size, bias)
        if self.out_proj.bias is not None:
            self.out_proj.bias.assign_(Tensor.zeros(size).data)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        self._check(query, key, value)
        observe(self, "dropout")
        q, k, v = self._projected(query, key, value)  # (N, L or S, E) each
        one = query.ndim == 2
        if self.bias_k is not None and self.bias_v is not None:
            k, v = _lengthened(k, self.bias_k), _lengthened(v, self.bias_v)
        if self.add_zero_attn:
            zero = Tensor.zeros(1, 1, self.embed_dim, dtype=k.dtype, device=k.device)
            k, v = _lengthened(k, zero), _lengthened(v, zero)
        heads = (q.shape[0], self.num_heads, q.shape[1], k.shape[1])  # N, h, L, S
        padding = key_padding_mask
        padding = padding.unsqueeze(0) if padding is not None and one else padding
        more = heads[3] - key.shape[self._axis(key)]
        plain = (
            is_causal and not need_weights and attn_mask is None and padding is None and not more
        )
        mask = attention_mask(q, heads, attn_mask, padding, is_causal and not plain, more)
        q, k, v = (self._heads(x) for x in (q, k, v))  # (N, h, L or S, E / h)
        p = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            weights = attention_weights(q, k, mask).dropout(p)
            y = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
            weights = weights.squeeze(0) if one else weights
        else:
            y = q.scaled_dot_product_attention(k, v, mask, p, is_causal=plain)
        y = self.out_proj(y.swapaxes(1, 2).reshape(heads[0], heads[2], self.embed_dim))
        if one:
            return y.squeeze(0), weights
        return y if self.batch_first else y.swapaxes(0, 1), weights

    def _axis(self, x: Tensor) -> int:
        """Along which the sequence runs."""
        return 1 if x.ndim == 3 and self.batch_first else 0

    def _check(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        layout = "N, L, E" if self.batch_first else "L, N, E"
        checks.input_axes(self, query, layout, "L, E")
        sizes = (self.embed_dim, self.kdim, self.vdim)
        for what, x, size in zip(
            ("query", "key", "value"), (query, key, value), sizes, strict=True
        ):
            checks.input_size(self, x, -1, size, f"features of the {what}")
        rows = 1 - self._axis(query)
        shapes = {x.shape[rows] if x.ndim == 3 else None for x in (query, key, value)}
        if len(shapes) > 1 or key.shape[:-1] != value.shape[:-1]:
            raise ValueError(
                f"[{type(self).__name__}] expected query ({layout}), key and value of the same "
                f"batch and keys as long as values, got {query.shape}, {key.shape} and "
                f"{value.shape}"
            )

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        """Queries, keys and values, (N, L or S, E): in one product where they are one tensor's."""
        bias = self.in_proj_bias
        given = [x if x.ndim == 3 else x.unsqueeze(self._row_axis) for x in (query, key, value)]
        if not self.batch_first:
            given = [x.swapaxes(0, 1) for x in given]
        if self.in_proj_weight is not None and query is key is value:
            return given[0].linear(self.in_proj_weight, bias).split(3, -1)
        if self.in_proj_weight is not None:
            weights = self.in_proj_weight.split(3)
        else:
            weights = [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        biases = [None] * 3 if bias is None else bias.split(3)
        return [x.linear(w, b) for x, w, b in zip(given, weights, biases, strict=True)]

    @property
    def _row_axis(self) -> int:
        return 0 if self.batch_first else 1

    def _heads(self, x: Tensor) -> Tensor:
        """(N, L, E) as (N, h, L, E / h)."""
        return x.reshape(*x.shape[:2], self.num_heads, -1).swapaxes(1, 2)

    def extra_repr(self) -> str:
        text = f"{self.embed_dim}, num_heads={self.num_heads}"
        text += f", dropout={self.dropout}" if self.dropout else ""
        return text + (", batch_first=True" if self.batch_first else "")


def _lengthened(x: Tensor, row: Tensor) -> Tensor:
    """(N, S, E) with one more key or value, (1, 1, E), behind them."""
    return concat([x, row.astype(x.dtype).broadcast_to(x.shape[0], 1, x.shape[2])], axis=1)


def _glorot(owner: object, outputs: int, inputs: int) -> Parameter:
    return init.uniform_parameter(owner, (outputs, inputs), math.sqrt(6 / (outputs + inputs)))


def _glorot_normal(size: int) -> Parameter:
    """Of shape (1, 1, E), N(0, 2 / (E + E)): PyTorch counts E inputs and E outputs."""
    return Parameter(init.normal((1, 1, size), 1 / math.sqrt(size)))
