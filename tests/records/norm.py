"""Records of ops/norm.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from support.sampling import Case, Draw, Error, Sample, normal, positive, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import norm


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


def _layer_norm_case(draw: Draw) -> Case:
    shape = draw(shapes(min_dims=1))
    count = draw(st.integers(1, len(shape)))
    last = shape[len(shape) - count :]
    affine = draw(st.sampled_from([0, 1, 2]))
    values = [normal(draw, shape), positive(draw, last), normal(draw, last)][: 1 + affine]
    return Case(tuple(values), {"normalized_shape": last, "eps": 0.1})


def _layer_norm(x: Any, *affine: Tensor, normalized_shape: Any, eps: float) -> Any:
    return x.layer_norm(normalized_shape, *affine, eps=eps)


def _torch_layer_norm(torch: Any, x: Any, *affine: Any, normalized_shape: Any, eps: float) -> Any:
    return torch.nn.functional.layer_norm(x, normalized_shape, *affine, eps=eps)


def _normalized(*shape: int, channels: int) -> Tensor:
    weight, bias, mean, var = (Tensor.ones(channels) for _ in range(4))
    return Tensor.ones(*shape).batch_norm(weight, bias, mean, var)


SAMPLES = [
    Sample(
        "batch_norm",
        _batch_norm,
        _batch_norm_case,
        _torch_batch_norm,
        (norm.BatchNorm,),
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
        "layer_norm",
        _layer_norm,
        _layer_norm_case,
        _torch_layer_norm,
        (),
        ("layer_norm",),
        errors=(
            Error(
                lambda: Tensor.ones(2, 3).layer_norm(4),
                ValueError,
                "[layer_norm] expected last axes (4,), got shape (2, 3)",
            ),
        ),
    ),
]
