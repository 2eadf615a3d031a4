"""C files on the CPU against the plain kernels, and what is done without a compiler."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_cupy as tg
from support import cpu_threads
from tinygrad_cupy.backend import c_source
from tinygrad_cupy.backend.compiling import compiler
from tinygrad_cupy.kernels.common.windows import Geometry, Windows
from tinygrad_cupy.kernels.conv import Epilogue, fused_reference, reference
from tinygrad_cupy.kernels.conv import native as conv_native
from tinygrad_cupy.kernels.dropout import native as dropout_native
from tinygrad_cupy.kernels.norm import cpu as norm_cpu
from tinygrad_cupy.kernels.norm import native as norm_native
from tinygrad_cupy.nn import optim

# Counts how often each item is done. The first part waits until all others are: so long, and 10
# seconds at most, its thread does none of its other ones.
COUNT = """
#include <time.h>
typedef struct { Int waits; } Sizes;
void count(const Sizes *s, const Share *share, Int *done, float *scratch)
{
  EACH_ITEM (share, part, n) {
    time_t begun = time(0);
    Int others = 0;
    while (s->waits && part == 0 && others < share->n - share->each && time(0) - begun < 10) {
      others = 0;
      for (Int i = share->each; i < share->n; i++)
        others += __atomic_load_n(done + i, __ATOMIC_RELAXED);
    }
    __atomic_fetch_add(done + n, 1, __ATOMIC_RELAXED);
    if (part == 0) done[share->n] = others;
  }
}
TASK(count, 1)
"""

NEAR = 1e-5  # relative, by norm

needs_compiler = pytest.mark.skipif(compiler() is None, reason="needs a C compiler")


def near(found: np.ndarray | None, expected: np.ndarray, terms: float = 0.0) -> bool:
    """Whether two arrays agree; ``terms`` is the norm of what was added up to them."""
    assert found is not None
    assert found.shape == expected.shape
    scale = max(float(np.linalg.norm(expected)), terms)
    return float(np.linalg.norm(found.astype(np.float64) - expected)) <= NEAR * scale


def images(rng: np.random.Generator, shape: tuple[int, ...], last: bool) -> np.ndarray:
    """Random images (N, C, H, W), with their channels last in memory or not."""
    n, c, h, w = shape
    if last:
        return rng.standard_normal((n, h, w, c), np.float32).transpose(0, 3, 1, 2)
    return rng.standard_normal(shape, np.float32)


@pytest.mark.one_in(7)
@needs_compiler
@pytest.mark.parametrize("channels", [(1, 8), (3, 17), (17, 33), (130, 200), (33, 1)], ids=str)
@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (1, 1), (3, 2)], ids=str)
@pytest.mark.parametrize(
    "windows",
    [((1, 1), (0, 0), (1, 1)), ((1, 1), (1, 1), (1, 1)), ((2, 3), (0, 2), (1, 1)),
     ((1, 1), (2, 0), (1, 2)), ((2, 1), (4, 1), (2, 1))],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize(
    "tail",
    [(False, False), (True, True),
     *[pytest.param(one, marks=pytest.mark.slow) for one in ((True, False), (False, True))]],
)  # fmt: skip
def test_a_convolution_is_that_of_the_plain_kernels(
    channels: tuple[int, int],
    kernel: tuple[int, int],
    windows: tuple[tuple[int, int], ...],
    tail: tuple[bool, bool],
    rng: np.random.Generator,
) -> None:
    stride, padding, dilation = windows
    geometry = Geometry(Windows(kernel, stride, padding, dilation), 1)
    relu, pool = tail
    (c, o), n = channels, int(rng.choice([1, 7, 33]))
    last = bool(rng.integers(2))
    x = images(rng, (n, c, 13, 17), last)
    w = rng.standard_normal((o, c, *kernel), np.float32)
    bias = rng.standard_normal(o, np.float32)
    y, code = conv_native.forward(x, w, bias, geometry, Epilogue(relu, pool))
    expected, places = fused_reference.forward(x, w, bias, geometry, Epilogue(relu, pool))
    assert near(y, expected)
    if code is not None and places is not None:
        assert (code != places).mean() < 1e-3  # maxima that differ in the last bits
    grad = images(rng, y.shape, last)
    needs = (True, True, True)
    gate = y if relu and not pool else None
    found = conv_native.backward(grad, x, w, gate, code, geometry, needs)
    expected = fused_reference.backward(grad, x, w, y, code, geometry, Epilogue(relu, pool), needs)
    terms = float(np.linalg.norm(grad))
    for a, b in zip(found, expected, strict=True):
        assert a is None if b is None else near(a, b, terms)


@needs_compiler
@pytest.mark.parametrize("how", ["last", "first", "odd", "apart"])
def test_a_product_of_pixels_in_any_layout(how: str, rng: np.random.Generator) -> None:
    geometry = Geometry(Windows((1, 1), (1, 1), (0, 0), (1, 1)), 1)
    w, bias = rng.standard_normal((256, 65, 1, 1), np.float32), rng.standard_normal(256, np.float32)

    def stored(channels: int) -> np.ndarray:
        values = images(rng, (3, channels, 5, 7), how != "first")
        if how == "apart":
            return np.pad(values, [(0, 0), (0, 3), (0, 2), (0, 1)])[:, :-3, :-2, :-1]
        if how == "odd":  # addresses that are no multiples of 4
            bytes_ = np.zeros(values.nbytes + 1, np.uint8)
            odd = bytes_[1:].view(np.float32).reshape(3, 5, 7, channels).transpose(0, 3, 1, 2)
            odd[...] = values
            return odd
        return values

    x, g = stored(65), stored(256)
    y, _ = conv_native.forward(x, w, bias, geometry, Epilogue(relu=True))
    expected = fused_reference.forward(x, w, bias, geometry, Epilogue(relu=True))[0]
    assert near(y, expected)
    terms = float(np.linalg.norm(g))
    found = conv_native.backward(g, x, w, None, None, geometry, (True, True, True))
    wanted = fused_reference.backward(g, x, w, None, None, geometry, Epilogue(), (True,) * 3)
    for one, other in zip(found, wanted, strict=True):
        assert other is not None
        assert near(one, other, terms)


@needs_compiler
def test_it_takes_float32_in_one_group(rng: np.random.Generator) -> None:
    x, w = images(rng, (2, 3, 9, 9), False), rng.standard_normal((4, 3, 3, 3), np.float32)
    geometry = Geometry(Windows((3, 3), (2, 2), (1, 1), (1, 1)), 1)
    assert conv_native.suits(x, w, geometry)
    assert not conv_native.suits(x.astype(np.float64), w.astype(np.float64), geometry)
    assert not conv_native.suits(x, w, Geometry(geometry.windows, 3))


@needs_compiler
@pytest.mark.parametrize("shape", [(7, 3, 9, 11), (1, 17, 4, 4), (40, 64, 6, 5), (9, 1, 3, 3)])
@pytest.mark.parametrize(
    ("relu", "pool", "cap"),
    [
        (False, False, None),
        (True, False, None),
        (True, False, 1.5),
        (False, True, None),
        (True, True, None),
    ],
)
def test_batch_norm_is_that_of_the_plain_kernels(
    shape: tuple[int, ...],
    relu: bool,
    pool: bool,
    cap: float | None,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    last = bool(rng.integers(2))
    x = images(rng, shape, last) * np.float32(3) + np.float32(50)
    weight, bias = rng.standard_normal((2, shape[1]), np.float32)
    results = []
    for plain in (False, True):
        if plain:
            monkeypatch.setattr(norm_native, "suits", lambda x: False)
        running = norm_cpu.Running(
            np.zeros(shape[1], np.float32), np.zeros(shape[1], np.float32), None, 0.1
        )
        found = norm_cpu.forward(x, weight, bias, 1e-5, running, relu, pool, cap=cap)
        results.append((found, running))
    (found, moved), (expected, moved_plainly) = results
    # At 50 ± 3 a float32 input itself is exact to 1e-6 of a standard deviation.
    np.testing.assert_allclose(found.y, expected.y, rtol=0, atol=2e-5)
    np.testing.assert_allclose(found.stats, expected.stats, rtol=1e-5)
    np.testing.assert_allclose(moved.mean, moved_plainly.mean, rtol=1e-6)
    np.testing.assert_allclose(moved.var, moved_plainly.var, rtol=1e-5)
    grad = images(rng, found.y.shape, last)
    gradients: list[tuple[np.ndarray, ...]] = []
    factors = rng.standard_normal((3, shape[1]), np.float32)
    for kind in (norm_native.Gradient, norm_cpu._Gradient):
        gradient = kind(grad, x, found.stats[0], found.relu_y, found.argmax, cap)
        gradients.append((*gradient.sums(), gradient.applied(*factors)))
    for a, b in zip(*gradients, strict=True):
        assert near(a, b, 10 * float(np.linalg.norm(grad)))


@needs_compiler
def test_nothing_beyond_the_outputs_is_written(rng: np.random.Generator) -> None:
    """Outputs stand between poisoned margins, and none of their own poison may stay."""
    n, c, h, w, o = 5, 3, 9, 10, 17
    geometry = Geometry(Windows((3, 3), (1, 1), (1, 1), (1, 1)), 1)
    x = images(rng, (n, c, h, w), False)
    weight = rng.standard_normal((o, c, 3, 3), np.float32)
    y = np.full(n * h * w * o + 200, np.nan, np.float32)
    inner = y[100:-100].reshape(n, h, w, o)
    how = (geometry.windows, (h, w), inner, None, Epilogue())
    conv_native._product(x, weight, None, *how)
    assert np.isnan(y[:100]).all()
    assert np.isnan(y[-100:]).all()
    assert near(inner.transpose(0, 3, 1, 2), reference.fprop(x, weight, None, geometry))


@needs_compiler
def test_the_same_bits_with_any_number_of_threads(rng: np.random.Generator) -> None:
    script = (
        "import numpy as np, tinygrad_cupy as tg\n"
        "from tinygrad_cupy.nn import models\n"
        "x = np.random.default_rng(0).standard_normal((40, 1, 28, 28), np.float32)\n"
        "model = models.build('deep')\n"
        "loss = model(tg.Tensor(x)).cross_entropy(tg.Tensor(np.arange(40) % 10))\n"
        "loss.backward()\n"
        "print(loss.item(), *[p.grad.numpy().tobytes().hex()[:4000] for p in model.parameters()])\n"
    )
    outputs = [_run(script, TINYGRAD_CUPY_THREADS=threads) for threads in ("1", "2", "3")]
    assert outputs[0] == outputs[1] == outputs[2]


def test_without_a_compiler_numpy_does_it() -> None:
    script = (
        "from tinygrad_cupy.backend import compiling\n"
        "from tinygrad_cupy.kernels.conv import native as conv_native\n"
        "print(compiling.compiler(), conv_native._file.library)"
    )
    assert _run(script, TINYGRAD_CUPY_CC="").split() == ["None", "None"]


def test_a_compiler_that_is_not_there_is_named() -> None:
    script = "from tinygrad_cupy.backend import compiling\ncompiling.compiler()"
    with pytest.raises(subprocess.CalledProcessError) as caught:
        _run(script, TINYGRAD_CUPY_CC="no-such-compiler")
    assert "expected a C compiler, found no 'no-such-compiler'" in caught.value.stderr


@needs_compiler
def test_a_file_is_compiled_once(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TINYGRAD_CUPY_CC", raising=False)
    (tmp_path / "one.c").write_text("long long one(void) { return 1; }\n")
    for _ in range(2):
        file = c_source.CSource(str(tmp_path / "x.py"), "one.c")
        assert isinstance(file.library, ctypes.CDLL)
        assert file.size("one") == 1
    assert len(list((own_cache / "native").iterdir())) == 1
    (tmp_path / "one.c").write_text("this is not C\n")
    assert c_source.CSource(str(tmp_path / "x.py"), "one.c").library is None
    monkeypatch.setenv("TINYGRAD_CUPY_CC", "cc")
    with pytest.raises(RuntimeError, match=r"cannot compile one\.c: .*error"):
        _ = c_source.CSource(str(tmp_path / "x.py"), "one.c").library


def test_numbers_that_both_languages_know_are_macros(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TINYGRAD_CUPY_CC", raising=False)
    (tmp_path / "one.c").write_text("long long one(void) { return MASKED; }\n")
    for value in (4, 5):
        file = c_source.CSource(str(tmp_path / "x.py"), "one.c", defines=(f"MASKED={value}",))
        assert file.library is not None
        assert file.size("one") == value


def _run(script: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "TINYGRAD_CUPY_DEVICE": "cpu", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def _misaligned(x: np.ndarray) -> np.ndarray:
    """The same numbers one byte beside where floats lie."""
    memory = np.zeros(x.nbytes + 1, np.uint8)[1:]
    found = memory.view(x.dtype).reshape(x.shape)
    found[...] = x
    assert not found.flags.aligned
    return found


@needs_compiler
def test_floats_at_odd_addresses(rng: np.random.Generator) -> None:
    x, w = images(rng, (3, 5, 9, 8), False), rng.standard_normal((4, 5, 3, 3), np.float32)
    bias = rng.standard_normal(4, np.float32)
    geometry = Geometry(Windows((3, 3), (1, 1), (1, 1), (1, 1)), 1)
    odd_x, odd_w, odd_bias = map(_misaligned, (x, w, bias))
    y, _ = conv_native.forward(odd_x, odd_w, odd_bias, geometry, Epilogue(relu=True))
    np.testing.assert_array_equal(
        y, conv_native.forward(x, w, bias, geometry, Epilogue(relu=True))[0]
    )
    for one, other in zip(norm_native.moments(_misaligned(x)), norm_native.moments(x), strict=True):
        np.testing.assert_array_equal(one, other)
    mask = rng.random(x.shape) < 0.5
    scale = np.float32(2)
    kept = dropout_native.keep(_misaligned(x), mask, scale)
    np.testing.assert_array_equal(kept, dropout_native.keep(x, mask, scale))


@needs_compiler
def test_a_parameter_that_may_not_be_written_is_not(rng: np.random.Generator) -> None:
    values = rng.standard_normal(5, np.float32)
    values.flags.writeable = False
    param = tg.Tensor(values, requires_grad=True)
    before = values.copy()
    param.sum().backward()
    with pytest.raises(ValueError, match="read-only"):
        optim.Adam([param]).step()
    np.testing.assert_array_equal(values, before)


class _Count(ctypes.Structure):
    _fields_ = [("waits", ctypes.c_int64)]


@needs_compiler
@pytest.mark.parametrize("threads", [1, 2, 3, 16])
@pytest.mark.parametrize("items", [1, 5, 16, 100])
def test_each_part_is_done_once(
    threads: int, items: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "count.c").write_text(COUNT)
    file = c_source.CSource(str(tmp_path / "x.py"), "count.c")
    cpu_threads.take(monkeypatch, threads)
    for _ in range(50):
        done = np.zeros(items + 1, np.int64)
        file.run("count", _Count(0), items, (done,))
        assert (done[:-1] == 1).all()


@needs_compiler
def test_a_thread_that_is_held_up_is_helped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "count.c").write_text(COUNT)
    file = c_source.CSource(str(tmp_path / "x.py"), "count.c")
    cpu_threads.take(monkeypatch, 2)
    done = np.zeros(17, np.int64)
    file.run("count", _Count(1), 16, (done,))
    assert done[-1] == 15
    assert (done[:-1] == 1).all()
