"""Records of ops/dropout.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy as tg
from support.sampling import Case, Draw, Error, Sample, normal, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import dropout


def _dropout_case(draw: Draw) -> Case:
    options = {
        "p": draw(st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0])),
        "training": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**64 - 1)),
    }
    return Case((normal(draw, draw(shapes(min_side=0))),), options)


def _dropout(x: Tensor, p: float, training: bool, seed: int) -> Tensor:
    tg.manual_seed(seed)
    return x.dropout(p, training)


def _torch_dropout(torch: Any, x: Any, p: float, training: bool, seed: int) -> Any:
    """The mask from NumPy's Philox itself: word i for element i in C order."""
    if not training:
        return x
    words = np.random.Philox(key=seed + (2 << 64), counter=0).random_raw(x.numel())
    keep = torch.as_tensor((words >> np.uint64(40)).astype(np.float64) * 2**-24 >= p)
    return x * keep.reshape(x.shape) / (1 - p if p < 1 else 1)


def _kept(torch: Any, shape: tuple[int, ...], p: float, seed: int) -> Any:
    count = int(np.prod(shape))
    words = np.random.Philox(key=seed + (2 << 64), counter=0).random_raw(count)
    keep = torch.as_tensor((words >> np.uint64(40)).astype(np.float64) * 2**-24 >= p)
    return keep.reshape(shape)


def _channels_case(axes: Any) -> Any:
    def cases(draw: Draw) -> Case:
        ndim = draw(axes)
        options = _dropout_case(draw).options
        return Case((normal(draw, tuple(draw(st.integers(1, 3)) for _ in range(ndim))),), options)

    return cases


def _of_channels(name: str, ndim: int) -> Sample:
    def call(x: Tensor, p: float, training: bool, seed: int) -> Tensor:
        tg.manual_seed(seed)
        found: Tensor = getattr(x, name)(p, training)
        return found

    def theirs(torch: Any, x: Any, p: float, training: bool, seed: int) -> Any:
        if not training:
            return x
        keep = _kept(torch, (*x.shape[:2], *[1] * (x.dim() - 2)), p, seed)
        return x * (keep.to(x.dtype) / (1 - p if p < 1 else 1))

    return Sample(
        name,
        call,
        _channels_case(st.just(ndim)),
        theirs,
        (dropout.Dropout,),
        (name,),
        errors=(
            Error(
                lambda: getattr(Tensor.ones(2), name)(0.5),
                ValueError,
                f"[{name}] expected {ndim} axes (N, C, …), got shape (2,)",
            ),
        ),
    )


def _alpha(name: str, whole: bool) -> Sample:
    def call(x: Tensor, p: float, training: bool, seed: int) -> Tensor:
        tg.manual_seed(seed)
        found: Tensor = getattr(x, name)(p, training)
        return found

    def theirs(torch: Any, x: Any, p: float, training: bool, seed: int) -> Any:
        if not training:
            return x
        if p == 1:
            return x * 0
        shape = tuple(x.shape) if whole else (*x.shape[:2], *[1] * (x.dim() - 2))
        keep = _kept(torch, shape, p, seed)
        least = -1.7580993408473766
        scale = ((1 - p) * (1 + p * least * least)) ** -0.5
        return scale * torch.where(keep, x, least) - scale * p * least

    axes = st.integers(1, 3) if whole else st.integers(2, 4)
    return Sample(name, call, _channels_case(axes), theirs, (dropout.Dropout,), (name,))


SAMPLES = [
    _of_channels("dropout1d", 3),
    _of_channels("dropout2d", 4),
    _of_channels("dropout3d", 5),
    _alpha("alpha_dropout", True),
    _alpha("feature_alpha_dropout", False),
    Sample(
        "dropout",
        _dropout,
        _dropout_case,
        _torch_dropout,
        (dropout.Dropout,),
        ("dropout",),
        errors=(
            Error(
                lambda: Tensor.ones(2).dropout(1.5),
                ValueError,
                "[dropout] expected a probability p from 0 to 1, got 1.5",
            ),
        ),
    ),
]
