"""Sizes, strides and paddings too large to compute with: errors that name them, never a crash."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_cupy import Tensor, backend, nn
from tinygrad_cupy.backend import arrays
from tinygrad_cupy.kernels.common.windows import MOST, Windows, whole

pytestmark = pytest.mark.usefixtures("device")

HUGE = (2**31, 2**62, 2**63, 2**64, 2**100)


def image(*shape: int) -> Tensor:
    return Tensor.ones(*(shape or (1, 2, 4, 4)), requires_grad=True)


def pairs(value: Any) -> list[Any]:
    return [value, (value, 1), (1, value), [value, value]]


CALLS: dict[str, Callable[[Any], Any]] = {
    "conv2d stride": lambda n: image().conv2d(image(3, 2, 2, 2), stride=n),
    "conv2d padding": lambda n: image().conv2d(image(3, 2, 2, 2), padding=n),
    "conv2d dilation": lambda n: image().conv2d(image(3, 2, 1, 1), dilation=n),
    "conv_transpose2d stride": lambda n: image().conv_transpose2d(image(2, 3, 2, 2), stride=n),
    "conv_transpose2d padding": lambda n: image().conv_transpose2d(image(2, 3, 2, 2), padding=n),
    "conv_transpose2d output_padding": lambda n: image(1, 2, 1, 1).conv_transpose2d(
        image(2, 3, 1, 1), stride=MOST, output_padding=n
    ),
    "conv_transpose2d dilation": lambda n: image().conv_transpose2d(image(2, 3, 1, 1), dilation=n),
    "max_pool2d kernel_size": lambda n: image().max_pool2d(n, stride=1),
    "max_pool2d stride": lambda n: image().max_pool2d(2, stride=n),
    "max_pool2d padding": lambda n: image().max_pool2d(2, padding=n),
    "max_pool2d dilation": lambda n: image().max_pool2d(1, dilation=n),
    "avg_pool2d kernel_size": lambda n: image().avg_pool2d(n, stride=1),
    "avg_pool2d stride": lambda n: image().avg_pool2d(2, stride=n),
    "avg_pool2d padding": lambda n: image().avg_pool2d(2, padding=n),
    "adaptive_avg_pool2d output_size": lambda n: image().adaptive_avg_pool2d(n),
    "unfold kernel_size": lambda n: image().unfold(n),
    "unfold stride": lambda n: image().unfold(1, stride=n),
    "unfold padding": lambda n: image().unfold(1, padding=n),
    "unfold dilation": lambda n: image().unfold(1, dilation=n),
    "fold output_size": lambda n: image(1, 2, 16).fold(n, 1),
    "fold stride": lambda n: image(1, 2, 1).fold(4, 1, stride=n),
    "fold padding": lambda n: image(1, 2, 16).fold(4, 1, padding=n),
    "fold dilation": lambda n: image(1, 2, 16).fold(4, 1, dilation=n),
}


@pytest.mark.parametrize("name", CALLS)
def test_windows_of_numbers_too_large(name: str) -> None:
    op, argument = name.split()
    for value in (*HUGE, np.uint64(2**63), True, 1.0, -1):
        for given in pairs(value):
            said = f"[{op}] {argument}: expected an integer from "
            with pytest.raises(ValueError, match=re.escape(said)) as raised:
                CALLS[name](given)
            assert f"to {MOST} or two of them, got {given!r}" in str(raised.value)


LAYERS: dict[str, Callable[[Any], Any]] = {
    "Linear in_features": lambda n: nn.Linear(n, 1),
    "Linear out_features": lambda n: nn.Linear(1, n),
    "Conv2d in_channels": lambda n: nn.Conv2d(n, 1, 1),
    "Conv2d kernel_size": lambda n: nn.Conv2d(1, 1, n),
    "Conv2d stride": lambda n: nn.Conv2d(1, 1, 1, stride=n),
    "Conv2d padding": lambda n: nn.Conv2d(1, 1, 1, padding=(0, n)),
    "Conv2d dilation": lambda n: nn.Conv2d(1, 1, 1, dilation=n),
    "Conv2d groups": lambda n: nn.Conv2d(1, 1, 1, groups=n),
    "ConvTranspose2d stride": lambda n: nn.ConvTranspose2d(1, 1, 1, stride=n),
    "ConvTranspose2d output_padding": lambda n: nn.ConvTranspose2d(1, 1, 1, output_padding=n),
    "MaxPool2d kernel_size": lambda n: nn.MaxPool2d(n),
    "MaxPool2d dilation": lambda n: nn.MaxPool2d(2, dilation=n),
    "AvgPool2d stride": lambda n: nn.AvgPool2d(2, stride=n),
    "AvgPool2d padding": lambda n: nn.AvgPool2d(2, padding=n),
    "AdaptiveAvgPool2d output_size": lambda n: nn.AdaptiveAvgPool2d(n),
    "BatchNorm2d num_features": lambda n: nn.BatchNorm2d(n),
    "LayerNorm normalized_shape": lambda n: nn.LayerNorm(n),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_numbers_too_large(name: str) -> None:
    layer, argument = name.split()
    for value in HUGE:
        with pytest.raises(ValueError, match=re.escape(f"[{layer}] {argument} must be at most")):
            LAYERS[name](value)
    with pytest.raises(ValueError, match=re.escape(f"[{layer}] {argument} must be an integer")):
        LAYERS[name](True)


def test_a_number() -> None:
    assert whole(np.int16(3), "op", "groups", 1) == 3
    text = r"^\[op\] groups: expected an integer from 1 to 2147483647, got 2147483648$"
    with pytest.raises(ValueError, match=text):
        whole(2**31, "op", "groups", 1)


TOO_LARGE: dict[str, Callable[[], Any]] = {
    "[conv2d]": lambda: image().conv2d(image(3, 2, 2, 2), padding=2**24),
    "[conv_transpose2d]": lambda: image().conv_transpose2d(image(2, 3, 2, 2), stride=2**24),
    "[max_pool2d]": lambda: image().max_pool2d(2**24, padding=2**23),
    "[avg_pool2d]": lambda: image().avg_pool2d(2**24, padding=2**23),
    "[adaptive_avg_pool2d]": lambda: image().adaptive_avg_pool2d(2**24),
    "[unfold]": lambda: image().unfold(1, padding=2**24),
    "[Linear]": lambda: nn.Linear(2**31 - 1, 2**31 - 1),
    "[Conv2d]": lambda: nn.Conv2d(2**20, 2**20, 5),
    "[zeros]": lambda: Tensor.zeros(2**31, 2**31),
    "[ones]": lambda: Tensor.ones((2**62,)),
    "[full]": lambda: Tensor.full(2**64, 1.5),
    "[eye]": lambda: Tensor.eye(2**31),
    "[rand]": lambda: Tensor.rand(2**31, 2**31),
    "[randn]": lambda: Tensor.randn(2**64),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_arrays_that_no_memory_holds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MOST_BYTES", 1 << 40)
    backend.memory_size.cache_clear()
    try:
        most = 1 << 40 if backend.default_device() != "cpu" else backend.memory_size()
        said = f"{name} expected an array of at most {most} bytes, all the memory there is, got"
        with pytest.raises(MemoryError, match=re.escape(said) + r" shape \(.*\) of \d+ bytes$"):
            TOO_LARGE[name]()
    finally:
        backend.memory_size.cache_clear()


def test_a_stride_that_leads_outside_is_any_that_does() -> None:
    for call in ("max_pool2d", "avg_pool2d"):
        x, y = image(), image()
        far, near = getattr(x, call)(2, stride=MOST), getattr(y, call)(2, stride=4)
        far.sum().backward()
        near.sum().backward()
        np.testing.assert_array_equal(far.numpy(), near.numpy())
        assert x.grad is not None
        assert y.grad is not None
        np.testing.assert_array_equal(x.grad.numpy(), y.grad.numpy())
    weight = image(3, 2, 1, 1)
    found = image().conv2d(weight, stride=(MOST, 2), dilation=MOST)
    np.testing.assert_array_equal(found.numpy(), image().conv2d(weight, stride=(4, 2)).numpy())
    windows = Windows((1, 3), (MOST, 2), (0, 1), (MOST, 2))
    array = np.zeros((1, 2, 5, 6), np.float32)
    assert windows.fitted("op", array.shape, array, 1) == Windows((1, 3), (5, 2), (0, 1), (1, 2))


@pytest.mark.parametrize("shape", [(-1,), (2.5,), (True,), ("3",), (None,), ([2, -1],)], ids=str)
def test_a_shape_is_of_whole_numbers(shape: Any) -> None:
    for name in ("zeros", "ones", "rand", "randn"):
        text = rf"^\[{name}\] expected a shape of integers ≥ 0, got \("
        with pytest.raises(ValueError, match=text):
            getattr(Tensor, name)(*shape)
    with pytest.raises(
        ValueError, match=r"^\[eye\] expected a shape of integers ≥ 0, got \(-1,\)$"
    ):
        Tensor.eye(-1)


@pytest.mark.parametrize("bad", [(0, 5, 0), (0, float("inf"), 1), (0, 2**70, 1), (0, 1, 1e-30)])
def test_counting_that_has_no_end(bad: tuple[Any, ...]) -> None:
    text = f"[arange] cannot count from {bad[0]} to {bad[1]} by {bad[2]}: "
    with pytest.raises(ValueError, match=re.escape(text)):
        Tensor.arange(*bad)
