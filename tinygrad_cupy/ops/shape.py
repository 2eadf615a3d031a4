"""Rearranging elements: reshaping, axes, padding, joining, and NumPy's indexing in full."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import Op, TensorBase
from ..autograd.mode import mode
from ..backend import Array, Elementwise, Kernel, device_of, import_cupy, plain_array, to_device
from ..backend.dtypes import is_float
from .arithmetic import in_one_dtype
from .hints import name_ours
from .reduce import Axis, normalize_axis

if TYPE_CHECKING:
    from ..tensor import Tensor


class Reshape(Op):
    view = True

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def forward(self, x: Array) -> Array:
        self.source = tuple(x.shape)
        return x.reshape(self.shape)

    def backward(self, grad: Tensor) -> Tensor:
        return Reshape(self.source)(grad)


class Permute(Op):
    view = True

    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def forward(self, x: Array) -> Array:
        return x.transpose(self.axes)

    def backward(self, grad: Tensor) -> Tensor:
        return Permute(tuple(int(i) for i in np.argsort(self.axes)))(grad)


class Pad(Op):
    def __init__(self, width: tuple[tuple[int, int], ...], value: float) -> None:
        self.width, self.value = width, value

    def forward(self, x: Array) -> Array:
        return self.xp.pad(x, self.width, constant_values=self.value)

    def backward(self, grad: Tensor) -> Tensor:
        inside = (
            slice(low, n - high) for (low, high), n in zip(self.width, grad.shape, strict=True)
        )
        return grad[tuple(inside)]


def _join_cuda(first: Array, others: list[Array], axis: int) -> Array:
    """CuPy's concatenate sends a table of pointers from the host; a capture does not allow that."""
    arrays = [first, *others]
    shape = list(first.shape)
    shape[axis] = sum(a.shape[axis] for a in arrays)
    joined = import_cupy().empty(shape, first.dtype)
    start = 0
    for a in arrays:
        joined[(*(slice(None),) * axis, slice(start, start + a.shape[axis]))] = a
        start += a.shape[axis]
    return joined


_join = Kernel(
    cpu=lambda first, others, axis: np.concatenate([first, *others], axis=axis), cuda=_join_cuda
)


class Concat(Op):
    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, *arrays: Array) -> Array:
        self.sizes = [a.shape[self.axis] for a in arrays]
        return _join(arrays[0], list(arrays[1:]), self.axis)

    def backward(self, grad: Tensor) -> tuple[Tensor, ...]:
        return tuple(grad.split(self.sizes, self.axis))


# --- indexing -----------------------------------------------------------------------------------


def _scatter_add_cuda(out: Array, key: Any, values: Array) -> None:
    """out[key] += values, repeats added in a fixed order, without atomics.

    Indexing an array of positions finds where each value goes, whatever the key; a stable sort
    brings equal positions together, and the thread at the head of each run adds that run up.
    """
    cupy = import_cupy()
    position = cupy.arange(out.size).reshape(out.shape)[key].ravel()
    order = cupy.argsort(position, kind="stable")
    _sum_runs(position[order], order, cupy.ascontiguousarray(values).ravel(), out, size=order.size)


_sum_runs = Elementwise(
    "raw int64 position, raw int64 order, raw T values",
    "raw T out",
    """
    long long here = position[i];
    if (i == 0 || position[i - 1] != here) {
        T sum = values[order[i]];
        for (long long j = i + 1; j < _ind.size() && position[j] == here; ++j)
            sum += values[order[j]];
        out[here] = sum;
    }
    """,
    "sum_runs",
)


def _in_double(add: Callable[[Array, Any, Array], None]) -> Callable[..., None]:
    """``add`` with floats of 32 bits and less added up in float64: a place may come up often."""

    def wide(out: Array, key: Any, values: Array) -> None:
        if not is_float(out.dtype) or out.dtype.itemsize == 8:
            return add(out, key, values)
        total = out.astype(np.float64)
        add(total, key, values.astype(np.float64))
        out[...] = total

    return wide


_scatter_add = Kernel(cpu=_in_double(np.add.at), cuda=_in_double(_scatter_add_cuda))


class Index(Op):
    """x[key], for any key that NumPy takes."""

    view = True

    def __init__(self, key: tuple[Any, ...]) -> None:
        self.key = key

    def forward(self, x: Array) -> Array:
        self.source = tuple(x.shape)
        found = x[self.key]
        # NumPy copies a single element; like CuPy we give a view, which sees what is written.
        return x[(*self.key, ...)] if isinstance(found, np.generic) else found

    def backward(self, grad: Tensor) -> Tensor:
        return Scatter(self.key, self.source).watch_with(self)(grad)


class Scatter(Op):
    """Zeros of ``shape`` with the values added at ``key``: the adjoint of `Index`."""

    def __init__(self, key: tuple[Any, ...], shape: tuple[int, ...]) -> None:
        self.key, self.shape = key, shape

    def forward(self, values: Array) -> Array:
        out = self.xp.zeros(self.shape, values.dtype)
        repeats = any(getattr(k, "dtype", None) is not None and k.dtype != bool for k in self.key)
        if repeats:
            _scatter_add(out, self.key, values)
        else:
            out[self.key] = values
        return out

    def backward(self, grad: Tensor) -> Tensor:
        return Index(self.key).watch_with(self)(grad)


class ShapeMixin(TensorBase):
    """Shapes, axes and indexing as methods."""

    __slots__ = ()

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in C order under another shape; one size may be -1."""
        wanted = _sequence(shape)
        size = math.prod(self.shape)
        known = math.prod(n for n in wanted if n != -1)
        guess = size // known if known and wanted.count(-1) == 1 else -1
        full = tuple(guess if n == -1 else int(n) for n in wanted)
        if any(n < 0 for n in full) or math.prod(full) != size:
            raise ValueError(f"[reshape] cannot make shape {wanted} of {self.shape}")
        return Reshape(full)(self)

    def flatten(self, start_axis: int = 0, end_axis: int = -1) -> Tensor:
        """Axes ``start_axis`` … ``end_axis`` (inclusive) joined into one."""
        ndim = len(self.shape)
        if ndim == 0:
            return self.reshape(1)
        (start,) = normalize_axis(start_axis, ndim, "flatten")
        (end,) = normalize_axis(end_axis, ndim, "flatten")
        if start > end:
            raise ValueError(f"[flatten] start_axis {start_axis} is behind end_axis {end_axis}")
        joined = math.prod(self.shape[start : end + 1])
        return self.reshape(*self.shape[:start], joined, *self.shape[end + 1 :])

    def permute(self, *axes: Any) -> Tensor:
        """A view with the axes in the order given; as `transpose` with arguments."""
        order = _sequence(axes)
        ndim = len(self.shape)
        if sorted(a % ndim if -ndim <= a < ndim else a for a in order) != list(range(ndim)):
            raise ValueError(f"[permute] expected each of {ndim} axes once, got {order}")
        return Permute(tuple(a % ndim for a in order))(self)

    def transpose(self, *axes: Any) -> Tensor:
        """A view with the axes reversed, or in the order given (NumPy's transpose)."""
        return self.permute(*(axes or [tuple(reversed(range(len(self.shape))))]))

    @property
    def T(self) -> Tensor:
        """The view with all axes reversed."""
        return self.transpose()

    def squeeze(self, axis: Axis = None) -> Tensor:
        """Without the axes of size 1: those named, or all."""
        if axis is None:
            return self.reshape(tuple(n for n in self.shape if n != 1))
        axes = normalize_axis(axis, len(self.shape), "squeeze")
        for a in axes:
            if self.shape[a] != 1:
                raise ValueError(f"[squeeze] axis {a} of shape {self.shape} is not of size 1")
        return self.reshape(tuple(n for i, n in enumerate(self.shape) if i not in axes))

    def unsqueeze(self, axis: int) -> Tensor:
        """With a new axis of size 1 at position ``axis`` of the result."""
        (place,) = normalize_axis(axis, len(self.shape) + 1, "unsqueeze")
        return self.reshape(*self.shape[:place], 1, *self.shape[place:])

    def pad(self, width: Any, value: float = 0.0) -> Tensor:
        """Elements of ``value`` added around; ``width`` is ((before, after), …), one per axis."""
        try:
            pairs = tuple((operator.index(low), operator.index(high)) for low, high in width)
        except (TypeError, ValueError):
            pairs = ((-1, -1),)
        if len(pairs) != len(self.shape) or any(n < 0 for pair in pairs for n in pair):
            raise ValueError(
                f"[pad] expected {len(self.shape)} pairs (before, after) of numbers ≥ 0 for shape "
                f"{self.shape}, got {width}"
            )
        return Pad(pairs, value)(self) if pairs else self  # type: ignore[return-value]

    def flip(self, axis: Axis = None) -> Tensor:
        """A view with the order of elements reversed along ``axis`` (all axes when None)."""
        axes = normalize_axis(axis, len(self.shape), "flip")
        key = (slice(None, None, -1 if i in axes else 1) for i in range(len(self.shape)))
        return self[tuple(key)]

    def split(self, sizes: int | Sequence[int], axis: int = 0) -> list[Tensor]:
        """Views along ``axis``: of the sizes listed, or that many of equal size."""
        (place,) = normalize_axis(axis, len(self.shape), "split")
        length = self.shape[place]
        if isinstance(sizes, int | np.integer):
            if sizes < 1 or length % sizes:
                raise ValueError(
                    f"[split] cannot cut axis {axis} of shape {self.shape} into {sizes} equal parts"
                )
            sizes = [length // int(sizes)] * int(sizes)
        if sum(sizes) != length or min(sizes, default=0) < 0:
            raise ValueError(
                f"[split] expected sizes that add up to {length} (axis {axis} of shape "
                f"{self.shape}), got {list(sizes)}"
            )
        ends = np.cumsum(sizes)
        before = (slice(None),) * place
        return [
            self[(*before, slice(int(end) - n, int(end)))]
            for n, end in zip(sizes, ends, strict=True)
        ]

    def __getitem__(self, key: Any) -> Tensor:
        """NumPy's indexing: ints, slices, None, ..., integer arrays, boolean masks; tensors too."""
        keys = key if isinstance(key, tuple) else (key,)
        place = array_key(self, keys, kept=self.requires_grad and mode.recording)
        try:
            return Index(place).watch(*keys)(self)
        except IndexError as error:
            raise index_error(self, error) from error

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("[len] a tensor without axes has no length")
        return self.shape[0]


def array_key(x: TensorBase, keys: tuple[Any, ...], kept: bool = False) -> tuple[Any, ...]:
    """``keys`` as NumPy or CuPy takes them, arrays among them on the device of ``x``.

    With ``kept``, what the caller may write into while a graph needs it is copied. (Tensors have a
    version, which tells.)
    """
    return tuple([_key_part(x, key, kept) for key in keys])


def _key_part(x: TensorBase, key: Any, kept: bool) -> Any:
    if isinstance(key, slice):
        return _whole_slice(key) if kept else key
    if key is None or key is Ellipsis or isinstance(key, int):
        return key
    if isinstance(key, np.integer):
        return int(key)
    kept = kept and not isinstance(key, TensorBase)
    if isinstance(key, TensorBase):
        key = key.data
    if isinstance(key, list | tuple | range):  # NumPy takes any sequence inside of a key
        key = np.asarray(key) if len(key) else np.zeros(0, np.int64)
    if isinstance(key, float) or (hasattr(key, "dtype") and key.dtype.kind not in "iub"):
        raise IndexError(f"[index] expected integers or booleans, got {key!r}")
    if not hasattr(key, "ndim"):
        return key
    found = to_device(plain_array(key), device_of(x.data))
    return found.copy() if kept else found


def _whole_slice(key: slice) -> slice:
    """The slice with Python's integers, for an array of one element may stand for one."""
    parts = (key.start, key.stop, key.step)
    if all(part is None or type(part) is int for part in parts):
        return key
    return slice(*[None if part is None else operator.index(part) for part in parts])


def index_error(x: TensorBase, error: IndexError) -> IndexError:
    """The error of a key that does not fit, with the tensor's shape."""
    said = str(error)  # NumPy starts it with a small letter, CuPy with a capital
    if said.startswith("[index]"):
        return error
    return IndexError(f"[index] {said[:1].lower()}{said[1:]} (tensor of shape {x.shape})")


def _sequence(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """f(1, 2) and f((1, 2)) alike."""
    one = len(arguments) == 1 and not isinstance(arguments[0], int | np.integer)
    return tuple(arguments[0]) if one else arguments


@name_ours
def concat(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Tensors joined along an existing axis; all other sizes must agree."""
    tensors = list(tensors)
    if not tensors:
        raise ValueError("[concat] expected at least one tensor, got none")
    _expect_tensors("concat", tensors)
    (place,) = normalize_axis(axis, len(tensors[0].shape), "concat")
    shapes = [t.shape for t in tensors]
    if len({s[:place] + s[place + 1 :] for s in shapes}) > 1 or len({len(s) for s in shapes}) > 1:
        raise ValueError(f"[concat] expected shapes that agree but for axis {axis}, got {shapes}")
    return Concat(place)(*in_one_dtype(*tensors))


@name_ours
def stack(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Tensors of one shape joined along a new axis at position ``axis`` of the result."""
    tensors = list(tensors)
    _expect_tensors("stack", tensors)
    shapes = [t.shape for t in tensors]
    if len(set(shapes)) > 1:
        raise ValueError(f"[stack] expected tensors of one shape, got {shapes}")
    return concat([t.unsqueeze(axis) for t in tensors], axis)


def _expect_tensors(op: str, values: list[Tensor]) -> None:
    for value in values:
        if not isinstance(value, TensorBase):
            raise TypeError(f"[{op}] expected tensors, got {type(value).__name__}")
