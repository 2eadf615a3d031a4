"""Hyperparameters go to the kernels by name: what Python hands over is what CUDA and C read."""

from __future__ import annotations

import ctypes
import re
from typing import Any

import numpy as np
import pytest

from support.optimizers import OPTIMIZERS
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.nn import optim
from tinygrad_cupy.nn.optim import cuda, native

CUDA = cuda._kernels.paths[-1].read_text()
C = native._file.paths[-1].read_text()
STRUCTS = (native.Sgd, native.Momentum, native.Adam)


def macros(defines: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The names that a source is given, by the macro that they are given in."""
    pairs = (define.split("=") for define in defines)
    return {macro: tuple(names.split(",")) for macro, names in pairs if macro.endswith("_NAMES")}


def leaf(device: str = "cpu") -> nn.Parameter:
    param = nn.Parameter(np.linspace(1, 2, 9, dtype=np.float32), device=device)
    param.grad = Tensor(np.linspace(-1, 1, 9, dtype=np.float32), device=device)
    return param


# --- what both languages say ----------------------------------------------------------------------


@pytest.mark.parametrize("kernel", cuda.READ_BY)
def test_a_cuda_kernel_reads_what_python_names(kernel: str) -> None:
    (rule,) = re.findall(rf"STEP\({kernel}, (\w+)\)", CUDA)
    (body,) = re.findall(rf"struct {rule} {{(.*?)\n}};", CUDA, re.DOTALL)
    (given,) = re.findall(r"typedef (\w+) Given;", body)
    (macro,) = re.findall(rf"struct {given} {{\s*double (\w+);\s*}};", CUDA)
    assert macros(cuda._kernels.defines)[macro] == cuda.READ_BY[kernel]
    read = set(re.findall(r"\bgiven\.(\w+)", body))
    assert read <= set(cuda.READ_BY[kernel])
    assert kernel == "sgd_step" or read == set(cuda.READ_BY[kernel])  # which shares momentum_step's
    assert not re.search(r"\w\[\d\]", body)


def test_there_is_room_for_what_the_kernels_read() -> None:
    assert max(map(len, cuda.READ_BY.values())) <= cuda.NUMBERS


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: str(struct.__name__))
def test_a_c_function_reads_what_python_names(struct: type[ctypes.Structure]) -> None:
    name = struct.__name__
    (macro,) = re.findall(rf"typedef struct {{\s*float (\w+);\s*}} {name};", C)
    names = tuple(field[0] for field in struct._fields_)
    assert macros(native._file.defines)[macro] == names
    functions = re.findall(rf"\(\s*const {name} \*?s,.*?\n}}", C, re.DOTALL)
    assert functions
    assert set(re.findall(r"\bs(?:->|\.)(\w+)", "".join(functions))) == set(names)


# --- what an optimizer gives ----------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_gives_each_number_by_its_name(name: str) -> None:
    optimizer = OPTIMIZERS[name]([leaf()])
    assert optimizer.kernel is not None
    names = cuda.launch_of(optimizer.kernel).names
    given = dict(zip(names, optimizer._numbers(), strict=True))
    assert given == {name: getattr(optimizer, name) for name in names}
    assert set(optimizer.hyperparameters) <= set(names)


class Longer(optim.AdamW):
    """An AdamW with two hyperparameters more, in another order."""

    hyperparameters = ("rise", *reversed(optim.AdamW.hyperparameters), "horizon")
    rise, horizon = 0.5, 100.0


class LongerSGD(optim.SGD):
    """An SGD with one more."""

    hyperparameters = (*optim.SGD.hyperparameters, "horizon")
    horizon = 100.0


@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_hyperparameters_of_its_own_move_no_other(name: str) -> None:
    options: dict[str, Any] = {"lr": 0.1, "weight_decay": 0.3}
    longer = (Longer if name == "AdamW" else LongerSGD)([leaf()], **options)
    plain = getattr(optim, name)([leaf()], **options)
    assert longer.kernel == plain.kernel
    assert longer._numbers() == plain._numbers()
    assert longer._first_numbers() == plain._first_numbers()
    longer.horizon = 50.0
    assert longer.state_dict()["horizon"] == 50


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_hyperparameters_of_its_own_move_no_other_in_the_kernel(name: str) -> None:
    options: dict[str, Any] = {"lr": 0.1, "weight_decay": 0.3}
    if name == "SGD":
        options |= {"momentum": 0.9, "dampening": 0.5}
    kinds = (Longer if name == "AdamW" else LongerSGD, getattr(optim, name))
    params = [leaf("cuda:0") for _ in kinds]
    optimizers = [kind([param], **options) for kind, param in zip(kinds, params, strict=True)]
    for step in range(4):
        for optimizer in optimizers:
            optimizer.lr = 0.1 / (step + 1)
            optimizer.step()
    optimizers[0].horizon = 50.0
    np.testing.assert_array_equal(params[0].numpy(), params[1].numpy())
    before = params[0].numpy()
    optimizers[0].step()
    assert (params[0].numpy() != before).any()
