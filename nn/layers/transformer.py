"""The layers of a transformer, of PyTorch's arguments and parameter names.

Letters in shapes: N batch, L positions of what is read, S of what is attended to, E features
(`d_model`), F features between the two linear layers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

from tinygrad_cupy.backend.capture import observe
from tinygrad_cupy.nn import checks
from tinygrad_cupy.nn.hooks import hooks_of
from tinygrad_cupy.nn.layers.attention import MultiheadAttention
from tinygrad_cupy.nn.layers.dropout import Dropout
from tinygrad_cupy.nn.layers.layer_norm import LayerNorm
from tinygrad_cupy.nn.layers.linear import Linear
from tinygrad_cupy.nn.module import Module
from tinygrad_cupy.tensor import Tensor

Activation = str | Callable[[Tensor], Tensor]
ACTIVATIONS = ("relu", "gelu")


class _Layer(Module):
    """What both have: the linear layers, and how a part's result is added."""

    def _set_up(
        self,
        d_model: int,
        dim_feedforward: int,
        dropout: float,
        activation: Activation,
        norm_first: bool,
        bias: bool,
        batch_first: bool,
    ) -> None:
        self.activation: Activation = activation
        if not callable(activation):
            self.activation = checks.choice(self, "activation", activation, ACTIVATIONS)
        self.linear1 = Linear(d_model, dim_feedforward, bias)
        self.dropout = Dropout(dropout, int(not batch_first))
        self.linear2 = Linear(dim_feedforward, d_model, bias)
        self.norm_first = bool(norm_first)

    def _feed_forward(self, x: Tensor) -> Tensor:
        observe(self, "activation")
        plain = type(self.linear1) is Linear and hooks_of(self.linear1) is None
        if self.activation == "relu" and plain:  # in one kernel
            y = self.linear1(x, relu=True)
        elif callable(self.activation):
            y = self.activation(self.linear1(x))
        else:
            y = getattr(self.linear1(x), self.activation)()
        return self.linear2(self.dropout(y))  # type: ignore[no-any-return]

    def _added(
        self, x: Tensor, norm: LayerNorm, dropout: Dropout, part: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """x + part(norm(x)), or norm(x + part(x))."""
        observe(self, "norm_first")
        if self.norm_first:
            return x + dropout(part(norm(x)))  # type: ignore[no-any-return]
        return norm(x + dropout(part(x)))  # type: ignore[no-any-return]


class TransformerEncoderLayer(_Layer):
    """Self-attention, then two linear layers, each added to what it read and normalized.

    Vaswani et al., "Attention is all you need" (2017):

        x = norm1(x + attention(x)),  x = norm2(x + linear2(activation(linear1(x))))

    or, with `norm_first`, x = x + attention(norm1(x)) and alike. x is (L, N, E), with `batch_first`
    (N, L, E), or (L, E). `activation` is "relu", "gelu" or a function of a tensor; `dropout` is
    that of the attention's weights, and follows each part and the activation. Called as
    layer(src, src_mask, src_key_padding_mask, is_causal): masks as in MultiheadAttention, booleans
    say what is hidden. `bias=False` leaves out all biases.

    >>> layer = nn.TransformerEncoderLayer(16, nhead=4, dim_feedforward=32, batch_first=True)
    >>> layer(Tensor.rand(2, 5, 16), is_causal=True).shape
    (2, 5, 16)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout, bias=bias, batch_first=batch_first
        )
        self._set_up(d_model, dim_feedforward, dropout, activation, norm_first, bias, batch_first)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.dropout1 = Dropout(dropout, int(not batch_first))
        self.dropout2 = Dropout(dropout, int(not batch_first))

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        masks = {"attn_mask": src_mask, "key_padding_mask": src_key_padding_mask}

        def attend(x: Tensor) -> Tensor:
            how = {**masks, "is_causal": is_causal, "need_weights": False}
            return self.self_attn(x, x, x, **how)[0]  # type: ignore[no-any-return]

        x = self._added(src, self.norm1, self.dropout1, attend)
        return self._added(x, self.norm2, self.dropout2, self._feed_forward)


class TransformerDecoderLayer(_Layer):
    """TransformerEncoderLayer with a second attention, to `memory`, between its two parts.

    Called as layer(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask,
    memory_key_padding_mask, tgt_is_causal, memory_is_causal): tgt (L, N, E), memory (S, N, E), or
    with `batch_first` (N, L, E) and (N, S, E). Arguments as in TransformerEncoderLayer.

    >>> layer = nn.TransformerDecoderLayer(16, nhead=4, dim_feedforward=32, batch_first=True)
    >>> layer(Tensor.rand(2, 5, 16), Tensor.rand(2, 9, 16), tgt_is_causal=True).shape
    (2, 5, 16)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        how = {"bias": bias, "batch_first": batch_first}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, **how)
        self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, **how)
        self._set_up(d_model, dim_feedforward, dropout, activation, norm_first, bias, batch_first)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.norm3 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.dropout1 = Dropout(dropout, int(not batch_first))
        self.dropout2 = Dropout(dropout, int(not batch_first))
        self.dropout3 = Dropout(dropout, int(not batch_first))

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        def attend(x: Tensor) -> Tensor:
            return self.self_attn(  # type: ignore[no-any-return]
                *(x, x, x, tgt_key_padding_mask, False, tgt_mask),
                is_causal=tgt_is_causal,
            )[0]

        def attend_to_memory(x: Tensor) -> Tensor:
            return self.multihead_attn(  # type: ignore[no-any-return]
                *(x, memory, memory, memory_key_padding_mask, False, memory_mask),
                is_causal=memory_is_causal,
            )[0]

        x = self._added(tgt, self.norm1, self.dropout1, attend)
        x = self._added(x, self.norm2, self.dropout2, attend_to_memory)
        return self._added(x, self.norm3, self.dropout3, self._feed_forward)


class TransformerEncoder(Module):
    """`num_layers` copies of a TransformerEncoderLayer, one after the other, then `norm`.

    Called as encoder(src, mask, src_key_padding_mask, is_causal). The copies begin with the same
    weights, as PyTorch's do; parameters are named layers.0.self_attn.in_proj_weight, ...

    >>> layer = nn.TransformerEncoderLayer(16, nhead=4, dim_feedforward=32, batch_first=True)
    >>> encoder = nn.TransformerEncoder(layer, num_layers=2, norm=nn.LayerNorm(16))
    >>> encoder(Tensor.rand(2, 5, 16)).shape
    (2, 5, 16)
    """

    def __init__(
        self, encoder_layer: TransformerEncoderLayer, num_layers: int, norm: Module | None = None
    ) -> None:
        self.num_layers = checks.integer(self, "num_layers", num_layers)
        self.layers = [copy.deepcopy(encoder_layer) for _ in range(self.num_layers)]
        self.norm = norm

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        x = src
        for layer in self.layers:
            x = layer(x, mask, src_key_padding_mask, is_causal)
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(Module):
    """`num_layers` copies of a TransformerDecoderLayer, one after the other, then `norm`.

    Called as the layer is; see TransformerEncoder.

    >>> layer = nn.TransformerDecoderLayer(16, nhead=4, dim_feedforward=32, batch_first=True)
    >>> decoder = nn.TransformerDecoder(layer, num_layers=2)
    >>> decoder(Tensor.rand(2, 5, 16), Tensor.rand(2, 9, 16)).shape
    (2, 5, 16)
    """

    def __init__(
        self, decoder_layer: TransformerDecoderLayer, num_layers: int, norm: Module | None = None
    ) -> None:
        self.num_layers = checks.integer(self, "num_layers", num_layers)
        self.layers = [copy.deepcopy(decoder_layer) for _ in range(self.num_layers)]
        self.norm = norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        x = tgt
        for layer in self.layers:
            x = layer(
                *(x, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask),
                *(tgt_is_causal, memory_is_causal),
            )
        return x if self.norm is None else self.norm(x)
