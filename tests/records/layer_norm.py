"""Records of ops/layer_norm.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from support.sampling import Case, Draw, Error, Sample, normal, positive, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops.layer_norm import GroupNorm, LayerNorm


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


def _channels_case(draw: Draw, groups: int = 1) -> Case:
    channels = groups * draw(st.integers(1, 2))
    rest = (draw(st.integers(2, 4)), *draw(shapes(max_dims=1)))
    affine = draw(st.booleans())
    values = [normal(draw, (draw(st.integers(1, 3)), channels, *rest))]
    if affine:
        values += [positive(draw, (channels,)), normal(draw, (channels,))]
    return Case(tuple(values), {"eps": 0.1})


def _groups_case(draw: Draw) -> Case:
    groups = draw(st.integers(1, 2))
    case = _channels_case(draw, groups)
    return Case(case.values, {"num_groups": groups, **case.options})


def _instance_norm(x: Any, *affine: Any, mean: Any = None, var: Any = None, **options: Any) -> Any:
    given = [None if s is None else Tensor(s.astype(x.dtype)) for s in (mean, var)]
    return x.instance_norm(*given, *affine, **options)


def _instances_case(draw: Draw) -> Case:
    case = _channels_case(draw)
    channels = case.values[0].shape[1]
    running = {"mean": np.linspace(-1, 1, channels), "var": np.linspace(0.5, 2, channels)}
    with_them = {**running, "use_input_stats": False}  # what moves them: test_norm.py
    return Case(case.values, {**case.options, **(with_them if draw(st.booleans()) else {})})


def _torch_instance_norm(
    torch: Any, x: Any, *affine: Any, mean: Any = None, var: Any = None, **options: Any
) -> Any:
    given = [None if s is None else s.to(x.dtype, copy=True) for s in (mean, var)]
    return torch.nn.functional.instance_norm(x, *given, *affine, **options)


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
    Sample(
        "group_norm",
        lambda x, *affine, num_groups, eps: x.group_norm(num_groups, *affine, eps=eps),
        _groups_case,
        lambda torch, x, *affine, num_groups, eps: torch.nn.functional.group_norm(
            x, num_groups, *affine, eps=eps
        ),
        (GroupNorm,),
        ("group_norm",),
        errors=(
            Error(
                lambda: Tensor.ones(2, 3).group_norm(2),
                ValueError,
                "[group_norm] expected (N, C, …) with C a multiple of 2, the number of groups, got "
                "shape (2, 3)",
            ),
            Error(
                lambda: Tensor.ones(2, 4).group_norm(2, Tensor.ones(3)),
                ValueError,
                "[group_norm] expected a vector of 4 channels (input shape (2, 4)), got shape (3,)",
            ),
        ),
    ),
    Sample(
        "instance_norm",
        _instance_norm,
        _instances_case,
        _torch_instance_norm,
        (GroupNorm,),
        ("instance_norm",),
        errors=(
            Error(
                lambda: Tensor.ones(2, 3).instance_norm(),
                ValueError,
                "[instance_norm] expected (N, C, L, …), got shape (2, 3)",
            ),
            Error(
                lambda: Tensor.ones(2, 3, 1).instance_norm(),
                ValueError,
                "[instance_norm] expected more than one element in each channel, got shape "
                "(2, 3, 1)",
            ),
            Error(
                lambda: Tensor.ones(2, 3, 2).instance_norm(use_input_stats=False),
                ValueError,
                "[instance_norm] expected running statistics where the input's are not used",
            ),
        ),
    ),
]
