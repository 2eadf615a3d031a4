"""The three nets: their shapes and sizes, what build refuses, and that they learn."""

import re
from typing import Any

import numpy as np
import pytest

from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.nn import models, optim

# Weights and biases, counted from the layers that PERFORMANCE lists.
PARAMETERS = {
    "small": 8 * 10 + 1568 * 10 + 10,
    "medium": 32 * 10 + 64 * (32 * 9 + 1) + 9216 * 128 + 128 + 128 * 10 + 10,
    "deep": 32 * 26 + 32 * (32 * 25 + 1) + 64 + 64 * (32 * 9 + 1) + 64 * (64 * 9 + 1) + 128 + 5770,
}


@pytest.mark.parametrize("name", models.NAMES)
def test_shapes_and_sizes(name: str, device: str) -> None:
    model = models.build(name)
    assert sum(parameter.size for parameter in model.parameters()) == PARAMETERS[name]
    assert model(Tensor.rand(2, 1, 28, 28, device=device)).shape == (2, 10)


@pytest.mark.parametrize(("name", "least"), [("small", 2), ("medium", 6), ("deep", 20)])
def test_other_images_and_classes(name: str, least: int) -> None:
    for size in (least, 33):
        model = models.build(name, classes=3, in_channels=2, image_size=size)
        assert model(Tensor.rand(2, 2, size, size)).shape == (2, 3)
    text = f"[{name}] images of {least - 1}x{least - 1} pixels are too small, expected at least "
    with pytest.raises(ValueError, match=re.escape(text + f"{least}x{least}")):
        models.build(name, image_size=least - 1)


@pytest.mark.parametrize(("name", "least"), [("small", 2), ("medium", 6), ("deep", 20)])
def test_images_that_are_no_squares(name: str, least: int) -> None:
    for size in ((24, 40), (least, 31), (57, least)):
        model = models.build(name, classes=5, in_channels=3, image_size=size)
        assert model(Tensor.rand(2, 3, *size)).shape == (2, 5)
    text = f"[{name}] images of 40x{least - 1} pixels are too small, expected at least "
    with pytest.raises(ValueError, match=re.escape(text)):
        models.build(name, image_size=(40, least - 1))
    square, pair = models.build(name, image_size=33), models.build(name, image_size=(33, 33))
    assert [p.shape for p in square.parameters()] == [p.shape for p in pair.parameters()]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"name": "meduim"}, "unknown model 'meduim': did you mean 'medium'?"),
        ({"name": "resnet"}, "unknown model 'resnet' (models: small, medium, deep)"),
        ({"name": "small", "classes": 0}, "[small] classes must be an integer of at least 1"),
        ({"name": "deep", "in_channels": 1.5}, "[deep] in_channels must be an integer of at least"),
        (
            {"name": "deep", "image_size": (9, 0)},
            "[deep] image_size must be an integer of at",
        ),
    ],
)
def test_what_build_refuses(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        models.build(**arguments)


@pytest.mark.parametrize("name", models.NAMES)
def test_each_net_learns_32_images_by_heart(
    name: str, device: str, rng: np.random.Generator
) -> None:
    images = Tensor(rng.random((32, 1, 20, 20), np.float32), device=device)
    labels = Tensor(rng.integers(0, 10, 32), device=device)
    model = models.build(name, image_size=20).to(device)
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    loss_of = nn.CrossEntropyLoss()
    for _ in range(45):
        optimizer.zero_grad()
        loss_of(model(images), labels).backward()
        optimizer.step()
    model.eval()
    guess = model(images).numpy().argmax(axis=1)
    assert (guess == labels.numpy()).mean() > 0.95
