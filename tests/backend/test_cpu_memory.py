"""Memory that is freed and taken again: it comes from the system once."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import cpu_memory
from tinygrad_cupy.backend.arrays import LINE, is_alone
from tinygrad_cupy.backend.compiling import compiler

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


@pytest.mark.parametrize(
    ("shape", "dtype"), [((65, 257), np.float32), (4097, np.bool_), ([3, 0, 5], float), ((), int)]
)
def test_an_aligned_array_is_as_numpys_and_large_ones_begin_with_a_line(
    shape: tuple[int, ...], dtype: type
) -> None:
    usual: np.ndarray = np.empty(shape, dtype)
    for _ in range(20):
        x = cpu_memory.aligned_empty(shape, dtype)
        assert (x.shape, x.dtype, x.strides) == (usual.shape, usual.dtype, usual.strides)
        assert x.flags.writeable
        assert x.flags.c_contiguous
        if x.nbytes >= cpu_memory.SMALL:
            assert x.ctypes.data % LINE == 0
        x[...] = 1
        assert (x == 1).all()


def test_an_aligned_array_is_alone_until_something_else_refers_to_it() -> None:
    x = cpu_memory.aligned_empty((64, 64), np.float32)
    assert is_alone(x)
    view = x[1:]
    assert not is_alone(x)
    assert not is_alone(view)


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
def test_what_c_writes_begins_with_a_line() -> None:
    x = Tensor(np.ones((128, 300), np.float32), requires_grad=True)
    w = Tensor(np.ones((300, 200), np.float32), requires_grad=True)
    y = x @ w
    gradients = tg.grad(y.sum(), [x, w])
    assert all(one.data.ctypes.data % LINE == 0 for one in (y, *gradients))
