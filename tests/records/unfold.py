"""Records of ops/unfold.py."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

from support.sampling import Case, Draw, Error, Sample, method, normal
from support.windows import draw_lead, draw_windows, image, plain
from tinygrad_cupy.ops import unfold


def _case(draw: Draw, ndim: int) -> Case:
    windows, size = draw_windows(draw, ndim=ndim)
    lead = draw_lead(draw, draw(st.integers(1, 3)), 2)
    options = plain(draw, windows)
    options["kernel_size"] = windows["kernel_size"]  # says in how many dimensions
    return Case((normal(draw, (*lead, *size)),), options)


def _fold_case(draw: Draw, ndim: int) -> Case:
    windows, size = draw_windows(draw, ndim=ndim)
    geometry = zip(
        size,
        *(windows[k] for k in ("kernel_size", "stride", "padding", "dilation")),
        strict=True,
    )
    places = math.prod((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in geometry)
    rows = draw(st.integers(1, 3)) * math.prod(windows["kernel_size"])
    lead = draw_lead(draw, rows, 2)
    options = plain(draw, windows)
    return Case((normal(draw, (*lead, places)),), {"output_size": size, **options})


def _each(value: Any, ndim: int) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,) * ndim


def _unfold(torch: Any, x: Any, kernel_size: Any, **options: Any) -> Any:
    """PyTorch's im2col, which has two dimensions, or windows axis by axis."""
    ndim = len(kernel_size)
    if ndim == 2:
        return torch.nn.functional.unfold(x, kernel_size, **options)
    one = x.ndim == ndim + 1
    x = x[None] if one else x
    given = [_each(options[k], ndim) for k in ("stride", "padding", "dilation")]
    stride, padding, dilation = given
    x = torch.nn.functional.pad(x, [p for p in reversed(padding) for _ in range(2)])
    for axis, (k, s, d) in enumerate(zip(kernel_size, stride, dilation, strict=True), 2):
        windows = x.unfold(axis, d * (k - 1) + 1, s)
        x = windows.index_select(windows.ndim - 1, torch.arange(0, d * (k - 1) + 1, d))
    taps, places = range(2 + ndim, 2 + 2 * ndim), range(2, 2 + ndim)
    y = x.permute(0, 1, *taps, *places)
    y = y.reshape(x.shape[0], x.shape[1] * math.prod(kernel_size), math.prod(x.shape[2 : 2 + ndim]))
    return y[0] if one else y


def _fold(torch: Any, x: Any, output_size: Any, kernel_size: Any, **options: Any) -> Any:
    """PyTorch's col2im, or what its derivative of im2col makes."""
    ndim = len(output_size)
    kernel = _each(kernel_size, ndim)
    if ndim == 2:
        return torch.nn.functional.fold(x, output_size, kernel, **options)
    channels = x.shape[-2] // math.prod(kernel)
    zeros = torch.zeros((*x.shape[:-2], channels, *output_size), dtype=x.dtype, requires_grad=True)
    columns = _unfold(torch, zeros, kernel, **options)
    return torch.autograd.grad(columns, zeros, x, create_graph=True)[0]


UNFOLD_ERRORS = (
    Error(
        lambda: image(5, 5).unfold((3, 3)),
        ValueError,
        "[unfold] expected an input of shape (N, C, H, W) or (C, H, W), got (5, 5)",
    ),
    Error(
        lambda: image(1, 1, 2, 2).unfold(3),
        ValueError,
        "[unfold] a kernel of (3, 3) with dilation (1, 1) does not fit in an input of "
        "(2, 2) padded by (0, 0)",
    ),
)
FOLD_ERRORS = (
    Error(
        lambda: image(1, 9, 5).fold(4, 3),
        ValueError,
        "[fold] expected shape (N, C · 9, 4), got (1, 9, 5)",
    ),
    Error(
        lambda: image(1, 9, 5).fold(0, 3),
        ValueError,
        "[fold] output_size: expected an integer from 1 to 2147483647 or two of them, got 0",
    ),
)

SAMPLES = [
    *[
        Sample(
            f"unfold in {n} dimensions",
            method("unfold"),
            lambda draw, n=n: _case(draw, n),  # type: ignore[misc]
            _unfold,
            (unfold.Unfold, unfold.Fold),
            ("unfold",),
            errors=UNFOLD_ERRORS if n == 2 else (),
        )
        for n in (1, 2, 3)
    ],
    *[
        Sample(
            f"fold in {n} dimensions",
            method("fold"),
            lambda draw, n=n: _fold_case(draw, n),  # type: ignore[misc]
            _fold,
            (unfold.Fold, unfold.Unfold),
            ("fold",),
            errors=FOLD_ERRORS if n == 2 else (),
        )
        for n in (1, 2, 3)
    ],
]
