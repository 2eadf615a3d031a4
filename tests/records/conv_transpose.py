"""Records of ops/conv_transpose.py."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from support.sampling import Case, Draw, Error, Sample, method, normal
from support.windows import draw_lead, draw_windows, image, plain
from tinygrad_cupy.ops import conv

from .conv import draw_channels


def _case(draw: Draw, ndim: int) -> Case:
    windows, _ = draw_windows(draw, ndim=ndim)
    groups, c, o = draw_channels(draw)
    kernel = windows.pop("kernel_size")
    steps = zip(windows["stride"], windows["dilation"], strict=True)
    output_padding = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in steps)
    # Large enough that the padding, which takes away from the result, leaves something.
    size = tuple(1 + 2 * p + draw(st.integers(0, 4 - ndim)) for p in windows["padding"])
    values = [
        normal(draw, (*draw_lead(draw, groups * c), *size)),
        normal(draw, (groups * c, o, *kernel)),
    ]
    if draw(st.booleans()):
        values.append(normal(draw, (groups * o,)))
    options = {**windows, "groups": groups, "output_padding": output_padding}
    return Case(tuple(values), plain(draw, options))


def _torch(ndim: int) -> Any:
    def call(torch: Any, x: Any, weight: Any, bias: Any = None, **options: Any) -> Any:
        return getattr(torch.nn.functional, f"conv_transpose{ndim}d")(x, weight, bias, **options)

    return call


ERRORS: dict[int, tuple[Error, ...]] = {
    1: (
        Error(
            lambda: image(1, 1, 3).conv_transpose1d(image(1, 1, 2), output_padding=1),
            ValueError,
            "[conv_transpose1d] expected output_padding below stride (1,) or dilation (1,), got "
            "(1,)",
        ),
    ),
    2: (
        Error(
            lambda: image(1, 3, 5, 5).conv_transpose2d(image(4, 2, 3, 3)),
            ValueError,
            "[conv_transpose2d] expected 4 input channels, divisible by groups=1, for weight "
            "(4, 2, 3, 3), got 3 (input shape (1, 3, 5, 5))",
        ),
        Error(
            lambda: image(1, 2, 5, 5).conv_transpose2d(image(2, 1, 3, 3), groups=0),
            ValueError,
            "[conv_transpose2d] groups: expected an integer from 1 to 2147483647, got 0",
        ),
        Error(
            lambda: image(1, 1, 5, 5).conv_transpose2d(image(1, 1, 3, 3), output_padding=1),
            ValueError,
            "[conv_transpose2d] expected output_padding below stride (1, 1) or dilation "
            "(1, 1), got (1, 1)",
        ),
        Error(
            lambda: image(1, 1, 1, 1).conv_transpose2d(
                image(1, 1, 1, 1), stride=2**62, output_padding=2**61
            ),
            ValueError,
            "[conv_transpose2d] stride: expected an integer from 1 to 2147483647 "
            "or two of them, got 4611686018427387904",
        ),
        Error(
            lambda: image(1, 1, 5, 5).conv_transpose2d(
                image(1, 1, 3, 3), stride=2**30, dilation=2**30
            ),
            ValueError,
            "[conv_transpose2d] expected at most 2147483647 rows and columns with their "
            "padding, got an input of (6442450945, 6442450945) padded by (0, 0)",
        ),
        Error(
            lambda: image(1, 1, 1, 1).conv_transpose2d(image(1, 1, 2, 2), padding=1),
            ValueError,
            "[conv_transpose2d] padding (1, 1) leaves nothing of input (1, 1, 1, 1)",
        ),
        Error(
            lambda: image(1, 1, 1, 1).conv_transpose2d(image(1, 1, 2, 2), image(2)),
            ValueError,
            "[conv_transpose2d] expected a bias of shape (1,), got (2,)",
        ),
    ),
    3: (
        Error(
            lambda: image(1, 1, 1, 1, 1).conv_transpose3d(image(1, 1, 1, 2, 2), padding=1),
            ValueError,
            "[conv_transpose3d] padding (1, 1, 1) leaves nothing of input (1, 1, 1, 1, 1)",
        ),
    ),
}

SAMPLES = [
    Sample(
        f"conv_transpose{n}d",
        method(f"conv_transpose{n}d"),
        lambda draw, n=n: _case(draw, n),  # type: ignore[misc]
        _torch(n),
        (conv.ConvInput, conv.Conv, conv.ConvWeight),
        (f"conv_transpose{n}d",),
        errors=ERRORS[n],
    )
    for n in (1, 2, 3)
]
