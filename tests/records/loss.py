"""Records of ops/loss.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from support.sampling import Case, Draw, Error, Sample, method, normal, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import loss, losses


def _cross_entropy_case(draw: Draw) -> Case:
    classes = draw(st.integers(1, 4))
    shape = draw(shapes(min_dims=0))  # of the classes: () is one row by itself
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    target = np.asarray(rng.integers(0, classes, shape))
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
        "reduction": draw(st.sampled_from(losses.REDUCTIONS)),
    }
    return Case((normal(draw, (*shape[:1], classes, *shape[1:])) * 3,), options)


def _cross_entropy(torch: Any, x: Any, **options: Any) -> Any:
    return torch.nn.functional.cross_entropy(x, **options)


def _logits() -> Tensor:
    return Tensor.ones(2, 3)


SAMPLES = [
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
            Error(
                lambda: _logits()[0].cross_entropy([1]),
                ValueError,
                "[cross_entropy] expected logits (N, C, …) and classes (N, …), got (3,) and (1,)",
            ),
            Error(
                lambda: _logits()[0].cross_entropy(3),
                ValueError,
                "[cross_entropy] expected classes from 0 to 2, got 3 at position 0",
                on_gpu=False,
            ),
        ),
    ),
]
