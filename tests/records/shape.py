"""Records of ops/shape.py, and of copies and moves in tensor.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_cupy as tg
from support.sampling import MOVED, Case, Draw, Error, Sample, draw_axis, method, normal, shapes
from tinygrad_cupy import Tensor, tensor
from tinygrad_cupy.ops import indexing
from tinygrad_cupy.ops.shape import Concat, Pad, Permute, Reshape

Shape = tuple[int, ...]


def _case(options: Callable[[Draw, Shape], dict[str, Any]], **limits: int) -> Any:
    """A tensor of random shape, and options that depend on the shape."""

    def cases(draw: Draw) -> Case:
        shape = draw(shapes(**{"min_side": 0, **limits}))
        return Case((normal(draw, shape),), options(draw, shape))

    return cases


# --- shapes and axes ----------------------------------------------------------------------------


def _reshape_options(draw: Draw, shape: Shape) -> dict[str, Any]:
    size = math.prod(shape)
    if size == 0:
        return {"shape": draw(st.permutations([*shape, 3]))}
    first = draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
    return {"shape": draw(st.sampled_from([(first, -1), (size // first, first), (-1,), (1, size)]))}


def _flatten_options(draw: Draw, shape: Shape) -> dict[str, Any]:
    n = len(shape)
    start = draw(st.integers(0, n - 1))
    end = draw(st.integers(start, n - 1))
    return {
        "start_axis": start - n * draw(st.booleans()),
        "end_axis": end - n * draw(st.booleans()),
    }


def _order_options(draw: Draw, shape: Shape) -> dict[str, Any]:
    order = draw(st.permutations(range(len(shape))))
    return {"axes": tuple(a - len(shape) * draw(st.booleans()) for a in order)}


def _transpose_options(draw: Draw, shape: Shape) -> dict[str, Any]:
    return _order_options(draw, shape) if draw(st.booleans()) else {"axes": ()}


def _squeeze_case(draw: Draw) -> Case:
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=2))
    ones = [a for a, n in enumerate(shape) if n == 1]
    chosen = draw(st.lists(st.sampled_from(ones), unique=True)) if ones else []
    axes = tuple(a - len(shape) * draw(st.booleans()) for a in chosen)
    single = axes[0] if len(axes) == 1 else axes
    return Case((normal(draw, shape),), {"axis": draw(st.sampled_from([None, axes, single]))})


def _squeezed(_: Any, x: Any, axis: Any) -> Any:
    if axis is None:
        return x.squeeze()
    return x.squeeze((axis,) if isinstance(axis, int) else axis)


def _unsqueeze_options(draw: Draw, shape: Shape) -> dict[str, Any]:
    return {"axis": draw(st.integers(-len(shape) - 1, len(shape)))}


def _pad_options(draw: Draw, shape: Shape) -> dict[str, Any]:
    ends = st.tuples(st.integers(0, 2), st.integers(0, 2))
    width = tuple(draw(ends) for _ in shape)
    return {"width": width, "value": draw(st.sampled_from([0.0, 1.0]))}


def _padded(torch: Any, x: Any, width: Any, value: float) -> Any:
    flat = [n for pair in reversed(width) for n in pair]  # PyTorch starts at the last axis
    return torch.nn.functional.pad(x, flat, value=value) if flat else x.clone()


def _flipped(torch: Any, x: Any, axis: Any) -> Any:
    if axis is None:
        axis = tuple(range(x.ndim))
    return torch.flip(x, (axis,) if isinstance(axis, int) else axis)


REARRANGED = [
    Sample(
        "reshape",
        lambda x, shape: x.reshape(*shape),
        _case(_reshape_options),
        lambda _, x, shape: x.reshape(tuple(shape)),
        (Reshape,),
        ("reshape",),
        dtypes=MOVED,
        errors=(
            Error(
                lambda: Tensor.ones(2, 3).reshape(4, -1),
                ValueError,
                "[reshape] cannot make shape (4, -1) of (2, 3)",
            ),
            Error(
                lambda: Tensor.ones(2, 3).reshape((-1, -1)),
                ValueError,
                "[reshape] cannot make shape (-1, -1) of (2, 3)",
            ),
        ),
    ),
    Sample(
        "flatten",
        method("flatten"),
        _case(_flatten_options, min_dims=1),
        lambda torch, x, start_axis, end_axis: torch.flatten(x, start_axis, end_axis),
        (Reshape,),
        ("flatten",),
        dtypes=MOVED,
        errors=(
            Error(
                lambda: Tensor.ones(2, 3).flatten(1, 0),
                ValueError,
                "[flatten] start_axis 1 is behind end_axis 0",
            ),
        ),
    ),
    Sample(
        "permute",
        lambda x, axes: x.permute(*axes),
        _case(_order_options, min_dims=1),
        lambda _, x, axes: x.permute(axes),
        (Permute,),
        ("permute",),
        dtypes=MOVED,
        errors=(
            Error(
                lambda: Tensor.ones(2, 3).permute(0, 0),
                ValueError,
                "[permute] expected each of 2 axes once, got (0, 0)",
            ),
        ),
    ),
    Sample(
        "transpose",
        lambda x, axes: x.transpose(axes) if axes else x.transpose(),
        _case(
            lambda draw, shape: draw(st.sampled_from([{"axes": ()}, _order_options(draw, shape)]))
        ),
        lambda _, x, axes: x.permute(axes or tuple(reversed(range(x.ndim)))),
        (Permute,),
        ("transpose",),
        dtypes=MOVED,
    ),
    Sample(
        "T",
        lambda x: x.T,
        _case(lambda _, __: {}),
        lambda _, x: x.permute(tuple(reversed(range(x.ndim)))),
        (Permute,),
        ("T",),
        dtypes=MOVED,
    ),
    Sample(
        "squeeze",
        method("squeeze"),
        _squeeze_case,
        _squeezed,
        (Reshape,),
        ("squeeze",),
        dtypes=MOVED,
        errors=(
            Error(
                lambda: Tensor.ones(1, 3).squeeze(1),
                ValueError,
                "[squeeze] axis 1 of shape (1, 3) is not of size 1",
            ),
        ),
    ),
    Sample(
        "unsqueeze",
        method("unsqueeze"),
        _case(_unsqueeze_options),
        lambda _, x, axis: x.unsqueeze(axis),
        (Reshape,),
        ("unsqueeze",),
        dtypes=MOVED,
        errors=(
            Error(
                lambda: Tensor.ones(3).unsqueeze(2),
                ValueError,
                "[unsqueeze] axis 2 is out of range for a tensor of 2 axes",
            ),
        ),
    ),
    Sample(
        "pad",
        method("pad"),
        _case(_pad_options),
        _padded,
        (Pad,),
        ("pad",),
        errors=(
            Error(
                lambda: Tensor.ones(2, 3).pad(((0, 1),)),
                ValueError,
                "[pad] expected 2 pairs (before, after) of numbers ≥ 0 for shape (2, 3), "
                "got ((0, 1),)",
            ),
            Error(
                lambda: Tensor.ones(2).pad(((0, -1),)),
                ValueError,
                "[pad] expected 1 pairs (before, after) of numbers ≥ 0 for shape (2,), "
                "got ((0, -1),)",
            ),
            Error(
                lambda: Tensor.ones(2).pad(1),
                ValueError,
                "[pad] expected 1 pairs (before, after) of numbers ≥ 0 for shape (2,), got 1",
            ),
        ),
    ),
    Sample(
        "flip",
        method("flip"),
        _case(lambda draw, shape: {"axis": draw_axis(draw, len(shape))}, min_dims=1),
        _flipped,
        (indexing.Index,),
        ("flip",),
        dtypes=MOVED,
    ),
    Sample(
        "clone",
        method("clone"),
        _case(lambda _, __: {}),
        lambda _, x: x.clone(),
        (tensor.Clone,),
        ("clone",),
        dtypes=MOVED,
    ),
    Sample(
        "copy",
        method("copy"),
        _case(lambda _, __: {}),
        lambda _, x: x.clone(),
        (tensor.Clone,),
        ("copy",),
        dtypes=MOVED,
    ),
]


# --- joining and cutting ------------------------------------------------------------------------


def _concat_case(draw: Draw) -> Case:
    shape = draw(shapes(min_dims=1, min_side=0))
    axis = draw(st.integers(0, len(shape) - 1))
    sizes = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    parts = tuple(normal(draw, (*shape[:axis], n, *shape[axis + 1 :])) for n in sizes)
    return Case(parts, {"axis": axis - len(shape) * draw(st.booleans())})


def _stack_case(draw: Draw) -> Case:
    shape = draw(shapes(min_side=0))
    parts = tuple(normal(draw, shape) for _ in range(draw(st.integers(1, 3))))
    return Case(parts, {"axis": draw(st.integers(-len(shape) - 1, len(shape)))})


def _split_case(draw: Draw) -> Case:
    shape = draw(shapes(min_dims=1))
    axis = draw(st.integers(0, len(shape) - 1))
    sizes = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    parts = draw(st.integers(1, 3))
    equal = draw(st.booleans())
    length = 2 * parts if equal else sum(sizes)
    values = normal(draw, (*shape[:axis], length, *shape[axis + 1 :]))
    return Case((values,), {"sizes": parts if equal else sizes, "axis": axis})


def _split(torch: Any, x: Any, sizes: Any, axis: int) -> Any:
    if isinstance(sizes, int):
        return list(torch.chunk(x, sizes, axis))
    return list(torch.split(x, sizes, axis))


JOINED = [
    Sample(
        "concat",
        lambda *parts, axis: tg.concat(parts, axis),
        _concat_case,
        lambda torch, *parts, axis: torch.cat(parts, axis),
        (Concat,),
        ("tg.concat",),
        dtypes=MOVED,
        errors=(
            Error(
                lambda: tg.concat([]),
                ValueError,
                "[concat] expected at least one tensor, got none",
            ),
            Error(
                lambda: tg.concat([Tensor.ones(2, 3), Tensor.ones(2, 4)]),
                ValueError,
                "[concat] expected shapes that agree but for axis 0, got [(2, 3), (2, 4)]",
            ),
        ),
    ),
    Sample(
        "stack",
        lambda *parts, axis: tg.stack(parts, axis),
        _stack_case,
        lambda torch, *parts, axis: torch.stack(parts, axis),
        (Concat,),
        ("tg.stack",),
        dtypes=MOVED,
        errors=(
            Error(
                lambda: tg.stack([Tensor.ones(2), Tensor.ones(3)]),
                ValueError,
                "[stack] expected tensors of one shape, got [(2,), (3,)]",
            ),
        ),
    ),
    Sample(
        "split",
        method("split"),
        _split_case,
        _split,
        (indexing.Index,),
        ("split",),
        dtypes=MOVED,
        errors=(
            Error(
                lambda: Tensor.ones(2, 3).split(2, 1),
                ValueError,
                "[split] cannot cut axis 1 of shape (2, 3) into 2 equal parts",
            ),
            Error(
                lambda: Tensor.ones(2, 3).split([1, 1], 1),
                ValueError,
                "[split] expected sizes that add up to 3 (axis 1 of shape (2, 3)), got [1, 1]",
            ),
        ),
    ),
]

SAMPLES = [*REARRANGED, *JOINED]
