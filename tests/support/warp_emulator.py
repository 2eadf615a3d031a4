"""Kernels of tensor cores on the CPU, compiled by the machine's C++ compiler (see the header).

Slow, and without what only a GPU has: it shows where there is none that fragments, tiles and masks
are right. Arrays are NumPy's with an address where CuPy's have one, with memory around them that
must stay what it is.
"""

from __future__ import annotations

import ctypes
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from support import cuda_emulator
from support.cuda_emulator import OnDevice, library
from tinygrad_cupy.backend import CudaSource, cuda_source, strides_of
from tinygrad_cupy.backend.gpu import GpuProperties

compiler = cuda_emulator.compiler
HEADER = Path(__file__).with_name("warp_emulator.h")
FLAGS = ("-std=c++20", "-O2", "-w", "-fpermissive", "-shared", "-fPIC", "-U_FORTIFY_SOURCE")
KERNEL = re.compile(r"__global__\s+void\s+__launch_bounds__\([^)]*\)\s+(\w+)\(")
INSTEAD = ("bits.cuh", "tensor_cores.cuh", "hopper.cuh")  # what the header has instead
GPU = GpuProperties(8, 99 << 10, True, False)
GUARD = 512  # bytes before and behind an array; its first element lies at a multiple of 16


class Guarded(OnDevice):
    """An array between guards of 0xff, NaN in floats."""

    whole: Any = None


def guarded(shape: tuple[int, ...], dtype: Any) -> Any:
    """A new array, full of 0xff as well."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    whole = np.full(size + 2 * GUARD + 16, 0xFF, np.uint8)
    start = GUARD + -(whole.ctypes.data + GUARD) % 16
    array = whole[start : start + size].view(dtype).reshape(shape).view(Guarded)
    array.whole = (whole, start, size)
    return array


def expect_guards(array: Any) -> None:
    """Nothing was written beside an array of `guarded`, or a view of it."""
    while getattr(array, "whole", None) is None:
        array = array.base
    whole, start, size = array.whole
    assert (whole[:start] == 0xFF).all()
    assert (whole[start + size :] == 0xFF).all()


def on_device(values: Any) -> Any:
    """A guarded copy, with its axes in the same order in memory."""
    steps = strides_of(values)
    order = sorted(range(values.ndim), key=lambda axis: -steps[axis])
    back = np.argsort(order)
    copy = guarded(tuple(values.shape[axis] for axis in order), values.dtype).transpose(back)
    copy[...] = values
    return copy


def _code(source: CudaSource, defines: tuple[str, ...]) -> str:
    paths = [path for path in source.paths if path.name not in INSTEAD]
    body = "".join(path.read_text() for path in (cuda_source._HEADER, *paths))
    lines = [define.replace("=", " ", 1) for define in (*source.defines, *defines)]
    runs = "".join(
        f'extern "C" long run_{name}(int blocks, int threads, int shared, void** arguments) '
        f"{{ return emulate({name}, blocks, threads, shared, arguments); }}\n"
        for name in KERNEL.findall(body)
    )
    macros = "".join(f"#define {line}\n" for line in lines)
    return f'{macros}#include "{HEADER}"\n{body}\n{runs}'


def install(
    monkeypatch: pytest.MonkeyPatch,
    modules: tuple[Any, ...],
    folder: Path,
    defines_of_all: tuple[str, ...] = (),
) -> list[tuple[str, int]]:
    """Have `CudaSource.launch` run on the CPU, and give ``modules`` what their launches need.

    The list is of launches: the kernel's name, and how often banks of shared memory met.
    ``defines_of_all`` are macros of all kernels: ``"LATE"``, see the header.
    """
    launches = []

    def launch(
        source: CudaSource,
        name: str,
        blocks: int,
        arguments: Any,
        block: int,
        shared: int = 0,
        defines: tuple[str, ...] = (),
    ) -> None:
        passed: list[Any] = []
        for argument in arguments:
            if isinstance(argument, np.ndarray) and argument.dtype.names is None and argument.ndim:
                passed.append(ctypes.c_void_p(argument.ctypes.data))
            else:  # by value
                content = np.asarray(argument).tobytes()
                passed.append((ctypes.c_char * len(content)).from_buffer_copy(content))
        addresses = (ctypes.c_void_p * len(passed))(*map(ctypes.addressof, passed))
        function = getattr(
            library(_code(source, (*defines, *defines_of_all)), folder, FLAGS), f"run_{name}"
        )
        function.restype = ctypes.c_long
        launches.append((name, function(blocks, block, shared, addresses)))

    instead = {
        "import_cupy": lambda: SimpleNamespace(empty=guarded),
        "properties_of": lambda array: GPU,
        "int32s": lambda *values: tuple(map(np.int32, values)),
        "int64s": lambda *values: tuple(map(np.int64, values)),
        "null": lambda: np.int64(0),
    }
    monkeypatch.setattr(CudaSource, "launch", launch)
    monkeypatch.setattr(CudaSource, "prepare", lambda *given: None)
    for module in modules:
        for name in instead.keys() & vars(module).keys():
            monkeypatch.setattr(module, name, instead[name])
    return launches
