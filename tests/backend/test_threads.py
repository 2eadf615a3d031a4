"""Threads and forked processes."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor


def _convolve() -> float:
    x = Tensor(np.ones((64, 8, 12, 12), np.float32), device="cpu")
    return float(x.conv2d(Tensor(np.ones((8, 8, 3, 3), np.float32))).sum().item())


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork"
)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_computes_with_threads_of_its_own() -> None:
    expected = _convolve()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_convolve).get(timeout=30) == expected


def test_threads_that_fell_asleep_wake_up_again() -> None:
    expected = _convolve()
    for seconds in (0, 0.001, 0.02, 0.2):
        time.sleep(seconds)
        assert _convolve() == expected


def test_threads_of_the_caller_compute_at_the_same_time() -> None:
    expected = _convolve()
    found: list[float] = []

    def work() -> None:
        found.extend(_convolve() for _ in range(50))

    callers = [threading.Thread(target=work) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=60)
    assert found == [expected] * 150


@pytest.mark.slow
def test_more_threads_than_cores() -> None:
    script = "import test_threads; print(*{test_threads._convolve() for _ in range(30)})"
    environment = os.environ | {"TINYGRAD_CUPY_THREADS": "13"}
    folder = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=folder, capture_output=True, text=True,
        timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [str(_convolve())]


def test_a_decorated_function_in_two_threads_leaves_both_recording() -> None:
    states = []

    @tg.no_grad()
    def slow(seconds: float) -> None:
        time.sleep(seconds)

    def run(seconds: float) -> None:
        slow(seconds)
        states.append(tg.is_grad_enabled())

    threads = [threading.Thread(target=run, args=(seconds,)) for seconds in (0.3, 0.1)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    assert states == [True, True]


def test_a_loss_formats_as_its_number() -> None:
    assert f"{Tensor(0.12345):.3f}" == "0.123"
    assert f"{Tensor([1, 2])}" == "Tensor([1, 2])"
