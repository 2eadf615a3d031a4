"""Initial values: PyTorch's ranges, from the weights' random stream."""

import math
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import nn


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (nn.Linear(300, 200), 300),
        (nn.Conv2d(16, 64, (3, 5), groups=2), 8 * 15),
        (nn.ConvTranspose2d(64, 16, 3), 16 * 9),
    ],
)
def test_weights_and_biases_fill_the_range_of_one_over_root_fan_in(
    layer: nn.Linear, fan_in: int
) -> None:
    bound = 1 / math.sqrt(fan_in)
    weight = layer.weight.numpy()
    assert weight.dtype == np.float32
    assert abs(weight).max() <= bound * (1 + 1e-6)
    assert abs(weight).max() > 0.99 * bound
    assert abs(weight.mean()) < 0.05 * bound
    assert weight.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert layer.bias is not None
    bias = layer.bias.numpy()
    assert 0.5 * bound < abs(bias).max() <= bound * (1 + 1e-6)


def test_kaiming_uniform_of_a_plain_relu_is_hes() -> None:
    values = nn.init.kaiming_uniform((100, 50, 3, 3), a=0.0)
    assert values.std() == pytest.approx(math.sqrt(2 / 450), rel=0.02)


@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (2, 5, 1, 3), (3, 3, 5), (4, 4, 3, 3, 3)])
def test_dirac_filters_hand_their_input_on(shape: tuple[int, ...], device: str) -> None:
    weight = nn.init.dirac(shape, device=device)
    x = np.random.default_rng(0).random((2, shape[1], *[7] * (len(shape) - 2)), np.float32)
    kind = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}[len(shape)]
    conv = kind(shape[1], shape[0], shape[2:], padding="same", bias=False).to(device)
    conv.weight = nn.Parameter(weight)
    y, same = conv(tg.Tensor(x, device=device)).numpy(), min(shape[:2])
    np.testing.assert_allclose(y[:, :same], x[:, :same], rtol=1e-3)  # products may be in TF32
    np.testing.assert_array_equal(y[:, same:], 0)


@pytest.mark.parametrize("shape", [(6, 2, 3), (6, 4, 3, 1), (3, 2, 3, 3, 3)])
def test_dirac_filters_of_groups_are_pytorchs(shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    expected = torch.nn.init.dirac_(torch.empty(shape), groups=3).numpy()
    np.testing.assert_array_equal(nn.init.dirac(shape, 3, "cpu"), expected)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (((4, 4),), r"a convolution's shape .* got \(4, 4\)"),
        (((4, 4, 3, 3, 3, 3),), r"of 3 to 5 axes, .* got \(4, 4, 3, 3, 3, 3\)"),
        (((4, 0, 3),), r"none of them empty, got \(4, 0, 3\)"),
        (((4, 4, 3), 3), "groups that divide 4 filters, got 3"),
        (((4, 4, 3), 0), "groups must be an integer of at least 1, got 0"),
    ],
)
def test_dirac_is_for_convolutions(words: Any, text: str) -> None:
    with pytest.raises(ValueError, match=r"\[init.dirac\] .*" + text):
        nn.init.dirac(*words)


def test_the_seed_decides_the_weights(device: str) -> None:
    def state() -> dict[str, np.ndarray]:
        return nn.models.build("small").to(device).state_dict()

    tg.manual_seed(7)
    first, second = state(), state()
    tg.manual_seed(7)
    again = state()
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    assert not np.array_equal(first["0.weight"], second["0.weight"])


@pytest.mark.gpu
def test_cpu_and_gpu_start_from_the_same_weights() -> None:
    states = []
    for device in ("cpu", "cuda"):
        tg.manual_seed(3)
        tg.set_default_device(device)
        states.append(nn.models.build("medium").state_dict())
    for name, array in states[0].items():
        np.testing.assert_allclose(array, states[1][name], rtol=0, atol=1e-7)
