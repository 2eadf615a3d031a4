"""Calls of every function of the array API standard, as Hypothesis draws them.

A case is made by a function of ``draw`` and gives positional arguments and keywords, in which
arrays are NumPy's; whoever runs it makes them arrays of a namespace. Data types
are given by name, behind "dtype:".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

Draw = Callable[[st.SearchStrategy[Any]], Any]


class Call(NamedTuple):
    """Arguments of one call."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


BOOL = ("bool",)
INTS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
REALS = ("float32", "float64")
COMPLEX = ("complex64", "complex128")
FLOATS = REALS + COMPLEX
ORDERED = INTS + REALS
NUMERIC = ORDERED + COMPLEX
ANY = BOOL + NUMERIC

SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 0.5, 2.0]


def array(draw: Draw, dtypes: tuple[str, ...], shape: Any = None, special: bool = True) -> Any:
    """An array of one of the data types, sometimes with special values."""
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    if shape is None:
        shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return values(rng, dtype, shape, special and draw(st.booleans()))


def values(rng: np.random.Generator, dtype: Any, shape: Any, special: bool) -> Any:
    """Random elements: small integers, normal floats, special ones among them."""
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind in "iu":
        return rng.integers(0 if dtype.kind == "u" else -5, 6, shape).astype(dtype)
    if dtype.kind == "c":
        real = np.dtype(np.float32 if dtype.itemsize == 8 else np.float64)
        made = np.empty(shape, dtype)
        made.real, made.imag = (values(rng, real, shape, False) for _ in range(2))
        return made
    found = np.asarray(rng.standard_normal(shape) * 2, dtype)
    if special:
        found = np.where(rng.random(shape) < 0.4, rng.choice(SPECIAL, shape), found)
    return np.asarray(found, dtype)


def shape_of(draw: Draw, least: int = 1, side: int = 1) -> tuple[int, ...]:
    """A shape with at least so many axes."""
    found: tuple[int, ...] = draw(
        hnp.array_shapes(min_dims=least, max_dims=3, min_side=side, max_side=3)
    )
    return found


def axis_of(draw: Draw, ndim: int) -> int:
    """An axis, counted from either end."""
    found: int = draw(st.integers(-ndim, ndim - 1))
    return found


# --- element by element ---------------------------------------------------------------------------


def unary(dtypes: tuple[str, ...]) -> Callable[[Draw], Call]:
    """A function of one array."""
    return lambda draw: Call((array(draw, dtypes),), {})


def binary(dtypes: tuple[str, ...], **options: Any) -> Callable[[Draw], Call]:
    """A function of two arrays that broadcast, of one data type."""

    def make(draw: Draw) -> Call:
        shapes = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3))
        a, b = shapes.input_shapes
        dtype = (draw(st.sampled_from(dtypes)),)
        return Call((array(draw, dtype, a, **options), array(draw, dtype, b, **options)), {})

    return make


def _shift(draw: Draw) -> Call:
    (a, b), _ = binary(INTS)(draw)
    return Call((a, abs(b).astype(a.dtype)), {})


def _clip(draw: Draw) -> Call:
    x = array(draw, ORDERED)
    low, high = draw(st.sampled_from([(0, 2), (None, 1), (1, None), (-1, 3)]))
    low = max(low, 0) if low is not None and x.dtype.kind == "u" else low
    return Call((x,), {"min": low, "max": high})


# --- over axes ------------------------------------------------------------------------------------


def reduction(dtypes: tuple[str, ...], least: int = 0) -> Callable[[Draw], Call]:
    """A reduction over some axes."""

    def make(draw: Draw) -> Call:
        shape = shape_of(draw, 0, least)
        axes: Any = st.none()
        if shape:
            one = st.integers(-len(shape), len(shape) - 1)
            several = st.lists(one, min_size=1, unique_by=lambda a: a % len(shape)).map(tuple)
            axes = axes | one | several
        x = array(draw, dtypes, shape)
        return Call((x,), {"axis": draw(axes), "keepdims": draw(st.booleans())})

    return make


def _one_axis(dtypes: tuple[str, ...], **more: Any) -> Callable[[Draw], Call]:
    def make(draw: Draw) -> Call:
        shape = shape_of(draw)
        drawn = {name: draw(strategy) for name, strategy in more.items()}
        return Call((array(draw, dtypes, shape),), {"axis": axis_of(draw, len(shape)), **drawn})

    return make


def _arg_extremum(draw: Draw) -> Call:
    shape = shape_of(draw)
    axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    return Call((array(draw, ORDERED, shape),), {"axis": axis, "keepdims": draw(st.booleans())})


def _cumulative(draw: Draw) -> Call:
    return _one_axis(NUMERIC, include_initial=st.booleans())(draw)


def _searchsorted(draw: Draw) -> Call:
    x = np.sort(array(draw, REALS, (4,), special=False))
    v = array(draw, (x.dtype.name,), None, special=False)
    return Call((x, v), {"side": draw(st.sampled_from(["left", "right"]))})


def _where(draw: Draw) -> Call:
    shapes = draw(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=3))
    a, b, c = shapes.input_shapes
    dtype = (draw(st.sampled_from(ANY)),)
    return Call((array(draw, BOOL, a), array(draw, dtype, b), array(draw, dtype, c)), {})


# --- shapes ---------------------------------------------------------------------------------------


def _broadcast_to(draw: Draw) -> Call:
    shape = shape_of(draw, 0)
    stretched = tuple(draw(st.integers(1, 3)) if n == 1 else n for n in shape)
    return Call((array(draw, ANY, shape), (2, *stretched)), {})


def _concat(draw: Draw) -> Call:
    shape, dtype = shape_of(draw), (draw(st.sampled_from(ANY)),)
    axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    return Call(([array(draw, dtype, shape) for _ in range(2)],), {"axis": axis})


def _stack(draw: Draw) -> Call:
    shape, dtype = shape_of(draw, 0), (draw(st.sampled_from(ANY)),)
    axis = draw(st.integers(-len(shape) - 1, len(shape)))
    return Call(([array(draw, dtype, shape) for _ in range(2)],), {"axis": axis})


def _expand_dims(draw: Draw) -> Call:
    shape = shape_of(draw, 0)
    return Call(
        (array(draw, ANY, shape),), {"axis": draw(st.integers(-len(shape) - 1, len(shape)))}
    )


def _flip(draw: Draw) -> Call:
    shape = shape_of(draw)
    axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    return Call((array(draw, ANY, shape),), {"axis": axis})


def _moveaxis(draw: Draw) -> Call:
    shape = shape_of(draw)
    return Call((array(draw, ANY, shape), axis_of(draw, len(shape)), axis_of(draw, len(shape))), {})


def _permute(draw: Draw) -> Call:
    shape = shape_of(draw, 0)
    return Call((array(draw, ANY, shape), tuple(draw(st.permutations(range(len(shape)))))), {})


def _repeat(draw: Draw) -> Call:
    shape = shape_of(draw)
    x, count = array(draw, ANY, shape), draw(st.integers(0, 3))
    return Call((x, count), {"axis": draw(st.none() | st.integers(-len(shape), len(shape) - 1))})


def _reshape(draw: Draw) -> Call:
    x = array(draw, ANY, shape_of(draw, 0))
    return Call((x, draw(st.sampled_from([(-1,), (1, -1), (*x.shape, 1), x.shape[::-1]]))), {})


def _roll(draw: Draw) -> Call:
    shape = shape_of(draw)
    axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    return Call((array(draw, ANY, shape), draw(st.integers(-4, 4))), {"axis": axis})


def _squeeze(draw: Draw) -> Call:
    x = array(draw, ANY, (2, 1, 3, 1))
    return Call((x, draw(st.sampled_from([1, -1, (1, 3), (-3,)]))), {})


def _tile(draw: Draw) -> Call:
    return Call(
        (array(draw, ANY, shape_of(draw, 0)), draw(st.sampled_from([(2,), (1, 2), ()]))), {}
    )


def _take(draw: Draw) -> Call:
    shape = shape_of(draw)
    axis = axis_of(draw, len(shape))
    places = np.asarray(draw(st.lists(st.integers(0, shape[axis] - 1), max_size=4)), np.int64)
    return Call((array(draw, ANY, shape), places), {"axis": axis})


def _take_along(draw: Draw) -> Call:
    shape = shape_of(draw)
    axis = axis_of(draw, len(shape))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return Call((array(draw, ANY, shape), rng.integers(0, shape[axis], shape)), {"axis": axis})


def _triangle(draw: Draw) -> Call:
    return Call((array(draw, NUMERIC, shape_of(draw, 2)),), {"k": draw(st.integers(-2, 2))})


def _meshgrid(draw: Draw) -> Call:
    dtype = (draw(st.sampled_from(NUMERIC)),)
    xs = tuple(array(draw, dtype, (draw(st.integers(1, 3)),)) for _ in range(2))
    return Call(xs, {"indexing": draw(st.sampled_from(["xy", "ij"]))})


# --- creation -------------------------------------------------------------------------------------


def _shaped(draw: Draw) -> Call:
    dtype = draw(st.none() | st.sampled_from(ANY))
    return Call((shape_of(draw, 0, 0),), {"dtype": None if dtype is None else f"dtype:{dtype}"})


def _full(draw: Draw) -> Call:
    fill = draw(st.sampled_from([True, 2, 0.5, 1 + 2j]))
    return Call((shape_of(draw, 0, 0), fill), {})


def _like(draw: Draw) -> Call:
    return Call((array(draw, ANY),), {})


def _full_like(draw: Draw) -> Call:
    return Call((array(draw, NUMERIC), 1), {})


def _arange(draw: Draw) -> Call:
    return Call(draw(st.sampled_from([(5,), (1, 7, 2), (5, 0, -1), (0.0, 2.0, 0.25)])), {})


def _linspace(draw: Draw) -> Call:
    options = {"num": draw(st.integers(0, 6)), "endpoint": draw(st.booleans())}
    return Call((draw(st.sampled_from([0, -1.5])), draw(st.sampled_from([1, 2.5]))), options)


def _eye(draw: Draw) -> Call:
    options = {"k": draw(st.integers(-2, 2))}
    return Call((draw(st.integers(0, 4)), draw(st.none() | st.integers(0, 4))), options)


def _asarray(draw: Draw) -> Call:
    return Call((draw(st.sampled_from([True, 3, 2.5, 1j, [1, 2], [[0.5], [1.5]], [1j, 2.0]])),), {})


def _astype(draw: Draw) -> Call:
    x = array(draw, BOOL + INTS + REALS, special=False)
    wanted = draw(st.sampled_from(NUMERIC if x.dtype.kind in "bfc" else ANY))
    x = abs(x) if x.dtype.kind in "if" and wanted.startswith("u") else x
    return Call((x, f"dtype:{wanted}"), {})


def _diff(draw: Draw) -> Call:
    shape = shape_of(draw)
    axis = axis_of(draw, len(shape))
    return Call((array(draw, NUMERIC, shape),), {"axis": axis, "n": draw(st.integers(0, 2))})


# --- products -------------------------------------------------------------------------------------


def _matmul(draw: Draw) -> Call:
    dtype = (draw(st.sampled_from(NUMERIC)),)
    shapes = draw(st.sampled_from([((3,), (3,)), ((2, 3), (3,)), ((4, 2, 3), (3, 2))]))
    a, b = (array(draw, dtype, shape, special=False) for shape in shapes)
    return Call((a, b), {})


def _tensordot(draw: Draw) -> Call:
    dtype = (draw(st.sampled_from(NUMERIC)),)
    a, b = (array(draw, dtype, shape, special=False) for shape in ((2, 3), (3, 2)))
    return Call((a, b), {"axes": draw(st.sampled_from([0, 1, ((0,), (1,)), ((1, 0), (0, 1))]))})


def _vecdot(draw: Draw) -> Call:
    dtype = (draw(st.sampled_from(NUMERIC)),)
    a, b = (array(draw, dtype, shape, special=False) for shape in ((2, 3), (3,)))
    return Call((a, b), {"axis": -1})


def _matrices(dtypes: tuple[str, ...], least: int = 2) -> Callable[[Draw], Call]:
    return lambda draw: Call((array(draw, dtypes, shape_of(draw, least), special=False),), {})


def square(draw: Draw) -> Any:
    """Square matrices that are far from singular."""
    n, lead = draw(st.integers(1, 3)), draw(st.sampled_from([(), (2,)]))
    x = array(draw, FLOATS, (*lead, n, n), special=False)
    return x + 8 * np.eye(n, dtype=x.dtype)


def _square(draw: Draw) -> Call:
    return Call((square(draw),), {})


def _definite(draw: Draw) -> Call:
    x = square(draw)
    return Call((x @ x.conj().swapaxes(-1, -2),), {})


def _solve(draw: Draw) -> Call:
    a = square(draw)
    b = array(draw, (a.dtype.name,), (*a.shape[:-1], 2), special=False)
    return Call((a, b), {})


def _power(draw: Draw) -> Call:
    return Call((square(draw), draw(st.integers(-2, 3))), {})


def _cross(draw: Draw) -> Call:
    dtype = (draw(st.sampled_from(NUMERIC)),)
    a, b = (array(draw, dtype, (2, 3), special=False) for _ in range(2))
    return Call((a, b), {"axis": -1})


def _outer(draw: Draw) -> Call:
    dtype = (draw(st.sampled_from(NUMERIC)),)
    return Call(tuple(array(draw, dtype, (n,), special=False) for n in (2, 3)), {})


def _vector_norm(draw: Draw) -> Call:
    (x,), options = reduction(FLOATS, 1)(draw)
    x = np.nan_to_num(x, posinf=1, neginf=-1)
    return Call((x,), {**options, "ord": draw(st.sampled_from([1, 2, np.inf, -np.inf, 0.5]))})


def _matrix_norm(draw: Draw) -> Call:
    (x,), _ = _matrices(FLOATS)(draw)
    orders = st.sampled_from([1, -1, 2, -2, np.inf, -np.inf, "fro", "nuc"])
    return Call((x,), {"keepdims": draw(st.booleans()), "ord": draw(orders)})


def _offset(dtypes: tuple[str, ...]) -> Callable[[Draw], Call]:
    def make(draw: Draw) -> Call:
        (x,), _ = _matrices(dtypes)(draw)
        return Call((x,), {"offset": draw(st.integers(-1, 1))})

    return make


# --- Fourier --------------------------------------------------------------------------------------


def _transform(dtypes: tuple[str, ...], half: bool = False) -> Callable[[Draw], Call]:
    def make(draw: Draw) -> Call:
        shape = shape_of(draw, 1, 2)
        norm = draw(st.sampled_from(["backward", "ortho", "forward"]))
        n = draw(st.none() | st.integers(2 if half else 1, 5))
        x = array(draw, dtypes, shape, special=False)
        return Call((x,), {"n": n, "axis": axis_of(draw, len(shape)), "norm": norm})

    return make


def _transforms(dtypes: tuple[str, ...]) -> Callable[[Draw], Call]:
    def make(draw: Draw) -> Call:
        shape = shape_of(draw, 2, 2)
        axes = tuple(draw(st.permutations(range(len(shape))))[:2])
        return Call((array(draw, dtypes, shape, special=False),), {"axes": axes})

    return make


def _frequencies(draw: Draw) -> Call:
    return Call((draw(st.integers(1, 6)),), {"d": draw(st.sampled_from([1.0, 0.5]))})


def _shift_axes(draw: Draw) -> Call:
    shape = shape_of(draw)
    axes = draw(st.none() | st.integers(0, len(shape) - 1))
    return Call((array(draw, FLOATS, shape, special=False),), {"axes": axes})


_UNARY = {
    NUMERIC: (
        "abs",
        "negative",
        "positive",
        "sign",
        "square",
        "isfinite",
        "isinf",
        "isnan",
        "round",
    ),
    FLOATS: (
        *("acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "exp", "expm1", "log"),
        *("log1p", "log2", "log10", "reciprocal", "sin", "sinh", "sqrt", "tan", "tanh"),
    ),
    ORDERED: ("ceil", "floor", "trunc"),
    COMPLEX: ("conj", "imag", "real"),
    REALS: ("signbit",),
    BOOL: ("logical_not",),
    BOOL + INTS: ("bitwise_invert",),
}
_BINARY = {
    NUMERIC: ("add", "multiply", "subtract"),
    FLOATS: ("divide",),
    REALS: ("atan2", "copysign", "hypot", "logaddexp", "nextafter", "floor_divide", "remainder"),
    ORDERED: ("greater", "greater_equal", "less", "less_equal", "maximum", "minimum"),
    ANY: ("equal", "not_equal"),
    BOOL: ("logical_and", "logical_or", "logical_xor"),
    BOOL + INTS: ("bitwise_and", "bitwise_or", "bitwise_xor"),
}

CASES: dict[str, Callable[[Draw], Call]] = {
    **{name: unary(dtypes) for dtypes, names in _UNARY.items() for name in names},
    **{name: binary(dtypes) for dtypes, names in _BINARY.items() for name in names},
    "pow": binary(FLOATS, special=False),
    "bitwise_left_shift": _shift,
    "bitwise_right_shift": _shift,
    "clip": _clip,
    # over axes
    **dict.fromkeys(("all", "any"), reduction(ANY)),
    **dict.fromkeys(("max", "min"), reduction(ORDERED, 1)),
    **dict.fromkeys(("sum", "prod"), reduction(NUMERIC)),
    "mean": reduction(FLOATS, 1),
    **dict.fromkeys(("std", "var"), reduction(REALS, 1)),
    "count_nonzero": reduction(ANY),
    **dict.fromkeys(("argmax", "argmin"), _arg_extremum),
    **dict.fromkeys(("cumulative_sum", "cumulative_prod"), _cumulative),
    **dict.fromkeys(("sort", "argsort"), _one_axis(ORDERED, descending=st.booleans())),
    "diff": _diff,
    "nonzero": lambda draw: Call((array(draw, ANY, shape_of(draw)),), {}),
    "searchsorted": _searchsorted,
    "where": _where,
    **dict.fromkeys(
        ("unique_all", "unique_counts", "unique_inverse", "unique_values"),
        lambda draw: Call((array(draw, INTS + REALS, special=False),), {}),
    ),
    # shapes
    "broadcast_arrays": binary(ANY),
    "broadcast_to": _broadcast_to,
    "concat": _concat,
    "expand_dims": _expand_dims,
    "flip": _flip,
    "moveaxis": _moveaxis,
    "permute_dims": _permute,
    "repeat": _repeat,
    "reshape": _reshape,
    "roll": _roll,
    "squeeze": _squeeze,
    "stack": _stack,
    "tile": _tile,
    "unstack": _one_axis(ANY),
    "take": _take,
    "take_along_axis": _take_along,
    # creation
    **dict.fromkeys(("zeros", "ones"), _shaped),
    "full": _full,
    **dict.fromkeys(("zeros_like", "ones_like"), _like),
    "full_like": _full_like,
    "arange": _arange,
    "linspace": _linspace,
    "eye": _eye,
    "asarray": _asarray,
    "astype": _astype,
    "meshgrid": _meshgrid,
    **dict.fromkeys(("tril", "triu"), _triangle),
    # products
    "matmul": _matmul,
    "tensordot": _tensordot,
    "vecdot": _vecdot,
    "matrix_transpose": _matrices(ANY),
    "linalg.matmul": _matmul,
    "linalg.tensordot": _tensordot,
    "linalg.vecdot": _vecdot,
    "linalg.matrix_transpose": _matrices(ANY),
    "linalg.cross": _cross,
    "linalg.outer": _outer,
    "linalg.cholesky": _definite,
    "linalg.det": _square,
    "linalg.diagonal": _offset(NUMERIC),
    "linalg.trace": _offset(FLOATS),
    "linalg.eigh": _definite,
    "linalg.eigvalsh": _definite,
    "linalg.inv": _square,
    "linalg.matrix_norm": _matrix_norm,
    "linalg.matrix_power": _power,
    "linalg.matrix_rank": _matrices(FLOATS),
    "linalg.pinv": _matrices(FLOATS),
    "linalg.qr": _matrices(FLOATS),
    "linalg.slogdet": _square,
    "linalg.solve": _solve,
    "linalg.svd": _matrices(FLOATS),
    "linalg.svdvals": _matrices(FLOATS),
    "linalg.vector_norm": _vector_norm,
    # Fourier
    **dict.fromkeys(("fft.fft", "fft.ifft"), _transform(COMPLEX)),
    **dict.fromkeys(("fft.rfft", "fft.ihfft"), _transform(REALS)),
    **dict.fromkeys(("fft.irfft", "fft.hfft"), _transform(COMPLEX, half=True)),
    **dict.fromkeys(("fft.fftn", "fft.ifftn", "fft.irfftn"), _transforms(COMPLEX)),
    "fft.rfftn": _transforms(REALS),
    **dict.fromkeys(("fft.fftfreq", "fft.rfftfreq"), _frequencies),
    **dict.fromkeys(("fft.fftshift", "fft.ifftshift"), _shift_axes),
}
