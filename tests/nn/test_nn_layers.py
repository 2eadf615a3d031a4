"""Layers: what they refuse, and in which words; what training and evaluation change."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

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


def test_flatten_keeps_the_batch() -> None:
    assert nn.Flatten()(Tensor.ones(2, 3, 4, 5)).shape == (2, 60)


def test_layers_print_what_they_were_built_with() -> None:
    layers = [
        nn.Conv2d(2, 4, 3, stride=2, dilation=2, groups=2, bias=False),
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
    ]
    assert [repr(layer) for layer in layers] == [
        "Conv2d(2, 4, kernel_size=(3, 3), stride=(2, 2), dilation=(2, 2), groups=2, bias=False)",
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
    ]
