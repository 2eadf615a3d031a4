"""Records of ops/norm.py, ops/loss.py and ops/dropout.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy as tg
from support.sampling import Case, Draw, Error, Sample, method, normal, positive, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import dropout, loss, norm

# --- normalization ------------------------------------------------------------------------------


def _batch_norm(x: Tensor, weight: Tensor, bias: Tensor, **options: Any) -> Tensor:
    """batch_norm with running statistics of its own, which it may write into."""
    mean, var = (
        Tensor(np.linspace(low, high, x.shape[1], dtype=x.dtype), device=x.device)
        for low, high in ((-1, 1), (0.5, 2))
    )
    return x.batch_norm(weight, bias, mean, var, **options)


def _torch_batch_norm(
    torch: Any, x: Any, weight: Any, bias: Any, training: bool, eps: float
) -> Any:
    mean, var = (
        torch.linspace(low, high, x.shape[1], dtype=x.dtype) for low, high in ((-1, 1), (0.5, 2))
    )
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
    return Case(values, {"training": draw(st.booleans()), "eps": draw(st.sampled_from([0.1, 1.0]))})


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


NORMS = [
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


# --- cross-entropy ------------------------------------------------------------------------------


def _cross_entropy_case(draw: Draw) -> Case:
    classes = draw(st.integers(1, 4))
    batch, *rest = draw(shapes(min_dims=1))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    target = rng.integers(0, classes, (batch, *rest))
    ignore = draw(st.sampled_from([-100, 0, 255]))
    target[rng.random(target.shape) < 0.3] = ignore
    target.flat[0] = classes - 1  # a mean over nothing is NaN
    if target.flat[0] == ignore:
        ignore = -100
        target = np.where((target < 0) | (target >= classes), ignore, target)
    options = {
        "target": target,
        "label_smoothing": draw(st.sampled_from([0.0, 0.1, 1.0])),
        "ignore_index": ignore,
        "reduction": draw(st.sampled_from(loss.REDUCTIONS)),
    }
    return Case((normal(draw, (batch, classes, *rest)) * 3,), options)


def _cross_entropy(torch: Any, x: Any, **options: Any) -> Any:
    return torch.nn.functional.cross_entropy(x, **options)


def _logits() -> Tensor:
    return Tensor.ones(2, 3)


LOSSES = [
    Sample(
        "cross_entropy",
        method("cross_entropy"),
        _cross_entropy_case,
        _cross_entropy,
        (loss.CrossEntropy,),
        ("cross_entropy",),
        errors=(
            Error(
                lambda: _logits().cross_entropy([0, 1], reduction="avg"),
                ValueError,
                "[cross_entropy] expected reduction in ('mean', 'sum', 'none'), got avg",
            ),
            Error(
                lambda: _logits().cross_entropy([0, 1], label_smoothing=1.5),
                ValueError,
                "[cross_entropy] expected label_smoothing from 0 to 1, got 1.5",
            ),
            Error(
                lambda: _logits().cross_entropy(Tensor([0.0, 1.0])),
                TypeError,
                "[cross_entropy] expected integer classes, got dtype float32",
            ),
            Error(
                lambda: _logits().cross_entropy([0, 1, 2]),
                ValueError,
                "[cross_entropy] expected logits (N, C, …) and classes (N, …), got (2, 3) and (3,)",
            ),
        ),
    ),
]


# --- dropout ------------------------------------------------------------------------------------


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


RANDOM = [
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

SAMPLES = [*NORMS, *LOSSES, *RANDOM]
