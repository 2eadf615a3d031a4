"""Convolution: by its definition, as one trilinear form with adjoints, in every layout."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cupy as tg
from support.examples import examples
from support.windows import draw_windows
from tinygrad_cupy import Tensor, backend, kernels
from tinygrad_cupy.backend import CudaSource
from tinygrad_cupy.backend.gpu import GpuProperties
from tinygrad_cupy.kernels.common.windows import Geometry, Windows
from tinygrad_cupy.kernels.conv import cuda, reference
from tinygrad_cupy.kernels.conv.plan import few_plan
from tinygrad_cupy.ops import conv

Pair = tuple[int, int]


def tensor(values: np.ndarray, device: str, requires_grad: bool = False) -> Tensor:
    return Tensor(backend.to_device(values, device), requires_grad=requires_grad)


def dot(a: Tensor, b: Tensor) -> float:
    return float((a.numpy() * b.numpy()).sum())


def windows_by_loops(x: np.ndarray, kernel: Pair, options: dict[str, Any]) -> np.ndarray:
    """im2col by its definition: every window, every tap, zeros outside of the image."""
    (sh, sw), (ph, pw), (dh, dw) = (options[k] for k in ("stride", "padding", "dilation"))
    n, c, h, w = x.shape
    oh = (h + 2 * ph - dh * (kernel[0] - 1) - 1) // sh + 1
    ow = (w + 2 * pw - dw * (kernel[1] - 1) - 1) // sw + 1
    out = np.zeros((n, c, *kernel, oh, ow))
    for i, j, k, m in itertools.product(range(oh), range(ow), range(kernel[0]), range(kernel[1])):
        row, column = i * sh - ph + k * dh, j * sw - pw + m * dw
        if 0 <= row < h and 0 <= column < w:
            out[:, :, k, m, i, j] = x[:, :, row, column]
    return out


@given(data=st.data())
def test_unfold_is_its_definition(device: str, data: st.DataObject) -> None:
    options, size = draw_windows(data.draw)
    kernel = options["kernel_size"]
    shape = (data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3)), *size)
    values = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
    expected = windows_by_loops(values, kernel, options)
    found = tensor(values, device).unfold(**options).numpy()
    rows = shape[1] * kernel[0] * kernel[1]
    np.testing.assert_array_equal(found, expected.reshape(shape[0], rows, -1))


@given(data=st.data())
def test_conv2d_is_its_definition(device: str, data: st.DataObject) -> None:
    options, size = draw_windows(data.draw)
    kernel = options.pop("kernel_size")
    groups = data.draw(st.integers(1, 3))
    c, o = data.draw(st.sampled_from([1, 2, 9])), data.draw(st.integers(1, 2))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    x = rng.standard_normal((2, groups * c, *size))
    w = rng.standard_normal((groups * o, c, *kernel))
    b = rng.standard_normal(groups * o)
    windows = windows_by_loops(x, kernel, options)  # (N, C, KH, KW, OH, OW)
    parts = [
        np.einsum("nckmij,ockm->noij", by_group, weight)
        for by_group, weight in zip(
            np.split(windows, groups, 1), np.split(w, groups, 0), strict=True
        )
    ]
    expected = np.concatenate(parts, 1) + b[:, None, None]
    found = tensor(x, device).conv2d(tensor(w, device), tensor(b, device), groups=groups, **options)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10, atol=1e-10)


@examples(10)
@given(data=st.data())
def test_the_three_kernels_are_partials_of_one_form(device: str, data: st.DataObject) -> None:
    """⟨conv(x, w), g⟩ = ⟨x, conv_input(g, w)⟩ = ⟨w, conv_weight(x, g)⟩."""
    options, size = draw_windows(data.draw)
    kernel = options["kernel_size"]
    windows = Windows.parse("conv2d", *(options[k] for k in options))
    groups = data.draw(st.integers(1, 3))
    c, o = data.draw(st.sampled_from([1, 3, 8])), data.draw(st.integers(1, 3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    batch = data.draw(st.integers(1, 3))
    geometry = Geometry(windows, groups)
    x = tensor(rng.standard_normal((batch, groups * c, *size)), device)
    w = tensor(rng.standard_normal((groups * o, c, *kernel)), device)
    y = conv.Conv(geometry)(x, w)
    g = tensor(rng.standard_normal(y.shape), device)
    form = dot(y, g)
    dx, dw = conv.ConvInput(geometry, x.shape)(g, w), conv.ConvWeight(geometry, w.shape)(x, g)
    scale = 1e-10 * (1 + float(np.abs(y.numpy() * g.numpy()).sum()))
    assert dot(x, dx) == pytest.approx(form, abs=scale)
    assert dot(w, dw) == pytest.approx(form, abs=scale)


@examples(10)
@given(data=st.data())
def test_conv_transpose2d_is_the_adjoint_of_conv2d(device: str, data: st.DataObject) -> None:
    options, size = draw_windows(data.draw)
    kernel = options.pop("kernel_size")
    groups, c, o = data.draw(st.tuples(*[st.integers(1, 3)] * 3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    x = tensor(rng.standard_normal((2, groups * c, *size)), device)
    w = tensor(rng.standard_normal((groups * o, c, *kernel)), device)
    y = x.conv2d(w, groups=groups, **options)
    g = tensor(rng.standard_normal(y.shape), device)
    steps = zip(size, y.shape[2:], kernel, *options.values(), strict=True)
    rest = tuple(h - ((oh - 1) * s - 2 * p + d * (k - 1) + 1) for h, oh, k, s, p, d in steps)
    back = g.conv_transpose2d(w, groups=groups, output_padding=rest, **options)
    assert back.shape == x.shape
    assert dot(x, back) == pytest.approx(dot(y, g), abs=1e-9)


@examples(10)
@given(data=st.data())
def test_fold_is_the_adjoint_of_unfold(device: str, data: st.DataObject) -> None:
    options, size = draw_windows(data.draw)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    x = tensor(rng.standard_normal((2, 3, *size)), device)
    columns = x.unfold(**options)
    g = tensor(rng.standard_normal(columns.shape), device)
    assert dot(x, g.fold(size, **options)) == pytest.approx(dot(columns, g), abs=1e-10)


def test_fold_counts_how_often_a_pixel_is_covered(device: str) -> None:
    ones = Tensor.ones(1, 1, 4, 4, device=device)
    covered = ones.unfold(3).fold(4, 3)
    rows = np.array([1, 2, 2, 1])
    np.testing.assert_array_equal(covered.numpy()[0, 0], np.outer(rows, rows))


@pytest.mark.one_in(3)
@pytest.mark.parametrize("channels", [1, 3, 8, 16])
@pytest.mark.parametrize("groups", [1, 2])
def test_large_batches_are_cut_into_parts(channels: int, groups: int, device: str) -> None:
    """More images than parts, and windows that do not fit in one chunk."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((37, channels * groups, 20, 20))
    w = rng.standard_normal((4 * groups, channels, 3, 3))
    together = tensor(x, device, True), tensor(w, device, True)
    y = together[0].conv2d(together[1], groups=groups, padding=1)
    gradients = tg.grad((y * y).sum(), together)
    alone = tensor(w, device, True)
    total = np.zeros(w.shape)
    for i in (0, 17, 36):
        one = tensor(x[i : i + 1], device, True)
        z = one.conv2d(alone, groups=groups, padding=1)
        np.testing.assert_allclose(z.numpy()[0], y.numpy()[i], rtol=1e-10, atol=1e-10)
        by_one = tg.grad((z * z).sum(), one)
        np.testing.assert_allclose(by_one.numpy()[0], gradients[0].numpy()[i], rtol=1e-9, atol=1e-9)
    for i in range(37):
        z = tensor(x[i : i + 1], device).conv2d(alone, groups=groups, padding=1)
        total += tg.grad((z * z).sum(), alone).numpy()
    np.testing.assert_allclose(gradients[1].numpy(), total, rtol=1e-8, atol=1e-7)


def test_images_larger_than_a_chunk(device: str) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 150, 150)), rng.standard_normal((2, 3, 5, 5))
    options = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
    windows = windows_by_loops(x, (5, 5), options)
    expected = np.einsum("nckmij,ockm->noij", windows, w)
    found = tensor(x, device).conv2d(tensor(w, device))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_do_not_depend_on_the_memory_layout(dtype: str, device: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 8, 7, 6)).astype(dtype)
    w = rng.standard_normal((4, 8, 3, 3)).astype(dtype)
    results = []
    for order in ((0, 1, 2, 3), (0, 2, 3, 1), (3, 2, 1, 0)):
        inverse = tuple(int(i) for i in np.argsort(order))
        a, b = (
            Tensor(tensor(np.ascontiguousarray(v.transpose(order)), device).data.transpose(inverse))
            for v in (x, w)
        )
        y = a.requires_grad_().conv2d(b.requires_grad_(), padding=1)
        results.append([y.numpy(), *(g.numpy() for g in tg.grad((y * y).sum(), [a, b]))])
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-4)


def test_numbers_that_are_left_in_scratch_memory_do_no_harm(device: str) -> None:
    """A NaN in one call must not be read by the next, not even to be multiplied by zero."""
    w = Tensor.ones(2, 1, 3, 3, dtype="float64", device=device, requires_grad=True)
    for fill in (np.nan, 1.0):
        x = tensor(np.full((4, 1, 6, 6), fill), device, True)
        y = x.conv2d(w, padding=1, stride=2)
        gradients = tg.grad(y.sum(), [x, w])
    assert np.isfinite(y.numpy()).all()
    assert all(np.isfinite(g.numpy()).all() for g in gradients)


@pytest.mark.parametrize("wanted", ["weight", "bias", "weight bias", "x weight bias"])
def test_gradients_that_are_wanted_together_are_one_kernel(
    wanted: str, device: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By weight and bias, or by all; alone each is its own; with a graph they are operations."""
    called: list[str] = []

    def spied(name: str) -> Any:
        kernel = getattr(kernels.conv, name)

        def spy(*arguments: Any) -> Any:
            called.append(name)
            return kernel(*arguments)

        return spy

    for name in ("backward", "dgrad", "wgrad", "wgrad_and_bias"):
        monkeypatch.setattr(kernels.conv, name, spied(name))
    shapes = {"x": (3, 2, 6, 5), "weight": (4, 2, 3, 2), "bias": (4,)}
    inputs = {
        name: tensor(rng.standard_normal(shape), device, name in wanted.split())
        for name, shape in shapes.items()
    }
    y = inputs["x"].conv2d(inputs["weight"], inputs["bias"], padding=1)
    seed = tensor(rng.standard_normal(y.shape), device)
    leaves = [inputs[name] for name in wanted.split()]
    by_kernels = tg.grad(y, leaves, seed, retain_graph=True)
    expected = {
        "bias": [],
        "weight": ["wgrad"],
        "weight bias": ["wgrad_and_bias"],
        "x weight bias": ["backward"],
    }
    assert called == expected[wanted]
    by_operations = tg.grad(y, leaves, seed, create_graph=True)
    assert called.count("wgrad_and_bias") == (wanted == "weight bias")
    for one, other in zip(by_kernels, by_operations, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.gpu
@pytest.mark.parametrize(("channels", "gemm"), [(1, False), (32, True)])
def test_launches_of_the_gradients_by_weight_and_bias(
    channels: int, gemm: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two: the sums of each block, and the sums of these. None adds up the gradient once more."""
    x = tensor(rng.standard_normal((7, channels, 12, 12), np.float32), "cuda:0")
    weight = tensor(rng.standard_normal((32, channels, 3, 3), np.float32), "cuda:0", True)
    bias = tensor(rng.standard_normal(32, np.float32), "cuda:0", True)
    y = x.conv2d(weight, bias)
    seed = rng.standard_normal(y.shape, np.float32)
    launched: list[str] = []
    launch = CudaSource.launch

    def spy(source: CudaSource, name: str, *arguments: Any, **named: Any) -> None:
        launched.append(name)
        launch(source, name, *arguments, **named)

    monkeypatch.setattr(CudaSource, "launch", spy)
    _, by_bias = tg.grad(y, [weight, bias], tensor(seed, "cuda:0"))
    assert launched == ["conv_wgrad" if gemm else "conv_few_channels_wgrad", "conv_wgrad_reduce"]
    expected = seed.astype(np.float64).sum(axis=(0, 2, 3))
    np.testing.assert_allclose(by_bias.numpy(), expected, rtol=1e-5, atol=1e-4)


def test_integers_are_convolved_too() -> None:
    y = Tensor(np.arange(9).reshape(1, 1, 3, 3)).conv2d(Tensor(np.ones((1, 1, 2, 2), np.int64)))
    assert y.tolist() == [[[[8, 12], [20, 24]]]]


def test_an_empty_batch(device: str) -> None:
    x = Tensor.zeros(0, 2, 5, 5, device=device, requires_grad=True)
    w = Tensor.ones(3, 2, 3, 3, device=device, requires_grad=True)
    y = x.conv2d(w)
    assert y.shape == (0, 3, 3, 3)
    by_x, by_w = tg.grad(y.sum(), [x, w])
    assert by_x.shape == x.shape
    assert not by_w.numpy().any()
    assert x.conv_transpose2d(Tensor.ones(2, 3, 3, 3, device=device)).shape == (0, 3, 7, 7)


def test_fewer_gradients_than_windows_go_through_the_reference(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no wgmma: the other kernels would read behind the end of g."""
    gpu = GpuProperties(108, 166912, tensor_cores=True, wgmma=False)
    monkeypatch.setattr(cuda, "properties_of", lambda x: gpu)
    geometry = Geometry(Windows.parse("test", 3, 1, (0, 1), 2), 1)
    x = rng.standard_normal((2, 3, 9, 8), np.float32)
    g = rng.standard_normal((2, 5, 4, 6), np.float32)
    found = cuda.wgrad(x, g, geometry, (5, 3, 3, 3))
    np.testing.assert_array_equal(found, reference.wgrad(x, g, geometry, (5, 3, 3, 3)))


@pytest.mark.parametrize("shape", [(8, 1, 3, 3), (32, 1, 5, 5), (17, 3, 3, 3), (6, 4, 4, 2)])
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("images", [1, 7, 128, 8192])
def test_weight_gradients_of_few_channels_take_no_more_blocks_than_run_at_a_time(
    shape: tuple[int, ...], pool: bool, images: int
) -> None:
    """And no more than have two rounds of work for each thread. An H100's 132 multiprocessors."""
    gpu = GpuProperties(132, 232448, tensor_cores=True, wgmma=True)
    grads = images * shape[0] * 24 * 24 // (4 if pool else 1)
    plan = few_plan(shape, grads, pool, gpu)
    (at_once,) = (int(define.removeprefix("OV=")) for define in plan.defines)
    (blocks,) = plan.grid
    places = grads // shape[0] // (1 if pool else 4)
    lanes = 256 // -(-shape[0] // at_once)
    assert shape[0] % at_once == 0
    assert blocks == 1 or 2 * lanes * blocks <= places
    assert blocks <= (132 if shape == (32, 1, 5, 5) else 264)  # 169 registers: one at a time
    assert blocks >= 132 or images < 8192


@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
def test_a_weight_that_is_an_array_is_refused(name: str) -> None:
    x, w = Tensor(np.zeros((1, 2, 5, 5))), np.zeros((2, 2, 3, 3))
    with pytest.raises(TypeError, match=rf"^\[{name}\] expected a weight that is a Tensor, got nd"):
        getattr(x, name)(w)


@pytest.mark.parametrize("kernel", [(1, 1, 1), (1, 2, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_weight_gradient_of_volumes_stays_when_the_next_is_computed(
    kernel: tuple[int, ...], channels: int, rng: np.random.Generator, device: str
) -> None:
    def gradient() -> Tensor:
        x, weight, grad = (
            Tensor(rng.standard_normal(shape).astype(np.float32), device=device)
            for shape in ((2, channels, 3, 4, 5), (1, channels, *kernel), (2, 1, 3, 4, 5))
        )
        weight.requires_grad_()
        y = x.conv3d(weight, padding=0)
        found: Tensor = tg.grad(y, weight, grad[:, :, : y.shape[2], : y.shape[3], : y.shape[4]])
        return found

    first = gradient()
    before = first.numpy().copy()
    gradient()
    np.testing.assert_array_equal(first.numpy(), before)
