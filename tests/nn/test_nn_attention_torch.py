"""Attention and transformer layers against PyTorch's: masks, weights, training, state_dicts."""

from typing import Any

import numpy as np
import pytest

from support.both_ways import (
    expect_same_gradients,
    expect_same_passes,
    expect_same_training,
    same_state,
)
from support.peers import import_torch
from tinygrad_cupy import Tensor, nn

torch = import_torch()

ATTENTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False, "batch_first": True},
    {"kdim": 3, "vdim": 5},
    {"add_bias_kv": True, "add_zero_attn": True, "batch_first": True},
]
LIBRARIES: tuple[Any, ...] = (nn, torch.nn)
N, L, S, E = 2, 4, 5, 6


def pair(kind: str, *sizes: Any, dtype: Any = np.float64, **options: Any) -> tuple[Any, Any]:
    ours, theirs = (getattr(library, kind)(*sizes, **options) for library in (nn, torch.nn))
    same_state(torch, ours, theirs, dtype)
    return ours.eval(), theirs.eval()


def both(mask: Any) -> tuple[Any, Any]:
    """A mask for each library."""
    if mask is None or isinstance(mask, bool):
        return mask, mask
    return Tensor(mask), torch.tensor(mask)


def masks(kind: str, rng: np.random.Generator, keys: int = S) -> dict[str, Any]:
    """Arguments; every query sees the first key.

    Not all see it alone: weights that are 1 have no gradient but what is rounded.
    """
    hidden = rng.random((L, keys)) < 0.4
    seen = rng.integers(1, keys + 1, (N, 1))
    seen[0] = max(seen[0, 0], 2)
    padding = np.arange(keys)[None] >= seen
    each = rng.random((N * 2, L, keys)) < 0.4
    hidden[:, 0] = each[:, :, 0] = each[0, 0, 1] = hidden[0, 1] = False
    kinds: dict[str, dict[str, Any]] = {
        "none": {},
        "hidden": {"attn_mask": hidden},
        "each": {"attn_mask": each, "key_padding_mask": padding},
        "padding": {"key_padding_mask": padding},
        "added": {"attn_mask": rng.standard_normal((L, keys))},
    }
    return kinds[kind]


@pytest.mark.one_in(4)
@pytest.mark.parametrize("options", ATTENTIONS)
@pytest.mark.parametrize("kind", ["none", "hidden", "each", "padding", "added"])
@pytest.mark.parametrize("weights", [(True, True), (True, False), (False, True)])
def test_attention(
    options: dict[str, Any], kind: str, weights: tuple[bool, bool], rng: np.random.Generator
) -> None:
    ours, theirs = pair("MultiheadAttention", E, 2, **options)
    sizes = [(L, E), (S, options.get("kdim", E)), (S, options.get("vdim", E))]
    arrays = [rng.standard_normal((N, *size)) for size in sizes]
    if not options.get("batch_first"):
        arrays = [a.swapaxes(0, 1) for a in arrays]
    how = dict(zip(("need_weights", "average_attn_weights"), weights, strict=True))
    given = {name: both(mask) for name, mask in masks(kind, rng).items()}
    calls: list[Any] = [
        lambda *x, layer=layer, i=i: layer(*x, **how, **{n: m[i] for n, m in given.items()})
        for i, layer in enumerate((ours, theirs))
    ]
    expect_same_passes(torch, calls[0], calls[1], arrays, 1e-12)
    expect_same_gradients(ours, theirs, 1e-12)


def test_self_attention_of_one_sequence(rng: np.random.Generator) -> None:
    ours, theirs = pair("MultiheadAttention", E, 3)
    padding = np.array([False, True, False, True])
    calls: list[Any] = [
        lambda x: ours(x, x, x, key_padding_mask=Tensor(padding)),
        lambda x: theirs(x, x, x, key_padding_mask=torch.tensor(padding)),
    ]
    expect_same_passes(torch, calls[0], calls[1], [rng.standard_normal((L, E))], 1e-12)


def test_causal_attention(rng: np.random.Generator) -> None:
    ours, theirs = pair("MultiheadAttention", E, 3, batch_first=True)
    hidden = torch.nn.Transformer.generate_square_subsequent_mask(L).to(torch.float64)
    calls: list[Any] = [
        lambda x: ours(x, x, x, is_causal=True),
        lambda x: theirs(x, x, x, attn_mask=hidden, is_causal=True),
    ]
    expect_same_passes(torch, calls[0], calls[1], [rng.standard_normal((N, L, E))], 1e-12)


LAYERS: list[dict[str, Any]] = [
    {},
    {"batch_first": True, "norm_first": True, "activation": "gelu"},
    {"bias": False, "layer_norm_eps": 1e-3},
]


@pytest.mark.parametrize("options", LAYERS)
@pytest.mark.parametrize("kind", ["none", "hidden", "padding", "causal"])
def test_encoder_layer(options: dict[str, Any], kind: str, rng: np.random.Generator) -> None:
    ours, theirs = pair("TransformerEncoderLayer", E, 2, 8, dropout=0.0, **options)
    theirs.train()  # in evaluation it may take a path of its own
    x = rng.standard_normal((N, L, E) if options.get("batch_first") else (L, N, E))
    calls: list[Any]
    if kind == "causal":
        hidden = torch.nn.Transformer.generate_square_subsequent_mask(L).to(torch.float64)
        calls = [lambda x: ours(x, is_causal=True), lambda x: theirs(x, hidden, is_causal=True)]
    else:
        names = {"attn_mask": "src_mask", "key_padding_mask": "src_key_padding_mask"}
        given = {names[n]: both(m) for n, m in masks(kind, rng, L).items()}
        calls = [
            lambda x, layer=layer, i=i: layer(x, **{n: m[i] for n, m in given.items()})
            for i, layer in enumerate((ours, theirs))
        ]
    expect_same_passes(torch, calls[0], calls[1], [x], 1e-11)
    expect_same_gradients(ours, theirs, 1e-11)


@pytest.mark.parametrize("options", LAYERS)
def test_decoder_layer(options: dict[str, Any], rng: np.random.Generator) -> None:
    ours, theirs = pair("TransformerDecoderLayer", E, 2, 8, dropout=0.0, **options)
    shapes = [(N, L, E), (N, S, E)] if options.get("batch_first") else [(L, N, E), (S, N, E)]
    arrays = [rng.standard_normal(shape) for shape in shapes]
    padding = np.arange(S)[None] >= np.array([[3], [5]])
    hidden = torch.nn.Transformer.generate_square_subsequent_mask(L).to(torch.float64)
    calls: list[Any] = [
        lambda x, m: ours(x, m, memory_key_padding_mask=Tensor(padding), tgt_is_causal=True),
        lambda x, m: theirs(x, m, tgt_mask=hidden, memory_key_padding_mask=torch.tensor(padding)),
    ]
    expect_same_passes(torch, calls[0], calls[1], arrays, 1e-11)
    expect_same_gradients(ours, theirs, 1e-11)


def stacks(dtype: Any = np.float64) -> tuple[Any, Any]:
    """Two layers and a last norm, in both."""
    made: list[Any] = []
    for library in LIBRARIES:
        layer = library.TransformerEncoderLayer(E, 2, 8, 0.0, batch_first=True)
        made.append(library.TransformerEncoder(layer, 2, library.LayerNorm(E)))
    same_state(torch, made[0], made[1], dtype=dtype)
    return made[0].train(), made[1].train()


def test_encoder(rng: np.random.Generator) -> None:
    ours, theirs = stacks()
    expect_same_passes(torch, ours, theirs, [rng.standard_normal((N, L, E))], 1e-11)
    expect_same_gradients(ours, theirs, 1e-11)


def test_decoder(rng: np.random.Generator) -> None:
    made: list[Any] = []
    for library in LIBRARIES:
        layer = library.TransformerDecoderLayer(E, 2, 8, 0.0)
        made.append(library.TransformerDecoder(layer, 2))
    same_state(torch, made[0], made[1])
    arrays = [rng.standard_normal((L, N, E)), rng.standard_normal((S, N, E))]
    expect_same_passes(torch, made[0], made[1], arrays, 1e-11)
    expect_same_gradients(made[0], made[1], 1e-11)


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    ("optimizer", "how"), [("SGD", {"lr": 0.1, "momentum": 0.9}), ("Adam", {"lr": 0.01})]
)
@pytest.mark.parametrize("kind", ["attention", "encoder"])
def test_twenty_steps(
    kind: str, optimizer: str, how: dict[str, Any], rng: np.random.Generator
) -> None:
    x, y = rng.standard_normal((N, L, E)), rng.standard_normal((N, L, E))
    if kind == "encoder":
        ours, theirs = stacks()
        run = [ours, theirs]
    else:
        ours, theirs = pair("MultiheadAttention", E, 2, batch_first=True)
        run = [lambda x, layer=layer: layer(x, x, x)[0] for layer in (ours, theirs)]

    def loss(step: int) -> Tensor:
        difference: Tensor = run[0](Tensor(x)) - Tensor(y)
        return (difference * difference).mean()

    def their_loss(step: int) -> Any:
        return ((run[1](torch.tensor(x)) - torch.tensor(y)) ** 2).mean()

    expect_same_training(torch, ours, theirs, (loss, their_loss), optimizer, **how)
