"""How many CPU threads C and NumPy take, in a test."""

from __future__ import annotations

import pytest

from tinygrad_cupy.backend import c_source, cpu_threads, product
from tinygrad_cupy.kernels.recurrent import native as recurrent


def take(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """Have both take so many threads until the test ends."""
    for module in (cpu_threads, c_source, product, recurrent):
        monkeypatch.setattr(module, "thread_count", lambda: threads)
