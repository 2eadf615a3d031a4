"""What changes hands: arrays, streams, and tensors inside of lists, tuples and dicts."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..autograd import TensorBase
from ..backend import Array, cuda_available, import_cupy, is_cuda, may_share_memory, strides_of
from ..backend.dtypes import resolve_dtype
from ..pytree import Branch, Constant, Leaf, rebuild


@functools.cache
def import_torch() -> Any:
    """PyTorch, or a RuntimeError that says what to install."""
    try:
        import torch
    except ImportError as error:
        raise RuntimeError(
            f"[interop] the bridge needs PyTorch, which cannot be imported ({error}): install torch"
        ) from error
    return torch


# --- arrays and tensors -------------------------------------------------------------------------


def array_of(tensor: Any) -> Array:
    """The memory of a torch tensor as an array, which keeps the tensor."""
    torch = import_torch()
    tensor = tensor.detach()
    if tensor.layout is not torch.strided:
        raise TypeError(f"[interop] expected a strided tensor, got {tensor.layout}")
    if tensor.is_neg() or tensor.is_conj():  # views whose memory holds other numbers
        tensor = tensor.resolve_neg().resolve_conj()
    dtype = _dtypes().get(tensor.dtype)
    if dtype is None:
        raise TypeError(f"[interop] expected a dtype that arrays have, got {tensor.dtype}")
    if tensor.is_cuda:  # as DLPack would, in a fifth of its time
        cuda, size = import_cupy().cuda, dtype.itemsize
        span = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
        count = size * span if tensor.numel() else 0
        memory = cuda.UnownedMemory(tensor.data_ptr(), count, tensor, tensor.device.index)
        strides = tuple([size * s for s in tensor.stride()])
        shape, pointer = tuple(tensor.shape), cuda.MemoryPointer(memory, 0)
        return import_cupy().ndarray(shape, dtype, pointer, strides)
    if not tensor.is_cpu:
        place = tensor.device.type
        raise TypeError(f"[interop] expected a tensor on the CPU or on CUDA, got one on {place}")
    if tensor.dtype is torch.bfloat16:  # which NumPy's DLPack does not know
        return tensor.view(torch.int16).numpy().view(dtype)
    return tensor.numpy()


@functools.cache
def _dtypes() -> dict[Any, np.dtype[Any]]:
    """NumPy's dtypes by PyTorch's."""
    torch = import_torch()
    integers = (f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
    names = ("bool", *integers, "float16", "float32", "float64", "complex64", "complex128")
    found = {getattr(torch, name): np.dtype(name) for name in names if hasattr(torch, name)}
    return found | {torch.bfloat16: resolve_dtype("bfloat16")}


def tensor_of(array: Array) -> Any:
    """The memory of an array as a torch tensor; a copy where PyTorch cannot have that memory."""
    torch = import_torch()
    kind = array.dtype.kind
    bits = array.view(np.int16) if kind == "V" else array.view(np.uint8) if kind == "b" else array
    if not bits.flags.c_contiguous and any(
        stride < 0 or stride % bits.itemsize for stride in strides_of(bits)
    ):
        bits = bits.copy()  # runs backwards, or through the fields of records
    if is_cuda(bits):
        tensor = torch.utils.dlpack.from_dlpack(bits.__dlpack__(stream=-1))  # the streams are one
    else:
        tensor = torch.from_numpy(bits if bits.flags.writeable else bits.copy())
    if kind == "V":
        return tensor.view(torch.bfloat16)
    return tensor.view(torch.bool) if kind == "b" else tensor


def viewing(leaf: Any, array: Array, y: Array) -> Any:
    """``y``, a view of the ``array`` of a torch tensor, as a view of that tensor.

    So PyTorch knows that writing into one writes into the other.
    """
    other = leaf.is_neg() or leaf.is_conj() or y.dtype != array.dtype  # a part of complex numbers
    if other or any(stride < 0 for stride in strides_of(y)):
        return tensor_of(y)
    offset = (_address(y) - _address(array)) // y.itemsize + leaf.storage_offset()
    return leaf.as_strided(y.shape, [stride // y.itemsize for stride in strides_of(y)], offset)


def _address(array: Array) -> int:
    return int(array.data.ptr if is_cuda(array) else array.ctypes.data)


def apart(arrays: Sequence[Array], others: Sequence[Array]) -> list[Any]:
    """The arrays (or None), those that share memory with one before or with ``others`` copied.

    What adds up gradients in place would add to both.
    """
    made: list[Any] = []
    for array in arrays:
        if array is not None and any(
            other is not None and may_share_memory(array, other) for other in (*others, *made)
        ):
            array = array.copy()
        made.append(array)
    return made


# --- streams ------------------------------------------------------------------------------------


_NOTHING = contextlib.nullcontext()


def _streams(device: int) -> tuple[int, int]:
    """The current streams of CuPy and of PyTorch on a device, as addresses."""
    cupy, torch = import_cupy(), import_torch()
    raw = getattr(torch._C, "_cuda_getCurrentRawStream", None)  # in a tenth of the time
    theirs = torch.cuda.current_stream(device).cuda_stream if raw is None else raw(device)
    return cupy.cuda.get_current_stream(device).ptr, theirs


def on_stream_of_torch(tensors: Sequence[Any]) -> contextlib.AbstractContextManager[Any]:
    """CuPy works on PyTorch's current stream of the device that has these tensors."""
    for tensor in tensors:
        if tensor.is_cuda:
            device = tensor.device.index
            ours, theirs = _streams(device)
            return _NOTHING if ours == theirs else _on_stream(theirs, device)
    return _NOTHING


class _ForeignStream(NamedTuple):
    """A stream that another library made, as CUDA's stream protocol hands it over."""

    address: int

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.address  # the protocol's version, the cudaStream_t


@contextlib.contextmanager
def _on_stream(stream: int, device: int) -> Iterator[None]:
    cuda = import_cupy().cuda
    with cuda.Device(device):  # a stream is current on the current device alone
        if hasattr(cuda.Stream, "from_external"):
            foreign = cuda.Stream.from_external(_ForeignStream(stream))
        else:  # CuPy before 14
            foreign = cuda.ExternalStream(stream, device)
        with foreign:
            yield


def on_stream_of_cupy(arrays: Sequence[Array]) -> contextlib.AbstractContextManager[Any]:
    """PyTorch works on CuPy's current stream of the device that has these arrays."""
    for array in arrays:
        if is_cuda(array):
            device = array.device.id
            ours, theirs = _streams(device)
            if ours == theirs:
                return _NOTHING
            cuda = import_torch().cuda
            # An external stream of address 0 would be a new one to PyTorch.
            stream = cuda.ExternalStream(ours, device) if ours else cuda.default_stream(device)
            return cuda.stream(stream)  # type: ignore[no-any-return]
    return _NOTHING


# --- lists, tuples and dicts --------------------------------------------------------------------

ONE: Any = Leaf(0)  # the structure of a tensor alone


class Positional(NamedTuple):
    """The structure of positional arguments that are all tensors."""

    arguments: int


def rebuilt(structure: Any, leaves: Sequence[Any]) -> Any:
    """Arguments (args, kwargs), or a result, with these tensors."""
    if type(structure) is Positional:
        return leaves, {}
    return leaves[0] if structure is ONE else rebuild(structure, leaves)


@functools.cache
def leaf_kinds() -> tuple[type, ...]:
    """Tensors of ours, and arrays."""
    cupy = (import_cupy().ndarray,) if cuda_available() else ()
    return (TensorBase, np.ndarray, *cupy)


def leaves_of(value: Any, kind: Any) -> tuple[Any, list[Any]]:
    """The structure of a value, and what in it is of a ``kind`` of tensors."""
    if isinstance(value, kind):
        return ONE, [value]
    found: list[Any] = []
    return _structure(value, kind, found), found


def _structure(value: Any, kind: Any, found: list[Any]) -> Any:
    if isinstance(value, kind):
        found.append(value)
        return Leaf(len(found) - 1)
    if isinstance(value, list | tuple):
        return Branch(type(value), (), tuple([_structure(x, kind, found) for x in value]))
    if isinstance(value, dict):
        inside = tuple([_structure(x, kind, found) for x in value.values()])
        return Branch(type(value), tuple(value), inside)
    return Constant(type(value), None, value)
