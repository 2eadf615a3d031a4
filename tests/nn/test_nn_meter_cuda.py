"""The kernel that scores a step against its NumPy body."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.gpu_memory import poison
from tinygrad_cupy import Tensor
from tinygrad_cupy.nn.meter import score

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch)


def compare(loss: Any, logits: np.ndarray, target: np.ndarray, ignored: int = -1) -> float:
    """Both scores are the same, bit for bit; how many were right."""
    given = (loss, logits, target)
    on_cpu, on_gpu = (
        [Tensor(np.asarray(x), device=device) for x in given] for device in ("cpu", "cuda:0")
    )
    expected = score(on_cpu[0], on_cpu[1], on_cpu[2], ignored)
    found = score(on_gpu[0], on_gpu[1], on_gpu[2], ignored)
    assert found.shape == (3,)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.numpy(), expected.numpy())
    return float(expected.numpy()[1])


@pytest.mark.parametrize("classes", [2, 3, 10, 33, 1000])
@pytest.mark.parametrize("count", [0, 1, 31, 1023, 1024, 1025, 4099])
def test_right_answers_are_counted(count: int, classes: int, rng: np.random.Generator) -> None:
    logits = rng.standard_normal((count, classes)).astype(np.float32)
    compare(np.float32(rng.random()), logits, rng.integers(0, classes, count))
    if count:
        right = logits.argmax(axis=1)
        right[rng.integers(count)] = classes  # is no class
        assert compare(np.float32(0), logits, right) == count - 1
        right[::2] = -100  # ignored
        compare(np.float32(0), logits, right)
        compare(np.float32(0), logits, right, ignored=1)


def test_the_first_of_equals_and_of_nans_counts(rng: np.random.Generator) -> None:
    logits = rng.choice(
        np.array([-np.inf, -1, -0.0, 0.0, 1, np.inf, np.nan], np.float32), (3001, 5)
    )
    assert compare(np.float32(np.nan), logits, rng.integers(0, 5, 3001)) > 0
    assert compare(np.float32(np.inf), logits, logits.argmax(axis=1)) == 3001


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("labels", ["int64", "int32", "uint8"])
def test_dtypes(dtype: str, labels: str, rng: np.random.Generator) -> None:
    logits = rng.standard_normal((257, 7)).astype(np.float16).astype(dtype)  # the same in each
    target = rng.integers(0, 7, 257).astype(labels)
    compare(np.array([0.5], dtype), logits, target)


def test_images_of_answers_in_any_layout(rng: np.random.Generator) -> None:
    logits = rng.standard_normal((3, 5, 7, 6)).astype(np.float32)
    target = rng.integers(0, 5, (3, 7, 6))
    loss = np.float32(0.25)
    compare(loss, logits, target)
    compare(loss, np.ascontiguousarray(logits.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2), target)
    inputs = [Tensor(x, device="cuda:0") for x in (logits, target)]
    strided = score(Tensor(loss, device="cuda:0"), inputs[0][:, :, 1::2], inputs[1][:, 1::2])
    expected = (logits[:, :, 1::2].argmax(axis=1) == target[:, 1::2]).sum()
    assert strided.tolist() == [0.25, expected, 3 * 3 * 6]
