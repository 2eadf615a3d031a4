"""Records of ops/layer_norm.py."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from support.sampling import Case, Draw, Error, Sample, normal, positive, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops.layer_norm import LayerNorm


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


def _rms_case(draw: Draw) -> Case:
    case = _layer_norm_case(draw)
    return Case(case.values[:2], case.options)


SAMPLES = [
    Sample(
        "layer_norm",
        _layer_norm,
        _layer_norm_case,
        _torch_layer_norm,
        (LayerNorm,),
        ("layer_norm",),
        errors=(
            Error(
                lambda: Tensor.ones(2, 3).layer_norm(4),
                ValueError,
                "[layer_norm] expected last axes (4,), got shape (2, 3)",
            ),
        ),
    ),
    Sample(
        "rms_norm",
        lambda x, *weight, normalized_shape, eps: x.rms_norm(normalized_shape, *weight, eps=eps),
        _rms_case,
        lambda torch, x, *weight, normalized_shape, eps: torch.nn.functional.rms_norm(
            x, normalized_shape, *weight, eps=eps
        ),
        (LayerNorm,),
        ("rms_norm",),
        errors=(
            Error(
                lambda: Tensor.ones(2, 3).rms_norm(4),
                ValueError,
                "[rms_norm] expected last axes (4,), got shape (2, 3)",
            ),
        ),
    ),
]
