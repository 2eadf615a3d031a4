"""Devices by name, ``"cpu"`` or ``"cuda:0"``, and moving arrays between them."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from .arrays import Array, cuda_available, cuda_count, import_cupy, is_cuda
from .capture import active, keep, refuse_read, upload
from .host_symbols import HostSymbol

_chosen_default: str | None = None
_NOWHERE_ELSE = nullcontext()


def normalize_device(device: str) -> str:
    """The full name of a device: ``"cuda"`` becomes ``"cuda:0"``.

    Raises ``ValueError`` for a name that is no device, ``RuntimeError`` for CUDA that is absent.
    """
    if device == "cpu":
        return device
    kind, _, number = device.partition(":")
    if kind != "cuda" or not (number or "0").isdigit():
        import difflib  # an error may take its time

        near = difflib.get_close_matches(device, ["cpu", "cuda"], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f'[device] expected "cpu", "cuda" or "cuda:N", got {device!r}{hint}')
    if not cuda_available():
        import_cupy()  # says what to install when it is CuPy that is missing
        raise RuntimeError(f"[device] {device!r} was asked for, but CuPy sees no CUDA device")
    count = import_cupy().cuda.runtime.getDeviceCount()
    if int(number or 0) >= count:
        raise ValueError(f"[device] {device!r} was asked for, but there are {count} CUDA devices")
    return f"cuda:{int(number or 0)}"


def default_device() -> str:
    """Where new tensors go: what was set, else ``$TINYGRAD_CUPY_DEVICE``, else CUDA if there.

    >>> Tensor.zeros(3).device == tg.default_device()
    True
    """
    if _chosen_default is not None:
        return _chosen_default
    wanted = os.environ.get("TINYGRAD_CUPY_DEVICE")
    if wanted:
        return normalize_device(wanted)
    return "cuda:0" if cuda_available() else "cpu"


def set_default_device(device: str | None) -> None:
    """Send new tensors to ``device`` from now on; ``None`` restores the automatic choice.

    ``ValueError`` for what is no name of a device, and an error of CuPy's for a GPU that is not
    there.

    >>> tg.set_default_device("cpu")
    >>> nn.Linear(3, 2).weight.device
    'cpu'
    >>> tg.set_default_device(None)
    """
    global _chosen_default
    _chosen_default = None if device is None else normalize_device(device)
    if _chosen_default is not None and _chosen_default != "cpu":
        import_cupy().cuda.Device(int(_chosen_default.removeprefix("cuda:"))).use()


def device_of(array: Array) -> str:
    """The name of the device that holds ``array``."""
    return f"cuda:{array.device.id}" if is_cuda(array) else "cpu"


def on_one_device(a: Array, b: Array) -> bool:
    """Whether both arrays are on one device; sooner said than the name of either."""
    kind = type(a)
    if kind is type(b) and (kind is np.ndarray or (is_cuda(a) and cuda_count() == 1)):
        return True
    return device_of(a) == device_of(b)


def device_names() -> list[str]:
    """The CUDA devices by number, each with its maker's name; empty where there are none."""
    if not cuda_available():
        return []
    runtime = import_cupy().cuda.runtime
    names = (runtime.getDeviceProperties(i)["name"] for i in range(runtime.getDeviceCount()))
    return [f"cuda:{i} {name.decode()}" for i, name in enumerate(names)]


def on_device_of(array: Array) -> AbstractContextManager[Any]:
    """Context in which CuPy allocates and launches on the device that holds ``array``."""
    return array.device if is_cuda(array) else _NOWHERE_ELSE


def to_device(array: Array, device: str) -> Array:
    """``array`` itself when it is on ``device`` already, else a copy there.

    In what is captured by `jit` it is a copy of one that was made while capturing: of small arrays
    of the host, whose values `jit` compares.
    """
    device = normalize_device(device)
    if device_of(array) == device:
        return array
    if device == "cpu":
        refuse_read()
        return array.get()
    from_host = not is_cuda(array)
    if from_host:
        upload(array)
    cupy = import_cupy()
    with cupy.cuda.Device(int(device.removeprefix("cuda:"))):
        if not (from_host and capturing()):
            return cupy.asarray(array)
        return _copied_aside(array).copy(order="K")  # of each replay, which may write into it


def constant(values: np.ndarray, device: str) -> Array:
    """``values``, made on the host by whoever calls this and written by nobody, on ``device``.

    As `to_device`; and what is captured by `jit` may do it, which its replays need not do again.
    """
    device = normalize_device(device)
    if device == "cpu":
        return values
    cupy = import_cupy()
    with cupy.cuda.Device(int(device.removeprefix("cuda:"))):
        return _copied_aside(values) if capturing() else cupy.asarray(values)


def _copied_aside(values: np.ndarray) -> Array:
    """A copy for all replays of what is being captured, laid out as `cupy.asarray` does.

    Not made by it: it goes through memory that other copies are made by.
    """
    order: Any = "F" if values.flags.fnc else "C"
    host = np.asarray(values, order=order)

    def copied() -> Array:
        found = import_cupy().empty(host.shape, host.dtype, order)
        if host.size:
            found.data.copy_from_host_async(host.ctypes.data_as(ctypes.c_void_p), host.nbytes)
        return found

    found = made_aside(copied)
    keep(found)
    return found


def capturing() -> bool:
    """Whether what is launched now is captured by `jit`, and not done."""
    return active.run is not None and import_cupy().cuda.get_current_stream().is_capturing()


def made_aside(make: Callable[[], Array]) -> Array:
    """What ``make`` makes on the current device, done when this returns, also while capturing.

    Its memory is that of a stream of its own: nothing captured has freed it, to write there again.
    """
    aside = import_cupy().cuda.Stream(non_blocking=True)
    with aside:
        made = make()
    aside.synchronize()
    return made


def module_and_device(array: Array) -> tuple[Any, AbstractContextManager[Any]]:
    """`array_module` and `on_device_of`; TypeError for what is no array."""
    if isinstance(array, (np.ndarray, np.generic, HostSymbol)):
        return np, _NOWHERE_ELSE
    if not is_cuda(array):
        raise TypeError(
            f"[Tensor] expected an array as the .data of a tensor, got {type(array).__name__}, "
            "which it was set to"
        )
    return import_cupy(), _NOWHERE_ELSE if cuda_count() == 1 else array.device


def to_device_of(array: Array, other: Array) -> Array:
    """``array`` itself when it is where ``other`` is, else a copy there."""
    return array if on_one_device(array, other) else to_device(array, device_of(other))


def to_numpy(array: Array) -> np.ndarray:
    """A NumPy array with the values of ``array``; always a copy of its own."""
    if not is_cuda(array):
        return np.array(array)
    refuse_read()
    host: np.ndarray = array.get()
    return host


def made_on(device: str, make: Callable[[Any], Array]) -> Array:
    """What ``make(xp)`` makes, xp NumPy or CuPy, on ``device``: nothing is copied there."""
    device = normalize_device(device)
    if device == "cpu":
        return make(np)
    cupy = import_cupy()
    with cupy.cuda.Device(int(device.removeprefix("cuda:"))):
        return make(cupy)


def full(shape: tuple[int, ...], value: Any, dtype: Any, device: str) -> Array:
    """A new array on ``device``, every element ``value``."""
    return made_on(device, lambda xp: xp.full(shape, value, dtype))


def synchronize() -> None:
    """Wait until every device has finished what it was given."""
    if cuda_available():
        import_cupy().cuda.Device().synchronize()


def device_number(array: Array) -> int:
    """The number of the CUDA device that holds ``array``; -1 for the CPU."""
    return -1 if isinstance(array, np.ndarray) else int(array.data.device_id)


def copy(source: Array, target: Array) -> None:
    """Copy between arrays on one device, in the current stream's order."""
    alike = source.shape == target.shape and source.dtype == target.dtype
    whole = alike and source.flags.c_contiguous and target.flags.c_contiguous
    if isinstance(target, np.ndarray) or not whole:
        target[...] = source
    else:  # in a third of the time that CuPy takes for an assignment
        target.data.copy_from_device_async(source.data, source.nbytes)
