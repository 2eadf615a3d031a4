"""Threads and forked processes."""

from __future__ import annotations

import multiprocessing
import threading
import time

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
