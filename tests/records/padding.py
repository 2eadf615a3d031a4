"""Records of ops/padding.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy.numpy as tnp
from support.moving import moved_by
from support.sampling import (
    FLOATS,
    MOVED,
    NUMBERS,
    Case,
    Draw,
    Error,
    Sample,
    distinct,
    normal,
    shapes,
)
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops.comparison import Where
from tinygrad_cupy.ops.extrema import Extremum
from tinygrad_cupy.ops.indexing import Index
from tinygrad_cupy.ops.padding import Ramp, Rounded
from tinygrad_cupy.ops.reduce import Mean
from tinygrad_cupy.ops.shape import Concat, Pad
from tinygrad_cupy.ops.take import Take

Shape = tuple[int, ...]


def draw_width(draw: Draw, ndim: int, most: int = 5) -> Any:
    """A width as NumPy takes it: a number, a pair, or pairs."""
    n = st.integers(0, most)
    pair = st.tuples(n, n)
    pairs = st.tuples(*[pair] * ndim)
    return draw(st.one_of(n, pair, pairs)) if ndim else draw(n)


def _padded(
    options: Callable[[Draw, Shape], dict[str, Any]],
    values: Callable[..., np.ndarray] = normal,
    most: int = 5,
    **limits: int,
) -> Callable[[Draw], Case]:
    def cases(draw: Draw) -> Case:
        shape = draw(shapes(**{"max_dims": 2, **limits}))
        width = draw_width(draw, len(shape), most)
        return Case((values(draw, shape),), {"pad_width": width, **options(draw, shape)})

    return cases


def _moving(name: str, mode: Any, options: Any, ops: Any, most: int = 5) -> Sample:
    def padded(x: Any, **given: Any) -> Any:
        return np.pad(x, mode=mode, **given)

    return Sample(
        f"np.pad {name}",
        lambda x, **given: tnp.pad(x, mode=mode, **given),
        _padded(options, most=most),
        moved_by(padded),
        ops,
        ("np.pad",),
        dtypes=MOVED,
    )


def _sides(draw: Draw, shape: Shape) -> Any:
    value = st.integers(-3, 3)
    return draw(st.one_of(value, st.tuples(value, value)))


def _by_jacobian(torch: Any, x: Any, mode: Any, **options: Any) -> Any:
    """NumPy's function, which is affine in x, as a matrix."""
    values = x.detach().double().numpy()
    base = np.pad(np.zeros_like(values), mode=mode, **options)
    columns = []
    for i in range(values.size):
        unit = np.zeros(values.size)
        unit[i] = 1
        padded = np.pad(unit.reshape(values.shape), mode=mode, **options)
        columns.append((padded - base).reshape(-1))
    matrix = torch.as_tensor(np.array(columns).reshape(values.size, base.size).T, dtype=x.dtype)
    found = matrix @ x.reshape(-1) + torch.as_tensor(base.reshape(-1), dtype=x.dtype)
    return found.reshape(base.shape)


def _affine(name: str, mode: str, options: Any, ops: Any) -> Sample:
    return Sample(
        f"np.pad {name}",
        lambda x, **given: tnp.pad(x, mode=mode, **given),
        _padded(options),
        lambda torch, x, **given: _by_jacobian(torch, x, mode, **given),
        ops,
        ("np.pad",),
        dtypes=FLOATS,
    )


def _length(draw: Draw, shape: Shape) -> dict[str, Any]:
    one = st.integers(1, 5)
    return {"stat_length": draw(st.sampled_from([None, draw(one), (draw(one), draw(one))]))}


def _statistic(name: str, ops: Any) -> Sample:
    """The statistics of NumPy move with the elements that they are made of."""

    def in_torch(torch: Any, x: Any, pad_width: Any, stat_length: Any) -> Any:
        pairs = np.broadcast_to(pad_width, (x.ndim, 2))
        lengths = np.broadcast_to(stat_length, (x.ndim, 2))
        for axis, ((low, high), (front, back)) in enumerate(zip(pairs, lengths, strict=True)):
            n = x.shape[axis]
            first = x.narrow(axis, 0, min(front or n, n))
            count = min(back or n, n)
            last = x.narrow(axis, n - count, count)
            sides = [
                _reduced(torch, name, part, axis).repeat_interleave(int(width), axis)
                for part, width in ((first, low), (last, high))
            ]
            x = torch.cat([sides[0], x, sides[1]], axis)
        return x

    return Sample(
        f"np.pad {name}",
        lambda x, **given: tnp.pad(x, mode=name, **given),
        # Medians of what medians were added to may be equal, where their slopes jump.
        _padded(_length, distinct, min_dims=1, max_dims=1 if name == "median" else 2),
        in_torch,
        ops,
        ("np.pad",),
        kinks=True,
    )


def _reduced(torch: Any, name: str, x: Any, axis: int) -> Any:
    if name == "median":  # PyTorch's is the lower of the two in the middle
        return torch.quantile(x, 0.5, axis, keepdim=True)
    called = {"maximum": "amax", "minimum": "amin", "mean": "mean"}[name]
    return getattr(torch, called)(x, axis, keepdim=True)


def _end(draw: Draw, shape: Shape) -> dict[str, Any]:
    return {"end_values": _sides(draw, shape)}


def _odd(draw: Draw, shape: Shape) -> dict[str, Any]:
    return {"reflect_type": "odd"}


def _nothing(draw: Draw, shape: Shape) -> dict[str, Any]:
    return {}


def _valued(torch: Any, x: Any, values: Any) -> Any:
    wide = torch.nn.functional.pad(x, (1, 2))
    ends = torch.zeros(len(wide), dtype=x.dtype)
    first, last = ends.clone(), ends.clone()
    first[0] = 1
    last[-2:] = 1
    return wide + first * values[0] + last * values[1]


ERRORS = (
    Error(
        lambda: tnp.pad(Tensor.ones(2), 1, mode="nearest"),
        ValueError,
        "[pad] expected mode to be one of ('constant', 'edge', 'empty', 'linear_ramp', 'maximum', "
        "'mean', 'median', 'minimum', 'reflect', 'symmetric', 'wrap'), got 'nearest'",
    ),
    Error(
        lambda: tnp.pad(Tensor.ones(2), 1, mode=lambda *_: None),
        TypeError,
        "[pad] expected the name of a mode, got a function, which writes into arrays: compute "
        "what stands around and join it with concatenate",
    ),
    Error(
        lambda: tnp.pad(Tensor.ones(2), 1, mode="edge", end_values=1),
        ValueError,
        "[pad] mode 'edge' takes (), got ('end_values',)",
    ),
    Error(
        lambda: tnp.pad(Tensor.ones(2), -1),
        ValueError,
        "[pad] expected a width of numbers ≥ 0, got -1",
    ),
    Error(
        lambda: tnp.pad(Tensor.ones(2), 1.5),
        TypeError,
        "[pad] expected a width of whole numbers, got 1.5",
    ),
    Error(
        lambda: tnp.pad(Tensor.ones(2), (1, 2, 3)),
        ValueError,
        "[pad] expected a width as a number, a pair or 1 pairs (before, after), got [1 2 3]",
    ),
    Error(
        lambda: tnp.pad(Tensor.zeros(2, 0), 1, mode="wrap"),
        ValueError,
        "[pad] mode 'wrap' has no elements along axis 1 of shape (2, 0) to continue",
    ),
    Error(
        lambda: tnp.pad(Tensor.ones(2), 1, mode="mean", stat_length=0),
        ValueError,
        "[pad] expected a stat_length > 0 for mode 'mean', got 0",
    ),
    Error(
        lambda: tnp.pad(Tensor.ones(2), 1, mode="reflect", reflect_type="both"),
        ValueError,
        '[pad] expected reflect_type "even" or "odd", got \'both\'',
    ),
)

SAMPLES = [
    Sample(
        "np.pad",
        lambda x, **given: tnp.pad(x, **given),
        _padded(lambda draw, shape: {"constant_values": _sides(draw, shape)}, min_side=0),
        lambda torch, x, **given: _constant(torch, x, **given),
        (Pad,),
        ("np.pad",),
        dtypes=(*NUMBERS, "float16"),
        errors=ERRORS,
    ),
    Sample(
        "np.pad with values of a gradient",
        lambda x, values: tnp.pad(x, (1, 2), constant_values=values),
        lambda draw: Case((normal(draw, (draw(st.integers(0, 3)),)), normal(draw, (2,)))),
        _valued,
        (Concat,),
        ("np.pad",),
    ),
    _moving("edge", "edge", _nothing, (Concat, Index)),
    _moving("reflect", "reflect", _nothing, (Concat, Index)),
    _moving("symmetric", "symmetric", _nothing, (Concat, Index)),
    _moving("wrap", "wrap", _nothing, (Concat, Index)),
    _moving("far", "wrap", _nothing, (Take,), most=40),
    _affine("linear_ramp", "linear_ramp", _end, (Concat,)),
    _affine("reflect odd", "reflect", _odd, (Concat,)),
    _affine("symmetric odd", "symmetric", _odd, (Concat,)),
    _statistic("maximum", (Extremum, Concat)),
    _statistic("minimum", (Extremum, Concat)),
    _statistic("mean", (Mean, Concat)),
    _statistic("median", (Where, Concat)),
    Sample(
        "np.pad of integers",
        lambda x, mode: tnp.pad(tnp.pad(x.detach().astype("int32"), 1, "mean"), 2, mode),
        lambda draw: Case(
            (normal(draw, (3, 2)) * 9,),
            {"mode": draw(st.sampled_from(["mean", "median", "linear_ramp"]))},
        ),
        lambda torch, x, mode: torch.as_tensor(
            np.pad(np.pad(x.detach().numpy().astype("int32"), 1, "mean"), 2, mode)
        ),
        (Ramp, Rounded),
        ("np.pad",),
        order=0,
    ),
]


def _constant(torch: Any, x: Any, pad_width: Any, constant_values: Any) -> Any:
    values = x.detach().numpy()
    around = np.pad(np.zeros_like(values), pad_width, constant_values=constant_values)
    inside = np.pad(np.ones(values.shape, bool), pad_width)
    wide = torch.zeros(around.shape, dtype=x.dtype)
    wide = wide.masked_scatter(torch.as_tensor(inside), x)
    return torch.where(torch.as_tensor(inside), wide, torch.as_tensor(around))
