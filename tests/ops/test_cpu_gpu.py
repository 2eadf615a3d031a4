"""Every operation gives on a GPU what it gives on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cupy as tg
from records import SAMPLES
from support.sampling import Case, Sample, draw_layout, options_on, tensors_of
from tinygrad_cupy import Tensor

pytestmark = pytest.mark.gpu

ROUNDING = {"float16": 2e-3, "float32": 2e-5, "float64": 1e-11}


def run(sample: Sample, case: Case, dtype: str, device: str, layouts: Any) -> list[Any]:
    """Values, gradients and second gradients as host arrays, by one seed."""
    tg.set_default_device(device)
    wanted = np.dtype(dtype).kind == "f" and sample.order > 0
    inputs = tensors_of(case, dtype, device, layouts, wanted)
    outputs = sample.call(*inputs, **options_on(case.options, device))
    results: list[Any] = []
    for _ in range(sample.order + 1 if wanted else 1):
        outputs = outputs if isinstance(outputs, list) else [outputs]
        assert all(o is None or o.device == device for o in outputs)
        results += [None if o is None else o.numpy() for o in outputs]
        used = [o for o in outputs if o is not None and o.requires_grad]
        if not used:
            break
        rng = np.random.default_rng(0)
        seeds = [Tensor(rng.standard_normal(o.shape).astype(o.dtype), device=device) for o in used]
        outputs = tg.grad(used, inputs, seeds, create_graph=True, allow_unused=True)
    return results


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
@given(data=st.data())
def test_the_same_on_both(sample: Sample, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(sample.dtypes))
    case = sample.cases(data.draw)
    layouts = [draw_layout(data.draw, x.ndim, not sample.kinks) for x in case.values]
    cpu, gpu = (run(sample, case, dtype, device, layouts) for device in ("cpu", "cuda:0"))
    for on_cpu, on_gpu in zip(cpu, gpu, strict=True):
        if on_cpu is None or on_gpu is None:
            assert on_cpu is on_gpu
            continue
        assert (on_cpu.shape, on_cpu.dtype) == (on_gpu.shape, on_gpu.dtype)
        if on_cpu.dtype.kind != "f":
            np.testing.assert_array_equal(on_cpu, on_gpu)
            continue
        limit = ROUNDING[on_cpu.dtype.name]
        scale = max(1.0, float(np.abs(on_cpu).max(initial=0)))
        np.testing.assert_allclose(on_gpu, on_cpu, rtol=10 * limit, atol=limit * scale)
