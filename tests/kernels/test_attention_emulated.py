"""Attention's CUDA kernels, run on the CPU, against all scores in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest

import tinygrad_cupy as tg
from support import warp_emulator
from support.attention import BOUNDS, distance, exact, mask_of, terms_of
from support.warp_emulator import expect_guards, on_device
from tinygrad_cupy.kernels.attention import cuda, operands, wgmma
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


class Given(NamedTuple):
    """Arrays of a case, and the mask as NumPy has it and as a kernel does."""

    q: Any
    k: Any
    v: Any
    g: Any
    mask: Any
    there: Any
    rule: Rule


def given(dtype: str, sizes: tuple[int, ...], causal: bool, kind: str = "") -> Given:
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
    return Given(q, k, v, g, mask, there, Rule(causal, width**-0.5))


def expect(found: Any, logs: Any, case: Given, sizes: tuple[int, ...]) -> None:
    """What was found is exact but for rounding, and nothing was written beside it."""
    bound = BOUNDS[case.q.dtype.name]
    expected = exact(case.g, case.q, case.k, case.v, case.mask, case.rule)
    for ours, theirs in zip(found, expected, strict=True):
        assert distance(ours, theirs, terms_of(sizes)) < bound
    for array in (*found, logs):
        expect_guards(array)


@pytest.mark.parametrize(("dtype", "sizes", "causal", "kind"), CASES)
def test_every_kernel(
    dtype: str,
    sizes: tuple[int, ...],
    causal: bool,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    launches = warp_emulator.install(monkeypatch, (cuda, operands), tmp_path_factory.getbasetemp())
    case = given(dtype, sizes, causal, kind)
    q, k, v, g, _, there, rule = case
    y, logs = cuda.forward(q, k, v, there, rule, False)
    found = (y, *cuda.backward(g, q, k, v, there, y, logs, rule, (True, True, True)))
    expect(found, logs, case, sizes)
    names = ["forward", "backward_dots", "backward_queries", "backward_keys"]
    assert launches == [(f"attention_{name}", 0) for name in names]  # no bank met twice


# dtype; B, H, K, L, S, E; causal; whether products read late
BY_WGMMA: list[Any] = [
    ("bfloat16", (1, 1, 1, 1, 1, 16), False, False),
    ("bfloat16", (1, 2, 2, 17, 129, 64), False, True),
    ("bfloat16", (2, 4, 2, 193, 300, 64), True, False),
    ("bfloat16", (1, 2, 1, 385, 150, 64), False, True),
    ("bfloat16", (1, 1, 1, 70, 700, 128), False, True),
    ("bfloat16", (1, 2, 1, 330, 150, 128), True, True),
    ("bfloat16", (1, 2, 2, 129, 400, 96), False, False),
    ("float16", (1, 1, 1, 300, 200, 128), True, False),
    ("float16", (1, 2, 2, 70, 130, 20), True, False),
]


@pytest.mark.parametrize(("dtype", "sizes", "causal", "late"), BY_WGMMA)
def test_every_kernel_of_wgmma(
    dtype: str,
    sizes: tuple[int, ...],
    causal: bool,
    late: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    launches = warp_emulator.install(
        monkeypatch,
        (wgmma, operands),
        tmp_path_factory.getbasetemp(),
        ("LATE",) if late else (),
    )
    case = given(dtype, sizes, causal)
    q, k, v, g, _, _, rule = case
    y, logs = wgmma.forward(q, k, v, rule, False)
    found = (y, *wgmma.backward(g, q, k, v, y, logs, rule, (True, True, True)))
    expect(found, logs, case, sizes)
    names = ["forward", "backward_rows", "backward", "backward_queries"]
    assert launches == [(f"attention_wgmma_{name}", 0) for name in names]  # no bank met twice


def test_an_array_beside_the_grid_is_copied(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Rows that do not begin at multiples of 16 bytes, and a gradient that is one number."""
    warp_emulator.install(monkeypatch, (cuda, operands), tmp_path)
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
