"""The `.cu` files and the Python that compiles and launches them say the same."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tinygrad_cupy.backend import CudaSource
from tinygrad_cupy.backend.cuda_source import dtype_macros

PACKAGES = ("kernels", "random", "nn", "datasets")


def sources() -> dict[str, tuple[Any, CudaSource]]:
    """Every `CudaSource` that a module makes, with the module, by its last file."""
    found = {}
    for package in PACKAGES:
        path = importlib.import_module(f"tinygrad_cupy.{package}").__path__
        prefix = f"tinygrad_cupy.{package}."
        names = [prefix[:-1], *(each.name for each in pkgutil.walk_packages(path, prefix))]
        for module in map(importlib.import_module, names):
            for value in vars(module).values():
                if isinstance(value, CudaSource):
                    found[value.paths[-1].name] = (module, value)
    return found


SOURCES = sources()
every = pytest.mark.parametrize(("module", "source"), SOURCES.values(), ids=SOURCES)
KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\(")
LAUNCHED = re.compile(r"(?:\blaunch\(|_Launch\(\w+,)\s*\"(\w+)\"")


def code(source: CudaSource) -> str:
    return "".join(path.read_text() for path in source.paths)


def test_every_file_is_compiled_by_a_module() -> None:
    assert {"batch_norm.cu", "dropout.cu", "loader.cu", "update.cu", "wgmma.cu"} <= set(SOURCES)


@every
def test_what_both_know_stands_once(module: Any, source: CudaSource) -> None:
    """A number that Python passes is read by the kernels, and they have none of that name."""
    text = code(source)
    for macro in source.defines:
        name, value = macro.split("=")
        assert value
        assert name == "THREADS" or re.search(rf"\b{name}\b", text)
        assert not re.search(rf"(#define|const(expr)? \w+|enum \w* ?{{) {name}\b", text)


@every
def test_launches_name_kernels_that_are_there(module: Any, source: CudaSource) -> None:
    files = [each for other, each in SOURCES.values() if other is module]
    declared = {name for each in files for name in KERNEL.findall(code(each))}
    assert declared
    assert set(LAUNCHED.findall(inspect.getsource(module))) <= declared


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (np.float32, ("TYPE=float", "ACC=float")),
        (np.float64, ("TYPE=double", "ACC=double")),
        (np.float16, ("TYPE=__half", "ACC=float", "HALF")),
        (ml_dtypes.bfloat16, ("TYPE=__nv_bfloat16", "ACC=float", "BFLOAT")),
        (np.int32, ()),
        (np.bool_, ()),
    ],
)
def test_macros_of_dtypes(dtype: Any, expected: tuple[str, ...]) -> None:
    assert dtype_macros(np.dtype(dtype)) == expected
