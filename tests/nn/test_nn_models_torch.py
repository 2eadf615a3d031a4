"""Models against the same of PyTorch's layers: names, values, gradients, state_dicts both ways."""

import numpy as np
import pytest

from support.both_ways import expect_same_gradients, expect_same_passes, same_state
from support.peers import import_torch
from support.torch_models import model
from tinygrad_cupy.nn import models

torch = import_torch()

SIZE = (16, 24)


def passes(name: str, training: bool, dtype: type, limit: float) -> None:
    ours = models.build(name, 5, 3, SIZE)
    theirs = model(name, 5, SIZE)
    same_state(torch, ours, theirs, dtype)
    ours.train(training)
    theirs.train(training)
    images = np.random.default_rng(3).random((4, 3, *SIZE)).astype(dtype)
    expect_same_passes(torch, ours, theirs, [images], limit)
    expect_same_gradients(ours, theirs, limit)
    state = ours.state_dict()
    for key, value in theirs.state_dict().items():  # running statistics, moved alike
        np.testing.assert_allclose(state[key], value.numpy(), rtol=10 * limit, atol=limit)


@pytest.mark.parametrize("name", ["resnet18", "unet", "mobilenet_v2", "vit_tiny"])
def test_passes(name: str) -> None:
    passes(name, False, np.float64, 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet34", "resnet50", "vgg11_bn"])
def test_passes_of_larger_ones(name: str) -> None:
    passes(name, False, np.float64, 1e-9)


@pytest.mark.parametrize("name", ["resnet18", "unet"])
def test_passes_in_training(name: str) -> None:
    passes(name, True, np.float64, 1e-8)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny"])
def test_passes_in_float32(name: str) -> None:
    passes(name, False, np.float32, 1e-5)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2"])
def test_the_stem_of_imagenet(name: str) -> None:
    """torchvision's own: values in evaluation."""
    ours = models.build(name, 5, 3, (70, 66)).eval()
    theirs = model(name, 5, (70, 66), small=False).eval()
    same_state(torch, ours, theirs, np.float64)
    images = np.random.default_rng(3).random((2, 3, 70, 66))
    with torch.no_grad():
        expected = theirs(torch.tensor(images)).numpy()
    from tinygrad_cupy import Tensor, no_grad

    with no_grad():
        np.testing.assert_allclose(ours(Tensor(images)).numpy(), expected, rtol=1e-9, atol=1e-11)
