"""Work on CPU threads: results in order, errors passed on, scratch memory per thread."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import threading
import time
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import cpu_threads


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    """Two threads whatever the machine, in a pool that ends with the test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYGRAD_CUPY_THREADS", "2")
        patch.setattr(
            cpu_threads, "thread_count", functools.cache(cpu_threads.thread_count.__wrapped__)
        )
        patch.setattr(cpu_threads, "_pool", functools.cache(cpu_threads._pool.__wrapped__))
        yield
        cpu_threads._pool().shutdown()


def test_results_come_in_order() -> None:
    def slow_at_first(i: int) -> int:
        time.sleep(0.01 if i < 2 else 0)
        return i * i

    assert cpu_threads.parallel_map(slow_at_first, range(7)) == [0, 1, 4, 9, 16, 25, 36]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 16, 17])
def test_every_item_is_worked_on_once(count: int) -> None:
    assert cpu_threads.parallel_map(lambda i: i, list(range(count))) == list(range(count))


def test_items_run_side_by_side() -> None:
    meeting = threading.Barrier(2, timeout=10)
    cpu_threads.parallel_map(lambda _: meeting.wait(), [0, 1])  # both must be inside at once


def test_the_same_thread_takes_the_same_items() -> None:
    runs = [cpu_threads.parallel_map(lambda _: threading.get_ident(), range(6)) for _ in range(3)]
    assert runs[0] == runs[1] == runs[2]
    assert runs[0][0::2] == [threading.get_ident()] * 3
    assert len(set(runs[0])) == 2


@pytest.mark.parametrize("bad", [0, 1], ids=["the caller's item", "the worker's item"])
def test_an_error_is_raised_after_all_have_stopped(bad: int) -> None:
    done = []

    def work(i: int) -> None:
        if i == bad:
            raise ValueError(f"item {i}")
        time.sleep(0.02)
        done.append(i)

    with pytest.raises(ValueError, match=f"item {bad}"):
        cpu_threads.parallel_map(work, [0, 1])
    assert done == [1 - bad]
    assert cpu_threads.parallel_map(lambda i: i, [1, 2]) == [1, 2]  # and the next call works


def test_an_error_holds_nothing_once_it_is_dropped() -> None:
    class Large:
        pass

    item = Large()
    reference = weakref.ref(item)

    def work(i: int, item: Large = item) -> None:
        if i:
            raise ValueError(i)

    gc.disable()
    try:
        for items in ([0, 1], [1]):
            with contextlib.suppress(ValueError):
                cpu_threads.parallel_map(work, items)
        del work, item
        deadline = time.monotonic() + 10
        while reference() is not None and time.monotonic() < deadline:
            time.sleep(0.01)  # the worker lets go of it a moment later
        assert reference() is None
    finally:
        gc.enable()


def test_a_call_from_inside_runs_serially() -> None:
    def outer(i: int) -> list[int]:
        inner = cpu_threads.parallel_map(lambda _: threading.get_ident(), [0, 1, 2])
        assert set(inner) == {threading.get_ident()}
        return [i] * len(inner)

    assert cpu_threads.parallel_map(outer, [1, 2]) == [[1] * 3, [2] * 3]


def test_two_callers_at_once_do_not_wait_for_each_other() -> None:
    first, second = threading.Event(), threading.Event()

    def long(_: int) -> bool:
        first.set()
        return second.wait(10)

    caller = threading.Thread(target=lambda: cpu_threads.parallel_map(long, [0, 1]))
    caller.start()
    assert first.wait(10)
    assert cpu_threads.parallel_map(lambda i: i, [1, 2, 3]) == [1, 2, 3]
    second.set()
    caller.join()


def test_blas_has_one_thread_inside_and_all_outside() -> None:
    def threads() -> list[int]:
        return [library["num_threads"] for library in cpu_threads._blas().info()]

    before = threads()
    inside = cpu_threads.parallel_map(lambda _: threads(), [0, 1])
    assert inside == [[1] * len(before)] * 2
    assert threads() == before


def test_workspace_is_reused_and_grows() -> None:
    a = cpu_threads.workspace("test", (4, 5), np.float32)
    assert a.shape == (4, 5)
    assert a.dtype == np.float32
    assert np.shares_memory(a, cpu_threads.workspace("test", (20,), np.float32))
    assert np.shares_memory(a, cpu_threads.workspace("test", (2, 2), np.float64))
    larger = cpu_threads.workspace("test", (100,), np.float64)
    assert not np.shares_memory(a, larger)
    assert np.shares_memory(larger, cpu_threads.workspace("test", (1,), np.int8))
    assert not np.shares_memory(larger, cpu_threads.workspace("other", (1,), np.int8))
    assert cpu_threads.workspace("test", (0, 3), np.float32).shape == (0, 3)


def test_workspace_belongs_to_its_thread() -> None:
    meeting = threading.Barrier(2, timeout=10)

    def own(_: int) -> np.ndarray:
        meeting.wait()
        return cpu_threads.workspace("test", (8,), np.float32)

    a, b = cpu_threads.parallel_map(own, [0, 1])
    assert not np.shares_memory(a, b)


def test_spans_cover_everything_once() -> None:
    assert cpu_threads.spans(7, 3) == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert cpu_threads.spans(6, 3) == [slice(0, 3), slice(3, 6)]
    assert cpu_threads.spans(0, 3) == []


def test_parts_of_a_batch_do_not_depend_on_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    for count in ("1", "2"):
        monkeypatch.setenv("TINYGRAD_CUPY_THREADS", count)
        cpu_threads.thread_count.cache_clear()
        runs.append(cpu_threads.by_parts(np, lambda part: part, 100))
    assert runs[0] == runs[1]
    assert len(runs[0]) <= cpu_threads.PARTS
    assert [i for part in runs[0] for i in range(100)[part]] == list(range(100))
    assert cpu_threads.by_parts(np, lambda part: part, 100, least=60) == [
        slice(0, 60),
        slice(60, 100),
    ]
    assert cpu_threads.by_parts(object(), lambda part: part, 100) == [slice(0, 100)]  # a GPU


def test_results_are_the_same_bits_with_any_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((33, 3, 9, 9)).astype(np.float32)
    kernel = rng.standard_normal((8, 3, 3, 3)).astype(np.float32)
    runs = []
    for count in ("1", "2", "2"):
        monkeypatch.setenv("TINYGRAD_CUPY_THREADS", count)
        cpu_threads.thread_count.cache_clear()
        x, w = Tensor(values, requires_grad=True), Tensor(kernel, requires_grad=True)
        y = x.conv2d(w, padding=1).relu().max_pool2d(2)
        (y * y).sum().backward()
        assert x.grad is not None
        assert w.grad is not None
        runs.append([y.numpy().tobytes(), x.grad.numpy().tobytes(), w.grad.numpy().tobytes()])
    assert runs[0] == runs[1] == runs[2]


def test_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    count = cpu_threads.thread_count.__wrapped__
    assert cpu_threads.thread_count() == count() == 2  # kept, for the pool of this test
    monkeypatch.delenv("TINYGRAD_CUPY_THREADS")
    assert 1 <= count() <= (os.cpu_count() or 1)
    for wrong in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("TINYGRAD_CUPY_THREADS", wrong)
        with pytest.raises(ValueError, match=r"^\[TINYGRAD_CUPY_THREADS\]") as raised:
            count()
        assert str(raised.value) == (
            f"[TINYGRAD_CUPY_THREADS] expected a whole number ≥ 1, got {wrong!r}"
        )
