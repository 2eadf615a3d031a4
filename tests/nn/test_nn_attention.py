"""Attention and transformer layers without PyTorch: what is seen, dropout, errors, capture."""

import re
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.jit_runs import trained
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.nn import models, optim

N, L, E = 2, 5, 6


def attention(**options: Any) -> nn.MultiheadAttention:
    tg.manual_seed(3)
    return nn.MultiheadAttention(E, 3, batch_first=True, **options)


def encoder_layer(**options: Any) -> nn.TransformerEncoderLayer:
    tg.manual_seed(3)
    return nn.TransformerEncoderLayer(E, 3, 8, batch_first=True, **options)


def draw(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def test_attention_as_it_is_defined(rng: np.random.Generator, device: str) -> None:
    """In NumPy, head by head."""
    layer = attention().to(device)
    w = {name: value.astype(np.float64) for name, value in layer.state_dict().items()}
    x = draw(rng, L, E)
    q, k, v = np.split(x @ w["in_proj_weight"].T + w["in_proj_bias"], 3, axis=1)
    found, weights = [], []
    for head in range(3):
        part = slice(2 * head, 2 * head + 2)
        scores = np.exp(q[:, part] @ k[:, part].T / np.sqrt(2))
        weights.append(scores / scores.sum(1, keepdims=True))
        found.append(weights[-1] @ v[:, part])
    expected = np.concatenate(found, 1) @ w["out_proj.weight"].T + w["out_proj.bias"]
    given = Tensor(x, device=device)
    y, seen = layer(given, given, given)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(seen.numpy(), np.mean(weights, 0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("need_weights", [True, False])
def test_causal_attention_does_not_see_what_comes(
    need_weights: bool, rng: np.random.Generator, device: str
) -> None:
    layer = attention().to(device)
    x = draw(rng, N, L, E)
    found = []
    for _ in range(2):
        given = Tensor(x, device=device)
        found.append(layer(given, given, given, None, need_weights, is_causal=True)[0].numpy())
        x[:, 3:] += 1
    np.testing.assert_allclose(found[0][:, :3], found[1][:, :3], rtol=1e-5, atol=1e-6)
    assert np.abs(found[0][:, 3:] - found[1][:, 3:]).min() > 1e-6


def test_padding_is_not_seen(rng: np.random.Generator, device: str) -> None:
    """Each of a batch gives what it gives alone, and a row of padding only the last bias."""
    layer = attention().to(device)
    x, lengths = draw(rng, N, L, E), (3, 0)
    padding = np.arange(L)[None] >= np.array(lengths)[:, None]
    given = Tensor(x, device=device)
    y, weights = layer(given, given, given, key_padding_mask=Tensor(padding, device=device))
    alone = Tensor(x[0, :3], device=device)
    np.testing.assert_allclose(
        y.numpy()[0, :3], layer(alone, alone, alone)[0].numpy(), rtol=1e-5, atol=1e-6
    )
    assert weights is not None
    assert not weights.numpy()[0, :, 3:].any()
    assert not weights.numpy()[1].any()
    np.testing.assert_allclose(y.numpy()[1], np.zeros((L, E)), atol=1e-7)  # its bias starts at 0


def test_masks_of_numbers_and_of_booleans_go_together(rng: np.random.Generator) -> None:
    layer = attention()
    x = Tensor(draw(rng, N, L, E))
    hidden = rng.random((L, L)) < 0.4
    added = np.where(hidden, -np.inf, 0).astype(np.float32)
    padding = np.array([[False, False, False, True, True]] * N)
    hidden[:, 0] = added[:, 0] = 0
    (one, _), (other, _) = (
        layer(x, x, x, Tensor(padding), False, Tensor(mask)) for mask in (hidden, added)
    )
    np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-6)


def test_dropout_of_weights_is_for_training() -> None:
    layer, x = attention(dropout=0.5), Tensor.ones(N, L, E)
    for need_weights in (True, False):
        layer.train()
        first, second = (layer(x, x, x, None, need_weights)[0].numpy() for _ in range(2))
        assert np.any(first != second) or not first.any()
        layer.eval()
        first, second = (layer(x, x, x, None, need_weights)[0].numpy() for _ in range(2))
        np.testing.assert_array_equal(first, second)


def test_names_and_first_weights() -> None:
    state = nn.MultiheadAttention(16, 2).state_dict()
    assert list(state) == ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"]
    bound = np.sqrt(6 / 64)
    assert 0.9 * bound < np.abs(state["in_proj_weight"]).max() <= bound
    assert not state["in_proj_bias"].any()
    assert not state["out_proj.bias"].any()
    state = nn.MultiheadAttention(16, 2, kdim=4, bias=False).state_dict()
    assert list(state) == ["q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"]
    assert repr(nn.MultiheadAttention(8, 2, 0.1)).startswith(
        "MultiheadAttention(8, num_heads=2, dropout=0.1"
    )


def test_the_layers_of_an_encoder_are_copies() -> None:
    layer = encoder_layer()
    encoder = nn.TransformerEncoder(layer, 2)
    state = encoder.state_dict()
    np.testing.assert_array_equal(
        state["layers.0.linear1.weight"], state["layers.1.linear1.weight"]
    )
    assert len(list(encoder.parameters())) == 2 * len(list(layer.parameters()))


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_function_as_activation(norm_first: bool, rng: np.random.Generator) -> None:
    x = Tensor(draw(rng, N, L, E))
    found = [
        encoder_layer(dropout=0.0, activation=act, norm_first=norm_first)(x).numpy()
        for act in ("relu", lambda y: y.relu(), "gelu", lambda y: y.gelu())
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[2], found[3], rtol=1e-5, atol=1e-6)


def test_a_hook_between_linear_and_relu_sees_what_it_should(rng: np.random.Generator) -> None:
    layer = encoder_layer()
    seen = []
    layer.linear1.register_forward_hook(lambda module, args, output: seen.append(output.numpy()))
    layer(Tensor(draw(rng, N, L, E)))
    assert seen[0].min() < 0


def test_second_derivatives(rng: np.random.Generator) -> None:
    layer = encoder_layer(dropout=0.0, activation="gelu")
    for parameter in layer.parameters():
        parameter.replace_data(parameter.data.astype(np.float64))
    x = Tensor(rng.standard_normal((1, 3, E)), requires_grad=True)
    tg.gradcheck(lambda x: layer(x, is_causal=True), [x], order=2)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: nn.MultiheadAttention(6, 4),
            "[MultiheadAttention] num_heads must divide embed_dim, got 4 heads of 6 features",
        ),
        (
            lambda: attention()(*[Tensor.ones(2, 5, 4)] * 3),
            "[MultiheadAttention] expected 6 features of the query, got 4 (input shape (2, 5, 4))",
        ),
        (
            lambda: attention()(Tensor.ones(2, 5, 6), Tensor.ones(3, 5, 6), Tensor.ones(3, 5, 6)),
            "[MultiheadAttention] expected query (N, L, E), key and value of the same batch and",
        ),
        (
            lambda: attention()(*[Tensor.ones(2, 5, 6)] * 3, attn_mask=Tensor.ones(2, 5, 5)),
            "[attention] expected attn_mask (5, 5) or (6, 5, 5), got shape (2, 5, 5)",
        ),
        (
            lambda: attention()(*[Tensor.ones(2, 5, 6)] * 3, key_padding_mask=Tensor.ones(5, 2)),
            "[attention] expected key_padding_mask (2, 5), got shape (5, 2)",
        ),
        (
            lambda: encoder_layer(activation="elu"),
            "[TransformerEncoderLayer] activation must be one of relu, gelu, got 'elu'",
        ),
    ],
)
def test_what_is_refused(call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        call()


def test_a_mask_of_integers_is_refused() -> None:
    x, mask = Tensor.ones(2, 5, 6), Tensor.ones(5, 5, dtype="int64")
    text = "[attention] expected attn_mask of booleans, which say what is hidden, or of real"
    with pytest.raises(TypeError, match=re.escape(text)):
        attention()(x, x, x, attn_mask=mask)


class Rows(nn.Module):
    """Attends to the rows of an image, as many as its first pixel says."""

    def __init__(self) -> None:
        layer = nn.TransformerEncoderLayer(8, 2, 16, 0.2, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        places = Tensor.arange(8, dtype="float32", device=x.device)
        padding = places.reshape(1, 8) > x[:, 0, 0, :1] * 7
        y = self.encoder(x.squeeze(1), src_key_padding_mask=padding)
        return self.head(y.mean(1))  # type: ignore[no-any-return]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("kind", ["encoder", "vit_tiny"])
def test_a_captured_training_leaves_the_same_bits(place: str, kind: str) -> None:
    def net() -> nn.Module:
        return Rows() if kind == "encoder" else models.build(kind, 3, 1, 8)

    runs = [trained(5, (6, 6, 4), jit, optim.Adam, net) for jit in (False, True)]
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)
