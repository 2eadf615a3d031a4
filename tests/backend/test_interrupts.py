"""Ctrl-C at any moment: nothing stays locked, and what comes next is as fast as before."""

from __future__ import annotations

import functools
import gc
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import numpy as np
import pytest

from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import cpu_threads, workers
from tinygrad_cupy.backend.c_source import CSource
from tinygrad_cupy.nn import models, optim


@pytest.fixture(autouse=True)
def _two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TINYGRAD_CUPY_THREADS", "2")
    monkeypatch.setattr(
        cpu_threads, "thread_count", functools.cache(cpu_threads.thread_count.__wrapped__)
    )
    monkeypatch.setattr(cpu_threads, "_pool", functools.cache(cpu_threads._pool.__wrapped__))
    yield
    cpu_threads._pool().shutdown()


@pytest.fixture
def _no_calls_of_the_collector() -> Iterator[None]:
    """Hypothesis has the collector call it, and what is raised in there is printed and lost."""
    kept = gc.callbacks[:]
    gc.callbacks.clear()
    yield
    gc.callbacks[:] = kept


def interrupted_at(step: int, call: Callable[[], object]) -> bool:
    """Raise KeyboardInterrupt before bytecode number ``step`` of cpu_threads.py; whether so."""
    left = step

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != cpu_threads.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left == -1:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    try:
        sys.settrace(trace)
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def assert_as_before(blas: list[int]) -> None:
    assert not cpu_threads._region.locked()
    assert not cpu_threads.is_working()
    threads = cpu_threads.parallel_map(lambda _: threading.get_ident(), range(4))
    assert len(set(threads)) == 2
    assert [library.num_threads for library in cpu_threads._blas().lib_controllers] == blas


def test_an_interrupt_between_any_two_steps_leaves_nothing_locked() -> None:
    cpu_threads.parallel_map(abs, range(4))
    blas = [library.num_threads for library in cpu_threads._blas().lib_controllers]
    step = 0
    while interrupted_at(step, lambda: cpu_threads.parallel_map(abs, range(4))):
        assert_as_before(blas)
        step += 1
    assert step > 100  # it was looked at at all


def test_an_interrupt_while_a_context_is_entered_or_left() -> None:
    def enter() -> None:
        with cpu_threads.alone() as is_alone:
            assert is_alone

    step = 0
    while interrupted_at(step, enter):
        assert not cpu_threads._region.locked()
        step += 1
    assert step > 20
    enter()


def test_a_share_that_is_given_up_is_not_done_any_more() -> None:
    done: list[str] = []
    given_up, taken = (workers.Share(functools.partial(done.append, name)) for name in "ab")
    taken.run()
    for _ in range(2):  # again, after an interrupt
        given_up.give_up()
        taken.give_up()
    given_up.run()
    assert done == ["b"]


def test_a_region_is_one_callers_at_a_time() -> None:
    with cpu_threads.alone() as outer:
        assert outer
        assert cpu_threads._region.locked()
        inside: list[bool] = []

        def enter() -> None:
            with cpu_threads.alone() as is_alone:
                inside.append(is_alone)

        enter()
        other = threading.Thread(target=enter)
        other.start()
        other.join()
        assert inside == [False, False]
    assert not cpu_threads._region.locked()


def test_no_two_threads_take_the_turn_of_a_call_that_was_cut_short() -> None:
    at_once: list[int] = []
    inside = 0

    def work() -> None:
        nonlocal inside
        for _ in range(300):
            with cpu_threads.alone() as is_alone:
                if is_alone:
                    inside += 1
                    at_once.append(inside)
                    time.sleep(0)
                    inside -= 1

    def cut_short() -> None:
        turn = cpu_threads._region
        turn.__enter__()  # and never left

    cut_short()
    assert not cpu_threads._region.locked()
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(at_once) == {1}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_workers_are_waited_for_also_at_the_second_interrupt() -> None:
    done: list[Any] = []

    def interrupt(*_: object) -> None:
        if time.monotonic() < until:  # none comes when the call is over
            raise KeyboardInterrupt

    def item(i: int) -> None:
        end = time.monotonic() + (10 if i == 0 else 0.4)
        while time.monotonic() < end:
            time.sleep(0.01)
        done.append(i)

    before = signal.signal(signal.SIGALRM, interrupt)
    until = time.monotonic() + 0.3
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.02)  # again and again
    try:
        cpu_threads.parallel_map(item, [0, 1, 2, 3])
    except KeyboardInterrupt:
        done.append("interrupted")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert done == [1, "interrupted"]  # which was at work; 3 is not begun any more
    assert not cpu_threads._region.locked()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
@pytest.mark.usefixtures("_no_calls_of_the_collector")
@pytest.mark.parametrize(
    ("count", "library"),
    [(40, "C"), (40, "NumPy"), pytest.param(2000, "C", marks=pytest.mark.slow),
     pytest.param(2000, "NumPy", marks=pytest.mark.slow)],
)  # fmt: skip
def test_training_goes_on_after_interrupts_at_random(
    count: int, library: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    if library == "NumPy":
        for source in [one for one in gc.get_objects() if type(one) is CSource]:
            monkeypatch.setitem(vars(source), "library", None)
    x = Tensor(rng.standard_normal((16, 1, 28, 28), np.float32))
    y = Tensor(np.arange(16) % 10)
    model = models.build("small")
    optimizer = optim.Adam(model.parameters())
    interrupts = 0

    def interrupt(*_: object) -> None:
        nonlocal interrupts
        interrupts += 1
        raise KeyboardInterrupt

    def step() -> None:
        optimizer.zero_grad()
        model(x).cross_entropy(y).backward()
        optimizer.step()

    def train(seconds: float) -> None:
        """Until an interrupt, which comes after so many seconds; return if it is lost."""
        before = interrupts
        signal.setitimer(signal.ITIMER_REAL, seconds)
        while interrupts == before:
            step()

    step()
    blas = [found.num_threads for found in cpu_threads._blas().lib_controllers]
    before = signal.signal(signal.SIGALRM, interrupt)
    draw = random.Random(int(rng.integers(1 << 32)))
    try:
        for _ in range(count):
            with pytest.raises(KeyboardInterrupt):
                train(draw.uniform(0.0002, 0.01))
            assert not cpu_threads._region.locked()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert_as_before(blas)
    step()


def test_a_program_interrupted_at_work_ends_at_once() -> None:
    script = (
        "import os, signal, threading, time\n"
        "from tinygrad_cupy.backend import cpu_threads\n"
        "threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "cpu_threads.parallel_map(lambda _: time.sleep(0.5), range(100))\n"
    )
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.strip().endswith("KeyboardInterrupt")
    assert time.monotonic() - begun < 20
