"""`Tensor`: an array with a gradient. The operation families supply its methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from . import random
from .autograd import Elementwise, TensorBase, Version, fits, hooks
from .autograd import backward as backward_pass
from .autograd.array_rules import HandedMixin
from .autograd.aside import stand_aside
from .autograd.batching import BatchedMixin, as_batched
from .autograd.forward import DualMixin
from .autograd.fused import Alias
from .autograd.hooks import HookHandle
from .autograd.levels import Tracer
from .autograd.views import link, refresh, set_apart
from .backend import (
    Array,
    default_device,
    device_of,
    expect_memory,
    full,
    is_cuda,
    made_on,
    normalize_device,
    plain_array,
    to_device,
    to_numpy,
)
from .backend.capture import active
from .backend.dtypes import is_float, is_inexact, resolve_dtype
from .ops.adaptive_pool import AdaptivePoolMixin
from .ops.as_arrays import AsArrayMixin
from .ops.attention import AttentionMixin
from .ops.batch_norm import BatchNormMixin
from .ops.bitwise import BitwiseMixin
from .ops.choose import ChooseMixin
from .ops.class_losses import ClassLossMixin
from .ops.comparison import ComparisonMixin
from .ops.complex_numbers import ComplexMixin
from .ops.conv import ConvMixin
from .ops.conv_fused import ConvBlockMixin
from .ops.conv_transpose import ConvTransposeMixin
from .ops.cupy_kernels import CupyMixin
from .ops.distance import DistanceMixin
from .ops.division import DivisionMixin
from .ops.dropout import DropoutMixin
from .ops.einsum import DotMixin
from .ops.extrema import ExtremaMixin
from .ops.grid_sample import GridMixin
from .ops.hints import HintMixin, hinting
from .ops.inplace import InplaceMixin
from .ops.interpolate import InterpolateMixin
from .ops.leaving import carries_gradient, warn_of_array, warn_of_number
from .ops.logical_reduce import LogicalReduceMixin
from .ops.loss import LossMixin
from .ops.losses import LossesMixin
from .ops.matmul import MatmulMixin
from .ops.norm import NormMixin
from .ops.piecewise import PiecewiseMixin
from .ops.pixels import PixelMixin
from .ops.pool_windows import PoolMixin
from .ops.product import ProductMixin
from .ops.protocols import ProtocolMixin
from .ops.reduce import ReduceMixin
from .ops.rounding import RoundingMixin
from .ops.scan import ScanMixin
from .ops.softmax import SoftmaxMixin
from .ops.unary import UnaryMixin
from .ops.unfold import UnfoldMixin
from .ops.unpool import UnpoolMixin


class Transfer(Elementwise):
    """A copy on another device; the gradient travels back."""

    linear = ("x",)

    def __init__(self, device: str) -> None:
        self.device = device

    def forward(self, x: Array) -> Array:
        self.source = device_of(x)
        return to_device(x, self.device)

    def backward(self, grad: Tensor) -> Tensor:
        return grad.to(self.source)


@hinting
class Tensor(
    ComparisonMixin,
    ComplexMixin,
    UnaryMixin,
    DivisionMixin,
    RoundingMixin,
    BitwiseMixin,
    PiecewiseMixin,
    ReduceMixin,
    ExtremaMixin,
    ProductMixin,
    LogicalReduceMixin,
    ScanMixin,
    SoftmaxMixin,
    ChooseMixin,
    MatmulMixin,
    DotMixin,
    ConvMixin,
    ConvBlockMixin,
    ConvTransposeMixin,
    UnfoldMixin,
    PoolMixin,
    AdaptivePoolMixin,
    UnpoolMixin,
    PixelMixin,
    InterpolateMixin,
    GridMixin,
    BatchNormMixin,
    NormMixin,
    LossMixin,
    LossesMixin,
    ClassLossMixin,
    DropoutMixin,
    AttentionMixin,
    DistanceMixin,
    InplaceMixin,
    AsArrayMixin,
    ProtocolMixin,
    CupyMixin,
    HintMixin,
):
    """An n-dimensional array that records what is computed from it, so it can be differentiated.

    Parameters
    ----------
    data:
        a NumPy or CuPy array (wrapped, not copied), a number, a nested list, or a tensor.
    dtype:
        defaults to the array's own; Python floats become float32, complex numbers complex64,
        integers int64.
    device:
        "cpu", "cuda" or "cuda:N". An array stays where it is unless told; anything else goes to
        `default_device`.
    requires_grad:
        whether ``backward`` fills ``.grad``; tensors of floating-point or complex numbers only.

    ``data`` is the array itself: writing into it is invisible to the graph. ``grad`` is a Tensor
    or None.

    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> (x**2).sum().backward()
    >>> x.grad
    Tensor([2., 4., 6.])
    """

    __slots__ = ()

    def __init__(
        self,
        data: Any,
        dtype: Any = None,
        device: str | None = None,
        requires_grad: bool = False,
    ) -> None:
        self.data = _as_array(data, dtype, device)
        self._grad = self._node = self._view = None
        self._requires_grad = _may_require(self.data, requires_grad)
        if isinstance(data, TensorBase) and data.data is self.data:
            self._version = data._version
            set_apart(self)
        else:
            self._version = Version()

    # --- what it is -----------------------------------------------------------------------------

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return int(self._facts.ndim)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(self._facts.size)

    @property
    def device(self) -> str:
        """ "cpu" or "cuda:N"."""
        return device_of(self._facts)

    def __repr__(self) -> str:
        values = np.array2string(to_numpy(self.data), separator=", ", prefix="Tensor(")
        notes = "" if self.dtype in (np.float32, np.int64, np.bool_) else f", dtype={self.dtype}"
        notes += "" if self.device == "cpu" else f', device="{self.device}"'
        notes += ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({values}{notes})"

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(
                f"[bool] a tensor of shape {self.shape} is neither true nor false; use .numpy() "
                "with .any() or .all()"
            )
        return bool(self.item())

    def __format__(self, form: str) -> str:
        """A tensor with one element is formatted as its number: ``f"{loss:.3f}"``."""
        return format(self.item(), form) if form and self.size == 1 else format(repr(self), form)

    def __float__(self) -> float:
        """The number, with a warning where it carries a gradient; `item` gives it without one."""
        number = float(self.item())
        warn_of_number(self, "float()")
        return number

    def __int__(self) -> int:
        """The number cut to an integer, with a warning where it carries a gradient."""
        number = int(self.item())
        warn_of_number(self, "int()")
        return number

    def __complex__(self) -> complex:
        """The number as a complex one, with a warning where it carries a gradient."""
        number = complex(self.item())
        warn_of_number(self, "complex()")
        return number

    def __index__(self) -> int:
        """A tensor with one integer stands for it: in ``range(n)``, as an index of a list."""
        if self.size != 1 or self.dtype.kind not in "iu":
            raise TypeError(
                f"[index] expected one integer, got dtype {self.dtype} and shape {self.shape}"
            )
        return int(self.item())

    def __iter__(self) -> Iterator[Tensor]:
        """The elements along the first axis, one after the other, in the graph."""
        if not self.shape:
            raise TypeError("[iter] a tensor without axes is not iterated over")
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        """Whether an element is equal to ``value``, which is broadcast."""
        equal: Any = self == value
        return bool(equal.sum()) if isinstance(equal, Tensor) else False

    # --- leaving the graph, and the device -------------------------------------------------------

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array of their own, whatever the device."""
        return to_numpy(self.data)

    def item(self, *index: Any) -> Any:
        """The value of a tensor with one element, as a Python number.

        With an index the value there: one number counts the elements in C order, several (or a
        tuple) say one along each axis.
        """
        if index:
            place = index[0] if len(index) == 1 and isinstance(index[0], tuple) else index
            x = self.detach()
            return (x.reshape(-1) if len(place) == 1 else x)[place].item()
        if self.size != 1:
            raise ValueError(f"[item] expected one element, got shape {self.shape}")
        return to_numpy(self.data).item() if is_cuda(self.data) else self.data.item()

    def tolist(self) -> Any:
        """The values as (nested lists of) Python numbers."""
        return to_numpy(self.data).tolist()

    def detach(self) -> Tensor:
        """A tensor on the same memory, outside the graph."""
        if self._version.recorded:
            refresh(self)
            if isinstance(self, Tracer):  # it has become one
                return self.detach()
        detached = self._alias(self._facts)
        set_apart(detached)
        return detached

    def clone(self) -> Tensor:
        """A copy in memory of its own; the gradient passes through."""
        return Clone()(self)

    def to(self, device: str) -> Tensor:
        """Itself when it is on ``device`` already, else a copy there; the gradient comes back."""
        device = normalize_device(device)
        return self if device == self.device else Transfer(device)(self)

    def to_device(self, device: str, /, *, stream: Any = None) -> Tensor:
        """`to`, as the array API standard calls it; CuPy's current stream is the one used."""
        return self.to(device)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """What NumPy, and who asks it, makes an array of: with a warning where a gradient is lost.

        The array is a copy then, and else of the same memory unless ``copy`` says so. Raises
        ``TypeError`` on a GPU.
        """
        if (aside := stand_aside()) is not None:
            return aside  # type: ignore[no-any-return]
        if is_cuda(self.data):
            raise TypeError(
                "[Tensor] implicit copy from the GPU to NumPy; use .numpy() to copy explicitly, or "
                ".detach().data for CuPy's array"
            )
        warn_of_array(self)
        apart = True if copy is None and carries_gradient(self) else copy
        return np.array(self.data, dtype=dtype, copy=apart)

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: Any = None,
        dl_device: Any = None,
        copy: Any = None,
    ) -> Any:
        if carries_gradient(self):
            raise RuntimeError(
                "[Tensor] DLPack would take the values out of the graph unnoticed; use .detach() "
                "first, or .numpy() for a host copy"
            )
        options = {"max_version": max_version, "dl_device": dl_device, "copy": copy}
        asked = {name: value for name, value in options.items() if value is not None}
        return self.data.__dlpack__(stream=stream, **asked)

    def __dlpack_device__(self) -> Any:
        return self.data.__dlpack_device__()

    # --- copying --------------------------------------------------------------------------------

    def __copy__(self) -> Tensor:
        """`copy.copy`: another tensor on the same memory, at the same place in the graph."""
        leaf = self.is_leaf
        state: Any = super().__getstate__()
        attributes, slots = state
        result = object.__new__(type(self))
        slots.pop("_hooks", None)
        for name, value in ((attributes or {}) | slots).items():
            setattr(result, name, value)
        if not (leaf and self._requires_grad):
            link(result, self, Alias(), True)
        return result

    def __getstate__(self) -> Any:
        """What `copy.deepcopy` and pickle take along: the values and the gradient, not the graph.

        A leaf stays what it is; the copy of a result is a leaf that wants no gradient. Tensors on
        one memory have copies on one memory.
        """
        state: Any = super().__getstate__()
        attributes, slots = state
        slots.pop("_hooks", None)
        leaf = self.is_leaf
        lost = getattr(self._grad, "stale", False)  # left by a jitted function and written over
        changed = {"_node": None, "_view": None, "_requires_grad": self._requires_grad and leaf}
        return attributes, slots | changed | ({"_grad": None} if lost else {})

    def __setstate__(self, state: Any) -> None:
        attributes, slots = state
        slots = {"_view": None, **slots}
        if "requires_grad" in slots:  # of an older version
            slots["_requires_grad"] = slots.pop("requires_grad")
        for name, value in ((attributes or {}) | slots).items():
            setattr(self, name, value)

    # --- gradients ------------------------------------------------------------------------------

    def backward(
        self, grad: Any = None, create_graph: bool = False, retain_graph: bool | None = None
    ) -> None:
        """Add d self / d leaf to ``.grad`` of every leaf that self was computed from.

        Gradients of 16 bits of a value that is used often are added up in float32; ``.grad`` itself
        is of the leaf's dtype, to which what several passes add is rounded each time.

        grad:
            the gradient of what is computed from self, of self's shape; 1 for a single element.
        create_graph:
            record the gradients' own graph. A leaf's ``.grad`` then holds a graph that holds the
            leaf: set it to None when done, or use `tinygrad_cupy.grad`.
        retain_graph:
            keep the graph for another pass; defaults to ``create_graph``.
        """
        backward_pass.backward(self, grad, create_graph, retain_graph)

    def register_hook(self, hook: Callable[[Tensor], Any]) -> HookHandle:
        """Have ``hook(gradient)`` called whenever a backward pass finds this tensor's gradient.

        With the whole gradient, before it goes into ``.grad`` or on to what the tensor was computed
        from. The hook returns None, or a tensor that takes the gradient's place (of its shape,
        dtype and device, else ``ValueError``). Several are called in the order of registration.
        The handle that is returned has ``remove()``, and is a context that removes it at its end.

        Raises ``RuntimeError`` for a tensor that requires no gradient.
        """
        return hooks.register(self, hook)

    def zero_grad(self) -> None:
        """Forget the gradient."""
        self.grad = None

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Ask for a gradient of this leaf, or no longer."""
        if not self.is_leaf:
            raise RuntimeError("[requires_grad_] only a leaf can be changed; use .detach() first")
        self.requires_grad = _may_require(self.data, requires_grad)
        return self

    def replace_data(self, array: Array) -> None:
        """Give this tensor another array (of another device, say); it stays the same object.

        A gradient that is not of the new array's shape, dtype and device is forgotten.
        """
        array = _as_array(array, None, None)
        _may_require(array, self.requires_grad)
        if self._grad is not None and not fits(self._grad.data, array):
            self.grad = None
        self.bump_version()
        self.data, self._version = array, Version()

    # --- making tensors -------------------------------------------------------------------------

    @classmethod
    def full(
        cls,
        shape: int | Sequence[int],
        value: Any,
        dtype: Any = None,
        device: str | None = None,
        requires_grad: bool | None = None,
    ) -> Tensor:
        """Every element ``value``. Like all that make tensors, of a subclass it makes one of it."""
        return _filled(cls, "full", (shape,), value, dtype, device, requires_grad)

    @classmethod
    def zeros(cls, *shape: Any, dtype: Any = "float32", **options: Any) -> Tensor:
        """Every element 0. Options: device, requires_grad."""
        return _filled(cls, "zeros", shape, 0, dtype, **options)

    @classmethod
    def ones(cls, *shape: Any, dtype: Any = "float32", **options: Any) -> Tensor:
        """Every element 1. Options: device, requires_grad."""
        return _filled(cls, "ones", shape, 1, dtype, **options)

    @classmethod
    def arange(
        cls,
        start: Any,
        stop: Any = None,
        step: Any = 1,
        dtype: Any = None,
        device: str | None = None,
        requires_grad: bool | None = None,
    ) -> Tensor:
        """start, start + step, … below stop (NumPy's arange)."""
        start, stop = (0, start) if stop is None else (start, stop)
        device = device or default_device()
        try:
            values = made_on(device, lambda xp: xp.arange(start, stop, step))
        except (ArithmeticError, MemoryError, ValueError) as error:
            raise ValueError(
                f"[arange] cannot count from {start} to {stop} by {step}: {error}"
            ) from error
        chosen = np.float32 if values.dtype.kind == "f" else np.int64
        return _made(cls, _as_array(values, dtype or chosen, None), requires_grad)

    @classmethod
    def eye(cls, size: int, dtype: Any = "float32", **options: Any) -> Tensor:
        """The identity matrix (size, size). Options: device, requires_grad."""
        device = options.pop("device", None) or default_device()
        (size,) = _shape("eye", size)
        expect_memory("eye", (size, size), 8, device != "cpu")
        wanted = resolve_dtype(dtype)
        made = wanted if wanted.kind in "fiuc" else np.float64  # bfloat16 by a cast
        return cls(made_on(device, lambda xp: xp.eye(size, dtype=made)), dtype, device, **options)

    @classmethod
    def rand(cls, *shape: Any, dtype: Any = "float32", **options: Any) -> Tensor:
        """Uniform in [0, 1), from stream 0 (`manual_seed`). Options: device, requires_grad.

        Where a batch is split among ranks (docs/many-gpus.md), these are the numbers of this rank's
        samples, along axis 0 unless ``batch_axis`` says otherwise; with ``replicated=True`` they
        are no batch, and the same on all ranks.
        """
        device = options.pop("device", None) or default_device()
        sizes = _shape("rand", *shape)
        expect_memory("rand", sizes, 8, device != "cpu")  # a word for each
        return _drawn(cls, random.uniform, sizes, dtype, device, options)

    @classmethod
    def randn(cls, *shape: Any, dtype: Any = "float32", **options: Any) -> Tensor:
        """Standard normal, from stream 0 (`manual_seed`). Options: as of `rand`."""
        device = options.pop("device", None) or default_device()
        sizes = _shape("randn", *shape)
        expect_memory("randn", sizes, 8, device != "cpu")  # a word for each
        return _drawn(cls, random.normal, sizes, dtype, device, options)


class Handed(HandedMixin, Tensor):
    """A tensor in a rule of the user's."""

    __slots__ = ()


class Dual(DualMixin, Tensor):
    """A tensor with a tangent, inside of `jvp`."""

    __slots__ = ()


class Batched(BatchedMixin, Tensor):
    """One tensor of a batch, inside of `vmap`."""

    __slots__ = ()


TensorBase._plain, TensorBase._handed = Tensor, Handed
TensorBase._dual, TensorBase._batched = Dual, Batched


class Clone(Elementwise):
    linear = ("x",)

    def forward(self, x: Array) -> Array:
        return x.copy()

    def backward(self, grad: Tensor) -> Tensor:
        return grad


def _shape(op: str, *shape: Any) -> tuple[int, ...]:
    """The sizes of axes, given one by one or as a sequence, or ValueError that names ``op``."""
    one = len(shape) == 1 and isinstance(shape[0], Iterable)
    sizes = tuple(shape[0]) if one else shape
    for n in sizes:
        if not isinstance(n, int | np.integer) or isinstance(n, bool) or n < 0:
            raise ValueError(f"[{op}] expected a shape of integers ≥ 0, got {sizes}")
    return tuple([int(n) for n in sizes])


def _drawn(
    cls: type[Tensor], draw: Any, shape: tuple[int, ...], dtype: Any, device: str, options: Any
) -> Tensor:
    """Random numbers; inside of `vmap` each element's own."""
    axis = None if options.pop("replicated", False) else options.pop("batch_axis", 0)
    options.pop("batch_axis", None)

    def one(shape: tuple[int, ...]) -> Tensor:
        if axis == 0:
            return cls(draw(shape, random.STREAM_WEIGHTS, device), dtype, **options)
        with random.along(axis):
            return cls(draw(shape, random.STREAM_WEIGHTS, device), dtype, **options)

    if active.level is None:
        return one(shape)
    drawn: Tensor = as_batched(one, shape)
    return drawn


def _filled(
    cls: type[Tensor],
    op: str,
    shape: tuple[Any, ...],
    value: Any,
    dtype: Any,
    device: str | None = None,
    requires_grad: bool | None = None,
) -> Tensor:
    sizes, device = _shape(op, *shape), device or default_device()
    chosen = _python_dtype(value) if dtype is None else resolve_dtype(dtype)
    expect_memory(op, sizes, chosen.itemsize, device != "cpu")
    return _made(cls, full(sizes, value, chosen, device), requires_grad)


def _made(cls: type[Tensor], array: Array, requires_grad: bool | None) -> Tensor:
    """A tensor of class ``cls``, which decides on ``requires_grad`` where nothing was said."""
    if cls is not Tensor:
        return cls(array) if requires_grad is None else cls(array, requires_grad=requires_grad)
    tensor = Tensor._wrap(array)
    tensor._requires_grad = _may_require(array, bool(requires_grad))
    return tensor


def _may_require(array: Array, wanted: bool) -> bool:
    if wanted and not is_inexact(array.dtype):
        raise TypeError(
            "[Tensor] only floating-point and complex tensors have gradients, got dtype "
            f"{array.dtype}"
        )
    return wanted


def _python_dtype(value: Any) -> Any:
    """float32 for Python floats, complex64 for complex numbers, int64 for ints; an array's own."""
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype
    kind = np.asarray(value).dtype
    chosen = {"f": np.float32, "c": np.complex64, "i": np.int64, "u": np.int64}
    return np.dtype(chosen.get(kind.kind, kind))


def _as_array(data: Any, dtype: Any, device: str | None) -> Array:
    """The array of a tensor: an array is kept as it is unless dtype or device ask otherwise."""
    if isinstance(data, TensorBase):
        data = data.data.copy() if data._fleeting else data.data
    if is_cuda(data) or isinstance(data, np.ndarray):
        data = plain_array(data)
        _expect_numbers(data.dtype)
        if not data.dtype.isnative:  # a file's byte order, which BLAS and CuPy do not take
            data = data.astype(data.dtype.newbyteorder("="))
        array = data if device is None else to_device(data, device)
    else:
        host = np.asarray(data)
        _expect_numbers(host.dtype)
        if dtype is None:
            host = host.astype(_python_dtype(data))
        array = to_device(host, device or default_device())
    if dtype is not None:
        wanted = resolve_dtype(dtype)
        _expect_numbers(wanted)
        if array.dtype.kind == "c" != wanted.kind:
            raise TypeError(
                f"[Tensor] expected real numbers for dtype {wanted}, got dtype {array.dtype}; take "
                ".real first"
            )
        array = array.astype(wanted, copy=False)
    return array


def _expect_numbers(dtype: Any) -> None:
    if dtype.kind not in "biufc" and not is_float(dtype):
        raise TypeError(f"[Tensor] expected numbers or booleans, got dtype {dtype}")
