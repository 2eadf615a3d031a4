"""Cases and records of operations that work element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_cupy as tg
import tinygrad_cupy.numpy as tnp

from .sampling import Case, Draw, Sample, broadcastable, normal, rng_of, shapes


def one(values: Callable[..., np.ndarray]) -> Callable[[Draw], Case]:
    """One tensor of any shape, sometimes with no elements."""
    return lambda draw: Case((values(draw, draw(shapes(min_side=0))),))


def two(first: Any = normal, second: Any = normal) -> Callable[[Draw], Case]:
    """Two tensors whose shapes broadcast."""

    def cases(draw: Draw) -> Case:
        a, b = broadcastable(draw, 2)
        return Case((first(draw, a), second(draw, b)))

    return cases


def function(name: str, op: Any, values: Any = normal, **options: Any) -> Sample:
    """A method without arguments that PyTorch calls the same."""
    return Sample(
        name,
        call=lambda x: getattr(x, name)(),
        cases=one(values),
        torch=options.pop("torch", lambda torch, x: getattr(torch, name)(x)),
        ops=op if isinstance(op, tuple) else (op,),
        covers=(name,),
        **options,
    )


def binary(
    name: str, op: Any, operator: Callable[[Any, Any], Any], cases: Any, **options: Any
) -> Sample:
    """An operation of two tensors; that of Python's operator unless told otherwise."""
    return Sample(
        name,
        call=operator,
        cases=cases,
        torch=options.pop("torch", lambda _, a, b: operator(a, b)),
        ops=(op,),
        covers=options.pop("covers", (f"__{name}__",)),
        **options,
    )


def ufunc(name: str, op: Any, cases: Any = None, **options: Any) -> Sample:
    """A function of `tinygrad_cupy.numpy` that PyTorch calls the same, of one tensor or of two."""
    return Sample(
        f"np.{name}",
        call=options.pop("call", lambda *xs, **given: _listed(getattr(tnp, name)(*xs, **given))),
        cases=cases or one(normal),
        torch=options.pop("torch", lambda t, *xs, **given: getattr(t, name)(*xs, **given)),
        ops=op if isinstance(op, tuple) else (op,),
        covers=options.pop("covers", (f"np.{name}",)),
        **options,
    )


def _listed(results: Any) -> Any:
    return list(results) if isinstance(results, tuple) else results


def special(name: str, op: Any, cases: Any = None, **options: Any) -> Sample:
    """A function of `tinygrad_cupy.special` that `torch.special` calls the same."""
    return Sample(
        options.pop("record", f"special.{name}"),
        call=options.pop("call", lambda *xs, **given: getattr(tg.special, name)(*xs, **given)),
        cases=cases or one(normal),
        torch=options.pop("torch", lambda t, *xs, **given: getattr(t.special, name)(*xs, **given)),
        ops=op if isinstance(op, tuple) else (op,),
        covers=options.pop("covers", (f"special.{name}",)),
        **options,
    )


def of_order(
    name: str, op: Any, orders: Any, cases: Any, torch: Any, argument: str = "n", **options: Any
) -> Sample:
    """A function of an order, by which there is no derivative, and of a tensor."""

    def case(draw: Draw) -> Case:
        (x,) = cases(draw).values
        return Case((x,), {argument: np.asarray(rng_of(draw).choice(orders, x.shape))})

    def call(x: Any, /, **given: Any) -> Any:
        return getattr(tg.special, name)(tg.Tensor(given[argument]).astype(x.dtype), x)

    def theirs(t: Any, x: Any, /, **given: Any) -> Any:
        return torch(t, given[argument].to(x.dtype), x)

    return special(name, op, case, call=call, torch=theirs, **options)


def by_derivatives(*functions: Callable[..., Any]) -> Callable[..., Any]:
    """A function of PyTorch's tensors from SciPy's values of it and of its derivatives.

    The Taylor series at the very place: PyTorch has no derivatives of these functions. What stands
    before the last argument is handed on.
    """

    def call(torch: Any, *arguments: Any) -> Any:
        *given, x = arguments
        at = [np.asarray(a.detach().double()) for a in (*given, x)]
        values = [torch.as_tensor(np.asarray(f(*at))).to(x.dtype) for f in functions]
        step, total = x - x.detach(), values[-1]
        for k in range(len(values) - 1, 0, -1):
            total = values[k - 1] + total * step / k
        return total

    return call


def between(low: float, high: float) -> Callable[[Draw, tuple[int, ...]], np.ndarray]:
    """Values from low to high."""
    return lambda draw, shape: rng_of(draw).uniform(low, high, shape)


def off_steps(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """Values of either sign that lie 0.2 from halves and integers at least."""
    rng = rng_of(draw)
    return rng.integers(-9, 9, shape) / 2 + rng.uniform(0.2, 0.3, shape)


def integers(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """Integers of either sign, 0 among them, as floats."""
    return rng_of(draw).integers(-20, 21, shape).astype(float)


def of_integers(
    name: str, op: Any, call: Any, cases: Any, covers: tuple[str, ...], torch: Any, **options: Any
) -> Sample:
    """An operation of integers alone, where the records draw floats."""
    return Sample(
        name,
        call=lambda *xs: call(*[x.astype("int64") for x in xs]),
        cases=cases,
        torch=lambda t, *xs: torch(t, *[x.long() for x in xs]),
        ops=(op,),
        covers=covers,
        dtypes=("int64", "float64"),
        order=0,
        **options,
    )
