"""Sequential runs Conv2d, ReLU, MaxPool2d(2) and the like as one operation, unseen by the user."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Op, Tensor, nn


class MyConv(nn.Conv2d):
    pass


class MyReLU(nn.ReLU):
    pass


def conv() -> nn.Conv2d:
    return nn.Conv2d(2, 4, 3)


def run_ops(model: Any, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the operations that model(x) runs."""
    seen: list[str] = []
    call = Op.__call__

    def spy(self: Op, *inputs: Any) -> Tensor:
        seen.append(type(self).__name__)
        return call(self, *inputs)

    with monkeypatch.context() as patch:
        patch.setattr(Op, "__call__", spy)
        model(x)
    return seen


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([conv(), nn.ReLU(), nn.MaxPool2d(2)], ["ConvBlock"]),
        ([conv(), nn.ReLU()], ["ConvBlock"]),
        ([conv(), nn.MaxPool2d(2)], ["ConvBlock"]),
        ([conv()], ["Conv"]),
        ([nn.ReLU(), conv(), nn.ReLU(), nn.ReLU()], ["Relu", "ConvBlock", "Relu"]),
        ([conv(), nn.MaxPool2d(2), nn.ReLU()], ["ConvBlock", "Relu"]),
        ([conv(), nn.ReLU(), nn.MaxPool2d(2, 1)], ["ConvBlock", "MaxPool"]),
        ([conv(), nn.ReLU(), nn.MaxPool2d(2, padding=1)], ["ConvBlock", "MaxPool"]),
        ([conv(), nn.ReLU(), nn.MaxPool2d(2, dilation=2)], ["ConvBlock", "MaxPool"]),
        ([conv(), nn.ReLU(), nn.MaxPool2d(3)], ["ConvBlock", "MaxPool"]),
        ([MyConv(2, 4, 3), nn.ReLU()], ["Conv", "Relu"]),
        ([conv(), MyReLU(), nn.MaxPool2d(2)], ["Conv", "Relu", "MaxPool"]),
        ([nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2)], ["BatchNorm"]),
        ([conv(), nn.ReLU(), nn.BatchNorm2d(4), nn.MaxPool2d(2)], ["ConvBlock", "BatchNorm"]),
        ([conv(), nn.BatchNorm2d(4), nn.ReLU6()], ["Conv", "BatchNorm"]),
        ([nn.BatchNorm2d(2), nn.ReLU6(), nn.MaxPool2d(2)], ["BatchNorm", "MaxPool"]),
        ([conv(), nn.ReLU6()], ["Conv", "Between"]),
        ([nn.Sequential(conv()), nn.ReLU()], ["Conv", "Relu"]),
    ],
)
def test_what_runs_together(
    layers: list[nn.Module], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = Tensor.randn(2, 2, 9, 9)
    assert run_ops(nn.Sequential(*layers), x, monkeypatch) == expected


def test_what_is_not_zeros_around_a_convolution_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular")
    model, x = nn.Sequential(layer, nn.ReLU(), nn.MaxPool2d(2)), Tensor.randn(2, 2, 9, 9)
    assert run_ops(model, x, monkeypatch)[-3:] == ["Conv", "Relu", "MaxPool"]
    expected = layer(x).relu().max_pool2d(2).numpy()
    np.testing.assert_array_equal(model(x).numpy(), expected)
    np.testing.assert_allclose(layer(x, relu=True, pool=True).numpy(), expected, rtol=1e-5)


def test_a_layer_whose_forward_was_replaced_runs_by_itself() -> None:
    model = nn.Sequential(conv(), nn.ReLU())
    seen: list[Any] = []
    for layer in model:
        plain = layer.forward

        def forward(x: Tensor, plain: Any = plain) -> Tensor:
            seen.append(x.shape)
            y: Tensor = plain(x)
            return y

        layer.forward = forward  # type: ignore[method-assign]
    model(Tensor.ones(1, 2, 5, 5))
    assert seen == [(1, 2, 5, 5), (1, 4, 3, 3)]


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("size", [(28, 28), (9, 7), (12, 5)])
@pytest.mark.parametrize(("channels", "outputs", "batch"), [(1, 8, 40), (3, 17, 7), (17, 3, 1)])
def test_values_and_gradients_are_those_of_the_chain(
    device: str,
    relu: bool,
    pool: bool,
    size: tuple[int, int],
    channels: int,
    outputs: int,
    batch: int,
) -> None:
    x = Tensor.randn(batch, channels, *size, requires_grad=True)
    w = (Tensor.randn(outputs, channels, 3, 3) / 3).requires_grad_()
    b = Tensor.randn(outputs, requires_grad=True)
    fused = x.conv2d_block(w, b, padding=1, relu=relu, pool=pool)
    chain = x.conv2d(w, b, padding=1)
    chain = chain.relu() if relu else chain
    chain = chain.max_pool2d(2) if pool else chain
    if device == "cpu":
        np.testing.assert_array_equal(fused.numpy(), chain.numpy())
    else:
        np.testing.assert_allclose(fused.numpy(), chain.numpy(), rtol=1e-3, atol=1e-2)
        return  # TF32 may see another maximum
    seed = Tensor.randn(*fused.shape)
    for ours, plain in zip(
        tg.grad(fused, [x, w, b], seed), tg.grad(chain, [x, w, b], seed), strict=True
    ):
        scale = float(np.abs(plain.numpy()).max())
        np.testing.assert_allclose(ours.numpy(), plain.numpy(), rtol=1e-5, atol=2e-6 * scale)


@pytest.mark.parametrize("pool", [False, True])
def test_nan_passes_and_takes_the_gradient(device: str, pool: bool) -> None:
    values = np.zeros((1, 1, 4, 4), np.float32)
    values[0, 0, 1, 1] = np.nan
    x = Tensor(values, device=device, requires_grad=True)
    y = x.conv2d_block(Tensor.ones(1, 1, 1, 1), relu=True, pool=pool)
    assert np.isnan(y.numpy()).sum() == 1
    assert tg.grad(y.sum(), x).numpy().sum() == 1


def test_an_infinite_gradient_is_dropped_where_relu_is_shut(device: str) -> None:
    x = Tensor(-np.ones((1, 1, 4, 4), np.float32), device=device, requires_grad=True)
    y = x.conv2d_block(Tensor.ones(1, 1, 1, 1), relu=True, pool=True)
    seed = Tensor.full((1, 1, 2, 2), np.inf)
    np.testing.assert_array_equal(tg.grad(y, x, seed).numpy(), np.zeros((1, 1, 4, 4)))


def test_a_write_into_the_output_is_noticed(device: str) -> None:
    x = Tensor.randn(1, 2, 5, 5, device=device)
    weight = Tensor.randn(3, 2, 3, 3, device=device, requires_grad=True)
    y = x.conv2d_block(weight, relu=True)
    y.detach().assign_(1.0)
    with pytest.raises(RuntimeError, match=r"^\[ConvBlock\] .* written in place"):
        y.sum().backward()


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_with_its_pool_is_the_chain(device: str, training: bool) -> None:
    model = nn.Sequential(nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2)).train(training)
    plain = nn.Sequential(nn.BatchNorm2d(5)).train(training)
    x = Tensor.randn(6, 5, 7, 4, requires_grad=True)
    for norm in (model[0], plain[0]):
        norm.weight.assign_(np.array([1.0, -2.0, 0.5, 0.0, 3.0], np.float32))  # type: ignore[attr-defined]
    fused, chain = model(x), plain(x).relu().max_pool2d(2)
    np.testing.assert_allclose(fused.numpy(), chain.numpy(), rtol=1e-5, atol=1e-6)
    seed = Tensor.randn(*fused.shape)
    ours, theirs = tg.grad(fused, x, seed), tg.grad(chain, x, seed)
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-4, atol=1e-5)
    for name, value in plain.state_dict().items():
        np.testing.assert_allclose(model.state_dict()[name], value, rtol=1e-6)


def test_errors_still_name_the_layer() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2))
    with pytest.raises(ValueError, match=r"^\[Conv2d\] expected 3 input channels, got 4"):
        model(Tensor.ones(8, 4, 28, 28))
