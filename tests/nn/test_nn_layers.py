"""Layers: what they refuse, and in which words; what training and evaluation change."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.graph_stand_in import StandInPool
from tinygrad_cupy import Tensor, nn

# (layer, input shape, what the error says)
WRONG_INPUTS: list[tuple[Callable[[], nn.Module], tuple[int, ...], str]] = [
    (
        lambda: nn.Linear(5408, 10),
        (8, 32, 13, 13),
        "[Linear] expected 5408 input features, got 13 (input shape (8, 32, 13, 13))",
    ),
    (
        lambda: nn.Linear(2, 3),
        (),
        "[Linear] expected 2 input features, got none (input shape ())",
    ),
    (
        lambda: nn.Conv2d(3, 8, 3),
        (8, 4, 28, 28),
        "[Conv2d] expected 3 input channels, got 4 (input shape (8, 4, 28, 28))",
    ),
    (
        lambda: nn.Conv2d(3, 8, 3),
        (28, 28),
        "[Conv2d] expected an input of shape (N, C, H, W) or (C, H, W), got 2 axes "
        "(input shape (28, 28))",
    ),
    (
        lambda: nn.ConvTranspose2d(3, 8, 3),
        (1, 2, 5, 5),
        "[ConvTranspose2d] expected 3 input channels, got 2 (input shape (1, 2, 5, 5))",
    ),
    (
        lambda: nn.BatchNorm2d(4),
        (2, 3, 5, 5),
        "[BatchNorm2d] expected 4 input channels, got 3 (input shape (2, 3, 5, 5))",
    ),
    (
        lambda: nn.BatchNorm1d(4),
        (2, 4, 5, 5),
        "[BatchNorm1d] expected an input of shape (N, C) or (N, C, L), got 4 axes "
        "(input shape (2, 4, 5, 5))",
    ),
    (
        lambda: nn.BatchNorm1d(4),
        (1, 4),
        "[BatchNorm1d] expected more than one value per channel in training, got one "
        "(input shape (1, 4)): a batch of one has no variance",
    ),
    (
        lambda: nn.LayerNorm((4, 5)),
        (2, 4, 6),
        "[LayerNorm] expected the last 2 axes to be (4, 5), got (4, 6) (input shape (2, 4, 6))",
    ),
    (
        lambda: nn.MaxPool2d(2),
        (28, 28),
        "[MaxPool2d] expected an input of shape (N, C, H, W) or (C, H, W), got 2 axes "
        "(input shape (28, 28))",
    ),
    (
        lambda: nn.AvgPool2d(2),
        (28, 28),
        "[AvgPool2d] expected an input of shape (N, C, H, W) or (C, H, W), got 2 axes "
        "(input shape (28, 28))",
    ),
    (
        lambda: nn.AdaptiveAvgPool2d(2),
        (28, 28),
        "[AdaptiveAvgPool2d] expected an input of shape (N, C, H, W) or (C, H, W), got 2 axes "
        "(input shape (28, 28))",
    ),
    (
        lambda: nn.BatchNorm3d(4),
        (2, 4, 5, 5),
        "[BatchNorm3d] expected an input of shape (N, C, D, H, W), got 4 axes (input shape "
        "(2, 4, 5, 5))",
    ),
    (
        lambda: nn.BatchNorm1d(4, track_running_stats=False).eval(),
        (1, 4),
        "[BatchNorm1d] expected more than one value per channel without running statistics, got "
        "one (input shape (1, 4)): a batch of one has no variance",
    ),
    (
        lambda: nn.InstanceNorm2d(4),
        (2, 3, 5, 5),
        "[InstanceNorm2d] expected 4 input channels, got 3 (input shape (2, 3, 5, 5))",
    ),
    (
        lambda: nn.InstanceNorm1d(4),
        (2, 4, 5, 5),
        "[InstanceNorm1d] expected an input of shape (N, C, L) or (C, L), got 4 axes (input shape "
        "(2, 4, 5, 5))",
    ),
    (
        lambda: nn.GroupNorm(2, 4),
        (2, 6, 5),
        "[GroupNorm] expected 4 input channels, got 6 (input shape (2, 6, 5))",
    ),
    (
        lambda: nn.RMSNorm(5),
        (2, 4),
        "[RMSNorm] expected the last 1 axes to be (5,), got (4,) (input shape (2, 4))",
    ),
    (
        lambda: nn.ReflectionPad2d(1),
        (4, 4),
        "[ReflectionPad2d] expected an input of shape (N, C, H, W) or (C, H, W), got 2 axes "
        "(input shape (4, 4))",
    ),
    (
        lambda: nn.GlobalAvgPool(),
        (4, 4),
        "[GlobalAvgPool] expected an input of shape (N, C, L, ...), got 2 axes (input shape "
        "(4, 4))",
    ),
    (
        lambda: nn.Softmax2d(),
        (4, 4),
        "[Softmax2d] expected an input of shape (N, C, H, W) or (C, H, W), got 2 axes (input "
        "shape (4, 4))",
    ),
    (lambda: nn.Unflatten(2, (2, 2)), (3, 4), "[Unflatten] expected an axis 2, got shape (3, 4)"),
    (lambda: nn.PReLU(3), (2, 4), "[prelu] expected a weight of shape (1,) or (4,), got (3,)"),
    (lambda: nn.Dropout2d(), (3, 4), "[dropout2d] expected 4 axes (N, C, …), got shape (3, 4)"),
]


@pytest.mark.parametrize(
    ("layer", "shape", "text"), WRONG_INPUTS, ids=[text for _, _, text in WRONG_INPUTS]
)
def test_a_wrong_input_names_the_layer(
    layer: Callable[[], nn.Module], shape: tuple[int, ...], text: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        layer()(Tensor(np.ones(shape, np.float32)))


@pytest.mark.parametrize("layer", [nn.Linear(2, 3), nn.Conv2d(1, 1, 1), nn.LayerNorm(2)])
def test_a_bare_array_is_an_error_that_names_the_layer(layer: nn.Module) -> None:
    text = f"[{type(layer).__name__}] expected a Tensor, got ndarray"
    with pytest.raises(TypeError, match=re.escape(text)):
        layer(np.ones((1, 2), np.float32))


WRONG_ARGUMENTS: list[tuple[Callable[[], Any], str]] = [
    (lambda: nn.Linear(0, 3), "[Linear] in_features must be an integer of at least 1, got 0"),
    (lambda: nn.Linear(3, 1.5), "[Linear] out_features must be an integer of at least 1, got 1.5"),  # type: ignore[arg-type]
    (lambda: nn.Conv2d(0, 3, 3), "[Conv2d] in_channels must be an integer of at least 1, got 0"),
    (
        lambda: nn.Conv2d(1, 3, (3, 3, 3)),
        "[Conv2d] kernel_size must be an integer of at least 1 or a pair of them (height, width), "
        "got (3, 3, 3)",
    ),
    (
        lambda: nn.Conv2d(1, 3, 3, stride=0),
        "[Conv2d] stride must be an integer of at least 1 or a pair of them (height, width), got 0",
    ),
    (
        lambda: nn.Conv2d(1, 3, 3, padding="full"),
        "[Conv2d] padding must be one of same, valid, got 'full'",
    ),
    (
        lambda: nn.Conv2d(1, 3, 3, padding_mode="edge"),
        "[Conv2d] padding_mode must be one of zeros, reflect, replicate, circular, got 'edge'",
    ),
    (
        lambda: nn.Conv2d(1, 3, 3, 2, "same", padding_mode="reflect"),
        '[Conv2d] padding="same" needs a stride of 1, got (2, 2)',
    ),
    (
        lambda: nn.Conv1d(1, 3, 3, stride=2, padding="same"),
        '[Conv1d] padding="same" needs a stride of 1, got (2,)',
    ),
    (
        lambda: nn.Conv3d(1, 3, (3, 3)),
        "[Conv3d] kernel_size must be an integer of at least 1 or three of them (depth, height, "
        "width), got (3, 3)",
    ),
    (
        lambda: nn.Conv2d(4, 6, 3, groups=4),
        "[Conv2d] groups must divide out_channels: 6 channels cannot be split into 4 groups",
    ),
    (
        lambda: nn.ConvTranspose2d(3, 4, 3, groups=2),
        "[ConvTranspose2d] groups must divide in_channels: 3 channels cannot be split into 2 "
        "groups",
    ),
    (
        lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, output_padding=2),
        "[ConvTranspose2d] output_padding must be below stride or dilation, got (2, 2) with "
        "stride (2, 2) and dilation (1, 1)",
    ),
    (lambda: nn.Dropout(1.5), "[Dropout] p must be a number from 0 to 1, got 1.5"),
    (lambda: nn.Dropout("half"), "[Dropout] p must be a number from 0 to 1, got 'half'"),  # type: ignore[arg-type]
    (lambda: nn.BatchNorm2d(3, eps=0), "[BatchNorm2d] eps must be a number above 0, got 0"),
    (
        lambda: nn.BatchNorm2d(3, momentum=2.0),
        "[BatchNorm2d] momentum must be a number from 0 to 1, got 2.0",
    ),
    (lambda: nn.LayerNorm(()), "[LayerNorm] normalized_shape must name at least one axis, got ()"),
    (
        lambda: nn.LayerNorm((3, 0)),
        "[LayerNorm] normalized_shape must be an integer of at least 1, got 0",
    ),
    (
        lambda: nn.MaxPool2d(2, padding=2),
        "[MaxPool2d] padding must be at most half of kernel_size, got (2, 2) with kernel_size "
        "(2, 2)",
    ),
    (
        lambda: nn.AdaptiveAvgPool2d(0),
        "[AdaptiveAvgPool2d] output_size must be an integer of at least 1 or a pair of them "
        "(height, width), got 0",
    ),
    (lambda: nn.GELU("erf"), "[GELU] approximate must be one of none, tanh, got 'erf'"),
    (lambda: nn.ELU(0), "[ELU] alpha must be a number above 0, got 0"),
    (lambda: nn.CELU(0), "[CELU] alpha must be a number above 0, got 0"),
    (lambda: nn.Hardtanh(1, 1), "[Hardtanh] min_val must be below max_val, got 1, 1"),
    (lambda: nn.Threshold("a", 1), "[Threshold] threshold must be a number, got 'a'"),  # type: ignore[arg-type]
    (lambda: nn.Softshrink(-1), "[Softshrink] lambd must be a number of at least 0, got -1"),
    (lambda: nn.RReLU(1, 0), "[RReLU] lower must be at most upper, got 1 and 0"),
    (lambda: nn.PReLU(0), "[PReLU] num_parameters must be an integer of at least 1, got 0"),
    (lambda: nn.Softplus(0), "[Softplus] beta must be a number above 0, got 0"),
    (
        lambda: nn.GroupNorm(3, 4),
        "[GroupNorm] num_groups must divide num_channels: 4 channels cannot be split into 3 groups",
    ),
    (lambda: nn.RMSNorm(()), "[RMSNorm] normalized_shape must name at least one axis, got ()"),
    (
        lambda: nn.InstanceNorm2d(3, momentum=None),  # type: ignore[arg-type]
        "[InstanceNorm2d] momentum must be a number from 0 to 1, got None",
    ),
    (
        lambda: nn.LocalResponseNorm(0),
        "[LocalResponseNorm] size must be an integer of at least 1, got 0",
    ),
    (
        lambda: nn.ZeroPad2d((1, 2, 3)),
        "[ZeroPad2d] padding must be an integer of at least 0 or 4 of them, got (1, 2, 3)",
    ),
    (
        lambda: nn.ConstantPad1d(-1, 0.0),
        "[ConstantPad1d] padding must be an integer of at least 0 or 2 of them, got -1",
    ),
    (
        lambda: nn.Upsample(),
        "[Upsample] expected either size or scale_factor, got size None and scale_factor None",
    ),
    (
        lambda: nn.Upsample(2, mode="cubic"),
        "[Upsample] mode must be one of nearest, nearest-exact, linear, bilinear, trilinear, "
        "bicubic, area, got 'cubic'",
    ),
    (lambda: nn.Embedding(0, 3), "[Embedding] num_embeddings must be an integer of at least 1"),
    (lambda: nn.Embedding(4, 3, 4), "[Embedding] padding_idx must be one of 4 rows, got 4"),
    (
        lambda: nn.Embedding.from_pretrained([1.0, 2.0]),
        "[Embedding] expected embeddings (V, D), got shape (2,)",
    ),
    (lambda: nn.Bilinear(2, 0, 3), "[Bilinear] in2_features must be an integer of at least 1"),
    (lambda: nn.AlphaDropout(2), "[AlphaDropout] p must be a number from 0 to 1, got 2"),
    (
        lambda: nn.LeakyReLU(-1),
        "[LeakyReLU] negative_slope must be a number of at least 0, got -1",
    ),
]


@pytest.mark.parametrize(("build", "text"), WRONG_ARGUMENTS, ids=[t for _, t in WRONG_ARGUMENTS])
def test_a_wrong_argument_names_layer_and_argument(build: Callable[[], Any], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        build()


def test_dropout_scales_what_it_keeps_and_rests_in_evaluation(device: str) -> None:
    layer, x = nn.Dropout(0.25), Tensor.ones(100, 100, device=device)
    values = layer(x).numpy()
    np.testing.assert_allclose(np.unique(values), [0, 4 / 3], rtol=1e-6)
    assert abs((values == 0).mean() - 0.25) < 0.02
    np.testing.assert_array_equal(layer.eval()(x).numpy(), 1)


def test_batch_norm_normalizes_and_its_running_statistics_converge(
    device: str, rng: np.random.Generator
) -> None:
    layer = nn.BatchNorm1d(2, momentum=0.5).to(device)
    x = (rng.standard_normal((64, 2)) * [1, 5] + [3, -2]).astype(np.float32)
    for _ in range(30):
        y = layer(Tensor(x, device=device)).numpy()
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(y.var(axis=0), 1, rtol=1e-3)
    state = layer.state_dict()
    np.testing.assert_allclose(state["running_mean"], x.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(state["running_var"], x.var(axis=0, ddof=1), rtol=1e-4)


@pytest.mark.parametrize(
    ("mode", "around"),
    [("reflect", "ReflectionPad"), ("replicate", "ReplicationPad"), ("circular", "CircularPad")],
)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_a_convolution_pads_as_the_layer_that_pads_does(
    mode: str, around: str, ndim: int, device: str
) -> None:
    conv = getattr(nn, f"Conv{ndim}d")(2, 4, 3, 2, 1, padding_mode=mode).to(device)
    plain = getattr(nn, f"Conv{ndim}d")(2, 4, 3, 2).to(device)
    plain.load_state_dict(conv.state_dict())
    pad = getattr(nn, f"{around}{ndim}d")(1)
    x = Tensor.randn(2, 2, *(7, 6, 5)[:ndim], device=device)
    assert conv(x).shape == (2, 4, *(4, 3, 3)[:ndim])
    np.testing.assert_array_equal(conv(x).numpy(), plain(pad(x)).numpy())
    np.testing.assert_allclose(conv(x[0]).numpy(), conv(x)[0].numpy(), rtol=1e-5, atol=1e-6)
    same = getattr(nn, f"Conv{ndim}d")(2, 4, 4, padding="same", padding_mode=mode).to(device)
    assert same(x).shape == (2, 4, *x.shape[2:])


def test_flatten_keeps_the_batch() -> None:
    assert nn.Flatten()(Tensor.ones(2, 3, 4, 5)).shape == (2, 60)


def test_layers_print_what_they_were_built_with() -> None:
    layers = [
        nn.Conv2d(2, 4, 3, stride=2, dilation=2, groups=2, bias=False),
        nn.Conv1d(2, 4, 3, padding=1, padding_mode="reflect"),
        nn.ConvTranspose2d(2, 4, 3, stride=2, output_padding=1),
        nn.BatchNorm2d(4),
        nn.LayerNorm(4),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.MaxPool2d(2),
        nn.AvgPool2d(3, 1, 1),
        nn.AdaptiveAvgPool2d((2, 3)),
        nn.LeakyReLU(),
        nn.GELU(),
        nn.ELU(),
        nn.Softmax(),
        nn.CrossEntropyLoss(),
        nn.MSELoss("sum"),
        nn.BatchNorm1d(4, momentum=None, affine=False, track_running_stats=False),
        nn.InstanceNorm1d(4),
        nn.GroupNorm(2, 4),
        nn.RMSNorm(4),
        nn.Embedding(5, 3, padding_idx=-1),
        nn.ConstantPad1d((1, 2), 0.5),
        nn.Upsample(scale_factor=2),
        nn.Bilinear(2, 3, 4),
        nn.PReLU(),
        nn.Softplus(2),
        nn.GlobalAvgPool(),
        nn.TripletMarginLoss(),
        nn.BCEWithLogitsLoss(),
    ]
    assert [repr(layer) for layer in layers] == [
        "Conv2d(2, 4, kernel_size=(3, 3), stride=(2, 2), dilation=(2, 2), groups=2, bias=False)",
        "Conv1d(2, 4, kernel_size=(3,), stride=(1,), padding=(1,), padding_mode=reflect)",
        "ConvTranspose2d(2, 4, kernel_size=(3, 3), stride=(2, 2), output_padding=(1, 1))",
        "BatchNorm2d(4, eps=1e-05, momentum=0.1)",
        "LayerNorm((4,), eps=1e-05, elementwise_affine=True)",
        "Dropout(p=0.3)",
        "Flatten(start_axis=1, end_axis=-1)",
        "MaxPool2d(kernel_size=(2, 2), stride=(2, 2), padding=(0, 0), dilation=(1, 1))",
        "AvgPool2d(kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))",
        "AdaptiveAvgPool2d(output_size=(2, 3))",
        "LeakyReLU(negative_slope=0.01)",
        "GELU(approximate='none')",
        "ELU(alpha=1.0)",
        "Softmax(axis=-1)",
        "CrossEntropyLoss(label_smoothing=0.0, reduction='mean')",
        "MSELoss(reduction='sum')",
        "BatchNorm1d(4, eps=1e-05, momentum=None, affine=False, track_running_stats=False)",
        "InstanceNorm1d(4, eps=1e-05, momentum=0.1, affine=False, track_running_stats=False)",
        "GroupNorm(2, 4, eps=1e-05, affine=True)",
        "RMSNorm((4,), eps=None, elementwise_affine=True)",
        "Embedding(5, 3, padding_idx=4)",
        "ConstantPad1d(padding=(1, 2), value=0.5)",
        "Upsample(scale_factor=2, mode='nearest')",
        "Bilinear(2, 3, 4, bias=True)",
        "PReLU(num_parameters=1)",
        "Softplus(beta=2.0)",
        "GlobalAvgPool(keepdims=False)",
        "TripletMarginLoss(margin=1.0, p=2.0, swap=False, reduction='mean')",
        "BCEWithLogitsLoss(reduction='mean')",
    ]


def test_running_statistics_without_a_momentum_are_means_over_all_batches(
    device: str, rng: np.random.Generator
) -> None:
    layer = nn.BatchNorm2d(2, momentum=None).to(device)
    batches = rng.standard_normal((3, 4, 2, 3, 3)).astype(np.float32)
    for batch in batches:
        layer(Tensor(batch, device=device))
    state = layer.state_dict()
    assert state["num_batches_tracked"] == 3
    np.testing.assert_allclose(
        state["running_mean"], batches.mean((0, 1, 3, 4)), rtol=1e-4, atol=1e-6
    )
    variances = batches.var((1, 3, 4), ddof=1).mean(0)
    np.testing.assert_allclose(state["running_var"], variances, rtol=1e-4)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("tracked", [True, False])
def test_norms_under_jit_are_those_without(place: str, momentum: Any, tracked: bool) -> None:
    found = []
    for captured in (False, True):
        norm = nn.BatchNorm1d(3, momentum=momentum, affine=False, track_running_stats=tracked)
        StandInPool.owners[:] = [norm]
        run = tg.jit(norm.forward) if captured else norm.forward
        rng = np.random.default_rng(3)
        for _ in range(5):
            x = Tensor(rng.standard_normal((4, 3)).astype(np.float32), device=place)
            y = run(x).numpy()
        found.append((y, norm.state_dict()))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    for name, value in found[0][1].items():
        np.testing.assert_array_equal(value, found[1][1][name])


def test_what_a_norm_leaves_out_is_not_in_its_state() -> None:
    assert list(nn.BatchNorm1d(3, affine=False).state_dict()) == [
        *("running_mean", "running_var", "num_batches_tracked")
    ]
    assert list(nn.BatchNorm1d(3, track_running_stats=False).state_dict()) == ["weight", "bias"]
    assert list(nn.InstanceNorm1d(3).state_dict()) == []
    assert list(nn.InstanceNorm1d(3, affine=True, track_running_stats=True).state_dict()) == [
        *("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    ]
    assert list(nn.GroupNorm(1, 2, affine=False).state_dict()) == []


def test_embeddings_are_rows_and_padding_is_not_trained(device: str) -> None:
    layer = nn.Embedding(5, 3, padding_idx=-5).to(device)
    assert layer.padding_idx == 0
    assert not layer.weight.numpy()[0].any()
    rows = Tensor([[1, 0], [1, 4]], device=device)
    y = layer(rows)
    np.testing.assert_array_equal(y.numpy(), layer.weight.numpy()[rows.numpy()])
    y.sum().backward()
    assert layer.weight.grad is not None
    np.testing.assert_array_equal(layer.weight.grad.numpy()[:, 0], [0, 2, 0, 0, 1])
    assert abs(nn.Embedding(200, 50).weight.numpy().std() - 1) < 0.05


def test_pretrained_embeddings_are_frozen_copies(device: str) -> None:
    table = np.arange(6.0, dtype=np.float32).reshape(3, 2)
    layer = nn.Embedding.from_pretrained(Tensor(table, device=device))
    assert not layer.weight.requires_grad
    table[:] = 0
    np.testing.assert_array_equal(layer(Tensor([2], device=device)).numpy(), [[4, 5]])
    assert nn.Embedding.from_pretrained(np.eye(3), freeze=False).weight.requires_grad


@pytest.mark.parametrize("name", ["Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"])
def test_channels_are_dropped_whole(name: str, device: str) -> None:
    shape = (20, 30, *[4] * (int(name[-2]) if name[-1] == "d" else 2))
    layer = getattr(nn, name)(0.25)
    y = layer(Tensor.ones(*shape, device=device)).numpy().reshape(20, 30, -1)
    assert (y == y[:, :, :1]).all()
    values, counts = np.unique(y[:, :, 0], return_counts=True)
    assert len(values) == 2
    assert abs(counts[0] / 600 - 0.25) < 0.08
    np.testing.assert_array_equal(layer.eval()(Tensor.ones(*shape, device=device)).numpy(), 1)


def test_alpha_dropout_keeps_mean_and_variance(device: str) -> None:
    y = nn.AlphaDropout(0.3)(Tensor.randn(300, 300, device=device)).numpy()
    assert abs(y.mean()) < 0.03
    assert abs(y.var() - 1) < 0.05


def test_rrelu_draws_slopes_in_training_alone(device: str) -> None:
    layer, x = nn.RReLU(0.1, 0.3), Tensor.full((50, 50), -1.0, "float32", device)
    y = layer(x).numpy()
    assert y.min() >= -0.3
    assert y.max() <= -0.1
    assert y.std() > 0.01
    np.testing.assert_allclose(layer.eval()(x).numpy(), -0.2, rtol=1e-6)


@pytest.mark.parametrize(
    ("layer", "places", "expected"),
    [
        (nn.RReLU(0.1, 0.3).eval(), [-1, 0, 1], [0.2, 0.2, 1]),
        (nn.RReLU(0.25, 0.25), [-1, 0, 1], [0.25, 0.25, 1]),
        (nn.Hardswish(), [-4, -3, 0, 3, 4], [0, 0, 0.5, 1, 1]),
    ],
    ids=["RReLU", "RReLU in training", "Hardswish"],
)
def test_slopes_at_kinks_are_pytorchs(
    layer: nn.Module, places: list[float], expected: list[float], device: str
) -> None:
    x = Tensor(np.array(places, np.float32), device=device, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-6)


def test_global_pools_are_means_and_maxima_of_channels(
    device: str, rng: np.random.Generator
) -> None:
    array = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    x = Tensor(array, device=device)
    found, expected = nn.GlobalAvgPool()(x).numpy(), array.mean((2, 3), dtype=np.float64)
    # A mean may be near 0: what it is rounded by goes with the size of what is added up.
    size = np.abs(array).mean((2, 3))
    assert (np.abs(found - expected) <= 20 * np.finfo(np.float32).eps * size).all()
    np.testing.assert_array_equal(nn.GlobalMaxPool()(x).numpy(), array.max((2, 3)))
    assert nn.GlobalMaxPool(keepdims=True)(x).shape == (2, 3, 1, 1)


def test_an_embedding_of_unsigned_numbers_pads_the_row_that_was_named(device: str) -> None:
    layer = nn.Embedding(5, 1, padding_idx=1).to(device)
    layer(Tensor(np.arange(5, dtype=np.uint8), device=device)).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.numpy().ravel().tolist() == [1, 0, 1, 1, 1]


def test_an_embedding_refuses_negative_numbers() -> None:
    with pytest.raises(IndexError, match=r"\[embedding\] expected numbers of 3 rows, from 0, got"):
        nn.Embedding(3, 2)(Tensor([0, -1]))
