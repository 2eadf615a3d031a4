"""Steps of recurrent layers with their product on tensor cores, run on the CPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support import recurrent_nets, warp_emulator
from support.warp_emulator import expect_guards, guarded, on_device
from tinygrad_cupy.kernels.recurrent import cuda, fused, reference

pytestmark = [
    pytest.mark.slow,
    # A text: asked where one of them runs, not where it is collected.
    pytest.mark.skipif("warp_emulator.compiler() is None", reason="no compiler of C++20"),
]


@pytest.mark.parametrize("net", recurrent_nets.NETS.values(), ids=recurrent_nets.NETS)
@pytest.mark.parametrize(
    ("sizes", "padded", "reverse"),
    [((1, 1, 4), False, False), ((3, 17, 36), True, True), ((2, 5, 68), True, False)],
)
def test_both_passes(
    net: Any,
    sizes: tuple[int, int, int],
    padded: bool,
    reverse: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    tg.set_precision("tf32")
    launches = warp_emulator.install(monkeypatch, (), tmp_path_factory.getbasetemp())
    made = []

    def empty(shape: Any, dtype: Any) -> Any:
        made.append(guarded(shape, dtype))
        return made[-1]

    def zeros(shape: Any, dtype: Any) -> Any:
        empty(shape, dtype)[...] = 0
        return made[-1]

    def ascontiguousarray(x: Any) -> Any:
        empty(x.shape, x.dtype)[...] = x
        return made[-1]

    cupy = SimpleNamespace(empty=empty, zeros=zeros, ascontiguousarray=ascontiguousarray)
    gpu = warp_emulator.GPU._replace(shared=227 << 10)
    monkeypatch.setattr(cuda, "import_cupy", lambda: cupy)
    monkeypatch.setattr(cuda, "null", lambda: np.int64(0))
    monkeypatch.setattr(fused, "properties_of", lambda array: gpu)
    for module in (cuda, fused):
        monkeypatch.setattr(module, "int32s", lambda *values: tuple(map(np.int32, values)))
    given = net.inputs(sizes, padded, np.float32)
    grad = np.random.default_rng().standard_normal(
        (*((2,) if net.name == "lstm" else ()), *sizes), np.float32
    )
    moved = [x if x is None else on_device(x) for x in given]
    found = net.passes(cuda, moved, on_device(grad), reverse)
    wide = [x if x is None or x.dtype == bool else x.astype(np.float64) for x in given]
    y = found[0].astype(np.float64) if any(net.relu) else None
    expected = net.passes(reference, wide, grad.astype(np.float64), reverse, y)
    assert [name for name, _ in launches] == [
        *[f"{net.name}_step"] * sizes[0],
        *[f"{net.name}_step_back"] * sizes[0],
    ]
    assert not any(conflicts for _, conflicts in launches)
    for array in made:
        expect_guards(array)
    for one, exact in zip(found, expected, strict=True):
        assert np.abs(one - exact).max() <= 4e-3 * max(np.abs(exact).max(), 1)
