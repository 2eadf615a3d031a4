"""`jit`: small arrays of the host that a function brings to a GPU, and when that is refused."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import capture
from tinygrad_cupy.backend.cpu_memory import aligned_empty
from tinygrad_cupy.jit.uploads import MOST, Upload, match

OTHERS = "are copied to the GPU that were others in the call before.*pass it as an argument"


@pytest.fixture
def bring(place: str) -> Callable[[Any], Tensor]:
    """Makes a tensor of an array, as on a GPU: the stand-in's tensors need no upload."""

    def brought(values: Any) -> Tensor:
        if place == "cpu":
            capture.upload(values)
        return Tensor(values, device=place)

    return brought


def calls_eagerly(function: Any, *args: Any) -> bool:
    """Whether a call ran as it is, and was not captured or replayed."""
    before = function._eager_calls
    function(*args)
    return bool(function._eager_calls > before)


def test_what_is_made_alike_in_every_call_is_captured(bring: Any, place: str) -> None:
    @tg.jit
    def function(x: Tensor) -> Any:
        places = bring(np.arange(len(x))[::-1])
        return x[places] * bring(np.float32(2)) + bring(np.array([1.0, np.nan, 3.0], "f"))

    for start in range(5):
        x = Tensor(np.arange(start, start + 3, dtype=np.float32), device=place)
        expected = 2 * x.numpy()[::-1] + np.array([1, np.nan, 3], np.float32)
        np.testing.assert_array_equal(function(x).numpy(), expected)
    assert function._eager_calls == 1


def test_what_a_call_writes_begins_anew_in_the_next(bring: Any, place: str) -> None:
    @tg.jit
    def function(x: Tensor) -> Any:
        total = bring(np.zeros(2, np.float32))
        total += x
        return total

    for _ in range(4):
        assert function(Tensor([1.0, 2.0], device=place)).tolist() == [1, 2]


def test_what_differs_from_call_to_call_is_refused(bring: Any, place: str) -> None:
    rng = np.random.default_rng(0)
    function = tg.jit(lambda x: x + bring(rng.random(2)))
    x = Tensor([1.0, 2.0], device=place)
    function(x)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=rf"test_jit_uploads.py:\d+: values of .*{OTHERS}"):
            function(x)


def test_an_array_from_outside_that_is_written_leads_to_another_capture(
    bring: Any, place: str
) -> None:
    table = np.arange(6.0)

    @tg.jit
    def function(x: Tensor) -> Any:
        return x + bring(table[2:4])  # a view, which is gone after the call

    x = Tensor([1.0, 2.0], device=place)
    assert [calls_eagerly(function, x) for _ in range(3)] == [True, False, False]
    table[3] = 7
    assert function(x).tolist() == [3, 9]
    assert [calls_eagerly(function, x) for _ in range(2)] == [False, False]
    table[3] = 3  # the first capture fits again
    assert not calls_eagerly(function, x)


def test_an_array_that_is_replaced_leads_to_another_capture(bring: Any, place: str) -> None:
    state = {"mask": np.array([1.0, 0.0])}
    function = tg.jit(lambda x: x * bring(state["mask"]))
    x = Tensor([1.0, 2.0], device=place)
    assert [calls_eagerly(function, x) for _ in range(3)] == [True, False, False]
    state["mask"] = np.array([0.0, 1.0])
    gc.collect()
    assert function(x).tolist() == [0, 2]


def test_what_the_first_call_brings_and_keeps_may_be_missing_in_the_second(
    bring: Any, place: str
) -> None:
    made: dict[str, Tensor] = {}

    @tg.jit
    def function(x: Tensor) -> Any:
        if "scale" not in made:
            made["scale"] = bring(np.array([2.0, 3.0]))
        return x * made["scale"] + bring(np.ones(2))

    x = Tensor([1.0, 2.0], device=place)
    for _ in range(4):
        assert function(x).tolist() == [3, 7]


def test_large_arrays_and_memory_of_others_are_refused(bring: Any, place: str) -> None:
    x = Tensor([1.0], device=place)
    large = np.zeros(MOST // 8 + 1)
    for values in (large, large[:1]):
        with pytest.raises(RuntimeError, match=r"more than 1,048,576 bytes are copied .* argument"):
            tg.jit(lambda x, values=values: x + bring(values).sum())(x)
    lent = np.frombuffer(bytearray(8), np.float64)
    with pytest.raises(RuntimeError, match="in memory of another object than an array are copied"):
        tg.jit(lambda x: x + bring(lent))(x)
    fixed = np.frombuffer(bytes(8), np.float64)
    assert tg.jit(lambda x: x + bring(fixed))(x).item() == 1


def test_the_largest_array_may_be_one_that_was_aligned() -> None:
    Upload(aligned_empty(MOST, np.uint8))
    with pytest.raises(ValueError, match="of more than"):
        Upload(aligned_empty(MOST + 1, np.uint8))


def test_arrays_are_compared_to_the_bit() -> None:
    zero, minus, nan = (Upload(np.array([x])) for x in (0.0, -0.0, np.nan))
    assert not zero.brings(minus)
    assert nan.brings(Upload(np.array([np.nan])))
    assert not zero.brings(Upload(np.array([0])))
    assert match(minus, [zero, nan, minus], 0) == 3
    assert match(zero, [zero, nan], 1) is None
