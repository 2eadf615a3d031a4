"""The functions of numpy/elementwise.py give what NumPy's give, through either of their names."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_cupy as tg
import tinygrad_cupy.numpy as tnp
from records import SAMPLES
from support.against_numpy import there
from support.examples import examples
from support.looped import looped
from tinygrad_cupy import Tensor
from tinygrad_cupy.numpy import elementwise
from tinygrad_cupy.numpy.ufunc import Ufunc

pytestmark = pytest.mark.usefixtures("device")

THEIRS: Any = np  # whose functions take tensors, which its types do not know
INF, NAN = np.inf, np.nan
UFUNCS = {name for name in elementwise.__all__ if isinstance(getattr(tnp, name), Ufunc)}
ONE = sorted(name for name in UFUNCS if getattr(np, name).nin == 1)
TWO = sorted(name for name in UFUNCS if getattr(np, name).nin == 2)
OTHERS = ["angle", "fix", "imag", "isneginf", "isposinf", "nan_to_num", "real", "round", "sinc"]
BITS = {name for name in UFUNCS if "d" not in "".join(getattr(np, name).types)}
FLOATS = ("float16", "float32", "float64")
INTEGERS = ("bool", "int8", "uint8", "int16", "int32", "int64", "uint64")

VALUES = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 1.5, -2.5, 3.25, -7.0, 100.0]
FAR = [INF, -INF, NAN, 1e30, -1e30, 1e-30]
WHOLE = [0, 1, 2, 3, 7, 100, 127]


def call(function: Any, *arguments: Any, **options: Any) -> Any:
    """The results as a list of arrays, or the class of the error."""
    with np.errstate(all="ignore"):
        try:
            found = function(*arguments, **options)
        except (TypeError, ValueError) as error:
            return type(error)
    return [
        x.numpy() if isinstance(x, Tensor) else x
        for x in (found if isinstance(found, tuple) else (found,))
    ]


def same(ours: Any, theirs: Any, name: str) -> None:
    """Equal in class, shape, dtype and values; to rounding where they are floats."""
    if isinstance(theirs, type):
        assert isinstance(ours, type), (name, ours)
        assert issubclass(theirs, ours), (name, ours)
        return
    assert not isinstance(ours, type), (name, ours)
    for found, expected in zip(ours, theirs, strict=True):
        expected = np.asarray(expected)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype), name
        if expected.dtype.kind != "f":
            np.testing.assert_array_equal(found, expected, err_msg=name)
            continue
        rounding = 4 * float(np.finfo(expected.dtype).eps)
        np.testing.assert_allclose(found, expected, rtol=rounding, atol=1e-300, err_msg=name)


def on_device(array: np.ndarray) -> Tensor:
    return Tensor(array, device=tg.default_device())


@pytest.mark.parametrize("dtype", FLOATS)
@looped("name", [*ONE, *OTHERS])
def test_a_function_of_floats(name: str, dtype: str) -> None:
    if (name, dtype) in (("spacing", "float16"), ("sinc", "float16")):
        pytest.skip("NumPy's has no sign there, or rounds at every step")
    with np.errstate(all="ignore"):
        x = np.array(VALUES + FAR).astype(dtype)
    if name == "frexp":  # which exponent an infinity has is anybody's guess
        x = x[np.isfinite(x)]
    theirs = call(getattr(np, name), x)
    for function in (getattr(np, name), getattr(tnp, name)):
        same(call(function, on_device(x)), theirs, name)


@pytest.mark.parametrize("dtype", FLOATS)
@looped("name", TWO)
def test_a_function_of_two_floats(name: str, dtype: str) -> None:
    with np.errstate(all="ignore"):
        x = np.array(VALUES + FAR[:3]).astype(dtype)
    a, b = x[:, None], x
    theirs = call(getattr(np, name), a, b)
    for function in (getattr(np, name), getattr(tnp, name)):
        same(call(function, on_device(a), on_device(b)), theirs, name)
        same(call(function, on_device(a), there(b)), theirs, name)
        same(call(function, there(a), on_device(b)), theirs, name)


def _whole(dtype: str) -> np.ndarray:
    signed = [-x for x in WHOLE] if np.dtype(dtype).kind == "i" else []
    return np.array(WHOLE + signed).astype(dtype)


def _of_floats(ours: Any, theirs: Any) -> Any:
    """NumPy's floats of small integers are small, ours of the namespace's default."""
    if isinstance(ours, type) or isinstance(theirs, type):
        return theirs
    return [
        x.astype(y.dtype) if x.dtype.kind == "f" else x for x, y in zip(theirs, ours, strict=True)
    ]


@pytest.mark.parametrize("dtype", INTEGERS)
@looped("name", sorted({*ONE, *OTHERS} - {"spacing", "real", "imag"}))
def test_a_function_of_integers(name: str, dtype: str) -> None:
    x = _whole(dtype)
    if name == "reciprocal":
        x = x[x != 0]  # what C makes an integer of ∞ is anybody's guess
    ours = call(getattr(tnp, name), tnp.ndarray(x, device=tg.default_device()))
    expected = call(getattr(np, name), x)
    if isinstance(expected, list) and expected[0].dtype.kind == "f":  # in float64, not in less
        assert all(y.dtype.kind != "f" or y.dtype == np.float64 for y in ours)
        expected = call(getattr(np, name), x.astype(float))
    same(ours, expected, name)


PAIRS = list(itertools.product(INTEGERS, INTEGERS))


def _fits(name: str, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if "shift" in name or name in ("power", "pow"):
        b = np.abs(b[b < 20]) if b.dtype != bool else b
    if name in ("power", "pow"):
        b = b[:3]
    return a, b


@pytest.mark.parametrize("name", TWO)
@looped("dtypes", PAIRS, ids="-".join)
def test_a_function_of_two_integers(name: str, dtypes: tuple[str, str]) -> None:
    if (name, dtypes[1]) == ("ldexp", "uint64"):
        pytest.skip("NumPy's takes none")
    a, b = _fits(name, _whole(dtypes[0])[:, None], _whole(dtypes[1]))
    x, y = (tnp.ndarray(v, device=tg.default_device()) for v in (a, b))
    ours, expected = call(getattr(tnp, name), x, y), call(getattr(np, name), a, b)
    if isinstance(expected, list) and expected[0].dtype.kind == "f":
        wide = a.astype(float), b if name == "ldexp" else b.astype(float)
        expected = call(getattr(np, name), *wide)
    same(ours, expected, name)


# --- numbers, shapes, classes -------------------------------------------------------------------


def _number_for(name: str, dtype: str) -> Any:
    whole = name in BITS or dtype in INTEGERS
    return 3 if whole or name == "ldexp" else 2.5


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "bool"])
@looped("first", [False, True])
@looped("name", TWO)
def test_beside_a_number(name: str, dtype: str, first: bool) -> None:
    """A number, of Python's or NumPy's, has no dtype of its own to widen with."""
    whole = dtype in INTEGERS
    if (name in BITS or (name == "ldexp" and first)) and not whole:
        return
    number: Any = 3 if whole or name == "ldexp" else 2.5
    x = np.array([1, 2, 5]).astype(dtype)
    theirs = call(getattr(np, name), *((number, x) if first else (x, number)))
    for value in (number, np.asarray(number)[()]):
        tensor = on_device(x)
        ours = call(getattr(tnp, name), *((value, tensor) if first else (tensor, value)))
        if isinstance(theirs, type):
            assert isinstance(ours, type)
            continue
        for found, expected in zip(ours, theirs, strict=True):
            if expected.dtype.kind != "f" or not whole:
                assert found.dtype == expected.dtype
            else:
                assert found.dtype == (np.float64 if name == "float_power" else np.float32)
            rounding = 2e-3 if np.float16 in (found.dtype, expected.dtype) else 1e-6
            np.testing.assert_allclose(found, expected, rtol=rounding)


@examples(3)
@given(data=st.data())
@looped("name", sorted(set(TWO) - BITS - {"ldexp", "float_power"}))
def test_shapes_broadcast(name: str, data: st.DataObject) -> None:
    shapes = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=0))
    rng = np.random.default_rng(0)
    a, b = (rng.uniform(0.5, 3, shape) for shape in shapes.input_shapes)
    ours = call(getattr(np, name), Tensor(a), Tensor(b))
    same(ours, call(getattr(np, name), a, b), name)


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1,)])
@looped("name", [*ONE, *OTHERS])
def test_scalars_and_nothing_at_all(name: str, shape: tuple[int, ...]) -> None:
    dtype = "int64" if name in BITS else "float64"
    x = np.full(shape, 1, dtype)
    same(call(getattr(np, name), on_device(x)), call(getattr(np, name), x), name)


@looped("name", [*ONE, *TWO, *OTHERS])
def test_the_result_is_of_the_class_of_the_tensors(name: str) -> None:
    dtype = np.int64 if name in BITS or name == "ldexp" else np.float64
    x: Any = (np.array([1, 1]) / (2 if name in ("arctanh", "atanh") else 1)).astype(dtype)
    for kind in (Tensor, tnp.ndarray):
        given = [kind(x)] * (2 if name in TWO else 1)
        found = getattr(np, name)(*given)
        assert {type(y) for y in (found if isinstance(found, tuple) else (found,))} == {kind}


@looped("name", sorted({*ONE, *TWO, *OTHERS} - BITS - {"ldexp", "float_power"}))
def test_bfloat16(name: str) -> None:
    """Computed in float32, and rounded once."""
    x = np.array([0.5, 1.0, 2.0, -0.25], ml_dtypes.bfloat16)
    wide = x.astype(np.float32)
    given = (1, 2)[name in TWO]
    ours = call(getattr(tnp, name), *[on_device(x)] * given)
    theirs = call(getattr(np, name), *[wide] * given)
    if name in ("nextafter", "spacing"):
        theirs = call(getattr(np, name), *[x] * given)
    for found, expected in zip(ours, theirs, strict=True):
        floats = expected.dtype.kind == "f"
        assert found.dtype == (ml_dtypes.bfloat16 if floats else expected.dtype)
        np.testing.assert_array_equal(
            found.astype(float), expected.astype(found.dtype).astype(float)
        )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
@looped("name", sorted({*ONE, *TWO, *OTHERS} - BITS - {"ldexp", "frexp"}))
def test_nan_gives_no_warning(name: str, dtype: str) -> None:
    x = Tensor(np.array([NAN, 0.5]), device=tg.default_device()).astype(dtype)
    x = x + 1 if name in ("acosh", "arccosh") else x
    getattr(tnp, name)(*[x] * (2 if name in TWO else 1))


# --- names --------------------------------------------------------------------------------------


def test_what_is_one_function_in_numpy_is_one_here() -> None:
    for a, b in itertools.combinations(elementwise.__all__, 2):
        theirs = getattr(np, a) is getattr(np, b)
        assert (getattr(tnp, a) is getattr(tnp, b)) == theirs, (a, b)


def test_every_ufunc_of_numbers_is_there() -> None:
    theirs = {f for f in vars(np).values() if isinstance(f, np.ufunc) and f.signature is None}
    ours = {f.like for f in vars(tnp).values() if isinstance(f, Ufunc)}
    assert {f.__name__ for f in theirs - ours} == {"isnat"}


def test_every_function_has_a_record() -> None:
    covered = {name for sample in SAMPLES for name in sample.covers}
    recorded = {operator.attrgetter(name[3:])(tnp) for name in covered if name.startswith("np.")}
    missing = [name for name in elementwise.__all__ if getattr(tnp, name) not in recorded]
    assert missing == []


def test_all_names_are_said() -> None:
    made = {name for name, f in vars(elementwise).items() if isinstance(f, Ufunc)}
    assert made - {"power"} == UFUNCS


def test_what_a_ufunc_says_of_itself() -> None:
    assert str(tnp.hypot.__doc__).startswith("√(a² + b²)")
    assert tnp.tan.__doc__ == "Tangent of radians."


# --- options ------------------------------------------------------------------------------------


def test_clip_takes_limits_by_any_of_their_names() -> None:
    x = np.array([-2.0, 0.5, 3.0])
    t = on_device(x)
    low, high = on_device(np.array([0.0, 1.0, 0.0])), on_device(np.array(2.0))
    calls: list[Callable[[Any, Any, Any], Any]] = [
        lambda x, low, high: THEIRS.clip(x, low, high),
        lambda x, low, high: THEIRS.clip(x, a_min=low, a_max=high),
        lambda x, low, high: THEIRS.clip(x, min=low, max=high),
        lambda x, low, high: THEIRS.clip(x, None, high),
        lambda x, low, high: THEIRS.clip(x, low, None),
        lambda x, low, high: x.clip(low, high),
        lambda x, low, high: x.clip(min=low),
        lambda x, low, high: x.clip(max=high),
    ]
    for clip in calls:
        for limits in ((0.0, 2.0), (low, high), (low.data, high.data)):
            given = [v.numpy() if isinstance(v, Tensor) else v for v in limits]
            given = [tg.Tensor(v).numpy() if hasattr(v, "get") else v for v in given]
            same([clip(t, *limits).numpy()], [clip(x, *given)], "clip")
    same([THEIRS.clip(t, [0, 0, 0], 1).numpy()], [THEIRS.clip(x, [0, 0, 0], 1)], "clip")
    assert THEIRS.clip(t).tolist() == x.tolist()
    assert tnp.clip(there(x), low, 2.0).tolist() == [0.0, 1.0, 2.0]


def test_out_is_written() -> None:
    x = on_device(np.array([-1.25, 2.5]))
    for function in (THEIRS.round, THEIRS.fix, THEIRS.isposinf):
        out = on_device(np.zeros(2, function(x.numpy()).dtype))
        assert function(x, out=out) is out
        assert out.tolist() == function(x.numpy()).tolist()
    out = on_device(np.zeros(2))
    assert THEIRS.clip(x, 0, 1, out=out) is out
    assert out.tolist() == [0.0, 1.0]


def test_nan_to_num_into_itself() -> None:
    x = on_device(np.array([NAN, INF, -INF, 1.0]))
    assert THEIRS.nan_to_num(x, nan=1.0, posinf=2.0, neginf=3.0).tolist() == [1.0, 2.0, 3.0, 1.0]
    assert np.isnan(x.numpy()[0])
    assert THEIRS.nan_to_num(x, copy=False) is x
    largest = np.finfo(float).max
    assert x.tolist() == [0.0, largest, -largest, 1.0]


@pytest.mark.parametrize(
    ("dtype", "largest"), [("float16", 65504.0), ("bfloat16", float.fromhex("0x1.fep127"))]
)
def test_nan_to_num_fills_in_what_16_bits_hold(dtype: str, largest: float) -> None:
    x = Tensor(np.array([NAN, INF, -INF, 1.0]), device=tg.default_device()).astype(dtype)
    y = THEIRS.nan_to_num(x)
    assert y.dtype == x.dtype
    assert y.numpy().astype(float).tolist() == [0.0, largest, -largest, 1.0]


@pytest.mark.parametrize("decimals", [-2, -1, 0, 1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_rounding_to_decimals(decimals: int, dtype: str) -> None:
    x = (np.random.default_rng(0).standard_normal(50) * 1000).astype(dtype)
    same([THEIRS.round(on_device(x), decimals).numpy()], [THEIRS.round(x, decimals)], "round")
    same([on_device(x).round(decimals).numpy()], [x.round(decimals)], "round")


def test_angle_in_degrees() -> None:
    x = np.array([-2.0, 3.0, -0.0, 0.0])
    same([THEIRS.angle(on_device(x), deg=True).numpy()], [THEIRS.angle(x, deg=True)], "angle")


def test_where_there_is_nothing_to_compute() -> None:
    """Below 1, arccosh has no value: a harmless one stands in."""
    x = Tensor(np.array([0.25, 2.0]), device=tg.default_device(), requires_grad=True)
    y: Any = np.arccosh(x, where=x > 1)
    np.testing.assert_allclose(y.numpy(), [0.0, np.arccosh(2.0)], rtol=4e-16)
    np.testing.assert_allclose(tg.grad(y.sum(), x).numpy(), [0.0, 1 / np.sqrt(3.0)], rtol=4e-16)


@pytest.mark.parametrize("name", ["logical_and", "logical_or", "logical_xor", "fmax", "logaddexp"])
def test_along_an_axis(name: str) -> None:
    x = np.array([[0.0, 1.5, -2.0], [NAN, 0.0, 0.0]]) if name != "logaddexp" else np.eye(3)
    for axis in (0, 1, None):
        theirs = call(getattr(np, name).reduce, x, axis)
        same(call(getattr(np, name).reduce, on_device(x), axis), theirs, name)
