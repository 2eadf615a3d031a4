"""Records of ops/grid_sample.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy as tg
from support.sampling import Case, Draw, Error, Sample, method, normal, rng_of
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import grid_sample

from . import spline


def _between(draw: Draw, shape: tuple[int, ...], size: int) -> np.ndarray:
    """Places 0.1 at least from whole and from half ones, in and around an axis."""
    rng = rng_of(draw)
    halves = rng.integers(-3, 2 * size + 3, shape) / 2
    found: np.ndarray = halves + rng.uniform(0.1, 0.4, shape)
    return found


def _grid_case(draw: Draw) -> Case:
    axes = draw(st.integers(2, 3))
    modes = ["bilinear", "nearest", "bicubic"][: 5 - axes]
    sizes = [draw(st.integers(2, 4)) for _ in range(axes)]
    out = [draw(st.integers(1, 3)) for _ in range(axes)]
    n, c = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    aligned = draw(st.booleans())
    columns = []
    for size in reversed(sizes):
        places = _between(draw, (n, *out), size)
        scale, shift = (size - 1 if aligned else size) / 2, (size - 1) / 2
        columns.append((places - shift) / scale)
    options: dict[str, Any] = {
        "mode": draw(st.sampled_from(modes)),
        "padding_mode": draw(st.sampled_from(["zeros", "border", "reflection"])),
        "align_corners": aligned,
    }
    return Case((normal(draw, (n, c, *sizes)), np.stack(columns, -1)), options)


def _theta_case(draw: Draw) -> Case:
    axes = draw(st.integers(2, 3))
    n = draw(st.integers(1, 2))
    size = (n, 1, *[draw(st.integers(2, 4)) for _ in range(axes)])
    options = {"size": size, "align_corners": draw(st.booleans())}
    return Case((normal(draw, (n, axes, axes + 1)),), options)


def _coordinates_case(draw: Draw) -> Case:
    order = draw(st.integers(0, 5))
    axes = draw(st.integers(1, 3 if order < 3 else 2))
    sizes = tuple(draw(st.integers(2, 4)) for _ in range(axes))
    shape = tuple(draw(st.integers(1, 3)) for _ in range(draw(st.integers(0, 2))))
    rows = np.stack([_between(draw, shape, size) for size in sizes])
    options = {
        "order": order,
        "mode": draw(st.sampled_from(list(grid_sample.MODES))),
        "cval": draw(st.sampled_from([0.0, 1.5])),
    }
    return Case((normal(draw, sizes), rows), options)


def _their_coordinates(torch: Any, x: Any, rows: Any, order: int, mode: str, cval: float) -> Any:
    """By the definition: every neighbour of every point, one after the other."""
    ends = [n - 1 for n in x.shape]
    outside = torch.zeros(rows.shape[1:], dtype=torch.bool)
    at = []
    for row, end in zip(rows, ends, strict=True):
        if mode == "constant":
            outside = outside | (row < 0) | (row > end)
        at.append(row - (row.detach() / end).floor() * end if mode == "wrap" else row)
    if order > 1:
        if mode in ("nearest", "grid-constant"):  # SciPy adds elements
            around = [torch.arange(-12, n + 12) for n in x.shape]
            there = [(i >= 0) & (i < n) for i, n in zip(around, x.shape, strict=True)]
            where = [i.clamp(0, n - 1) for i, n in zip(around, x.shape, strict=True)]
            x = x[torch.meshgrid(*where, indexing="ij")]
            if mode == "grid-constant":
                for inside in torch.meshgrid(*there, indexing="ij"):
                    x = torch.where(inside, x, torch.full((), cval, dtype=x.dtype))
            at = [row + 12 for row in at]
        x = spline.their_filter(torch, x, order, mode, cval)
        mode = "mirror" if mode in ("constant", "wrap") else mode
    found = torch.zeros(rows.shape[1:], dtype=x.dtype)
    for corner in np.ndindex(*[order + 1] * x.dim()):
        weight, there = torch.ones_like(found), torch.ones_like(found, dtype=torch.bool)
        index = []
        for row, k, n in zip(at, corner, x.shape, strict=True):
            first = torch.floor(row.detach() + (0 if order % 2 else 0.5)) - order // 2 + k
            weight = weight * (spline.bump(torch, row - first, order) if order else 1)
            place = first.long()
            inside = (place >= 0) & (place < n)
            there = there & (inside | (mode != "grid-constant"))
            index.append(_place(place, n, mode))
        value = torch.where(there, x[tuple(index)], torch.full((), cval, dtype=x.dtype))
        found = found + weight * value
    found = found + 0 * rows.sum(0)
    return torch.where(outside, torch.full((), cval, dtype=x.dtype), found)


def _place(i: Any, n: int, mode: str) -> Any:
    if mode == "grid-wrap":
        return i % n
    if mode == "mirror":
        i = i % (2 * n - 2)
        return i.minimum(2 * n - 2 - i)
    if mode in ("reflect", "grid-mirror"):
        i = i % (2 * n)
        return i.minimum(2 * n - 1 - i)
    return i.clamp(0, n - 1)


def _images(*shape: int) -> Tensor:
    return Tensor.ones(*shape)


SAMPLES = [
    Sample(
        "grid_sample",
        method("grid_sample"),
        _grid_case,
        lambda torch, x, grid, **options: torch.nn.functional.grid_sample(x, grid, **options),
        (grid_sample.Sample, grid_sample.Slopes, grid_sample.Splat),
        ("grid_sample",),
        kinks=True,
        errors=(
            Error(
                lambda: _images(1, 1, 2, 2).grid_sample(_images(1, 2, 2, 3)),
                ValueError,
                "[grid_sample] expected (N, C, H, W) and a grid (N, OH, OW, 2), or (N, C, D, H, W) "
                "and (N, OD, OH, OW, 3), got (1, 1, 2, 2) and (1, 2, 2, 3)",
            ),
            Error(
                lambda: _images(2, 1, 2, 2).grid_sample(_images(1, 2, 2, 2)),
                ValueError,
                "[grid_sample] expected one grid for each of the images, of one pixel at least, "
                "got (2, 1, 2, 2) and (1, 2, 2, 2)",
            ),
            Error(
                lambda: _images(1, 1, 2, 2, 2).grid_sample(_images(1, 2, 2, 2, 3), "bicubic"),
                ValueError,
                "[grid_sample] expected mode to be one of ('bilinear', 'nearest'), got 'bicubic'",
            ),
            Error(
                lambda: _images(1, 1, 2, 2).grid_sample(_images(1, 2, 2, 2), padding_mode="wrap"),
                ValueError,
                "[grid_sample] expected padding_mode to be one of ('zeros', 'border', "
                "'reflection'), got 'wrap'",
            ),
        ),
    ),
    Sample(
        "affine_grid",
        method("affine_grid"),
        _theta_case,
        lambda torch, theta, size, align_corners: torch.nn.functional.affine_grid(
            theta, size, align_corners
        ),
        (),
        ("affine_grid",),
        errors=(
            Error(
                lambda: _images(1, 3, 3).affine_grid((1, 1, 2, 2)),
                ValueError,
                "[affine_grid] expected matrices (N, 2, 3) for a size (N, C, H, W), or (N, 3, 4) "
                "for (N, C, D, H, W), got (1, 3, 3) and (1, 1, 2, 2)",
            ),
        ),
    ),
    Sample(
        "ndimage.map_coordinates",
        lambda x, rows, **options: tg.ndimage.map_coordinates(x, rows, **options),
        _coordinates_case,
        _their_coordinates,
        (grid_sample.Sample,),
        (),
        kinks=True,
        errors=(
            Error(
                lambda: tg.ndimage.map_coordinates(_images(2, 2), _images(3, 1)),
                ValueError,
                "[map_coordinates] expected one row of coordinates for each axis of the input, got "
                "shapes (2, 2) and (3, 1)",
            ),
            Error(
                lambda: tg.ndimage.map_coordinates(_images(2), _images(1, 1), order=6),
                ValueError,
                "[map_coordinates] expected an order from 0 to 5, got 6",
            ),
            Error(
                lambda: tg.ndimage.map_coordinates(_images(2), _images(1, 1), mode="edge"),
                ValueError,
                "[map_coordinates] expected mode to be one of ('constant', 'grid-constant', "
                "'grid-mirror', 'grid-wrap', 'mirror', 'nearest', 'reflect', 'wrap'), got 'edge'",
            ),
            Error(
                lambda: tg.ndimage.map_coordinates(_images(0), _images(1, 1)),
                ValueError,
                "[map_coordinates] expected an element an axis, got shape (0,)",
            ),
        ),
    ),
]
