"""C on a CPU that works on rows (norms, softmax, sums, recurrent layers) against plain NumPy."""

from typing import Any

import numpy as np
import pytest

from support import cpu_threads
from tinygrad_cupy.backend.compiling import compiler
from tinygrad_cupy.kernels import layer_norm, recurrent, softmax
from tinygrad_cupy.kernels.common import sums_native
from tinygrad_cupy.kernels.recurrent import native as recurrent_native
from tinygrad_cupy.kernels.recurrent import reference as recurrent_reference

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C compiler")

SHAPES = [(1, 1), (3, 7), (5, 16), (131, 33), (300, 130), (7, 5003)]


def random(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def poison(*shape: int) -> None:
    """Memory that a result may be given next holds NaN."""
    np.full(shape, np.nan, np.float32)


def wide(values: Any) -> list[Any]:
    return [x.astype(np.float64) if getattr(x, "dtype", None) == np.float32 else x for x in values]


def check(found: Any, expected: Any, bound: float = 3e-6) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert one.dtype == np.float32
            assert one.shape == other.shape
            assert np.abs(one - other).max(initial=0) <= bound * np.abs(other).max(initial=1)


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    cpu_threads.take(monkeypatch, request.param)
    return int(request.param)


@pytest.mark.parametrize("shape", SHAPES)
def test_layer_norm(shape: tuple[int, int], threads: int) -> None:
    rng = np.random.default_rng()
    x, grad = random(rng, *shape) + 30, random(rng, *shape)
    vectors = random(rng, 2, shape[1])
    affines: list[tuple[Any, Any]] = [(None, None), (vectors[0], None), (vectors[0], vectors[1])]
    for weight, bias in affines:
        for centred in (True, False):
            poison(*shape)
            y, stats = layer_norm.native.forward(x, weight, bias, centred, 1e-2)
            a, b, c = wide([x, weight, bias])
            expected, of_wide = layer_norm.reference.forward(a, b, c, centred, 1e-2)
            check([y], [expected])
            for needs in ((True, True, True), (True, False, False), (False, True, True)):
                poison(*shape)
                found = layer_norm.native.backward(grad, x, weight, stats, centred, needs)
                g = grad.astype(np.float64)
                check(found, layer_norm.reference.backward(g, a, b, of_wide, centred, needs))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("log", [False, True])
def test_softmax(shape: tuple[int, int], log: bool, threads: int) -> None:
    rng = np.random.default_rng()
    x, grad = random(rng, *shape) * 3, random(rng, *shape)
    poison(*shape)
    y = softmax.native.forward(x, (1,), log)
    expected = softmax.reference.forward(x.astype(np.float64), (1,), log)
    check([y], [expected])
    poison(*shape)
    check(
        [softmax.native.backward(grad, y, (1,), log)],
        [softmax.reference.backward(grad.astype(np.float64), expected, (1,), log)],
        1e-5,
    )


@pytest.mark.parametrize("log", [False, True])
def test_rows_without_a_softmax(log: bool) -> None:
    rows = [[1, np.nan, 2], [np.inf, 1, 2], [-np.inf, 1, 2], [-np.inf] * 3, [1e30, 0, -1e30]]
    x = np.array(rows, np.float32)
    with np.errstate(all="ignore"):
        expected = softmax.reference.forward(x, (1,), log)
    found = softmax.native.forward(x, (1,), log)
    whole = np.isfinite(expected).all(1)
    np.testing.assert_allclose(found[whole], expected[whole], rtol=1e-6)
    np.testing.assert_array_equal(np.isnan(found).any(1), np.isnan(expected).any(1))


def test_sums_do_not_depend_on_threads(threads: int) -> None:
    rng = np.random.default_rng(0)
    for shape in ((40_001, 1), (5_000, 7), (1_001, 200), (3, 20_003)):
        x = random(rng, *shape)
        for axes in ((0,), (1,), (0, 1)):
            found = sums_native.total(x, axes)
            if found is None:  # rows that are too short
                continue
            exact = x.sum(axes, np.float64)
            assert (np.abs(found - exact) <= 5e-7 * np.abs(x).sum(axes)).all()
            known = _once.setdefault((shape, axes), found)
            np.testing.assert_array_equal(found, known)


_once: dict[Any, np.ndarray] = {}


@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 2, 5), (4, 17, 33), (2, 3, 270)])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_recurrent(sizes: tuple[int, int, int], reverse: bool, padded: bool, threads: int) -> None:
    rng, (steps, rows, size) = np.random.default_rng(), sizes
    seen = rng.random((steps, rows, 1)) < 0.6 if padded else None
    h, c = random(rng, rows, size), random(rng, rows, size)
    for name, gates, others, options in (
        ("rnn", 1, (), (False, reverse)),
        ("rnn", 1, (), (True, reverse)),
        ("lstm", 4, (c,), (reverse,)),
        ("gru", 3, (), (reverse,)),
    ):
        weight = random(rng, gates * size, size) / np.sqrt(np.float32(size))
        given: list[Any] = [random(rng, steps, rows, gates * size), h, *others, weight]
        given += [random(rng, gates * size)] if name == "gru" else []
        given.append(seen)
        forward, backward = (
            [getattr(where, each) for where in (recurrent_native, recurrent_reference)]
            for each in (name, f"{name}_backward")
        )
        poison(steps, rows, gates * size)
        y, expected = forward[0](*given, *options), forward[1](*wide(given), *options)
        kept, nothing = [], []
        if name != "rnn":
            (y, *kept), (expected, *nothing) = y, expected
        check([y], [expected], 2e-5)
        if options[0] is True and name == "rnn":
            expected = y  # where it is 0, whatever the rounding
        grad = random(rng, *y.shape)
        poison(steps, rows, gates * size)
        check(
            backward[0](grad, [*given, y], *kept, *options, True),
            backward[1](*wide([grad]), wide([*given, expected]), *nothing, *options, True),
            5e-5,
        )


def test_recurrent_does_not_depend_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng()
    given = random(rng, 3, 19, 64), random(rng, 19, 16), random(rng, 19, 16), random(rng, 64, 16)
    found = []
    for count in (1, 2, 5):
        for module in (recurrent_native, "tinygrad_cupy.backend.c_source"):
            where = module if isinstance(module, str) else module.__name__
            monkeypatch.setattr(f"{where}.thread_count", lambda count=count: count)
        found.append(recurrent.lstm(*given, None, False)[0])
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
