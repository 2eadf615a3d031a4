"""`jit`: a function of tensors, such as a whole training step, as one launch of a CUDA graph."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

import numpy as np

from .function import Jitted
from .steps import Stepped

__all__ = ["jit"]

P = ParamSpec("P")
R = TypeVar("R")


@overload
def jit(function: Callable[P, R], *, steps: int = 1) -> Jitted[P, R]: ...
@overload
def jit(function: None = None, *, steps: int = 1) -> Callable[[Callable[P, R]], Jitted[P, R]]: ...
def jit(function: Any = None, *, steps: int = 1) -> Any:
    """Run a function of tensors on a GPU as one captured CUDA graph; on the CPU, as it is.

    The first call with a signature runs eagerly, the second is captured, later ones replay. The
    signature is the shape, dtype, layout, device and ``requires_grad`` of every tensor or array
    among the arguments and the kind of gradient it has, the value of every other one, `no_grad`,
    the precision of products and the default device; each of the last 32 keeps device memory of
    its own. A model switched to ``eval()``, moved or unfrozen is noticed, and captured anew.

    Tensors that the function returns are outside of any graph, and their memory is written again
    by the next call: read them before, or keep ``.detach().clone()``; reading one later raises
    `RuntimeError`. Reading values on the host inside the function raises as well, and so does
    making tensors from host data: return them, and pass them. Python code of the function runs in
    the first two calls only, and the Python numbers it reads are fixed from then on.

    steps:
        K > 1 puts K calls into one launch. Every tensor among the arguments then has a leading
        axis of any length L, the function gets one slice after the other, and its results come
        back stacked along a new leading axis, in memory of their own. No gradient goes into an
        argument.

    >>> model = nn.Linear(4, 3)
    >>> optimizer = nn.optim.Adam(model.parameters())
    >>> @tg.jit
    ... def step(x, y):
    ...     optimizer.zero_grad()
    ...     loss = model(x).cross_entropy(y)
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> losses = [step(Tensor.ones(2, 4), Tensor([0, 2])).item() for _ in range(3)]
    >>> losses[2] < losses[0]
    True
    """
    if not isinstance(steps, int | np.integer) or isinstance(steps, bool) or steps < 1:
        raise ValueError(f"[jit] expected steps as a whole number of at least 1, got {steps!r}")
    if function is None:
        return functools.partial(jit, steps=steps)
    if not callable(function):
        raise TypeError(f"[jit] expected a function, got {type(function).__name__}")
    return Jitted(function) if steps == 1 else Stepped(function, int(steps))
