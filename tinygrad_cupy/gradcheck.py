"""Checking gradients against finite differences, to any order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .autograd.backward import grad
from .backend import to_device, to_numpy
from .tensor import Tensor


def gradcheck(
    fn: Callable[..., Any],
    inputs: Tensor | Sequence[Tensor],
    order: int = 2,
    eps: float = 1e-6,
    rtol: float = 1e-4,
    atol: float = 1e-5,
    seed: int = 0,
) -> bool:
    """Whether the gradients of ``fn`` agree with central differences, up to ``order``.

    Along one random direction u of the inputs, and for one random weighting v of the outputs,

        (v · fn(x + eps u) - v · fn(x - eps u)) / (2 eps)   must equal   vᵀ J u,

    where Jᵀv comes from the backward rules (one direction suffices: an error in any element shows
    in it, almost surely). Order 1 is computed twice, with ``create_graph=False`` (the kernels) and
    ``True`` (their differentiable versions), and both must agree. For order 2 the same is asked of
    the function that maps inputs and v to Jᵀv, and so on.

    Parameters
    ----------
    fn:
        takes the inputs and returns a tensor or a sequence of tensors. Random ones must repeat
        themselves: call `manual_seed` inside.
    inputs:
        a tensor or several; those with ``requires_grad`` are differentiated and must be float64.
    order:
        1 or more.
    eps:
        step of the difference. rtol, atol: allowed error, relative and absolute.
    seed:
        of the random directions.

    Returns True. Raises ``AssertionError`` that says which order failed and shows both numbers,
    ``TypeError`` for inputs that are not float64, and ``RuntimeError`` that names an operation of
    yours whose backward works on arrays: it has no second derivative, and ``order=1`` checks the
    first. Only differences find what a rule reads from elsewhere than the tensors that it is handed
    and its own attributes. (After HIPS autograd's ``check_grads``.)
    """
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if not any(x.requires_grad for x in inputs):
        raise ValueError("[gradcheck] expected at least one input with requires_grad=True")
    for i, x in enumerate(inputs):
        if x.requires_grad and x.dtype != np.float64:
            raise TypeError(f"[gradcheck] expected float64 inputs, got {x.dtype} for input {i}")
    rng = np.random.default_rng(seed)
    _check(fn, list(inputs), 1, order, eps, rtol, atol, rng)
    return True


def _check(
    fn: Callable[..., Any],
    inputs: list[Tensor],
    level: int,
    order: int,
    eps: float,
    rtol: float,
    atol: float,
    rng: np.random.Generator,
) -> None:
    wanted = [i for i, x in enumerate(inputs) if x.requires_grad]

    def gradients(*values: Tensor, create_graph: bool = True) -> list[Tensor]:
        """Jᵀv, from inputs and, behind them, the weightings v of the outputs."""
        outputs = _as_list(fn(*values[: len(inputs)]))
        weights = values[len(inputs) :]
        pairs = [(o, v) for o, v in zip(outputs, weights, strict=True) if o.requires_grad]
        if not pairs:
            return [_like(values[i], np.zeros(values[i].shape)) for i in wanted]
        found = grad(
            [o for o, _ in pairs],
            [values[i] for i in wanted],
            [v for _, v in pairs],
            create_graph=create_graph,
            allow_unused=True,
        )
        zeros = (_like(values[i], np.zeros(values[i].shape)) for i in wanted)
        return [zero if g is None else g for g, zero in zip(found, zeros, strict=True)]

    outputs = _as_list(fn(*inputs))
    weights = [_like(o, rng.standard_normal(o.shape)) for o in outputs]
    direction = {i: rng.standard_normal(inputs[i].shape) for i in wanted}

    def moved(step: float) -> float:
        shifted = [
            _like(x, to_numpy(x.data) + step * direction[i]) if i in direction else x
            for i, x in enumerate(inputs)
        ]
        return sum(_dot(v, o) for v, o in zip(weights, _as_list(fn(*shifted)), strict=True))

    numeric = (moved(eps) - moved(-eps)) / (2 * eps)
    for create_graph in (False, True):
        found = gradients(*inputs, *weights, create_graph=create_graph)
        analytic = sum(
            float((to_numpy(g.data) * direction[i]).sum())
            for i, g in zip(wanted, found, strict=True)
        )
        if not abs(analytic - numeric) <= atol + rtol * max(abs(numeric), abs(analytic)):
            raise AssertionError(
                f"[gradcheck] order {level}, create_graph={create_graph}: the backward rules give "
                f"{analytic:.10g}, the difference quotient {numeric:.10g}"
            )
    if level < order:
        for v in weights:
            v.requires_grad_()
        _check(gradients, [*inputs, *weights], level + 1, order, eps, rtol, atol, rng)


def _as_list(outputs: Any) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


def _like(tensor: Tensor, values: np.ndarray) -> Tensor:
    """A new leaf with ``values`` on the device, in the dtype and with the flag of ``tensor``."""
    array = to_device(values.astype(tensor.dtype), tensor.device)
    return Tensor(array, requires_grad=tensor.requires_grad and tensor.is_leaf)


def _dot(a: Tensor, b: Tensor) -> float:
    return float((to_numpy(a.data) * to_numpy(b.data)).sum())
