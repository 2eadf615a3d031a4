"""Functions of c_math.h: how exact they are, and what they make of special values."""

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tinygrad_cupy.backend import c_source
from tinygrad_cupy.backend.compiling import compiler

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C compiler")

Function = Callable[[np.ndarray], np.ndarray]
HEADER = Path(c_source.__file__).with_name("c_math.h")
LOOP = "void {0}_loop(const float *x, float *y, Int n)\n{{ for (Int i = 0; i < n; i++) y[i] = {0}_of(x[i]); }}\n"  # noqa: E501


def sigmoid(x: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(x))
    found: np.ndarray = np.where(x < 0, small, 1) / (1 + small)
    return found


EXACT: dict[str, tuple[Function, float]] = {
    "exp": (np.exp, 1.5),
    "sigmoid": (sigmoid, 2.5),
    "tanh": (np.tanh, 1.5),
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("c_math")
    (folder / "loops.c").write_text("".join(LOOP.format(name) for name in EXACT))
    library = c_source.CSource(str(folder / "x.py"), str(HEADER), "loops.c").library
    assert library is not None
    return library


def computed(library: ctypes.CDLL, name: str, x: np.ndarray) -> np.ndarray:
    y = np.full_like(x, 1e30)
    function = getattr(library, f"{name}_loop")
    function(*(ctypes.c_void_p(c_source.address_of(a)) for a in (x, y)), ctypes.c_int64(x.size))
    return y


@pytest.mark.parametrize("name", EXACT)
def test_errors_in_units_of_the_last_place(library: ctypes.CDLL, name: str) -> None:
    rng = np.random.default_rng()
    any_bits = rng.integers(0, 2**32, 200_001, dtype=np.uint32).view(np.float32)
    near = (rng.standard_normal(200_000) * 5).astype(np.float32)
    x = np.concatenate([any_bits[np.isfinite(any_bits)], near, near * 20])
    exact, most = EXACT[name]
    with np.errstate(all="ignore"):
        expected = exact(x.astype(np.float64))
        rounded = expected.astype(np.float32)
    found = computed(library, name, x)
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(found[~finite], rounded[~finite])
    units = np.spacing(np.abs(rounded[finite])).astype(np.float64)
    assert (np.abs(found[finite] - expected[finite]) / units).max() <= most


def test_special_values(library: ctypes.CDLL) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40], np.float32)
    for name, expected in {
        "exp": [np.nan, np.inf, 0, 1, 1, 1],
        "sigmoid": [np.nan, 1, 0, 0.5, 0.5, 0.5],
        "tanh": [np.nan, 1, -1, 0, -0.0, 1e-40],
    }.items():
        found = computed(library, name, x)
        np.testing.assert_array_equal(found, np.array(expected, np.float32))
        assert np.signbit(found[4]) == (name == "tanh")
