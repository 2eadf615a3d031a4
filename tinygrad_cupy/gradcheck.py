"""Checking gradients against finite differences, to any order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .autograd import TensorBase
from .autograd.backward import grad, grad_of
from .autograd.batching import BatchLevel
from .autograd.forward import ForwardLevel, tangents_of
from .autograd.levels import as_leaf
from .autograd.mode import set_grad_enabled
from .backend import to_device, to_numpy

if TYPE_CHECKING:
    from .autograd.typing import Tensor


def gradcheck(
    fn: Callable[..., Any],
    inputs: Tensor | Sequence[Tensor],
    order: int = 2,
    eps: float = 1e-6,
    rtol: float = 1e-4,
    atol: float = 1e-5,
    seed: int = 0,
    forward_mode: bool | None = None,
    batched: bool | None = None,
) -> bool:
    """Whether the gradients of ``fn`` agree with central differences, up to ``order``.

    Along one random direction u of the inputs, and for one random weighting v of the outputs,

        (v · fn(x + eps u) - v · fn(x - eps u)) / (2 eps)   must equal   vᵀ J u,

    where Jᵀv comes from the backward rules (one direction suffices: an error in any element shows
    in it, almost surely). Order 1 is computed twice, with ``create_graph=False`` (the kernels) and
    ``True`` (their differentiable versions), and both must agree. For order 2 the same is asked of
    the function that maps inputs and v to Jᵀv, and so on.

    Forward mode must give the same J u, and `vmap` over two sets of inputs (the given ones, and
    those with their elements in reverse) the values and gradients of two calls.

    Parameters
    ----------
    fn:
        takes the inputs and returns a tensor or a sequence of tensors. Random ones must repeat
        themselves: call `manual_seed` inside.
    inputs:
        a tensor or several; those with ``requires_grad`` are differentiated and must be float64 or
        complex128. Complex numbers are moved in both of their parts.
    order:
        1 or more.
    eps:
        step of the difference. rtol, atol: allowed error, relative and absolute.
    seed:
        of the random directions.
    forward_mode, batched:
        whether to check forward mode and `vmap` as well; both when None, but where ``order`` is 1:
        a backward that works on arrays has no forward mode. ``batched=False`` is for functions
        that look at values, or whose inputs may not change places.

    Returns True. Raises ``AssertionError`` that says which order failed and shows both numbers,
    ``TypeError`` for inputs of other dtypes, and ``RuntimeError`` that names an operation of
    yours whose backward works on arrays: it has no second derivative, and ``order=1`` checks the
    first. Only differences find what a rule reads from elsewhere than the tensors that it is handed
    and its own attributes. (After HIPS autograd's ``check_grads``.)

    >>> x = Tensor([0.5, 2.0], dtype="float64", requires_grad=True)
    >>> tg.gradcheck(lambda x: x.exp() * x.sin(), x)
    True
    """
    inputs = [inputs] if isinstance(inputs, TensorBase) else list(inputs)
    if not any(x.requires_grad for x in inputs):
        raise ValueError("[gradcheck] expected at least one input with requires_grad=True")
    for i, x in enumerate(inputs):
        if x.requires_grad and x.dtype not in (np.float64, np.complex128):
            raise TypeError(
                f"[gradcheck] expected float64 or complex128 inputs, got {x.dtype} for input {i}"
            )
    rng = np.random.default_rng(seed)
    _check(fn, list(inputs), 1, order, eps, rtol, atol, rng)
    if order > 1 if forward_mode is None else forward_mode:
        _check_forward(fn, inputs, eps, rtol, atol, rng)
    if order > 1 if batched is None else batched:
        _check_batched(fn, inputs, rtol, atol, rng)
    return True


def _check_forward(
    fn: Callable[..., Any], inputs: list[Any], eps: float, rtol: float, atol: float, rng: Any
) -> None:
    plain = [_like(x, to_numpy(x.data), leaf=False) for x in inputs]
    along = [_like(x, _normal(rng, x), leaf=False) if x.requires_grad else None for x in inputs]
    level = ForwardLevel()
    with level.entered():
        found = _as_list(fn(*[level.dual(x, t) for x, t in zip(plain, along, strict=True)]))
        outputs = list(tangents_of(level, found))
    weights = [_like(y, _normal(rng, y), leaf=False) for y, _ in outputs]
    analytic = sum(_dot(v, t) for v, (_, t) in zip(weights, outputs, strict=True))

    def moved(step: float) -> float:
        shifted = [x if t is None else x + t * step for x, t in zip(plain, along, strict=True)]
        return sum(_dot(v, y) for v, y in zip(weights, _as_list(fn(*shifted)), strict=True))

    numeric = (moved(eps) - moved(-eps)) / (2 * eps)
    if not abs(analytic - numeric) <= atol + rtol * max(abs(numeric), abs(analytic)):
        raise AssertionError(
            f"[gradcheck] forward mode gives {analytic:.10g}, the difference quotient "
            f"{numeric:.10g}"
        )


def _check_batched(
    fn: Callable[..., Any], inputs: list[Any], rtol: float, atol: float, rng: Any
) -> None:
    first = [_like(x, to_numpy(x.data), leaf=False) for x in inputs]
    second = [
        _like(x, to_numpy(x.data).ravel()[::-1].reshape(x.shape), leaf=False)
        if x.requires_grad
        else same
        for x, same in zip(inputs, first, strict=True)
    ]
    wanted = [x.requires_grad for x in inputs]
    weights: list[Any] = []

    def values_and_gradients(*given: Any) -> list[Any]:
        with set_grad_enabled(True):
            ends = [as_leaf(x) if wants else x for x, wants in zip(given, wanted, strict=True)]
            outputs = _as_list(fn(*ends))
        if not weights:
            weights.extend(_like(y, _normal(rng, y), leaf=False) for y in outputs)
        pairs = [(y, v) for y, v in zip(outputs, weights, strict=True) if y.requires_grad]
        leaves = [x for x, wants in zip(ends, wanted, strict=True) if wants]
        found: list[Any] = [None] * len(leaves)
        if pairs:
            found = grad_of([y for y, _ in pairs], leaves, [v for _, v in pairs], allow_unused=True)
        grads = [x._zeros() if g is None else g for x, g in zip(leaves, found, strict=True)]
        return [y.detach() for y in outputs] + grads

    alone = [values_and_gradients(*given) for given in (first, second)]
    level = BatchLevel(2, "same", quiet=True)
    with level.entered():
        pairs = zip(first, second, strict=True)
        batch = [level.batched(one._stacked([one, other])) for one, other in pairs]
        together = [level.whole(x) for x in values_and_gradients(*batch)]
    for i, expected in enumerate(alone):
        for found, one in zip(together, expected, strict=True):
            a, b = to_numpy(found.data)[i], to_numpy(one.data)
            if a.shape != b.shape or not np.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True):
                raise AssertionError(
                    f"[gradcheck] batched: vmap gives {a} for element {i}, a call of its own {b}"
                )


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
    weights = [_like(o, _normal(rng, o)) for o in outputs]
    direction = {i: _normal(rng, inputs[i]) for i in wanted}

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
            _real_dot(to_numpy(g.data), direction[i]) for i, g in zip(wanted, found, strict=True)
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


def _as_list(outputs: Any) -> list[Any]:
    return [outputs] if isinstance(outputs, TensorBase) else list(outputs)


def _like(tensor: Any, values: np.ndarray, leaf: bool = True) -> Any:
    """A new leaf with ``values`` on the device and in the dtype of ``tensor``.

    With its flag, unless it is to be no ``leaf`` that wants a gradient.
    """
    array = to_device(values.astype(tensor.dtype), tensor.device)
    made = tensor._wrap(array)
    made.requires_grad = leaf and tensor.requires_grad and tensor.is_leaf
    return made


def _normal(rng: np.random.Generator, like: Any) -> np.ndarray:
    """Standard normal values of a tensor's shape, complex where it is."""
    values: np.ndarray = rng.standard_normal(like.shape)
    return values + 1j * rng.standard_normal(like.shape) if like.dtype.kind == "c" else values


def _dot(a: Tensor, b: Tensor) -> float:
    return _real_dot(to_numpy(a.data), to_numpy(b.data))


def _real_dot(a: np.ndarray, b: np.ndarray) -> float:
    """Re Σ a̅ b: of complex numbers the product of the vectors of their parts."""
    return float((a.conj() * b).sum().real)
