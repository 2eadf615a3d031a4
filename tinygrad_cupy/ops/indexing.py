"""NumPy's indexing in full, and its adjoint."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import FusedOp, Op, TensorBase
from ..autograd.array_rules import note_read
from ..autograd.levels import innermost
from ..autograd.mode import mode
from ..backend import (
    Array,
    constant,
    device_of,
    is_cuda,
    on_device_of,
    plain_array,
    to_device_of,
)
from ..backend.capture import active, refuse_size

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


Part = tuple[range, ...]
MOST_PARTS = 32  # each is compared with all that came before


class Index(FusedOp):
    """x[key], for any key that NumPy takes."""

    saves = ()
    view = True
    linear = ("x",)
    _takes_part = True

    def __init__(self, key: tuple[Any, ...]) -> None:
        self.key = key

    def forward(self, x: Array) -> Array:
        self.source = tuple(x.shape)
        refuse_booleans(x, self.key)
        return kernels.indexing.get(x, self.key)

    def backward_arrays(self, grad: Array) -> tuple[Array]:
        return (kernels.indexing.scattered(grad, self.key, self.source),)

    def part(self) -> Part | None:
        """Which part of x it is, along each axis; None where arrays are in the key."""
        return _part(self.key, self.source)

    def store_part(self, grad: Tensor, whole: Tensor, part: Part, others: list[Part]) -> bool:
        """Store the gradient in that by x, which so far has those of other parts, and zeros.

        So the gradients of x.split(3) are one array that is written once. False where parts
        overlap, or are many: they are added up then.
        """
        self._check_saved()
        if len(others) == MOST_PARTS or not all(_apart(part, other) for other in others):
            return False
        note_read("backward_arrays")
        others.append(part)
        with on_device_of(whole.data):
            whole.data[self.key] = grad.data
        return True

    def backward(self, grad: Tensor) -> tuple[Tensor]:
        return (Scatter(self.key, self.source).watch_with(self)(grad),)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        if leads(self.key):  # NumPy puts the axis that such a key makes in front of all others
            return b.one_by_one(lambda x: Index(self.key).watch_with(self)(x), (x,))  # type: ignore[no-any-return]
        return Index((slice(None), *self.key)).watch_with(self)(b.whole(x))


class Scatter(Op):
    """Zeros of ``shape`` with the values added at ``key``: the adjoint of `Index`."""

    linear = ("values",)

    def __init__(self, key: tuple[Any, ...], shape: tuple[int, ...]) -> None:
        self.key, self.shape = key, shape

    def forward(self, values: Array) -> Array:
        return kernels.indexing.scattered(values, self.key, self.shape)

    def backward(self, grad: Tensor) -> Tensor:
        return Index(self.key).watch_with(self)(grad)

    def batch(self, b: BatchLevel, values: Tensor) -> Tensor:
        if leads(self.key):
            one = lambda values: Scatter(self.key, self.shape).watch_with(self)(values)  # noqa: E731
            return b.one_by_one(one, (values,))  # type: ignore[no-any-return]
        key = (slice(None), *self.key)
        return Scatter(key, (b.size, *self.shape)).watch_with(self)(b.whole(values))


def _part(key: tuple[Any, ...], shape: tuple[int, ...]) -> Part | None:
    """What a key of numbers and slices takes of each axis; None for another key."""
    if any(not (k is None or k is Ellipsis or type(k) in (int, slice)) for k in key):
        return None
    axes = [k for k in key if k is not None]
    if Ellipsis in axes:
        i = axes.index(Ellipsis)
        axes[i : i + 1] = [slice(None)] * (len(shape) - len(axes) + 1)
    axes += [slice(None)] * (len(shape) - len(axes))
    found = []
    for k, n in zip(axes, shape, strict=True):
        taken = range(n)[k]
        found.append(range(taken, taken + 1) if isinstance(taken, int) else taken)
    return tuple(one[::-1] if one.step < 0 else one for one in found)


def _apart(a: Part, b: Part) -> bool:
    """Whether two parts have no element in common; parts that mesh may count as touching."""
    return any(map(_disjoint, a, b))


def _disjoint(a: range, b: range) -> bool:
    if not a or not b or a[-1] < b[0] or b[-1] < a[0]:
        return True
    return a.step == b.step and (a[0] - b[0]) % a.step != 0


def array_key(x: TensorBase, keys: tuple[Any, ...], kept: bool = False) -> tuple[Any, ...]:
    """``keys`` as NumPy or CuPy takes them, arrays among them on the device of ``x``.

    With ``kept``, what the caller may write into while a graph needs it is copied. (Tensors have a
    version, which tells.)
    """
    return tuple([key_part(x, key, kept) for key in keys])


def key_part(x: TensorBase, key: Any, kept: bool) -> Any:
    """One of the keys of `array_key`."""
    if isinstance(key, TensorBase) and key.dtype.kind in "iub":
        return to_device_of(key.data, x.data)
    if isinstance(key, slice):
        return _whole_slice(key) if kept else key
    if key is None or key is Ellipsis or isinstance(key, int):
        return key
    if isinstance(key, np.integer):
        return int(key)
    listed = isinstance(key, list | tuple | range)  # NumPy takes any sequence inside of a key
    kept = kept and not (listed or isinstance(key, TensorBase))
    if isinstance(key, TensorBase):
        key = key.data
    if listed:
        key = np.asarray(key) if len(key) else np.zeros(0, np.int64)
    if isinstance(key, float) or (hasattr(key, "dtype") and key.dtype.kind not in "iub"):
        raise IndexError(f"[index] expected integers or booleans, got {key!r}")
    if not hasattr(key, "ndim"):
        return key
    if listed:
        found = constant(key, device_of(x.data))
    else:
        found = to_device_of(plain_array(key), x.data)
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


def refuse_booleans(x: Array, key: tuple[Any, ...]) -> None:
    """Called before x[key]: where booleans are in a key, the size depends on how many are True."""
    if active.run is not None and is_cuda(x) and any(map(_is_mask, key)):
        refuse_size("an index by booleans")


def _is_mask(part: Any) -> bool:
    return getattr(getattr(part, "dtype", None), "kind", "") == "b"


def leads(key: tuple[Any, ...]) -> bool:
    """Whether arrays and numbers stand apart in a key, as in x[0, :, [1, 2]]."""
    advanced = [i for i, k in enumerate(key) if isinstance(k, int) or hasattr(k, "ndim")]
    arrays = any(hasattr(key[i], "ndim") for i in advanced)
    return arrays and advanced[-1] - advanced[0] >= len(advanced)


def _is_element(found: Tensor, x: TensorBase, key: tuple[Any, ...]) -> bool:
    """Whether x[key], found as a view, is a number for NumPy: no axis is left, nor an ellipsis."""
    return not found.shape and found._version is x._version and Ellipsis not in key


class IndexingMixin(TensorBase):
    """Indexing as methods."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> Tensor:
        """NumPy's indexing: ints, slices, None, ..., integer arrays, boolean masks; tensors too."""
        keys = key if isinstance(key, tuple) else (key,)
        if active.level is not None and (level := innermost(keys)) is not None:
            return level.batched(level.one_by_one(lambda x, *keys: x[keys], (self, *keys)))  # type: ignore[no-any-return]
        place = array_key(self, keys, kept=self.requires_grad and mode.recording)
        try:
            found = Index(place).watch(*keys)(self)
        except IndexError as error:
            raise index_error(self, error) from error
        if self._plain._copies_elements and _is_element(found, self, place):
            return found.clone()
        return found

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("[len] a tensor without axes has no length")
        return self.shape[0]
