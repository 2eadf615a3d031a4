"""Records of ops/conv_fused.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from support.sampling import Case, Draw, Error, Sample, method
from support.windows import image
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import activation, conv, conv_fused, pool

from .conv import conv_case, torch_conv


def _block_case(draw: Draw) -> Case:
    case = conv_case(draw)
    relu, pool = draw(st.booleans()), draw(st.booleans())
    x, weight, *bias = (Tensor(v) for v in case.values)
    y = x.conv2d(weight, bias[0] if bias else None, **case.options).numpy()
    assume(not pool or min(y.shape[-2:]) > 1)
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
    y = torch_conv(2)(torch, x, weight, bias, **options)
    y = torch.relu(y) if relu else y
    return torch.nn.functional.max_pool2d(y, 2) if pool else y


SAMPLES = [
    Sample(
        "conv2d_block",
        method("conv2d_block"),
        _block_case,
        _conv2d_block,
        (
            *(conv_fused.ConvBlock, conv.Conv, conv.ConvInput, conv.ConvWeight),
            *(activation.ReluBackward, pool.MaxGather, pool.MaxScatter),
        ),
        ("conv2d_block",),
        kinks=True,
        errors=(
            Error(
                lambda: image(1, 4, 5, 5).conv2d_block(image(3, 3, 3, 3), relu=True),
                ValueError,
                "[conv2d] expected 3 input channels and output channels divisible by groups=1 for "
                "weight (3, 3, 3, 3), got 4 input channels (input shape (1, 4, 5, 5))",
            ),
            Error(
                lambda: image(1, 1, 5, 5).conv2d_block(image(1, 1, 5, 4), pool=True),
                ValueError,
                "[max_pool2d] a kernel of (2, 2) with dilation (1, 1) does not fit in an input of "
                "(1, 2) padded by (0, 0)",
            ),
        ),
    ),
]
