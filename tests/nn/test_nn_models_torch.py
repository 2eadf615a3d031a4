"""Models against the same of PyTorch's layers: names, values, gradients, state_dicts both ways."""

import copy
from typing import Any

import numpy as np
import pytest

from support.both_ways import expect_same_gradients, expect_same_passes, same_state
from support.peers import import_torch
from tinygrad_cupy import Tensor, no_grad
from tinygrad_cupy.nn import models

torch = import_torch()

from benchmarks.torch_models import model  # noqa: E402 (after PyTorch is known to be there)


def pair(name: str, size: tuple[int, int], dtype: Any, small: bool = True) -> tuple[Any, Any]:
    """The model of both, with one state, in evaluation."""
    torch.manual_seed(0)  # some weights cancel to a value beside which float32 is coarse
    ours, theirs = models.build(name, 5, 3, size), model(name, 5, size, small)
    same_state(torch, ours, theirs, dtype)
    return ours.eval(), theirs.eval()


def images(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).random(shape)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("unet", (9, 12)),
        ("vit_tiny", (8, 12)),
        pytest.param("resnet18", (8, 12), marks=pytest.mark.slow),
        pytest.param("mobilenet_v2", (8, 12), marks=pytest.mark.slow),
        pytest.param("resnet34", (8, 12), marks=pytest.mark.slow),
        pytest.param("resnet50", (8, 12), marks=pytest.mark.slow),
        pytest.param("vgg11_bn", (32, 32), marks=pytest.mark.slow),
    ],
)
def test_passes(name: str, size: tuple[int, int]) -> None:
    ours, theirs = pair(name, size, np.float64)
    expect_same_passes(torch, ours, theirs, [images(0, 2, 3, *size)], 1e-9)
    expect_same_gradients(ours, theirs, 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unet", pytest.param("resnet18", marks=pytest.mark.slow)])
def test_passes_in_training(name: str) -> None:
    ours, theirs = pair(name, (8, 12), np.float64)
    ours.train()
    theirs.train()
    expect_same_passes(torch, ours, theirs, [images(0, 4, 3, 8, 12)], 1e-8)
    expect_same_gradients(ours, theirs, 1e-8)
    state = ours.state_dict()
    for key, value in theirs.state_dict().items():  # running statistics, moved alike
        np.testing.assert_allclose(state[key], value.numpy(), rtol=1e-8, atol=1e-9)


def gap(theirs: Any, x: Any) -> float:
    """How near to 0, where its slope jumps, an input of a ReLU comes, to the largest of it."""
    gaps = []

    def look(_: Any, inputs: Any) -> None:
        size = inputs[0].abs()
        gaps.append(float(size.min() / size.max()))

    precise = copy.deepcopy(theirs).double()
    for layer in precise.modules():
        if isinstance(layer, torch.nn.ReLU):
            layer.register_forward_pre_hook(look)
    with torch.no_grad():
        precise(torch.tensor(x))
    return min(gaps, default=1.0)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", ["resnet18", "vit_tiny"])
def test_passes_in_float32(name: str) -> None:
    """Of an image at which no ReLU is so near its kink that rounding may choose the side."""
    ours, theirs = pair(name, (8, 8), np.float32)
    drawn = (images(seed, 1, 3, 8, 8).astype(np.float32) for seed in range(100))
    x = next(x for x in drawn if gap(theirs, x.astype(np.float64)) > 5e-6)
    expect_same_passes(torch, ours, theirs, [x], 1e-5)
    expect_same_gradients(ours, theirs, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        pytest.param("resnet50", marks=pytest.mark.slow),
        pytest.param("mobilenet_v2", marks=pytest.mark.slow),
        pytest.param("vgg11_bn", marks=pytest.mark.slow),
    ],
)
def test_the_stem_of_imagenet(name: str) -> None:
    """As torchvision has it: values."""
    ours, theirs = pair(name, (70, 66), np.float32, small=False)
    x = images(0, 2, 3, 70, 66).astype(np.float32)
    with torch.no_grad(), no_grad():
        expected = theirs(torch.tensor(x)).numpy()
        np.testing.assert_allclose(ours(Tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-4)
