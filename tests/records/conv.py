"""Records of ops/conv.py and ops/pool.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from support.sampling import Case, Draw, Error, Options, Sample, distinct, method, normal
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import activation, conv, pool
from tinygrad_cupy.ops import conv_fused as conv_block

Pair = tuple[int, int]

THREE: Any = (1, 2, 3)
HALF: Any = 2.5


def pairs(low: int, high: int) -> Any:
    """(vertical, horizontal), each in low … high."""
    return st.tuples(st.integers(low, high), st.integers(low, high))


def draw_windows(draw: Draw, most_padding: int = 2) -> tuple[Options, Pair]:
    """Kernel, stride, padding, dilation, and an input size that they fit."""
    kernel, stride, dilation = draw(pairs(1, 3)), draw(pairs(1, 3)), draw(pairs(1, 2))
    padding = draw(pairs(0, most_padding))
    extra = draw(pairs(0, 4))
    size = tuple(
        max(1, d * (k - 1) + 1 - 2 * p) + e
        for k, p, d, e in zip(kernel, padding, dilation, extra, strict=True)
    )
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    return {"kernel_size": kernel, **options}, (size[0], size[1])


def _plain(draw: Draw, options: Options) -> Options:
    """An option whose two values agree is sometimes given as one number."""
    return {
        k: v[0] if isinstance(v, tuple) and v[0] == v[1] and draw(st.booleans()) else v
        for k, v in options.items()
    }


def _channels(draw: Draw) -> tuple[int, int, int]:
    """Groups, and channels in and out of each; 8 and more take another path."""
    groups = draw(st.integers(1, 3))
    return groups, draw(st.sampled_from([1, 2, 3, 8])), draw(st.integers(1, 3))


# --- convolutions -------------------------------------------------------------------------------


def _conv_case(draw: Draw) -> Case:
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
    return Case(tuple(values), _plain(draw, {**windows, "groups": groups}))


def _conv2d(torch: Any, x: Any, weight: Any, bias: Any = None, **options: Any) -> Any:
    return torch.nn.functional.conv2d(x, weight, bias, **options)


def _block_case(draw: Draw) -> Case:
    case = _conv_case(draw)
    relu, pool = draw(st.booleans()), draw(st.booleans())
    x, weight, *bias = (Tensor(v) for v in case.values)
    y = x.conv2d(weight, bias[0] if bias else None, **case.options).numpy()
    assume(not pool or min(y.shape[2:]) > 1)
    # No value so near another, or 0, that a small step changes which is the largest. Windows that
    # lie in the padding give equal values, which move together.
    gaps = np.diff(np.sort(np.append(y.ravel(), 0.0)))
    assume(not np.any((gaps > 1e-12) & (gaps < 1e-5)))
    return Case(case.values, {**case.options, "relu": relu, "pool": pool})


def _conv2d_block(
    torch: Any,
    x: Any,
    weight: Any,
    bias: Any = None,
    relu: Any = False,
    pool: Any = False,
    **options: Any,
) -> Any:
    y = torch.nn.functional.conv2d(x, weight, bias, **options)
    y = torch.relu(y) if relu else y
    return torch.nn.functional.max_pool2d(y, 2) if pool else y


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
    return Case(tuple(values), _plain(draw, options))


def _conv_transpose2d(torch: Any, x: Any, weight: Any, bias: Any = None, **options: Any) -> Any:
    return torch.nn.functional.conv_transpose2d(x, weight, bias, **options)


def _unfold_case(draw: Draw) -> Case:
    windows, size = draw_windows(draw)
    values = normal(draw, (draw(st.integers(1, 2)), draw(st.integers(1, 3)), *size))
    return Case((values,), _plain(draw, windows))


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
    return Case((values,), _plain(draw, {"output_size": size, **windows}))


def _image(*shape: int) -> Tensor:
    return Tensor.ones(*shape)


CONVOLUTIONS = [
    Sample(
        "conv2d",
        method("conv2d"),
        _conv_case,
        _conv2d,
        (conv.Conv2d, conv.ConvInput, conv.ConvWeight),
        ("conv2d",),
        errors=(
            Error(
                lambda: _image(8, 4, 28, 28).conv2d(_image(6, 3, 5, 5)),
                ValueError,
                "[conv2d] expected 3 input channels and output channels divisible by groups=1 for "
                "weight (6, 3, 5, 5), got 4 input channels (input shape (8, 4, 28, 28))",
            ),
            Error(
                lambda: _image(1, 4, 5, 5).conv2d(_image(3, 2, 3, 3), groups=2),
                ValueError,
                "[conv2d] expected 4 input channels and output channels divisible by groups=2 for "
                "weight (3, 2, 3, 3), got 4 input channels (input shape (1, 4, 5, 5))",
            ),
            Error(
                lambda: _image(4, 5, 5).conv2d(_image(3, 4, 3, 3)),
                ValueError,
                "[conv2d] expected an input of shape (N, C, H, W), got (4, 5, 5)",
            ),
            Error(
                lambda: _image(1, 4, 5, 5).conv2d(_image(4, 3)),
                ValueError,
                "[conv2d] expected a weight of 4 axes, got (4, 3)",
            ),
            Error(
                lambda: _image(1, 1, 5, 5).conv2d(_image(2, 1, 3, 3), _image(3)),
                ValueError,
                "[conv2d] expected a bias of shape (2,), got (3,)",
            ),
            Error(
                lambda: _image(1, 1, 5, 5).conv2d(_image(1, 1, 7, 3), dilation=2, padding=(1, 0)),
                ValueError,
                "[conv2d] a kernel of (7, 3) with dilation (2, 2) does not fit in an input of "
                "(5, 5) padded by (1, 0)",
            ),
            Error(
                lambda: _image(1, 1, 5, 5).conv2d(_image(1, 1, 3, 3), stride=0),
                ValueError,
                "[conv2d] stride: expected an integer from 1 to 2147483647 or two of them, got 0",
            ),
            Error(
                lambda: _image(1, 1, 5, 5).conv2d(_image(1, 1, 3, 3), stride=2**64),
                ValueError,
                "[conv2d] stride: expected an integer from 1 to 2147483647 "
                "or two of them, got 18446744073709551616",
            ),
            Error(
                lambda: _image(1, 1, 5, 5).conv2d(_image(1, 1, 3, 3), dilation=True),
                ValueError,
                "[conv2d] dilation: expected an integer from 1 to 2147483647 "
                "or two of them, got True",
            ),
            Error(
                lambda: _image(1, 1, 5, 5).conv2d(_image(1, 1, 3, 3), groups=2**31),
                ValueError,
                "[conv2d] groups: expected an integer from 1 to 2147483647, got 2147483648",
            ),
            Error(
                lambda: _image(1, 1, 5, 5).conv2d(_image(1, 1, 3, 3), padding=2**31 - 1),
                ValueError,
                "[conv2d] expected at most 2147483647 rows and columns with their padding, got an "
                "input of (5, 5) padded by (2147483647, 2147483647)",
            ),
            Error(
                lambda: _image(1, 1, 5, 5).conv2d(_image(1, 1, 3, 3), padding=(1, -1)),
                ValueError,
                "[conv2d] padding: expected an integer from 0 to 2147483647 "
                "or two of them, got (1, -1)",
            ),
            Error(
                lambda: _image(1, 1, 5, 5).conv2d(_image(1, 1, 3, 3), dilation=THREE),
                ValueError,
                "[conv2d] dilation: expected an integer from 1 to 2147483647 "
                "or two of them, got (1, 2, 3)",
            ),
        ),
    ),
    Sample(
        "conv2d_block",
        method("conv2d_block"),
        _block_case,
        _conv2d_block,
        (
            *(conv_block.ConvBlock, conv.Conv2d, conv.ConvInput, conv.ConvWeight),
            *(activation.ReluBackward, pool.MaxGather, pool.MaxScatter),
        ),
        ("conv2d_block",),
        kinks=True,
        errors=(
            Error(
                lambda: _image(1, 4, 5, 5).conv2d_block(_image(3, 3, 3, 3), relu=True),
                ValueError,
                "[conv2d] expected 3 input channels and output channels divisible by groups=1 for "
                "weight (3, 3, 3, 3), got 4 input channels (input shape (1, 4, 5, 5))",
            ),
            Error(
                lambda: _image(1, 1, 5, 5).conv2d_block(_image(1, 1, 5, 4), pool=True),
                ValueError,
                "[max_pool2d] a kernel of (2, 2) with dilation (1, 1) does not fit in an input of "
                "(1, 2) padded by (0, 0)",
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
                lambda: _image(1, 3, 5, 5).conv_transpose2d(_image(4, 2, 3, 3)),
                ValueError,
                "[conv_transpose2d] expected 4 input channels, divisible by groups=1, for weight "
                "(4, 2, 3, 3), got 3 (input shape (1, 3, 5, 5))",
            ),
            Error(
                lambda: _image(1, 2, 5, 5).conv_transpose2d(_image(2, 1, 3, 3), groups=0),
                ValueError,
                "[conv_transpose2d] groups: expected an integer from 1 to 2147483647, got 0",
            ),
            Error(
                lambda: _image(1, 1, 5, 5).conv_transpose2d(_image(1, 1, 3, 3), output_padding=1),
                ValueError,
                "[conv_transpose2d] expected output_padding below stride (1, 1) or dilation "
                "(1, 1), got (1, 1)",
            ),
            Error(
                lambda: _image(1, 1, 1, 1).conv_transpose2d(
                    _image(1, 1, 1, 1), stride=2**62, output_padding=2**61
                ),
                ValueError,
                "[conv_transpose2d] stride: expected an integer from 1 to 2147483647 "
                "or two of them, got 4611686018427387904",
            ),
            Error(
                lambda: _image(1, 1, 5, 5).conv_transpose2d(
                    _image(1, 1, 3, 3), stride=2**30, dilation=2**30
                ),
                ValueError,
                "[conv_transpose2d] expected at most 2147483647 rows and columns with their "
                "padding, got an input of (6442450945, 6442450945) padded by (0, 0)",
            ),
            Error(
                lambda: _image(1, 1, 1, 1).conv_transpose2d(_image(1, 1, 2, 2), padding=1),
                ValueError,
                "[conv_transpose2d] padding (1, 1) leaves nothing of input (1, 1, 1, 1)",
            ),
            Error(
                lambda: _image(1, 1, 1, 1).conv_transpose2d(_image(1, 1, 2, 2), _image(2)),
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
                lambda: _image(4, 5, 5).unfold(3),
                ValueError,
                "[unfold] expected an input of shape (N, C, H, W), got (4, 5, 5)",
            ),
            Error(
                lambda: _image(1, 1, 2, 2).unfold(3),
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
                lambda: _image(1, 9, 5).fold(4, 3),
                ValueError,
                "[fold] expected shape (N, C · 9, 4), got (1, 9, 5)",
            ),
            Error(
                lambda: _image(1, 9, 5).fold(0, 3),
                ValueError,
                "[fold] output_size: expected an integer from 1 to 2147483647 "
                "or two of them, got 0",
            ),
        ),
    ),
]


# --- pooling ------------------------------------------------------------------------------------


def _pool_case(draw: Draw, values: Any, dilated: bool) -> Case:
    windows, size = draw_windows(draw, most_padding=0)
    half = [draw(st.integers(0, k // 2)) for k in windows["kernel_size"]]
    windows["padding"] = (half[0], half[1])
    if not dilated:
        del windows["dilation"]
    if draw(st.booleans()):
        del windows["stride"]  # the kernel size then
    if draw(st.booleans()) and dilated:
        windows["dilation"] = (1, 1)
    shape = (draw(st.integers(0, 3)), draw(st.integers(1, 3)), *size)
    return Case((values(draw, shape),), _plain(draw, windows))


def _adaptive_case(draw: Draw) -> Case:
    size, out = draw(pairs(1, 7)), draw(pairs(1, 5))
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 2)), *size)
    return Case((normal(draw, shape),), _plain(draw, {"output_size": out}))


def _functional(name: str) -> Any:
    def reference(torch: Any, x: Any, **options: Any) -> Any:
        return getattr(torch.nn.functional, name)(x, **options)

    return reference


POOLING = [
    Sample(
        "max_pool2d",
        method("max_pool2d"),
        lambda draw: _pool_case(draw, distinct, dilated=True),
        _functional("max_pool2d"),
        (pool.MaxPool, pool.MaxScatter, pool.MaxGather),
        ("max_pool2d",),
        kinks=True,
        errors=(
            Error(
                lambda: _image(1, 5, 5).max_pool2d(2),
                ValueError,
                "[max_pool2d] expected an input of shape (N, C, H, W), got (1, 5, 5)",
            ),
            Error(
                lambda: _image(1, 1, 5, 5).max_pool2d(3, padding=2),
                ValueError,
                "[max_pool2d] expected padding of at most half the kernel (3, 3), got (2, 2)",
            ),
            Error(
                lambda: _image(1, 1, 2, 2).max_pool2d(3),
                ValueError,
                "[max_pool2d] a kernel of (3, 3) with dilation (1, 1) does not fit in an input of "
                "(2, 2) padded by (0, 0)",
            ),
            Error(
                lambda: _image(1, 1, 2, 2).max_pool2d(0),
                ValueError,
                "[max_pool2d] kernel_size: expected an integer from 1 to 2147483647 "
                "or two of them, got 0",
            ),
            Error(
                lambda: _image(1, 1, 2, 2).max_pool2d(2**31 - 1, padding=2**30 - 1),
                ValueError,
                "[max_pool2d] expected at most 2147483647 rows and columns with their padding, got "
                "an input of (2, 2) padded by (1073741823, 1073741823)",
            ),
            Error(
                lambda: _image(1, 1, 2, 2).max_pool2d(2, stride=HALF),
                ValueError,
                "[max_pool2d] stride: expected an integer from 1 to 2147483647 "
                "or two of them, got 2.5",
            ),
        ),
    ),
    Sample(
        "avg_pool2d",
        method("avg_pool2d"),
        lambda draw: _pool_case(draw, normal, dilated=False),
        _functional("avg_pool2d"),
        (pool.SumPool, pool.Spread),
        ("avg_pool2d",),
        errors=(
            Error(
                lambda: _image(1, 1, 2, 2).avg_pool2d((3, 1)),
                ValueError,
                "[avg_pool2d] a kernel of (3, 1) with dilation (1, 1) does not fit in an input of "
                "(2, 2) padded by (0, 0)",
            ),
        ),
    ),
    Sample(
        "adaptive_avg_pool2d",
        method("adaptive_avg_pool2d"),
        _adaptive_case,
        _functional("adaptive_avg_pool2d"),
        (pool.Spans,),
        ("adaptive_avg_pool2d",),
        errors=(
            Error(
                lambda: _image(1, 1, 0, 2).adaptive_avg_pool2d(2),
                ValueError,
                "[adaptive_avg_pool2d] expected images of at least one pixel, got shape "
                "(1, 1, 0, 2)",
            ),
            Error(
                lambda: _image(1, 1, 2, 2).adaptive_avg_pool2d(0),
                ValueError,
                "[adaptive_avg_pool2d] output_size: expected an integer from 1 to 2147483647 "
                "or two of them, got 0",
            ),
        ),
    ),
]

SAMPLES = [*CONVOLUTIONS, *POOLING]
