"""Gradients and products with transposed Jacobians: reverse mode."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import TensorBase
from ..autograd.backward import grad as grad_of_tensors
from ..autograd.mode import mode, set_grad_enabled
from .run import Argnums, Run, argument_numbers
from .tree import as_tuple, expect_function, matching


def value_and_grad(
    fn: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns what ``fn`` returns and its gradient.

    fn:
        takes tensors (in lists, tuples, dicts) and returns a tensor of one element; with
        ``has_aux`` a pair of that and anything else, which is handed on.
    argnums:
        which positional arguments to differentiate by: a number, or several.

    The function returned gives ``(value, gradient)``, with ``has_aux`` ``((value, aux),
    gradient)``; the gradient has the structure of the argument, for several argnums it is a tuple.
    Where the result does not depend on a tensor the gradient is 0.

    >>> tg.value_and_grad(lambda x: (x**3).sum())(Tensor([2.0]))
    (Tensor(8.), Tensor([12.]))
    """
    expect_function("value_and_grad", fn)
    return differentiating("value_and_grad", fn, argnums, has_aux, with_value=True)


def differentiating(
    name: str, fn: Callable[..., Any], argnums: Argnums, has_aux: bool, with_value: bool
) -> Callable[..., Any]:
    """The function that gives the gradient of ``fn``, with its value or without."""

    @functools.wraps(fn, updated=())
    def transformed(*args: Any, **kwargs: Any) -> Any:
        run = Run(name, fn, args, argument_numbers(name, argnums, args), kwargs, has_aux)
        found = run.in_trees(run.gradients([None] if run.loss() is not None else []))
        gradient = found[0] if isinstance(argnums, int | np.integer) else tuple(found)
        if not with_value:
            return (gradient, run.aux) if has_aux else gradient
        value = run.value()
        return ((value, run.aux) if has_aux else value), gradient

    return transformed


def grad(
    outputs: Any,
    inputs: Any = None,
    grad_outputs: Any = None,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
    *,
    argnums: Argnums | None = None,
    has_aux: bool = False,
) -> Any:
    """Gradients of tensors, or of a function: ``grad(fn)`` is the function ∇fn.

    Of a function
    -------------
    outputs:
        a function that returns a tensor of one element. ``grad(fn, argnums=0, has_aux=False)``
        returns a function of the same arguments that returns the gradient by those that
        ``argnums`` names; see `value_and_grad`, of which it is the second half.

    Of tensors
    ----------
    outputs, inputs:
        a tensor or a sequence of tensors; ``inputs`` may be leaves or intermediate results.
    grad_outputs:
        the gradient to start from, one per output (ones for outputs with a single element).
    create_graph:
        record the gradients' own graph, so that they can be differentiated again.
    retain_graph:
        keep the graph usable; defaults to ``create_graph``.
    allow_unused:
        give ``None`` for an input that the outputs do not depend on, instead of an error.

    Returns a tensor when ``inputs`` is a tensor, else a list of tensors.

    >>> x = Tensor(3.0, requires_grad=True)
    >>> first = tg.grad(x**3, x, create_graph=True)  # 3 x²
    >>> tg.grad(first, x).item()  # 6 x
    18.0
    >>> tg.grad(tg.grad(lambda x: x**3))(Tensor(3.0)).item()
    18.0
    """
    if callable(outputs) and not isinstance(outputs, TensorBase):
        if argnums is None:  # grad(fn, 1), as in torch.func and JAX
            argnums = 0 if inputs is None else inputs
        return differentiating("grad", outputs, argnums, has_aux, with_value=False)
    if inputs is None:
        raise TypeError("[grad] expected inputs to differentiate by, or a function as outputs")
    return grad_of_tensors(outputs, inputs, grad_outputs, create_graph, retain_graph, allow_unused)


def vjp(fn: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """``fn(*primals)``, and the function that multiplies by its transposed Jacobian.

    Returns ``(result, pull)``, with ``has_aux`` ``(result, pull, aux)``. ``pull(u)``, for u of the
    structure, shapes and dtypes of the result, returns a tuple of Jᵀu, one for each primal. It may
    be called again.

    >>> y, pull = tg.vjp(lambda x: x.sin(), Tensor([0.0]))
    >>> pull(Tensor([2.0]))
    (Tensor([2.]),)
    """
    expect_function("vjp", fn)
    run = Run("vjp", fn, primals, range(len(primals)), {}, has_aux)

    def pull(cotangents: Any) -> tuple[Any, ...]:
        seeds = matching("vjp", "the result", run.result, cotangents)
        return tuple(run.in_trees(run.gradients(seeds, retain_graph=True)))

    return (run.value(), pull, run.aux) if has_aux else (run.value(), pull)


def hvp(fn: Callable[..., Any], primals: Any, vectors: Any) -> Any:
    """The product of the Hessian of ``fn`` at ``primals`` with ``vectors``, by two passes.

    primals, vectors:
        tuples of arguments and of what is like them; or one of each. ``fn`` returns a tensor of
        one element.

    Returns a tuple like ``primals``, of Σ_j ∂²fn / ∂x_i ∂x_j · v_j; for one primal, that alone.

    >>> tg.hvp(lambda x: (x**3).sum(), (Tensor([2.0]),), (Tensor([1.0]),))
    Tensor([12.])
    """
    expect_function("hvp", fn)
    primals, vectors = as_tuple(primals), as_tuple(vectors)
    gradient = grad(fn, argnums=tuple(range(len(primals))))
    with set_grad_enabled(True):
        run = Run("hvp", gradient, primals, range(len(primals)), {}, False)
    run.keeps = run.keeps and mode.recording
    found = run.in_trees(run.gradients(matching("hvp", "the primals", run.result, vectors)))
    return found[0] if len(found) == 1 else tuple(found)
