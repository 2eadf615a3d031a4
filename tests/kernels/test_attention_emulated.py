"""Attention's CUDA kernels, run on the CPU, against all scores in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tinygrad_cupy as tg
from support import warp_emulator
from support.attention import BOUNDS, distance, exact, mask_of, terms_of
from support.warp_emulator import expect_guards, on_device
from tinygrad_cupy.kernels.attention import cuda
from tinygrad_cupy.kernels.attention.plan import Rule

pytestmark = [
    pytest.mark.slow,
    # A text: asked where one of them runs, not where it is collected.
    pytest.mark.skipif("warp_emulator.compiler() is None", reason="no compiler of C++20"),
]


@pytest.fixture(autouse=True)
def _rounded() -> None:
    """Tests begin with "fp32", which the kernels do not offer."""
    tg.set_precision("tf32")


# dtype; B, H, K, L, S, E; causal, the kind of mask
CASES: list[Any] = [
    ("bfloat16", (1, 1, 1, 1, 1, 16), False, ""),
    ("bfloat16", (2, 2, 1, 65, 63, 64), True, ""),
    ("bfloat16", (1, 1, 1, 200, 70, 128), True, ""),
    ("bfloat16", (1, 4, 2, 65, 70, 20), False, "seen"),
    ("float16", (1, 2, 2, 65, 130, 24), False, ""),
    ("float32", (1, 2, 2, 65, 70, 64), False, ""),
    ("float32", (2, 2, 2, 9, 70, 33), False, "added"),
]


@pytest.mark.parametrize(("dtype", "sizes", "causal", "kind"), CASES)
def test_every_kernel(
    dtype: str,
    sizes: tuple[int, ...],
    causal: bool,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    launches = warp_emulator.install(monkeypatch, cuda, tmp_path_factory.getbasetemp())
    batches, heads, shared, queries, keys, width = sizes
    inside = queries % 2 == 1  # heads lie inside of rows, as a layer's do
    rng = np.random.default_rng(0)
    stored: Any = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype

    def made(heads: int, rows: int) -> Any:
        shape = (batches, rows, heads, width) if inside else (batches, heads, rows, width)
        values = on_device(rng.standard_normal(shape).astype(stored))
        return values.transpose(0, 2, 1, 3) if inside else values

    q, k, v, g = made(heads, queries), made(shared, keys), made(shared, keys), made(heads, queries)
    mask = mask_of(kind, rng, sizes)
    there = None if mask is None else on_device(mask)
    rule = Rule(causal, width**-0.5)
    y, logs = cuda.forward(q, k, v, there, rule, False)
    needs = (True, True, True)
    found = (y, *cuda.backward(g, q, k, v, there, y, logs, rule, needs))
    for ours, theirs in zip(found, exact(g, q, k, v, mask, rule), strict=True):
        assert distance(ours, theirs, terms_of(sizes)) < BOUNDS[dtype]
    for array in (*found, logs):
        expect_guards(array)
    names = ["forward", "backward_dots", "backward_queries", "backward_keys"]
    assert launches == [(f"attention_{name}", 0) for name in names]  # no bank met twice


def test_an_array_beside_the_grid_is_copied(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Rows that do not begin at multiples of 16 bytes, and a gradient that is one number."""
    warp_emulator.install(monkeypatch, cuda, tmp_path)
    rng = np.random.default_rng(1)
    q, k, v = (
        on_device(rng.standard_normal((1, 2, 9, 35)).astype(np.float32))[..., 1:34]
        for _ in range(3)
    )
    g = np.broadcast_to(on_device(np.ones((1, 1, 1, 1), np.float32)), q.shape, subok=True)
    rule = Rule(False, 0.3)
    y, logs = cuda.forward(q, k, v, None, rule, False)
    found = (y, *cuda.backward(g, q, k, v, None, y, logs, rule, (True, True, True)))
    for ours, theirs in zip(found, exact(g, q, k, v, None, rule), strict=True):
        assert distance(ours, theirs) < BOUNDS["float32"]
