"""Records of ops/piecewise.py: activations that are made of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy as tg
from support.sampling import Case, Draw, Error, Sample, method, normal, rng_of, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import activation, comparison, piecewise

KINKS = np.array([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0])


def _off_kinks(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """Values from -8 to 8 that lie 0.05 from where a slope jumps."""
    x = rng_of(draw).uniform(-8, 8, shape)
    for kink in KINKS:
        x = np.where(np.abs(x - kink) < 0.05, kink + 0.2, x)
    return x


def _function(name: str, op: Any, values: Any = normal, draws: Any = None, **more: Any) -> Sample:
    """A method that `torch.nn.functional` calls the same, with the same arguments."""

    def cases(draw: Draw) -> Case:
        options = {} if draws is None else {k: draw(choices) for k, choices in draws.items()}
        return Case((values(draw, draw(shapes(min_side=0))),), options)

    def theirs(torch: Any, x: Any, **options: Any) -> Any:
        return getattr(torch.nn.functional, name)(x, **options)

    told: dict[str, Any] = {
        "call": method(name),
        "cases": cases,
        "torch": theirs,
        "kinks": values is _off_kinks,
    }
    ops = op if isinstance(op, tuple) else (op,)
    return Sample(name=name, ops=ops, covers=(name,), **(told | more))


def _along_axis(halves: int = 1) -> Callable[[Draw], Case]:
    def cases(draw: Draw) -> Case:
        shape = list(draw(shapes(min_dims=1)))
        axis = draw(st.integers(-len(shape), len(shape) - 1))
        shape[axis] *= halves
        return Case((normal(draw, tuple(shape)),), {"axis": axis})

    return cases


def _prelu_case(draw: Draw) -> Case:
    shape = draw(shapes(min_dims=2))
    weight = draw(st.sampled_from([(1,), shape[1:2]]))
    return Case((_off_kinks(draw, shape), normal(draw, weight)))


SEEDS = st.integers(0, 2**64 - 1)


def _uniform(torch: Any, x: Any, seed: int) -> Any:
    """The numbers that are drawn for the elements of x, of NumPy's Philox itself."""
    words = np.random.Philox(key=seed + (2 << 64), counter=0).random_raw(x.numel())
    numbers = (words >> np.uint64(40)).astype(np.float64) * 2**-24
    return torch.as_tensor(numbers.reshape(tuple(x.shape)))


def _rrelu(x: Tensor, lower: float, upper: float, training: bool, seed: int) -> Tensor:
    tg.manual_seed(seed)
    return x.rrelu(lower, upper, training)


def _their_rrelu(torch: Any, x: Any, lower: float, upper: float, training: bool, seed: int) -> Any:
    if not training:
        return torch.nn.functional.rrelu(x, lower, upper)
    slope = _uniform(torch, x, seed).float() * (upper - lower) + lower
    return torch.where(x > 0, x, x * slope.to(x.dtype))


def _gumbel(x: Tensor, tau: float, hard: bool, axis: int, seed: int) -> Tensor:
    tg.manual_seed(seed)
    return x.gumbel_softmax(tau, hard, axis)


def _their_gumbel(torch: Any, x: Any, tau: float, hard: bool, axis: int, seed: int) -> Any:
    u = _uniform(torch, x, seed).to(x.dtype)
    noise = -(-(1 - u).log()).clamp(2.0**-25).log()
    soft = ((x + noise) / tau).softmax(axis)
    if not hard:
        return soft
    place = torch.argmax(soft.detach(), axis, keepdim=True)
    chosen = torch.zeros_like(soft).scatter(axis, place, 1.0)
    return chosen - soft.detach() + soft


def _gumbel_case(draw: Draw) -> Case:
    shape = draw(shapes(min_dims=1))
    options = {
        "tau": draw(st.sampled_from([0.5, 1.0, 2.0])),
        "hard": draw(st.booleans()),
        "axis": draw(st.integers(-len(shape), len(shape) - 1)),
        "seed": draw(SEEDS),
    }
    return Case((normal(draw, shape),), options)


SAMPLES = [
    _function(
        "hardsigmoid",
        piecewise.Between,
        _off_kinks,
        # PyTorch's own has a slope of 1 / 6 rounded to float32, and no second derivative.
        torch=lambda torch, x: torch.nn.functional.relu6(x + 3) / 6,
    ),
    _function("hardswish", piecewise.Between, _off_kinks),
    _function("logsigmoid", activation.Softplus),
    _function("mish", (activation.Softplus, activation.Tanh)),
    _function("relu6", piecewise.Between, _off_kinks),
    _function("selu", comparison.Where, _off_kinks),
    _function("softsign", (), _off_kinks),
    _function("tanhshrink", activation.Tanh),
    _function(
        "celu",
        comparison.Where,
        _off_kinks,
        {"alpha": st.sampled_from([0.5, 1.0, 2.0])},
        errors=(
            Error(
                lambda: Tensor.ones(2).celu(0.0),
                ValueError,
                "[celu] expected an alpha other than 0",
            ),
        ),
    ),
    _function(
        "glu",
        activation.Sigmoid,
        cases=_along_axis(2),
        torch=lambda torch, x, axis: torch.nn.functional.glu(x, axis),
        errors=(
            Error(
                lambda: Tensor.ones(2, 3).glu(),
                ValueError,
                "[glu] expected an even number of elements along axis -1, got shape (2, 3)",
            ),
        ),
    ),
    _function(
        "hardshrink", comparison.Where, _off_kinks, {"lambd": st.sampled_from([-0.5, 0.5, 1.0])}
    ),
    _function(
        "hardtanh",
        piecewise.Between,
        _off_kinks,
        {"min_val": st.sampled_from([-3.0, -1.0]), "max_val": st.sampled_from([0.5, 1.0])},
        errors=(
            Error(
                lambda: Tensor.ones(2).hardtanh(1.0, -1.0),
                ValueError,
                "[hardtanh] expected min_val ≤ max_val, got 1.0 and -1.0",
            ),
        ),
    ),
    Sample(
        "prelu",
        method("prelu"),
        _prelu_case,
        lambda torch, x, weight: torch.nn.functional.prelu(x, weight),
        (comparison.Where,),
        ("prelu",),
        kinks=True,
        errors=(
            Error(
                lambda: Tensor.ones(2, 3).prelu(Tensor.ones(2)),
                ValueError,
                "[prelu] expected a weight of shape (1,) or (3,), got (2,)",
            ),
        ),
    ),
    _function(
        "rrelu",
        comparison.Where,
        _off_kinks,
        {
            "lower": st.sampled_from([0.0, 0.125]),
            "upper": st.sampled_from([0.25, 1.0]),
            "training": st.booleans(),
            "seed": SEEDS,
        },
        call=_rrelu,
        torch=_their_rrelu,
        errors=(
            Error(
                lambda: Tensor.ones(2).rrelu(1.0, 0.5),
                ValueError,
                "[rrelu] expected lower ≤ upper, got 1.0 and 0.5",
            ),
        ),
    ),
    _function(
        "softmin",
        (),
        cases=_along_axis(),
        torch=lambda torch, x, axis: torch.nn.functional.softmin(x, axis),
    ),
    _function(
        "softshrink",
        comparison.Clip,
        _off_kinks,
        {"lambd": st.sampled_from([0.0, 0.5, 1.0])},
        errors=(
            Error(
                lambda: Tensor.ones(2).softshrink(-0.5),
                ValueError,
                "[softshrink] expected lambd ≥ 0, got -0.5",
            ),
        ),
    ),
    _function(
        "threshold",
        comparison.Where,
        _off_kinks,
        {"threshold": st.sampled_from([-0.5, 0.0, 1.0]), "value": st.sampled_from([-2.0, 3.0])},
    ),
    Sample(
        "gumbel_softmax",
        _gumbel,
        _gumbel_case,
        _their_gumbel,
        (),
        ("gumbel_softmax",),
        kinks=True,
        differences=False,  # of the hard one, whose gradient is that of the soft one
    ),
]
