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


SAMPLES = [
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
