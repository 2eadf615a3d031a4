"""Kernels of a captured graph that start early still see all that was there before."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from jit_runs import trained
from tinygrad_cupy import Tensor, backend, cubins, graph, overlap
from tinygrad_cupy.backend import CudaFile
from tinygrad_cupy.nn import models, optim

pytestmark = pytest.mark.gpu

MEMORY = re.compile(r"\b(LDG|LDGSTS|LD|STG|ST|ATOMG|ATOM|REDG|RED|UBLKCP)\.")


@pytest.fixture(autouse=True)
def _on_gpu() -> Iterator[None]:
    backend.set_default_device("cuda:0")
    device = backend.import_cupy().cuda.Device()
    if int(device.compute_capability) < overlap.LEAST_CAPABILITY:
        pytest.skip("kernels start early on compute capability 9.0 and above")
    yield
    backend.set_default_device("cpu")


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many kernels start early in each graph that is captured."""
    found: list[int] = []

    def spy(captured: int) -> int:
        found.append(overlap.overlap(captured))
        return found[-1]

    monkeypatch.setattr(graph, "overlap", spy)
    return found


def mixed(x: Tensor) -> Tensor:
    """Short kernels behind long ones, ours (a ReLU, pools) beside CuPy's (all the rest)."""
    wide = x.relu().max_pool2d(2)  # ours behind ours: 1
    few = wide.avg_pool2d(wide.shape[2])  # 2
    wide = (wide + few).relu().max_pool2d(3, stride=1, padding=1)  # 3, behind CuPy's, and 4
    return wide.max_pool2d(2).relu() - few  # 5 and 6


def test_what_is_read_is_there_and_only_our_kernels_start_early(
    counts: list[int], rng: np.random.Generator
) -> None:
    captured = tg.jit(mixed)
    for _ in range(50):
        x = Tensor(rng.standard_normal((129, 64, 28, 28)), dtype="float32", device="cuda:0")
        found = captured(x)
        np.testing.assert_array_equal(found.numpy(), mixed(x).numpy())
    assert counts == [6]


@pytest.mark.parametrize("refused", ["cuGraphRemoveDependencies", "cuGraphAddDependencies"])
def test_where_the_driver_refuses_the_graph_stays_as_it_was(
    refused: str, counts: list[int], monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    call = overlap._Edges.call
    before_and_after: list[int] = []

    def refuse(edges: Any, name: str, *arguments: Any) -> Any:
        if name == refused and len(before_and_after) == 1:
            before_and_after.append(len(edges.plain()))
            raise overlap._Refused(name)
        found = call(edges, name, *arguments)
        return found

    monkeypatch.setattr(overlap._Edges, "call", refuse)
    original = overlap._Edges.make_early

    def make_early(edges: Any, pairs: Any) -> int:
        before_and_after.append(len(edges.plain()))
        changed = original(edges, pairs)
        before_and_after.append(len(edges.plain()))
        return changed

    monkeypatch.setattr(overlap._Edges, "make_early", make_early)
    captured = tg.jit(mixed)
    x = Tensor(rng.standard_normal((7, 3, 28, 28)), dtype="float32", device="cuda:0")
    for _ in range(3):
        np.testing.assert_array_equal(captured(x).numpy(), mixed(x).numpy())
    assert counts == [0]
    before, meanwhile, after = before_and_after
    assert before == after > 0
    assert meanwhile == (before if refused == "cuGraphRemoveDependencies" else before - 6)


def test_it_can_be_switched_off(counts: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "allowed", False)
    captured = tg.jit(mixed)
    for _ in range(3):
        captured(Tensor.ones((2, 3, 28, 28)))
    assert counts == [0]


def machine_code(file: CudaFile, defines: tuple[str, ...], folder: Path) -> str:
    cupy = backend.import_cupy()
    arch = file.arch or f"sm_{cupy.cuda.Device().compute_capability}"
    options = (f"-arch={arch}", *cubins.OPTIONS, "-std=c++17", *(f"-D{name}" for name in defines))
    code = "".join(path.read_text() for path in file.paths)
    made = folder / "kernels.cubin"
    made.write_bytes(cubins._compiled(cupy.cuda.nvrtc, code, options) + b"\0")  # CuPy drops a byte
    command = ["nvdisasm", "-c", str(made)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvdisasm") is None, reason="needs nvdisasm of the CUDA toolkit")
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_no_compiler_moves_a_read_in_front_of_the_wait(
    precision: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    """In the kernels of the nets, and in others that this process has launched by now."""
    tg.set_precision(precision)
    for net in models.NAMES:
        trained(4, (32,), False, optim.Adam, lambda net=net: models.build(net), side=28)
    package = Path(tg.__file__).parent
    files = [file for file in list(CudaFile._files) if package in file.paths[1].parents]
    compiled = [(file, names) for file in files for names in file._modules]
    kernels = 0
    for place in rng.permutation(len(compiled))[:40]:
        file, defines = compiled[place]
        functions = machine_code(file, defines, tmp_path).split("\n.text.")[1:]
        for function in functions:
            waits, touches = function.find("ACQBULK"), MEMORY.search(function)
            assert waits >= 0, (defines, function[:60])
            assert touches is None or waits < touches.start(), (defines, function[:60])
        kernels += len(functions)
    assert kernels > 20
