"""Memory that is freed and taken again: it comes from the system once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tinygrad_cupy.backend import cpu_memory

# Prints how many pages each of 20 steps took, in the middle of them, and whether memory is kept.
STEPS = """
import resource
import numpy as np
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import cpu_memory

x = Tensor(np.ones((512, 1024), np.float32), requires_grad=True)
taken = []
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    (x.exp() * x.exp() + x.exp()).sum().backward()
    x.grad = None
    taken.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sorted(taken)[10], cpu_memory.keep_freed())
"""


def steps(**said: str) -> list[str]:
    given = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    done = subprocess.run(
        [sys.executable, "-c", STEPS], env={**given, **said}, capture_output=True, text=True,
        check=True, timeout=120,
    )  # fmt: skip
    return done.stdout.split()


@pytest.mark.skipif(not cpu_memory._has_glibc(), reason="this system's malloc is not glibc's")
def test_steps_take_the_memory_of_those_before() -> None:
    pages, kept = steps()
    assert kept == "True"
    assert int(pages) < 100


@pytest.mark.skipif(not cpu_memory._has_glibc(), reason="this system's malloc is not glibc's")
@pytest.mark.parametrize(
    "said", [{"MALLOC_TRIM_THRESHOLD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.mxfast=64"}]
)
def test_the_environment_has_the_last_word(said: dict[str, str]) -> None:
    pages, kept = steps(**said)
    assert kept == "False"
    assert int(pages) > 500 or "MALLOC_TRIM_THRESHOLD_" not in said


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise ValueError(name)

    monkeypatch.setattr(os, "confstr", unknown)
    assert cpu_memory.keep_freed.__wrapped__() is False
