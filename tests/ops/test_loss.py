"""Cross-entropy where it is hard: extreme logits, targets that are no class, masks."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, backend, kernels
from tinygrad_cupy.ops.losses import REDUCTIONS


def logits(device: str, *rows: list[float]) -> Tensor:
    return Tensor(list(rows), dtype="float64", device=device, requires_grad=True)


def test_the_definition(device: str) -> None:
    x = logits(device, [1.0, 2.0, 0.5], [0.0, 0.0, 3.0])
    p = np.exp(x.numpy()) / np.exp(x.numpy()).sum(axis=1, keepdims=True)
    each = -np.log(p[[0, 1], [1, 0]])
    target = Tensor([1, 0], device=device)
    np.testing.assert_allclose(x.cross_entropy(target, reduction="none").numpy(), each)
    assert x.cross_entropy(target).item() == pytest.approx(each.mean())
    assert x.cross_entropy(target, reduction="sum").item() == pytest.approx(each.sum())
    found = tg.grad(x.cross_entropy(target), x).numpy()
    np.testing.assert_allclose(found, (p - np.eye(3)[[1, 0]]) / 2)


def test_targets_of_every_kind(device: str) -> None:
    x = logits(device, [1.0, 2.0], [3.0, 0.0])
    expected = x.cross_entropy(Tensor([1, 0], device=device)).item()
    for dtype in ("uint8", "int32", "int64"):
        array = backend.to_device(np.array([1, 0], dtype), device)
        assert x.cross_entropy(array).item() == expected
        assert x.cross_entropy(Tensor(array)).item() == expected
    assert x.cross_entropy([1, 0]).item() == expected


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_logits_do_not_overflow(dtype: str, device: str) -> None:
    x = Tensor([[1e4, -1e4], [-1e4, 1e4]], dtype=dtype, device=device, requires_grad=True)
    loss = x.cross_entropy([0, 0], reduction="none")
    assert loss.tolist() == [0.0, 2e4]
    for create_graph in (False, True):
        found = tg.grad(loss.sum(), x, create_graph=create_graph, retain_graph=True)
        assert found.tolist() == [[0.0, 0.0], [-1.0, 1.0]]


def test_ignored_rows_count_nothing(device: str) -> None:
    x = logits(device, [1.0, 2.0], [3.0, 0.0], [5.0, 5.0])
    target = Tensor([1, -100, 0], device=device)
    kept = logits(device, [1.0, 2.0], [5.0, 5.0])
    assert x.cross_entropy(target).item() == kept.cross_entropy([1, 0]).item()
    assert x.cross_entropy(target, reduction="none").tolist()[1] == 0.0
    assert tg.grad(x.cross_entropy(target), x).tolist()[1] == [0.0, 0.0]
    smooth = x.cross_entropy(target, label_smoothing=0.3)
    assert tg.grad(smooth, x).tolist()[1] == [0.0, 0.0]


def test_an_ignored_class_may_be_a_class(device: str) -> None:
    x = logits(device, [1.0, 2.0], [3.0, 0.0])
    assert x.cross_entropy([0, 1], ignore_index=0).item() == x[1:].cross_entropy([1]).item()


def test_a_mean_over_nothing_is_nan(device: str) -> None:
    x = logits(device, [1.0, 2.0])
    assert math.isnan(x.cross_entropy([-100]).item())
    assert x.cross_entropy([-100], reduction="sum").item() == 0.0


@pytest.mark.gpu
def test_mixed_devices_are_an_error_that_names_both() -> None:
    with pytest.raises(ValueError, match=r"^\[cross_entropy\]") as raised:
        logits("cuda:0", [1.0, 2.0]).cross_entropy(Tensor([1], device="cpu"))
    assert str(raised.value) == (
        "[cross_entropy] expected the classes on cuda:0 like the logits, got cpu; move them with "
        ".to(device)"
    )


@pytest.mark.parametrize("wrong", [3, -1, 255])
def test_a_class_out_of_range_is_an_error_on_the_cpu(wrong: int) -> None:
    x = logits("cpu", [1.0, 2.0, 0.0], [3.0, 0.0, 0.0])
    with pytest.raises(ValueError, match=r"^\[cross_entropy\]") as raised:
        x.cross_entropy([0, wrong])
    assert str(raised.value) == (
        f"[cross_entropy] expected classes from 0 to 2, got {wrong} at position 1"
    )


def test_a_pixel_out_of_range_names_its_position() -> None:
    x = Tensor(np.ones((2, 3, 2)))
    with pytest.raises(ValueError, match=r"^\[cross_entropy\]") as raised:
        x.cross_entropy([[0, 1], [5, 0]])
    assert str(raised.value) == (
        "[cross_entropy] expected classes from 0 to 2, got 5 at position (1, 0)"
    )


@pytest.mark.gpu
@pytest.mark.parametrize("wrong", [3, -1, 10**9, -(10**9)])
@pytest.mark.parametrize("create_graph", [False, True])
def test_a_class_out_of_range_is_nan_on_the_gpu(wrong: int, create_graph: bool) -> None:
    x = logits("cuda:0", [1.0, 2.0, 0.0], [3.0, 0.0, 0.0])
    each = x.cross_entropy(Tensor([0, wrong], device="cuda:0"), reduction="none")
    assert np.isnan(each.numpy()).tolist() == [False, True]
    loss = x.cross_entropy(Tensor([0, wrong], device="cuda:0"))
    assert math.isnan(loss.item())
    found = tg.grad(loss, x, create_graph=create_graph).numpy()
    assert np.isnan(found).all(axis=1)[1]


def test_smoothing_is_a_mixture(device: str) -> None:
    x = logits(device, [1.0, 2.0, 0.5])
    hard = x.cross_entropy([1]).item()
    uniform = np.mean([x.cross_entropy([c]).item() for c in range(3)])
    found = x.cross_entropy([1], label_smoothing=0.2).item()
    assert found == pytest.approx(0.8 * hard + 0.2 * uniform)


def test_pixels_are_rows(device: str) -> None:
    rng = np.random.default_rng(0)
    values, target = rng.standard_normal((2, 3, 4, 5)), rng.integers(0, 3, (2, 4, 5))
    x = Tensor(values, device=device)
    found = x.cross_entropy(target.tolist(), reduction="none").numpy()
    rows = Tensor(values.transpose(0, 2, 3, 1).reshape(-1, 3), device=device)
    expected = rows.cross_entropy(target.ravel().tolist(), reduction="none").numpy()
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-12)


def test_integer_logits_are_taken_in_float32(device: str) -> None:
    loss = Tensor([[1, 2]], device=device).cross_entropy([1])
    assert loss.dtype == np.float32
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-6)


# --- the kernels against the arrays -------------------------------------------------------------


@pytest.mark.one_in(5)
@pytest.mark.gpu
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("classes", [1, 2, 3, 10, 17, 33, 300])
@pytest.mark.parametrize("rows", [1, 7, 129, 20_000])
def test_kernels_and_arrays_agree(
    reduction: str, dtype: str, classes: int, rows: int, rng: np.random.Generator
) -> None:
    logits = (rng.standard_normal((rows, classes)) * 5).astype(dtype)
    label_type = ("int64", "int32", "uint8")[rows % 3]
    labels = rng.integers(0, min(classes, 200), rows).astype(label_type)
    ignore = 255
    labels[rng.random(rows) < 0.2] = ignore
    if rows == 129:
        labels[77] = 254 if classes <= 254 else ignore  # no class
    how = (0.1 if rows % 2 else 0.0, ignore, reduction)
    with np.errstate(invalid="ignore"):
        expected, target = kernels.loss.reference.forward(logits, labels, *how)
        grad = rng.standard_normal(expected.shape).astype(dtype)
        gradient = kernels.loss.reference.backward(logits, np.asarray(grad, dtype), target, how[0])
    tolerance = {"float32": 2e-5, "float64": 1e-12}[dtype]
    on_gpu = [backend.to_device(np.asarray(x), "cuda:0") for x in (logits, labels, grad)]
    first = None
    for _ in range(3):
        poison = backend.full((4 * logits.size + 100,), np.nan, dtype, "cuda:0")
        del poison  # the outputs get this memory
        found, placed = kernels.loss.cuda.forward(on_gpu[0], on_gpu[1], *how)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_array_equal(backend.to_numpy(placed.place), target.place)
        assert placed.divisor.item() == target.divisor
        np.testing.assert_allclose(backend.to_numpy(found), expected, rtol=tolerance, atol=1e-5)
        back = backend.to_numpy(kernels.loss.cuda.backward(on_gpu[0], on_gpu[2], placed, how[0]))
        np.testing.assert_allclose(back, gradient, rtol=10 * tolerance, atol=tolerance)
        results = backend.to_numpy(found), back
        first = first or results
        for one, other in zip(first, results, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.gpu
def test_half_precision_is_computed_in_single(rng: np.random.Generator) -> None:
    values = rng.standard_normal((9, 10)).astype(np.float16)
    x = Tensor(values, device="cuda:0", requires_grad=True)
    single = Tensor(values.astype(np.float32), device="cuda:0", requires_grad=True)
    labels = Tensor(rng.integers(0, 10, 9), device="cuda:0")
    found, expected = x.cross_entropy(labels), single.cross_entropy(labels)
    assert found.dtype == np.float16
    assert found.item() == np.float16(expected.item())
    np.testing.assert_allclose(
        tg.grad(found, x).numpy(), tg.grad(expected, single).numpy(), rtol=2e-3, atol=1e-5
    )
