"""The optimizers' CUDA kernels, run on the CPU, against the updates of the CPU."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import cuda_emulator
from support.cuda_emulator import OnDevice, on_device
from support.optimizers import SETTINGS
from tinygrad_cupy import Tensor, backend, nn
from tinygrad_cupy.backend.dtypes import resolve_dtype
from tinygrad_cupy.nn import optim
from tinygrad_cupy.nn.optim import averaging, cuda, lamb, muon

pytestmark = [
    pytest.mark.slow,
    # A text: asked where one of them runs, not where it is collected.
    pytest.mark.skipif("cuda_emulator.compiler() is None", reason="no compiler of C++20"),
]

FEW: list[Any] = [(3, 4), (5,), (), (700,), (0,), (33, 17)]
MANY: list[Any] = [(3,)] * 40 + [(300,)] * 3 + [(2, 2)] * 60  # more than one launch takes
MATRICES: list[Any] = [(3, 4), (4, 3), (3, 2, 1, 2), (9, 3, 3)]  # of filters too
MUON: dict[str, Any] = {"Muon": (optim.Muon, {})}


@pytest.fixture(autouse=True)
def _emulated(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder: Path = tmp_path_factory.getbasetemp()
    cuda_emulator.install(monkeypatch, folder)
    for module in (cuda, lamb):
        monkeypatch.setattr(module, "int32s", lambda *values: tuple(map(np.int32, values)))
    monkeypatch.setattr(cuda._kernels, "threads", cuda_emulator.THREADS)
    plain = muon.orthogonal
    monkeypatch.setattr(muon, "orthogonal", lambda *given: plain(*given).view(OnDevice))


def distance(found: Any, expected: Any) -> float:
    if not expected.size:
        return 0.0
    apart = np.abs(np.asarray(found) - np.asarray(expected)) / (np.abs(expected) + 1e-3)
    return float(apart.max())


def steps(kind: Any, options: Any, dtype: str, shapes: list[Any], count: int) -> float:
    """How far kernels end from the CPU: two groups, some gradients missing, another rate each."""
    rng = np.random.default_rng(0)
    start = [np.asarray(rng.standard_normal(shape)).astype(dtype) for shape in shapes]
    params = [nn.Parameter(values.copy()) for values in start]
    half = len(shapes) // 2
    groups = [{"params": params[:half]}, {"params": params[half:], "lr": 0.03, "weight_decay": 0.2}]
    optimizer = kind(groups, lr=0.1, **options)
    arrays = [on_device(values) for values in start]
    launch = optimizer._launch()
    memory = cuda.DeviceMemory("cuda:0", len(arrays), 2, launch)
    states = [
        {
            slot: on_device(np.full(x.shape, optimizer.first_value(slot), dtype))
            for slot in optimizer.slots
        }
        for x in arrays
    ]
    for step in range(count):
        optimizer.lr = 0.1 / (1 + step)
        for group in range(2):
            optimizer._write_group(memory, group)
        rows = []
        for position, (param, array) in enumerate(zip(params, arrays, strict=True)):
            param.grad = None
            if step % 3 != 1 or position != 1:
                grad = np.asarray(rng.standard_normal(param.shape)).astype(dtype)
                param.grad = Tensor(grad.copy())
                given = (array, on_device(grad), *states[position].values())
                rows.append(cuda.Row(given, position, int(position >= half)))
        memory.step(launch, rows)
        optimizer.step()
    assert memory.counts.tolist() == optimizer.steps
    assert memory.ticket.tolist() == [0]
    pairs = [*zip(arrays, [param.numpy() for param in params], strict=True)]
    for found, expected in zip(states, optimizer.state, strict=True):
        pairs += [(array, expected[slot]) for slot, array in found.items()]
    return max(distance(*pair) for pair in pairs)


@pytest.mark.parametrize("name", [*SETTINGS, *MUON])
def test_kernels_step_as_the_cpu_does(name: str) -> None:
    kind, options = {**SETTINGS, **MUON}[name]
    shapes = MATRICES if name in MUON else FEW
    assert steps(kind, options, "float64", shapes, 6) < 1e-11


@pytest.mark.parametrize("name", ["AdamW", "NAdam"])
def test_kernels_of_float32(name: str) -> None:
    assert steps(*SETTINGS[name], "float32", FEW, 4) < 1e-3


@pytest.mark.parametrize("name", ["AdamW", "amsgrad", "LAMB"])
def test_many_parameters_take_several_launches(name: str) -> None:
    assert steps(*SETTINGS[name], "float64", MANY, 3) < 1e-11


@pytest.mark.parametrize("name", ["SGD", "momentum", "AdamW"])
def test_a_step_writes_weights_in_16_bits_as_well(name: str) -> None:
    kind, options = SETTINGS[name]
    rng = np.random.default_rng(0)
    shapes = [*FEW, *[(37,)] * 70]  # more than one launch takes
    start = [np.asarray(rng.standard_normal(shape), np.float32) for shape in shapes]
    optimizer = kind([nn.Parameter(values) for values in start], lr=0.1, **options)
    launch = optimizer._launch()
    memory = cuda.DeviceMemory("cuda:0", len(start), 1, launch)
    optimizer._write_group(memory, 0)
    found = []
    for narrows in (True, False):
        arrays = [on_device(values.copy()) for values in start]
        copies = [on_device(np.full(x.shape, 77, resolve_dtype("bfloat16"))) for x in arrays]
        states = [[on_device(np.zeros_like(x)) for _ in optimizer.slots] for x in arrays]
        memory.counts[...] = 0
        for _ in range(2):
            grads = [on_device(np.cos(x)) for x in start]
            memory.step(launch, [
                cuda.Row((x, g, *s), i, 0, c if narrows and i % 3 else None)
                for i, (x, g, s, c) in enumerate(zip(arrays, grads, states, copies, strict=True))
            ])  # fmt: skip
        found.append(arrays)
        for i, (x, copy) in enumerate(zip(arrays, copies, strict=True)):
            written = narrows and i % 3
            expected = np.asarray(x).astype(copy.dtype) if written else np.full_like(copy, 77)
            assert expected.tobytes() == copy.tobytes()
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert memory.counts.tolist() == [2] * len(start)


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_averages(decay: float) -> None:
    rng = np.random.default_rng(0)
    kind = partial(averaging.Averaging, decay=decay)
    ours, theirs = (kind([nn.Parameter(np.zeros(5))]) for _ in range(2))
    array = on_device(np.zeros(5))
    memory = cuda.DeviceMemory("cuda:0", 1, 1, ours._launch())  # type: ignore[arg-type]
    ours._write_group(memory, 0)
    for _ in range(4):
        values = rng.standard_normal(5)
        memory.step(ours._launch(), [cuda.Row((array, on_device(values)))])  # type: ignore[arg-type]
        theirs.values = [Tensor(values)]
        theirs.step()
    np.testing.assert_allclose(array, theirs.params[0].numpy(), rtol=1e-12)


@pytest.mark.parametrize("order", [1.0, 2.0, 3.5, np.inf])
@pytest.mark.parametrize("limit", [0.5, 1e3])
def test_clipping(order: float, limit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "on_device_of", lambda array: nullcontext())
    rng = np.random.default_rng(0)
    grads = [on_device(np.asarray(rng.standard_normal(shape))) for shape in [*FEW, *[(5,)] * 90]]
    norm, scaled = cuda.clip(grads, limit, order)
    expected = np.linalg.norm(np.concatenate([np.asarray(grad).ravel() for grad in grads]), order)
    assert float(norm) == pytest.approx(expected, rel=1e-12)
    factor = min(1, limit / (expected + 1e-6))
    for grad, found, clamped in zip(grads, scaled, cuda.clamp(grads, 0.3), strict=True):
        np.testing.assert_allclose(found, np.asarray(grad) * factor, rtol=1e-12)
        np.testing.assert_array_equal(clamped, np.clip(grad, -0.3, 0.3))
    grads[0][0, 0] = np.nan
    assert np.isnan(float(cuda.clip(grads, limit, order)[0]))
    assert np.isnan(cuda.clamp(grads, 0.3)[0][0, 0])


@pytest.mark.parametrize("name", ["momentum", "AdamW", "RMSprop", "LAMB", "Muon"])
def test_a_step_is_left_out_where_the_device_says_so(name: str) -> None:
    kind, options = {**SETTINGS, **MUON, "momentum": (optim.SGD, {"momentum": 0.9})}[name]
    rng = np.random.default_rng(0)
    start = [rng.standard_normal(shape) for shape in MATRICES]
    params = [nn.Parameter(values.copy()) for values in start]
    optimizer = kind(params, lr=0.1, **options)
    arrays, launch = [on_device(values.copy()) for values in start], optimizer._launch()
    memory = cuda.DeviceMemory("cuda:0", len(arrays), 1, launch)
    optimizer._write_group(memory, 0)
    states = [[on_device(np.zeros(x.shape)) for _ in optimizer.slots] for x in arrays]
    grads = [rng.standard_normal(x.shape) for x in arrays]
    rows = [
        cuda.Row((array, on_device(grad), *state), position)
        for position, (array, grad, state) in enumerate(zip(arrays, grads, states, strict=True))
    ]
    memory.step(launch, rows, np.int64(1))
    assert memory.counts.tolist() == [0] * len(arrays)
    assert memory.ticket.tolist() == memory.flag_and_counts[:1].tolist() == [0]
    for array, before, state in zip(arrays, start, states, strict=True):
        np.testing.assert_array_equal(array, before)
        assert not any(np.any(slot) for slot in state)
    for param, grad in zip(params, grads, strict=True):
        param.grad = Tensor(grad)
    memory.step(launch, rows, np.int64(0))
    optimizer.step()
    assert memory.counts.tolist() == optimizer.steps
    for array, param in zip(arrays, params, strict=True):
        assert distance(array, param.numpy()) < 1e-11


def test_unscaling(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    grads = [on_device(rng.standard_normal(shape)) for shape in [(3, 4), (5,), (700,), (0,)]]
    factor = on_device(np.asarray(0.25))
    bad, scaled = cuda.unscale(grads, factor)
    assert not bad
    for grad, found in zip(grads, scaled, strict=True):
        np.testing.assert_array_equal(found, np.asarray(grad) * 0.25)
    for value in (np.inf, np.nan):
        grads[2][699] = value
        assert cuda.unscale(grads, factor)[0]
