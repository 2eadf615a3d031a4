"""What a sample record is made of, and the random inputs that records draw.

A record says how an operation is called, on which random inputs, in which dtypes and to which
order it is differentiated, what PyTorch calls it and which bad inputs give which error. The tests
that every operation must pass (test_ops*.py) read nothing but these records.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_cupy import Op, Tensor
from tinygrad_cupy.backend import array_module, to_device

FLOATS = ("float32", "float64")
NUMBERS = (*FLOATS, "int64")
MOVED = (*FLOATS, "float16", "int64", "bool")  # operations that only move elements about

Draw = Callable[[st.SearchStrategy[Any]], Any]
Options = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One call: values in float64 that become the tensors, and the keyword arguments."""

    values: tuple[np.ndarray, ...]
    options: Options = field(default_factory=dict)


@dataclass(frozen=True)
class Error:
    """A bad call, and what its error must say.

    ``on_gpu`` is False where it depends on values, for which a GPU is not waited for: an index out
    of bounds is taken modulo the size there.
    """

    call: Callable[[], Any]
    kind: type[Exception]
    text: str
    on_gpu: bool = True


@dataclass(frozen=True)
class Sample:
    """One operation.

    call:
        ``call(*tensors, **options)``; gives a tensor or a list of them.
    cases:
        draws a `Case`, of values in the operation's domain.
    torch:
        ``torch(torch, *tensors, **options)``: the same in PyTorch.
    ops, covers:
        the `Op` classes that the call and its derivatives run, and the public names that it calls.
    dtypes:
        in which it is tested; derivatives in the floating-point ones.
    order:
        the highest order of derivatives; 0 for results that have none.
    kinks:
        the derivative jumps where values are equal: ``cases`` keeps them apart, and inputs must
        not be broadcast in memory.
    differences:
        False where finite differences in float64 say nothing, as for casts to float32.
    forward_mode, batched:
        whether the operation has forward-mode derivatives, and can be batched with ``vmap``.
    captured:
        whether `tg.jit` captures it: not where a shape, or what is computed, depends on values.
        A function of the case where that is so of some alone.
    obstacle:
        what cannot be captured, and why, where ``captured`` is not True; docs/jit.md has it.
    """

    name: str
    call: Callable[..., Any]
    cases: Callable[[Draw], Case]
    torch: Callable[..., Any]
    ops: tuple[type[Op], ...]
    covers: tuple[str, ...]
    dtypes: tuple[str, ...] = FLOATS
    order: int = 2
    kinks: bool = False
    differences: bool = True
    forward_mode: bool = True
    batched: bool = True
    captured: bool | Callable[[Case], bool] = True
    obstacle: str = ""
    errors: tuple[Error, ...] = ()


def uncaptured(samples: list[Sample], obstacle: str, *ops: type[Op]) -> list[Sample]:
    """The records, those with one of these operations marked as what `tg.jit` cannot capture."""
    return [
        dataclasses.replace(sample, captured=False, obstacle=obstacle)
        if set(ops) & set(sample.ops)
        else sample
        for sample in samples
    ]


def method(name: str) -> Callable[..., Any]:
    """A call of the tensor's method of that name."""

    def call(x: Tensor, *arguments: Any, **options: Any) -> Any:
        return getattr(x, name)(*arguments, **options)

    return call


# --- memory layouts -----------------------------------------------------------------------------


def lay_out(array: Any, layout: tuple[str, Any]) -> Any:
    """The same values (but for "broadcast") in another memory layout, on the same device."""
    kind, order = layout
    xp = array_module(array)
    if not array.ndim:
        return array
    if kind == "permuted":  # Fortran order, NHWC behind NCHW, transposed, …
        inverse = tuple(int(i) for i in np.argsort(order))
        return xp.ascontiguousarray(array.transpose(order)).transpose(inverse)
    if kind == "steps":  # every second element; what lies between must not be read
        base = xp.full(tuple(2 * n for n in array.shape), 77, array.dtype)
        every_second = (slice(None, None, 2),) * array.ndim
        base[every_second] = array
        return base[every_second]
    if kind == "reversed":
        backwards = (slice(None, None, -1),) * array.ndim
        return array[backwards].copy()[backwards]
    if kind == "broadcast" and array.ndim and array.shape[order[0]] > 1:
        first = [slice(None)] * array.ndim
        first[order[0]] = slice(0, 1)
        return xp.broadcast_to(array[tuple(first)], array.shape)
    return xp.ascontiguousarray(array)


def draw_layout(draw: Draw, ndim: int, broadcast: bool) -> tuple[str, Any]:
    """A memory layout for an array of ``ndim`` axes."""
    kinds = ["plain", "permuted", "steps", "reversed"] + ["broadcast"] * broadcast
    return draw(st.sampled_from(kinds)), tuple(draw(st.permutations(range(ndim))))


def tensors_of(
    case: Case, dtype: str, device: str, layouts: list[tuple[str, Any]], requires_grad: bool = True
) -> list[Tensor]:
    """The case's values as tensors of a dtype, on a device, in memory layouts."""
    made = []
    for values, layout in zip(case.values, layouts, strict=True):
        cast = values if np.dtype(dtype).kind == "f" else np.rint(values * 2)
        array = lay_out(to_device(np.asarray(cast).astype(dtype), device), layout)
        made.append(Tensor(array, requires_grad=requires_grad))
    return made


def options_on(options: Options, device: str) -> Options:
    """Keyword arguments with their arrays on the device."""
    return {k: _on_device(v, device) for k, v in options.items()}


def _on_device(value: Any, device: str) -> Any:
    if isinstance(value, np.ndarray):
        return to_device(value, device)
    if isinstance(value, tuple):
        return tuple(_on_device(v, device) for v in value)
    return value


# --- values -------------------------------------------------------------------------------------


def rng_of(draw: Draw) -> np.random.Generator:
    """Hypothesis chooses shapes and arguments; elements come from a generator, which is faster."""
    return np.random.default_rng(draw(st.integers(0, 2**32 - 1)))


def normal(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal values."""
    return rng_of(draw).standard_normal(shape)


def positive(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """Values from 0.5 to 2."""
    return rng_of(draw).uniform(0.5, 2, shape)


def nonzero(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """Values of either sign, from 0.1 on: 0 is where the derivative jumps."""
    rng = rng_of(draw)
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.1, 2, shape)


def distinct(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """Values that all differ by at least 0.1."""
    count = int(np.prod(shape))
    return (rng_of(draw).permutation(count).reshape(shape) - count / 2) * 0.1


def shapes(max_dims: int = 3, min_dims: int = 0, min_side: int = 1) -> Any:
    """Shapes with sides up to 4."""
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=4)


def broadcastable(draw: Draw, count: int) -> tuple[tuple[int, ...], ...]:
    """That many shapes that broadcast against each other; sometimes with no elements."""
    drawn = draw(
        hnp.mutually_broadcastable_shapes(num_shapes=count, max_dims=3, min_side=0, max_side=3)
    )
    return tuple(drawn.input_shapes)


def draw_axis(draw: Draw, ndim: int, several: bool = True) -> Any:
    """None, an axis counted from either end or, if ``several``, a tuple of axes."""
    if ndim == 0:
        return None
    one = st.integers(-ndim, ndim - 1)
    many = st.lists(one, min_size=1, max_size=ndim, unique_by=lambda a: a % ndim).map(tuple)
    return draw(st.one_of(st.none(), one, many) if several else st.one_of(st.none(), one))
