"""Results do not depend on strides: every operation and optimizer on arrays that lie anyhow."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_cupy as tg
from records import SAMPLES
from support.disguises import disguised, junk_behind_one_element, stretched
from support.optimizers import OPTIMIZERS
from support.sampling import Case, Options, Sample, options_on
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.backend import cublaslt, one_stride, strides_of, to_device
from tinygrad_cupy.datasets import ArrayDataset, DataLoader
from tinygrad_cupy.nn import meter, optim

# Sums over memory in another order round elsewhere.
ROUNDING = {"float16": 2e-3, "float32": 1e-6, "float64": 2e-15}

Arrays = list[Any]


def same(found: Any, expected: Any, rounding: float = 1) -> None:
    assert (found is None) == (expected is None)
    if found is None:
        return
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    found, expected = found.numpy(), expected.numpy()
    if found.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected)
        return
    scale = max(1.0, float(np.abs(expected[np.isfinite(expected)]).max(initial=0)))
    limit = rounding * ROUNDING[found.dtype.name]
    np.testing.assert_allclose(found, expected, rtol=limit, atol=limit * scale)


def results(
    sample: Sample, inputs: Arrays, options: Options, lay: Callable[[Any], Any]
) -> list[Tensor | None]:
    """Values and gradients of each order; every array of the user's passes through ``lay``."""
    wanted = inputs[0].dtype.kind == "f" and sample.order > 0
    tensors = [Tensor(lay(x), requires_grad=wanted) for x in inputs]
    given = {k: lay(v) if hasattr(v, "flags") and v.ndim else v for k, v in options.items()}
    outputs = sample.call(*tensors, **given)
    found: list[Tensor | None] = []
    for _ in range(sample.order + 1 if wanted else 1):
        outputs = outputs if isinstance(outputs, list) else [outputs]
        found += outputs
        used = [y for y in outputs if y is not None and y.requires_grad]
        if not used:
            break
        rng = np.random.default_rng(0)
        seeds = [
            Tensor(lay(to_device(rng.standard_normal(y.shape).astype(y.dtype), y.device)))
            for y in used
        ]
        outputs = tg.grad(used, tensors, seeds, create_graph=True, allow_unused=True)
    return found


def lays(rng: np.random.Generator) -> list[Callable[[Any], Any]]:
    """Anyhow, and as they are."""
    return [lambda x: disguised(x, rng), lambda x: x]


def arrays_of(case: Case, dtype: str, device: str) -> Arrays:
    values = [x if np.dtype(dtype).kind == "f" else np.rint(2 * x) for x in case.values]
    return [to_device(np.asarray(x).astype(dtype), device) for x in values]


def check(sample: Sample, data: st.DataObject, device: str) -> None:
    dtype = data.draw(st.sampled_from(("float32", "float32", *sample.dtypes)))
    case = sample.cases(data.draw)
    inputs, options = arrays_of(case, dtype, device), options_on(case.options, device)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    zero = [i for i, x in enumerate(inputs) if x.ndim and x.size]
    if zero and not sample.kinks and data.draw(st.booleans()):
        i = data.draw(st.sampled_from(zero))
        inputs[i] = stretched(inputs[i], data.draw(st.integers(0, inputs[i].ndim - 1)))

    def anyhow(x: Any) -> Any:
        is_stretched = any(n > 1 and not s for n, s in zip(x.shape, x.strides, strict=True))
        return x if is_stretched and x.size else disguised(x, rng)

    tg.manual_seed(0)
    found = results(sample, inputs, options, anyhow)
    tg.manual_seed(0)
    expected = results(sample, inputs, options, lambda x: x.copy(order="C"))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        same(one, other)


every = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)


@pytest.mark.slow  # test_ops.py draws layouts, too
@every
@settings(max_examples=8)
@given(data=st.data())
def test_operations(sample: Sample, device: str, data: st.DataObject) -> None:
    check(sample, data, device)


# --- optimizers -----------------------------------------------------------------------------------

SHAPES = [
    (),
    (1,),
    (5,),
    (1, 1),
    (3, 1),
    (1, 4),
    (4, 3),
    (2, 1, 3, 1),
    (3, 2, 1, 2),
    (0, 3),
    (129,),
]


@pytest.mark.one_in(4)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name: str, dtype: str, device: str, rng: np.random.Generator) -> None:
    for shape in SHAPES:
        values = to_device(np.asarray(rng.standard_normal(shape), dtype), device)
        params = [nn.Parameter(disguised(values, rng)), nn.Parameter(values.copy())]
        memory = params[0].data
        zeros = to_device(np.zeros(shape, dtype), device)
        optimizers = [OPTIMIZERS[name]([param]) for param in params]
        for optimizer, lay in zip(optimizers, lays(rng), strict=True):
            optimizer.state[0].update({s: lay(zeros.copy()) for s in optimizer.slots})
        for step in range(3):
            grad = to_device(np.asarray(rng.standard_normal(shape), dtype), device)
            if step == 2 and len(shape) and values.size:
                grad = stretched(grad, 0)
            given = [grad if step == 2 else disguised(grad, rng), grad.copy(order="C")]
            for param, optimizer, each in zip(params, optimizers, given, strict=True):
                param.grad = Tensor(each)
                optimizer.step()
        assert params[0].data is memory
        same(params[0], params[1], rounding=10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_running_statistics(dtype: str, device: str, rng: np.random.Generator) -> None:
    x = Tensor(rng.standard_normal((4, 3, 2, 5)).astype(dtype), device=device)
    found = []
    for lay in lays(rng):
        layer = nn.BatchNorm2d(3)
        for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
            tensor.replace_data(lay(tensor.data.astype(dtype)))
        found.append([layer(x), layer(x), layer.running_mean, layer.running_var])
    for one, other in zip(*found, strict=True):
        same(one, other)


def test_clipping(device: str, rng: np.random.Generator) -> None:
    params = [nn.Parameter(np.ones(shape, np.float32), device=device) for shape in SHAPES]
    values = [to_device(rng.standard_normal(s).astype(np.float32), device) for s in SHAPES]
    found = []
    for lay in lays(rng):
        for param, value in zip(params, values, strict=True):
            param.grad = Tensor(lay(value))
        norm = optim.clip_grad_norm(params, 1.0)
        found.append([norm, *(param.grad for param in params)])
    for one, other in zip(*found, strict=True):
        same(one, other)


# --- axes of one element --------------------------------------------------------------------------

FORMS: dict[str, Callable[[np.ndarray], Tensor]] = {
    "[..., None]": lambda a: Tensor(a[..., 0].copy())[..., None],
    "permute": lambda a: Tensor(a.transpose(0, 1, 3, 2).copy()).permute(0, 1, 3, 2),
    "flip": lambda a: Tensor(a).flip(3),
    "squeezed": lambda a: Tensor(np.repeat(a, 2, axis=3)[..., :1]),
    "one image": lambda a: Tensor(a[::-1][1:][:1]),
    "one channel": lambda a: Tensor(a[:, 1:2]),
    "one pixel": lambda a: Tensor(a[:, :, 3:4]),
}
CALLS: dict[str, Callable[[Any], Tensor]] = {
    "conv2d": lambda x: x.conv2d(Tensor.ones(4, x.shape[1], x.shape[2], 1), padding=(1, 0)),
    "BatchNorm2d": lambda x: nn.BatchNorm2d(x.shape[1])(x),
    "dropout": lambda x: x.dropout(0.5),
    "max_pool2d": lambda x: x.max_pool2d(1),
    "unfold": lambda x: x.unfold((x.shape[2], 1)),
    "linear": lambda x: x.reshape(len(x), -1).linear(Tensor.ones(3, x.size // len(x))),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("form", FORMS)
def test_an_axis_of_one_element(call: str, form: str, rng: np.random.Generator) -> None:
    """Its stride is read by nobody, be it that of an image or of a gradient."""
    x = FORMS[form](rng.standard_normal((2, 3, 8, 1), np.float32)).detach()
    plain = Tensor(x.data.copy(order="C"))
    found = []
    for leaf, lay in ((x, junk_behind_one_element), (plain, np.ascontiguousarray)):
        tg.manual_seed(0)
        y = CALLS[call](leaf.requires_grad_())
        grad = np.random.default_rng(0).standard_normal(y.shape).astype(np.float32)
        y.backward(Tensor(lay(grad)))
        found.append((y, leaf.grad))
    for one, other in zip(*found, strict=True):
        same(one, other)


def test_strides_of_one_element_are_none() -> None:
    a = np.zeros((3, 8, 5), np.float32)
    assert strides_of(a[:, 2:3]) == (160, 0, 4)
    assert strides_of(a[:, None, ::-1, :1]) == (160, 0, -20, 0)
    assert strides_of(a) == a.strides
    assert one_stride(a.shape, strides_of(a)) == 4
    assert one_stride((3, 8), strides_of(a[..., 0])) == 20
    assert one_stride((3, 1, 8), strides_of(a[:, None, ::-1, 0])) is None
    assert one_stride((3, 1), strides_of(a[:, 7:, 0])) == 160
    assert one_stride((1, 1), (0, 0)) == one_stride((), ()) == 0


@pytest.mark.parametrize("shape", [(1, 4), (4, 1), (1, 1), (2, 1, 3), (1, 3, 1), (5, 1, 2, 3)])
def test_how_matrices_lie_for_cublaslt(shape: tuple[int, ...]) -> None:
    plain = np.zeros(shape, np.float32)
    lead = shape[:-2]
    expected = cublaslt._matrix(plain, lead)
    assert expected is not None
    assert cublaslt._matrix(junk_behind_one_element(plain), lead) == expected


def test_batches(device: str, rng: np.random.Generator) -> None:
    images, labels = rng.integers(0, 256, (7, 1, 3, 5), np.uint8), rng.integers(0, 3, 7)
    found = []
    for lay in lays(rng):
        data = ArrayDataset(lay(images), lay(labels), ("a", "b", "c"), "made up")
        loader = DataLoader(data, 3, device=device)
        rows = Tensor(lay(to_device(np.array([6, 0, 3]), device)))
        logits = Tensor(lay(to_device(np.eye(3, dtype=np.float32), device)))
        x, y = loader.batch(rows)
        scored = meter.score(logits.sum(), logits, Tensor(lay(y.data)))
        found.append((x, y, scored))
    for one, other in zip(*found, strict=True):
        same(one, other)


def test_strides_are_read_in_one_place() -> None:
    """Others compare them as a whole, or ask axes of several elements alone."""
    root = Path(__file__).resolve().parents[2]
    readers = {
        path.name
        for folder in ("tinygrad_cupy", "nn", "datasets")
        for path in (root / folder).rglob("*.py")
        if re.search(r"\.strides\b", path.read_text())
    }
    assert readers == {"arrays.py", "cublaslt.py", "layout.py", "signature.py"}
