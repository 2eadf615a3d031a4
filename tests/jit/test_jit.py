"""`jit` as a decorator, and which captures it remembers."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import capture

# --- the decorator --------------------------------------------------------------------------------


def test_on_the_cpu_it_is_the_function_itself() -> None:
    @tg.jit
    def step(x: Tensor, scale: float = 2.0) -> float:
        """Doubles."""
        return float((x * scale).item())

    assert vars(step)["__name__"] == "step"
    assert step.__doc__ == "Doubles."
    assert [step(Tensor([float(i)])) for i in range(4)] == [0, 2, 4, 6]
    assert step(Tensor([1.0]), scale=5.0) == 5


def test_bad_uses_of_the_decorator() -> None:
    for steps in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match=r"\[jit\] expected steps .* got"):
            tg.jit(steps=steps)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"\[jit\] expected a function, got int"):
        tg.jit(3)  # type: ignore[call-overload]


def test_a_method_is_bound(place: str) -> None:
    class Scaler:
        def __init__(self, factor: float) -> None:
            self.factor = factor

        @tg.jit
        def scale(self, x: Tensor) -> Tensor:
            return x * self.factor

    two, three = Scaler(2.0), Scaler(3.0)
    for i in range(4):
        assert [s.scale(Tensor([float(i)])).item() for s in (two, three)] == [2 * i, 3 * i]


def test_a_jitted_function_inside_another(place: str) -> None:
    inner = tg.jit(lambda x: x + 1)
    outer = tg.jit(lambda x: inner(x) * 2)
    for i in range(4):
        assert outer(Tensor([float(i)])).item() == 2 * (i + 1)
    if place != "cpu":  # a launch of the stand-in calls the inner function by itself
        assert inner.calls == 0


def test_threads_capture_by_themselves(place: str) -> None:
    results: dict[int, list[float]] = {}

    def work(factor: int) -> None:
        scale = tg.jit(lambda x: x * factor)
        results[factor] = [scale(Tensor([float(i)], device=place)).item() for i in range(20)]

    threads = [threading.Thread(target=work, args=(k,)) for k in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {k: [k * i for i in range(20)] for k in (2, 3)}


# --- what is remembered ---------------------------------------------------------------------------


def test_forgetting(place: str) -> None:
    double = tg.jit(lambda x: x * 2)
    x = Tensor([1.0])
    assert double.memory_bytes == 0
    for _ in range(3):
        y = double(x)
    assert double.memory_bytes > 0
    double.forget()
    assert double.memory_bytes == 0
    assert y.item() == 2
    assert [double(x).item() for _ in range(3)] == [2, 2, 2]


def test_memory_is_counted_between_the_calls_of_other_threads(place: str) -> None:
    double = tg.jit(lambda x: x * 2)
    for _ in range(2):
        double(Tensor([1.0]))
    counted: list[int] = []
    thread = threading.Thread(target=lambda: counted.append(double.memory_bytes))
    with double._lock:  # as during a call
        thread.start()
        thread.join(0.1)
        assert not counted
    thread.join()
    assert counted[0] > 0


@pytest.mark.filterwarnings("ignore:.*ran eagerly")
def test_the_signatures_called_last_are_remembered(place: str) -> None:
    scale = tg.jit(lambda x, factor: x * factor)
    x = Tensor([1.0])

    def captures() -> set[int]:
        listed = scale._variants.values()
        return {id(one.captured) for variants in listed for one in variants if one.captured}

    scale(x, 2.0), scale(x, 2.0)
    first = captures()
    assert len(first) == 1
    for i in range(100):
        assert scale(x, i).item() == i
        assert scale(x, 2.0).item() == 2
    assert captures() == first
    assert len(scale._variants) == 32
    for i in range(200, 232):
        scale(x, i)
    assert not captures()


class Named:
    """An argument that is compared by what it is."""

    factor = 1.0


@pytest.mark.filterwarnings("ignore:.*ran eagerly")
def test_what_is_no_longer_remembered_is_not_kept(place: str) -> None:
    def call(named: Named) -> Any:
        return scale(x, named)

    scale = tg.jit(lambda x, named: x * named.factor)
    x = Tensor([1.0])
    named = Named()
    for _ in range(3):
        call(named)
    ((variant,),) = scale._variants.values()
    seen: list[Any] = [weakref.ref(named), weakref.ref(variant.captured)]
    del named, variant
    gc.disable()
    try:
        assert all(one() is not None for one in seen)
        for _ in range(32):
            call(Named())
        assert all(one() is None for one in seen)
        assert scale.memory_bytes == 0
    finally:
        gc.enable()


@pytest.mark.filterwarnings("ignore:.*ran eagerly")
def test_a_number_that_is_observed_and_changes_leaves_no_heap_of_variants(place: str) -> None:
    named = Named()

    @tg.jit
    def scale(x: Tensor) -> Tensor:
        capture.observe(named, "factor")
        return x * named.factor

    for i in range(100):
        named.factor = float(i)
        assert scale(Tensor([1.0])).item() == i
    assert sum(map(len, scale._variants.values())) == 32
