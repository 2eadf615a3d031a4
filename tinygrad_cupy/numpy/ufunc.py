"""A ufunc of NumPy's, on tensors: called, and with its methods `reduce`, `accumulate`, `at`, …."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd import TensorBase
from ..backend import is_cuda, to_numpy
from ..backend.dtypes import is_float, resolve_dtype
from ..ops.axes import kept_shape, normalize_axis
from ..ops.inplace import add_at
from ..ops.shape import concat, stack
from .arrays import expect_no_gradient, operands, tensor, tensors, term, written

Compute = Callable[..., Any]

HARMLESS = 0.5  # every ufunc but arccosh has a value and a slope there
WIDENING = ("add", "multiply")  # reduce small integers in 64 bits
# (a ∘ b) ∘ c = a ∘ (b ∘ c): these are reduced by halves, over several axes, too
ASSOCIATIVE = frozenset(
    (
        *("add", "multiply", "maximum", "minimum", "fmax", "fmin", "gcd", "lcm"),
        *("logaddexp", "logaddexp2", "hypot", "logical_and", "logical_or", "logical_xor"),
        *("bitwise_and", "bitwise_or", "bitwise_xor"),
    )
)


class Ufunc:
    """What NumPy's ufunc ``like`` does, on tensors.

    compute:
        takes tensors and numbers, at least one tensor among them, and gives a tensor, or as many as
        ``like`` has outputs. What it ``takes_arrays`` for, by an attribute of that name, it makes
        tensors of itself.
    reduction, accumulation:
        of our own where there are some, called with (tensor, axis, keepdims) and (tensor, axis); or
        the names of Tensor's methods that are. Others go element by element along the axis.
    harmless:
        what stands in for inputs where ``where`` does not hold: their values, infinite slopes among
        them, shall not be met.
    one:
        what makes an operand of an input, as for `operands`.
    """

    def __init__(
        self,
        like: np.ufunc,
        compute: Compute,
        reduction: Compute | str | None = None,
        accumulation: Compute | str | None = None,
        *,
        harmless: float = HARMLESS,
        one: Callable[[Any, Any], Any] = term,
    ) -> None:
        self.like, self.compute, self.harmless = like, compute, harmless
        as_they_are = like.nin == 1 or getattr(compute, "takes_arrays", False)
        self._operands: Callable[..., Sequence[Any]] = functools.partial(operands, one=one)
        self._ready = one_tensor if as_they_are else self._operands
        self.reduction, self.accumulation = reduction, accumulation
        self.__name__, self.__doc__ = like.__name__, compute.__doc__ or like.__doc__
        self.nin, self.nout, self.nargs = like.nin, like.nout, like.nargs
        self.identity, self.signature, self.types = like.identity, like.signature, like.types
        self._boolean = all(kind.endswith("->?") for kind in like.types if "O" not in kind)

    def __repr__(self) -> str:
        return f"<ufunc {self.__name__!r} of tensors>"

    def __call__(
        self,
        *inputs: Any,
        out: Any = None,
        where: Any = True,
        dtype: Any = None,
        casting: Any = "same_kind",
        order: str = "K",
        subok: bool = True,
        **options: Any,
    ) -> Any:
        """Element by element, as NumPy's.

        ``dtype`` is what is computed in. Where ``where`` does not hold, ``out`` stays as it is, and
        a new result is 0 (NumPy's is what lay in memory). ``order`` and ``subok`` change nothing.
        """
        if len(inputs) != self.nin:
            inputs, out = self._apart(inputs, out)
        if options:
            raise TypeError(f"[{self.__name__}] takes no {next(iter(options))}= with tensors")
        if out is None and where is True and dtype is None:
            return self.compute(*self._ready(*inputs))
        values = self._operands(*inputs)
        if dtype is not None:
            values = self._cast(values, resolve_dtype(dtype), casting)
        mask = None if where is True else tensor(where, next(_tensors_in(values)))
        if mask is not None:
            values = [self._harmless_outside(x, mask) for x in values]
        found = self.compute(*values)
        results = found if isinstance(found, tuple) else (found,)
        if dtype is not None:
            self._expect_dtype(results[0], resolve_dtype(dtype))
        outs = out if isinstance(out, tuple) else (out,) * self.nout
        left = [
            self._finished(y, None if o is Ellipsis else o, mask)
            for y, o in zip(results, outs, strict=True)
        ]
        return tuple(left) if isinstance(found, tuple) else left[0]

    def _apart(self, inputs: tuple[Any, ...], out: Any) -> tuple[tuple[Any, ...], Any]:
        """Inputs and outputs: NumPy takes these by position, too."""
        given = inputs[self.nin :]
        if len(inputs) < self.nin or len(given) > self.nout or (given and out is not None):
            raise TypeError(
                f"[{self.__name__}] expected {self.nin} arrays and at most {self.nout} for out, "
                f"got {len(inputs)}"
            )
        return inputs[: self.nin], (*given, *[None] * (self.nout - len(given)))

    def _cast(self, values: Sequence[Any], dtype: Any, casting: Any) -> list[Any]:
        """The operands in ``dtype``, which is what is computed in. (Comparisons give booleans.)"""
        if self._boolean:
            return list(values)
        for i, x in enumerate(values):
            if not _can_cast(x, dtype, casting):
                kind = x.dtype if isinstance(x, TensorBase) else type(x).__name__
                raise TypeError(
                    f"[{self.__name__}] expected operands that can be cast to {dtype} by casting="
                    f'"{casting}", got {kind} as operand {i}: use .astype()'
                )
        return [_as(x, dtype) if isinstance(x, TensorBase) else x for x in values]

    def _expect_dtype(self, result: Any, dtype: Any) -> None:
        if result.dtype != dtype:
            raise TypeError(f"[{self.__name__}] gives {result.dtype}, not dtype={dtype}")

    def _harmless_outside(self, x: Any, mask: Any) -> Any:
        if not isinstance(x, TensorBase):
            return x
        inside: Any = x
        return inside.where(mask, self.harmless if is_float(x.dtype) else 1)

    def _finished(self, result: Any, out: Any, mask: Any) -> Any:
        if mask is None:
            return written(self.__name__, result, out)
        kept = False if result.dtype == bool else 0
        if out is not None:
            kept = tensor(out, result)
            kept = kept if result.dtype == kept.dtype else kept.astype(result.dtype)
        return written(self.__name__, result.where(mask, kept), out)

    # --- along axes -----------------------------------------------------------------------------

    def reduce(
        self,
        array: Any,
        axis: Any = 0,
        dtype: Any = None,
        out: Any = None,
        keepdims: bool = False,
        initial: Any = np._NoValue,
        where: Any = True,
    ) -> Any:
        """All elements along ``axis`` (an integer, a tuple, None for all) combined into one.

        ``initial`` is combined with them; what ``where`` leaves out is not.
        """
        name = f"{self.__name__}.reduce"
        x = self._to_combine(name, array, dtype)
        axes = () if not x.shape and axis in (0, -1) else normalize_axis(axis, x.ndim, name)
        if len(axes) > 1 and self.__name__ not in ASSOCIATIVE:
            raise ValueError(f"[{name}] is not reordered: expected one axis, got {axis}")
        start = self.identity if initial is np._NoValue else initial
        if where is not True:
            if start is None:
                raise ValueError(f"[{name}] has no identity: where= asks for initial=")
            mask = tensor(where, x).broadcast_to(x.shape)
            neutral = start if self.identity is None else self.identity
            x = x.where(mask, _as_element(neutral, x.dtype))
        if not all(x.shape[a] for a in axes) and axes:
            return self._of_dtype(name, self._of_none(name, x, axes, keepdims, start), dtype, out)
        first = None if initial is np._NoValue else initial
        result = self._reduced(x, axes, keepdims, first)
        return self._of_dtype(name, result, dtype, out)

    def accumulate(self, array: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        """Of the first elements along ``axis``, of one, of two, and so on: the input's shape."""
        name = f"{self.__name__}.accumulate"
        x = self._to_combine(name, array, dtype)
        if not x.shape:
            raise TypeError(f"[{name}] expected at least one axis, got a tensor of none")
        (axis,) = normalize_axis(axis, x.ndim, name)
        own = _own(self.accumulation, x)
        if own is not None:
            found = own(x, axis)
            found = found.astype(x.dtype) if x.dtype.kind == "u" else found
            return self._of_dtype(name, found, dtype, out)
        parts = [_at(x, axis, i) for i in range(x.shape[axis])]
        if parts:
            parts[0] = self._alone(parts[0])
        for i in range(1, len(parts)):
            parts[i] = self.compute(parts[i - 1], parts[i])
        return self._of_dtype(name, stack(parts, axis) if parts else x, dtype, out)

    def reduceat(
        self, array: Any, indices: Any, axis: int = 0, dtype: Any = None, out: Any = None
    ) -> Any:
        """`reduce` of each slice ``indices[i]:indices[i + 1]``, the last to the end.

        Where the next index is no larger, the element at the index itself. Indices are read on the
        host.
        """
        name = f"{self.__name__}.reduceat"
        x = self._to_combine(name, array, dtype)
        (axis,) = normalize_axis(axis, x.ndim, name)
        starts, length = [int(i) for i in np.ravel(_host(indices))], x.shape[axis]
        for i in starts:
            if not 0 <= i < length:
                raise IndexError(f"[{name}] index {i} is out of range for axis of {length}")
        parts = []
        for start, stop in zip(starts, [*starts[1:], length], strict=True):
            piece = _at(x, axis, slice(start, stop if stop > start else start + 1))
            parts.append(self._reduced(piece, (axis,), True))
        return self._of_dtype(name, concat(parts, axis), dtype, out)

    def _to_combine(self, name: str, array: Any, dtype: Any) -> Any:
        """The tensor whose elements are combined, in ``dtype`` or wide enough for sums."""
        if (self.nin, self.nout) != (2, 1):
            raise ValueError(f"[{name}] is for functions of two arrays that give one")
        x = tensor(array)
        if dtype is not None and not self._boolean:
            return x.astype(dtype)
        if self.__name__ in WIDENING and x.dtype.kind in "biu" and x.dtype.itemsize < 8:
            return x.astype(np.uint64 if x.dtype.kind == "u" else np.int64)
        return x

    def _of_dtype(self, name: str, result: Any, dtype: Any, out: Any) -> Any:
        if dtype is not None:
            self._expect_dtype(result, resolve_dtype(dtype))
        return written(name, result, None if out is Ellipsis else out)

    def _of_none(self, name: str, x: Any, axes: tuple[int, ...], keepdims: bool, start: Any) -> Any:
        """Combined where there are no elements: ``start`` throughout."""
        if start is None:
            raise ValueError(f"[{name}] no elements to reduce along {axes} of {x.shape}")
        dtype = np.dtype(bool) if self._boolean else x.dtype
        zeros = x.sum(axes, keepdims).astype(dtype)
        return zeros.where(zeros != zeros, _as_element(start, dtype))

    def _reduced(self, x: Any, axes: tuple[int, ...], keepdims: bool, first: Any = None) -> Any:
        """x combined over axes that have elements, behind ``first`` where there is one."""
        own = _own(self.reduction, x) if axes else None
        if own is not None:
            found = own(x, axes, keepdims)
            found = found.astype(x.dtype) if x.dtype.kind == "u" else found
            return found if first is None else self.compute(found, first)
        kept = [i for i in range(x.ndim) if i not in axes]
        count, rest = math.prod([x.shape[i] for i in axes]), [x.shape[i] for i in kept]
        folded = self._fold(x.permute(*axes, *kept).reshape(count, *rest), first)
        return folded.reshape(kept_shape(x.shape, axes)) if keepdims else folded

    def _fold(self, x: Any, first: Any) -> Any:
        """(n, …) combined along the first axis, by halves where the order does not matter."""
        if self.__name__ in ASSOCIATIVE:
            while len(x) > 1:
                half = len(x) // 2
                paired = self.compute(x[:half], x[half : 2 * half])
                x = paired if len(x) == 2 * half else concat([paired, x[2 * half :]])
        found = self._alone(x[0]) if first is None else self.compute(first, x[0])
        for i in range(1, len(x)):
            found = self.compute(found, x[i])
        return found

    def _alone(self, x: Any) -> Any:
        """A first element as the function's results are: of booleans, of floats."""
        return x.astype(self.compute(x, x).dtype) if self._boolean or x.dtype.kind in "biu" else x

    # --- of all pairs, and in place -------------------------------------------------------------

    def outer(self, a: Any, b: Any, **options: Any) -> Any:
        """Of every element of a with every one of b: shape ``a.shape + b.shape``."""
        if self.nin != 2:
            raise ValueError(f"[{self.__name__}.outer] is for functions of two arrays")
        a, b = tensors(a, b)
        return self(a.reshape(*a.shape, *[1] * b.ndim), b, **options)

    def at(self, a: Any, indices: Any, b: Any = None) -> None:
        """``a[indices]`` combined with ``b`` in place, once for each time that an index is there.

        Indices are read on the host, but those of ``add`` and ``subtract``.
        """
        if self.nin != (1 if b is None else 2) or self.nout != 1:
            raise ValueError(f"[{self.__name__}.at] expected {self.nin} operands")
        if not isinstance(a, TensorBase):
            self._into_array(a, indices, b)
        elif self.__name__ in ("add", "subtract"):
            add_at(a, indices, tensor(b, a) if self.__name__ == "add" else -tensor(b, a))
        else:
            self._one_at_a_time(a, indices, b)

    def _into_array(self, a: Any, indices: Any, b: Any) -> None:
        if isinstance(b, TensorBase):
            b = expect_no_gradient(f"{self.__name__}.at", b)
        where = indices if is_cuda(a) else _host(indices)
        self.like.at(a, where, *([] if b is None else [b]))

    def _one_at_a_time(self, a: Any, indices: Any, b: Any) -> None:
        """Every pass takes what comes once; an index that is there k times takes part in k."""
        places = np.arange(a.size).reshape(a.shape)[_host(indices)]
        flat = np.ravel(places)
        order = np.argsort(flat, kind="stable")
        first = np.searchsorted(flat[order], flat[order])
        turn = np.empty(flat.shape, int)
        turn[order] = np.arange(len(flat)) - first
        if b is not None:
            b = tensor(b, a).broadcast_to(places.shape).reshape(-1)
        for i in range(int(turn.max(initial=-1)) + 1):
            (these,) = np.nonzero(turn == i)
            key = np.unravel_index(flat[these], a.shape) if a.shape else (...,)
            others = [] if b is None else [b[these] if a.shape else b[i]]
            a[key] = self.compute(a[key], *others)


# --- what is asked of arguments -----------------------------------------------------------------


def one_tensor(*values: Any) -> Sequence[Any]:
    """Operands of a function that takes arrays, lists and numbers beside one tensor."""
    for x in values:
        if isinstance(x, TensorBase):
            return values
    return operands(*values)


def _as(x: Any, dtype: Any) -> Any:
    return x.astype(dtype)


def _tensors_in(values: Sequence[Any]) -> Any:
    return (x for x in values if isinstance(x, TensorBase))


def _own(method: Compute | str | None, x: Any) -> Compute | None:
    """A reduction or accumulation of our own, as a function of a tensor."""
    if not isinstance(method, str):
        return method
    return getattr(type(x), method, None)


def _host(indices: Any) -> Any:
    """Indices as NumPy takes them."""
    if isinstance(indices, tuple):
        return tuple([_host(one) for one in indices])
    if isinstance(indices, TensorBase):
        return indices.detach().numpy()  # type: ignore[attr-defined]
    return to_numpy(indices) if is_cuda(indices) else indices


def _at(x: Any, axis: int, key: Any) -> Any:
    return x[(*[slice(None)] * axis, key)]


def _as_element(value: Any, dtype: Any) -> Any:
    """An identity as ``dtype`` holds it: all bits, NumPy calls -1."""
    if isinstance(value, TensorBase):
        return value
    if dtype.kind == "b":
        return bool(value)
    return int(np.iinfo(dtype).max) if value == -1 and dtype.kind == "u" else value


def _can_cast(x: Any, dtype: Any, casting: Any) -> bool:
    if casting == "unsafe":
        return True
    if not isinstance(x, TensorBase):
        kind = np.dtype(type(x)).kind
        return "bifc".index("i" if kind == "u" else kind) <= "bifc".index(_rank(dtype))
    given = x.dtype
    if is_float(given) and is_float(dtype):  # bfloat16, which NumPy does not know, among them
        return bool(casting == "same_kind" or given == dtype or given.itemsize < dtype.itemsize)
    return bool(np.can_cast(given, dtype, casting))


def _rank(dtype: Any) -> str:
    if is_float(dtype):
        return "f"
    return "i" if dtype.kind == "u" else str(dtype.kind)
