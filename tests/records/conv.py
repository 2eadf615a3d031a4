"""Records of ops/conv.py."""

from __future__ import annotations

import warnings
from typing import Any

from hypothesis import strategies as st

from support.sampling import Case, Draw, Error, Sample, method, normal
from support.windows import draw_lead, draw_windows, image, plain
from tinygrad_cupy.ops import conv

THREE: Any = (1, 2, 3)


def draw_channels(draw: Draw) -> tuple[int, int, int]:
    """Groups, and channels in and out of each; 8 and more take another path."""
    groups = draw(st.integers(1, 3))
    return groups, draw(st.sampled_from([1, 2, 3, 8])), draw(st.integers(1, 3))


def conv_case(draw: Draw, ndim: int = 2) -> Case:
    """Inputs, a weight and sometimes a bias, under any geometry."""
    windows, size = draw_windows(draw, ndim=ndim)
    groups, c, o = draw_channels(draw)
    kernel = windows.pop("kernel_size")
    if draw(st.booleans()):
        word = draw(st.sampled_from(["same", "valid"]))
        windows["padding"] = word
        size = tuple(n + d * k for n, d, k in zip(size, windows["dilation"], kernel, strict=True))
        if word == "same":
            windows["stride"] = (1,) * ndim
    values = [
        normal(draw, (*draw_lead(draw, groups * c), *size)),
        normal(draw, (groups * o, c, *kernel)),
    ]
    if draw(st.booleans()):
        values.append(normal(draw, (groups * o,)))
    return Case(tuple(values), plain(draw, {**windows, "groups": groups}))


def torch_conv(ndim: int) -> Any:
    """PyTorch's convolution over so many axes."""

    def call(torch: Any, x: Any, weight: Any, bias: Any = None, **options: Any) -> Any:
        with warnings.catch_warnings():  # "same" around an even kernel copies the input
            warnings.simplefilter("ignore", UserWarning)
            return getattr(torch.nn.functional, f"conv{ndim}d")(x, weight, bias, **options)

    return call


ERRORS: dict[int, tuple[Error, ...]] = {
    1: (
        Error(
            lambda: image(2, 3, 4, 5).conv1d(image(3, 3, 2)),
            ValueError,
            "[conv1d] expected an input of shape (N, C, L) or (C, L), got (2, 3, 4, 5)",
        ),
        Error(
            lambda: image(1, 3, 2).conv1d(image(3, 3, 4)),
            ValueError,
            "[conv1d] a kernel of (4,) with dilation (1,) does not fit in an input of (2,) padded "
            "by (0,)",
        ),
        Error(
            lambda: image(1, 3, 2).conv1d(image(3, 3, 2), stride=(1, 1)),
            ValueError,
            "[conv1d] stride: expected an integer from 1 to 2147483647, got (1, 1)",
        ),
    ),
    2: (
        Error(
            lambda: image(8, 4, 28, 28).conv2d(image(6, 3, 5, 5)),
            ValueError,
            "[conv2d] expected 3 input channels and output channels divisible by groups=1 for "
            "weight (6, 3, 5, 5), got 4 input channels (input shape (8, 4, 28, 28))",
        ),
        Error(
            lambda: image(1, 4, 5, 5).conv2d(image(3, 2, 3, 3), groups=2),
            ValueError,
            "[conv2d] expected 4 input channels and output channels divisible by groups=2 for "
            "weight (3, 2, 3, 3), got 4 input channels (input shape (1, 4, 5, 5))",
        ),
        Error(
            lambda: image(5, 5).conv2d(image(3, 4, 3, 3)),
            ValueError,
            "[conv2d] expected an input of shape (N, C, H, W) or (C, H, W), got (5, 5)",
        ),
        Error(
            lambda: image(1, 4, 5, 5).conv2d(image(3, 4, 3, 3), padding="full"),
            ValueError,
            '[conv2d] padding: expected numbers, "same" or "valid", got \'full\'',
        ),
        Error(
            lambda: image(1, 4, 5, 5).conv2d(image(3, 4, 3, 3), stride=2, padding="same"),
            ValueError,
            '[conv2d] expected a stride of 1 for padding="same", got (2, 2)',
        ),
        Error(
            lambda: image(1, 4, 5, 5).conv2d(image(4, 3)),
            ValueError,
            "[conv2d] expected a weight of 4 axes, got (4, 3)",
        ),
        Error(
            lambda: image(1, 1, 5, 5).conv2d(image(2, 1, 3, 3), image(3)),
            ValueError,
            "[conv2d] expected a bias of shape (2,), got (3,)",
        ),
        Error(
            lambda: image(1, 1, 5, 5).conv2d(image(1, 1, 7, 3), dilation=2, padding=(1, 0)),
            ValueError,
            "[conv2d] a kernel of (7, 3) with dilation (2, 2) does not fit in an input of "
            "(5, 5) padded by (1, 0)",
        ),
        Error(
            lambda: image(1, 1, 5, 5).conv2d(image(1, 1, 3, 3), stride=0),
            ValueError,
            "[conv2d] stride: expected an integer from 1 to 2147483647 or two of them, got 0",
        ),
        Error(
            lambda: image(1, 1, 5, 5).conv2d(image(1, 1, 3, 3), stride=2**64),
            ValueError,
            "[conv2d] stride: expected an integer from 1 to 2147483647 "
            "or two of them, got 18446744073709551616",
        ),
        Error(
            lambda: image(1, 1, 5, 5).conv2d(image(1, 1, 3, 3), dilation=True),
            ValueError,
            "[conv2d] dilation: expected an integer from 1 to 2147483647 or two of them, got True",
        ),
        Error(
            lambda: image(1, 1, 5, 5).conv2d(image(1, 1, 3, 3), groups=2**31),
            ValueError,
            "[conv2d] groups: expected an integer from 1 to 2147483647, got 2147483648",
        ),
        Error(
            lambda: image(1, 1, 5, 5).conv2d(image(1, 1, 3, 3), padding=2**31 - 1),
            ValueError,
            "[conv2d] expected at most 2147483647 rows and columns with their padding, got an "
            "input of (5, 5) padded by (2147483647, 2147483647)",
        ),
        Error(
            lambda: image(1, 1, 5, 5).conv2d(image(1, 1, 3, 3), padding=(1, -1)),
            ValueError,
            "[conv2d] padding: expected an integer from 0 to 2147483647 "
            "or two of them, got (1, -1)",
        ),
        Error(
            lambda: image(1, 1, 5, 5).conv2d(image(1, 1, 3, 3), dilation=THREE),
            ValueError,
            "[conv2d] dilation: expected an integer from 1 to 2147483647 "
            "or two of them, got (1, 2, 3)",
        ),
    ),
    3: (
        Error(
            lambda: image(2, 3, 4).conv3d(image(3, 3, 2, 2, 2)),
            ValueError,
            "[conv3d] expected an input of shape (N, C, D, H, W) or (C, D, H, W), got (2, 3, 4)",
        ),
        Error(
            lambda: image(1, 3, 2, 2, 2).conv3d(image(3, 3, 1, 1, 3)),
            ValueError,
            "[conv3d] a kernel of (1, 1, 3) with dilation (1, 1, 1) does not fit in an input of "
            "(2, 2, 2) padded by (0, 0, 0)",
        ),
        Error(
            lambda: image(1, 3, 2, 2, 2).conv3d(image(3, 3, 2, 2)),
            ValueError,
            "[conv3d] expected a weight of 5 axes, got (3, 3, 2, 2)",
        ),
        Error(
            lambda: image(1, 3, 2, 2, 2).conv3d(image(3, 3, 2, 2, 2), padding=(1, 1)),
            ValueError,
            "[conv3d] padding: expected an integer from 0 to 2147483647 or three of them, got "
            "(1, 1)",
        ),
    ),
}

SAMPLES = [
    Sample(
        f"conv{n}d",
        method(f"conv{n}d"),
        lambda draw, n=n: conv_case(draw, n),  # type: ignore[misc]
        torch_conv(n),
        (conv.Conv, conv.ConvInput, conv.ConvWeight),
        (f"conv{n}d",),
        errors=ERRORS[n],
    )
    for n in (1, 2, 3)
]
