"""Records of ops/batch_norm.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from support.sampling import Case, Draw, Error, Sample, normal, positive, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import batch_norm


def _batch_norm(
    x: Tensor, weight: Tensor, bias: Tensor, mean: Any, var: Any, **options: Any
) -> Tensor:
    """batch_norm with copies of running statistics, which it may write into."""
    mean, var = (Tensor(statistic.astype(x.dtype)) for statistic in (mean, var))
    return x.batch_norm(weight, bias, mean, var, **options)


def _torch_batch_norm(
    torch: Any, x: Any, weight: Any, bias: Any, mean: Any, var: Any, training: bool, eps: float
) -> Any:
    mean, var = (statistic.to(x.dtype, copy=True) for statistic in (mean, var))
    return torch.nn.functional.batch_norm(x, mean, var, weight, bias, training, 0.1, eps)


def _batch_norm_case(draw: Draw) -> Case:
    channels = draw(st.integers(1, 4))
    rest = draw(shapes(max_dims=2))
    batch = draw(st.integers(2, 4))
    values = (
        normal(draw, (batch, channels, *rest)),
        positive(draw, (channels,)),
        normal(draw, (channels,)),
    )
    options: dict[str, Any] = {
        "mean": np.linspace(-1, 1, channels),
        "var": np.linspace(0.5, 2, channels),
        "training": draw(st.booleans()),
        "eps": draw(st.sampled_from([0.1, 1.0])),
    }
    return Case(values, options)


def _plain_batch_norm_case(draw: Draw) -> Case:
    case = _batch_norm_case(draw)
    return Case(case.values[:1], {"training": draw(st.booleans()), "eps": case.options["eps"]})


def _plain_batch_norm(x: Tensor, **options: Any) -> Tensor:
    return x.batch_norm(**options)


def _torch_plain_batch_norm(torch: Any, x: Any, training: bool, eps: float) -> Any:
    """Without running statistics PyTorch's function wants ``training``, its layer says it."""
    return torch.nn.functional.batch_norm(x, None, None, None, None, True, 0.1, eps)


def _normalized(*shape: int, channels: int) -> Tensor:
    weight, bias, mean, var = (Tensor.ones(channels) for _ in range(4))
    return Tensor.ones(*shape).batch_norm(weight, bias, mean, var)


SAMPLES = [
    Sample(
        "batch_norm",
        _batch_norm,
        _batch_norm_case,
        _torch_batch_norm,
        (batch_norm.BatchNorm,),
        ("batch_norm",),
        errors=(
            Error(
                lambda: _normalized(2, 3, 4, channels=4),
                ValueError,
                "[batch_norm] expected input (N, C, …) with C = 4, got shape (2, 3, 4)",
            ),
            Error(
                lambda: _normalized(1, 3, channels=3),
                ValueError,
                "[batch_norm] expected more than one value per channel in training, got shape "
                "(1, 3)",
            ),
        ),
    ),
    Sample(
        "batch_norm of this batch alone",
        _plain_batch_norm,
        _plain_batch_norm_case,
        _torch_plain_batch_norm,
        (batch_norm.BatchNorm,),
        ("batch_norm",),
        errors=(
            Error(
                lambda: Tensor.ones(2, 3).batch_norm(running_mean=Tensor.ones(3)),
                ValueError,
                "[batch_norm] expected both running statistics or none, got one",
            ),
            Error(
                lambda: Tensor.ones(2, 3).batch_norm(
                    running_mean=Tensor.ones(3), running_var=Tensor.ones(3), momentum=None
                ),
                ValueError,
                "[batch_norm] expected num_batches_tracked where momentum is None",
            ),
            Error(
                lambda: Tensor.ones(3).batch_norm(),
                ValueError,
                "[batch_norm] expected input (N, C, …), got shape (3,)",
            ),
        ),
    ),
]
