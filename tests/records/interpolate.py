"""Records of ops/interpolate.py."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from support.sampling import Case, Draw, Error, Sample, method, normal
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import interpolate

MODES = {
    1: ("nearest", "nearest-exact", "linear", "area"),
    2: ("nearest", "nearest-exact", "bilinear", "bicubic", "area"),
    3: ("nearest", "nearest-exact", "trilinear", "area"),
}


def _case(draw: Draw) -> Case:
    axes = draw(st.integers(1, 3))
    mode = draw(st.sampled_from(MODES[axes]))
    options: dict[str, Any] = {"mode": mode}
    if "linear" in mode or "cubic" in mode:
        options["align_corners"] = draw(st.sampled_from([None, False, True]))
    sizes = tuple(draw(st.integers(1, 5)) for _ in range(axes))
    if draw(st.booleans()):
        options["size"] = tuple(draw(st.integers(1, 6)) for _ in range(axes))
    else:  # PyTorch's gradient is no adjoint where a factor makes the same or twice the size
        factor = draw(st.sampled_from([1.0, 1.5, 2.0, 2.5, 3.0]))
        options["scale_factor"] = factor
        options["recompute_scale_factor"] = True if factor in (1.5, 2.5) else None
    if mode in ("bilinear", "bicubic") and draw(st.booleans()):
        options["antialias"] = True
        if "size" in options:  # PyTorch's forward is wrong where a result has one column
            options["size"] = tuple(n + 1 for n in options["size"])
        else:
            sizes = tuple(n + 1 for n in sizes)
    lead = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    return Case((normal(draw, (*lead, *sizes)),), options)


def _images(*shape: int) -> Tensor:
    return Tensor.ones(*shape)


SAMPLES = [
    Sample(
        "interpolate",
        method("interpolate"),
        _case,
        lambda torch, x, **options: torch.nn.functional.interpolate(x, **options),
        (interpolate.Resize,),
        ("interpolate",),
        errors=(
            Error(
                lambda: _images(1, 1, 2, 2).interpolate(2, mode="linear"),
                ValueError,
                "[interpolate] expected 3 axes (N, C, …) for mode 'linear', got shape (1, 1, 2, 2)",
            ),
            Error(
                lambda: _images(1, 1, 2).interpolate(2, mode="lanczos"),
                ValueError,
                "[interpolate] expected mode to be one of ('nearest', 'nearest-exact', 'linear', "
                "'bilinear', 'trilinear', 'bicubic', 'area'), got 'lanczos'",
            ),
            Error(
                lambda: _images(1, 1, 2).interpolate(2, align_corners=True),
                ValueError,
                "[interpolate] mode 'nearest' has no align_corners: leave it out, got True",
            ),
            Error(
                lambda: _images(1, 1, 2).interpolate(2, mode="linear", antialias=True),
                ValueError,
                '[interpolate] expected mode "bilinear" or "bicubic" with antialias, got '
                "'linear'",
            ),
            Error(
                lambda: _images(1, 1, 0).interpolate(2),
                ValueError,
                "[interpolate] expected at least one element an axis, got shape (1, 1, 0)",
            ),
            Error(
                lambda: _images(1, 1, 2).interpolate(),
                ValueError,
                "[interpolate] expected either size or scale_factor, got size None and "
                "scale_factor None",
            ),
            Error(
                lambda: _images(1, 1, 2).interpolate(scale_factor=-1.0),
                ValueError,
                "[interpolate] expected a scale_factor above 0, or one for each of 1 axes, got "
                "-1.0",
            ),
            Error(
                lambda: _images(1, 1, 2).interpolate((0,)),
                ValueError,
                "[interpolate] expected a size of at least 1 for each of 1 axes, got (0,)",
            ),
        ),
    ),
]
