"""Records of ops/conv.py."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from support.sampling import Case, Draw, Error, Sample, method, normal
from support.windows import draw_windows, image, plain
from tinygrad_cupy.ops import conv

THREE: Any = (1, 2, 3)


def _channels(draw: Draw) -> tuple[int, int, int]:
    """Groups, and channels in and out of each; 8 and more take another path."""
    groups = draw(st.integers(1, 3))
    return groups, draw(st.sampled_from([1, 2, 3, 8])), draw(st.integers(1, 3))


def conv_case(draw: Draw) -> Case:
    """Images, a weight and sometimes a bias, under any geometry."""
    windows, size = draw_windows(draw)
    groups, c, o = _channels(draw)
    kernel = windows.pop("kernel_size")
    batch = draw(st.integers(0, 3))
    values = [
        normal(draw, (batch, groups * c, *size)),
        normal(draw, (groups * o, c, *kernel)),
    ]
    if draw(st.booleans()):
        values.append(normal(draw, (groups * o,)))
    return Case(tuple(values), plain(draw, {**windows, "groups": groups}))


def torch_conv2d(torch: Any, x: Any, weight: Any, bias: Any = None, **options: Any) -> Any:
    return torch.nn.functional.conv2d(x, weight, bias, **options)


def _transpose_case(draw: Draw) -> Case:
    windows, _ = draw_windows(draw)
    groups, c, o = _channels(draw)
    kernel = windows.pop("kernel_size")
    steps = zip(windows["stride"], windows["dilation"], strict=True)
    output_padding = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in steps)
    # Large enough that the padding, which takes away from the result, leaves something.
    size = tuple(1 + 2 * p + draw(st.integers(0, 2)) for p in windows["padding"])
    values = [
        normal(draw, (draw(st.integers(1, 3)), groups * c, *size)),
        normal(draw, (groups * c, o, *kernel)),
    ]
    if draw(st.booleans()):
        values.append(normal(draw, (groups * o,)))
    options = {**windows, "groups": groups, "output_padding": output_padding}
    return Case(tuple(values), plain(draw, options))


def _conv_transpose2d(torch: Any, x: Any, weight: Any, bias: Any = None, **options: Any) -> Any:
    return torch.nn.functional.conv_transpose2d(x, weight, bias, **options)


def _unfold_case(draw: Draw) -> Case:
    windows, size = draw_windows(draw)
    values = normal(draw, (draw(st.integers(1, 2)), draw(st.integers(1, 3)), *size))
    return Case((values,), plain(draw, windows))


def _fold_case(draw: Draw) -> Case:
    windows, size = draw_windows(draw)
    geometry = zip(
        size,
        *(windows[k] for k in ("kernel_size", "stride", "padding", "dilation")),
        strict=True,
    )
    places = 1
    for n, k, s, p, d in geometry:
        places *= (n + 2 * p - d * (k - 1) - 1) // s + 1
    taps = windows["kernel_size"][0] * windows["kernel_size"][1]
    values = normal(draw, (draw(st.integers(1, 2)), draw(st.integers(1, 3)) * taps, places))
    return Case((values,), plain(draw, {"output_size": size, **windows}))


SAMPLES = [
    Sample(
        "conv2d",
        method("conv2d"),
        conv_case,
        torch_conv2d,
        (conv.Conv2d, conv.ConvInput, conv.ConvWeight),
        ("conv2d",),
        errors=(
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
                lambda: image(4, 5, 5).conv2d(image(3, 4, 3, 3)),
                ValueError,
                "[conv2d] expected an input of shape (N, C, H, W), got (4, 5, 5)",
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
                "[conv2d] dilation: expected an integer from 1 to 2147483647 "
                "or two of them, got True",
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
    ),
    Sample(
        "conv_transpose2d",
        method("conv_transpose2d"),
        _transpose_case,
        _conv_transpose2d,
        (conv.ConvInput, conv.Conv2d, conv.ConvWeight),
        ("conv_transpose2d",),
        errors=(
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
    ),
    Sample(
        "unfold",
        method("unfold"),
        _unfold_case,
        lambda torch, x, **options: torch.nn.functional.unfold(x, **options),
        (conv.Unfold, conv.Fold),
        ("unfold",),
        errors=(
            Error(
                lambda: image(4, 5, 5).unfold(3),
                ValueError,
                "[unfold] expected an input of shape (N, C, H, W), got (4, 5, 5)",
            ),
            Error(
                lambda: image(1, 1, 2, 2).unfold(3),
                ValueError,
                "[unfold] a kernel of (3, 3) with dilation (1, 1) does not fit in an input of "
                "(2, 2) padded by (0, 0)",
            ),
        ),
    ),
    Sample(
        "fold",
        method("fold"),
        _fold_case,
        lambda torch, x, **options: torch.nn.functional.fold(x, **options),
        (conv.Fold, conv.Unfold),
        ("fold",),
        errors=(
            Error(
                lambda: image(1, 9, 5).fold(4, 3),
                ValueError,
                "[fold] expected shape (N, C · 9, 4), got (1, 9, 5)",
            ),
            Error(
                lambda: image(1, 9, 5).fold(0, 3),
                ValueError,
                "[fold] output_size: expected an integer from 1 to 2147483647 "
                "or two of them, got 0",
            ),
        ),
    ),
]
