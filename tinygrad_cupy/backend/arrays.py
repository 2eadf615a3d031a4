"""Arrays and devices: NumPy or CuPy of an array, moving between them, kernels for both.

The only file that imports CuPy, and it does so on first use: a machine without a GPU never pays
for it. A device is a plain string, ``"cpu"`` or ``"cuda:0"``.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from .capture import refuse_read, refuse_upload
from .cubin import cubin
from .install import how_to_install

MOST_BYTES = 1 << 47  # of an array: what addresses are made for
Array = Any  # numpy.ndarray or cupy.ndarray: CuPy carries no types


@functools.cache
def import_cupy() -> Any:
    """The module ``cupy``, imported on first use.

    Raises ``RuntimeError`` with the install command when CuPy is missing or broken.
    """
    try:
        import cupy
    except ImportError as error:
        raise RuntimeError(
            "[device] CUDA was asked for, but CuPy cannot be imported "
            f"({error}): {how_to_install('cuda12', 'cuda13')}"
        ) from error
    global _cupy_array
    _cupy_array = cupy.ndarray
    return cupy


_cupy_array: Any = None  # the class, once CuPy is imported


@functools.cache
def cuda_available() -> bool:
    """Whether CuPy is installed and sees at least one CUDA device."""
    if importlib.util.find_spec("cupy") is None:
        return False
    try:
        return bool(import_cupy().cuda.runtime.getDeviceCount() > 0)
    except Exception:  # whatever a broken driver raises, the answer is no
        return False


@functools.cache
def cuda_count() -> int:
    """How many CUDA devices CuPy sees."""
    return int(import_cupy().cuda.runtime.getDeviceCount())


def is_cuda(array: Array) -> bool:
    """Whether ``array`` lives on a CUDA device (is a CuPy array)."""
    if type(array) is _cupy_array:
        return True
    if isinstance(array, (np.ndarray, np.generic)):
        return False
    # CuPy makes a new dictionary whenever the attribute is read, so its own arrays are known.
    kind = type(array).__module__.partition(".")[0]
    return kind == "cupy" or hasattr(array, "__cuda_array_interface__")


def plain_array(array: Array) -> Array:
    """``array``, of a subclass of NumPy's (a memmap, a matrix) the same memory as a plain one.

    Raises ``TypeError`` for a masked array that masks something, which would be forgotten.
    """
    if type(array) is np.ndarray or is_cuda(array):
        return array
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise TypeError(
            f"[Tensor] expected an array without masked elements, got {np.ma.getmask(array).sum()} "
            "of them: say what stands there with .filled(value)"
        )
    return np.asarray(array)


def array_module(array: Array) -> Any:
    """``numpy`` or ``cupy``, whichever ``array`` belongs to."""
    return import_cupy() if is_cuda(array) else np


def special_functions(array: Array) -> Any:
    """``scipy.special`` or ``cupyx.scipy.special``, whichever fits ``array``."""
    if is_cuda(array):
        return importlib.import_module("cupyx.scipy.special")
    return importlib.import_module("scipy.special")


# --- devices ------------------------------------------------------------------------------------

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
    """Where new tensors go: what was set, else ``$TINYGRAD_CUPY_DEVICE``, else CUDA if there."""
    if _chosen_default is not None:
        return _chosen_default
    wanted = os.environ.get("TINYGRAD_CUPY_DEVICE")
    if wanted:
        return normalize_device(wanted)
    return "cuda:0" if cuda_available() else "cpu"


def set_default_device(device: str | None) -> None:
    """Send new tensors to ``device`` from now on; ``None`` restores the automatic choice."""
    global _chosen_default
    _chosen_default = None if device is None else normalize_device(device)
    if _chosen_default is not None and _chosen_default != "cpu":
        import_cupy().cuda.Device(int(_chosen_default.removeprefix("cuda:"))).use()


def device_of(array: Array) -> str:
    """The name of the device that holds ``array``."""
    return f"cuda:{array.device.id}" if is_cuda(array) else "cpu"


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


def may_share_memory(a: Array, b: Array) -> bool:
    """Whether one array may be a view of the other's memory."""
    if is_cuda(a) and is_cuda(b):
        return a.data.mem is b.data.mem
    return np.may_share_memory(a, b)


def strides_of(array: Array) -> tuple[int, ...]:
    """The strides of ``array`` in bytes, 0 for an axis of one element.

    What NumPy and CuPy call the stride of such an axis may be any number, so no address, no layout
    and no size may be derived from it. Whoever reads strides reads them here.
    """
    shape, strides = array.shape, array.strides
    if 1 not in shape:
        return strides  # type: ignore[no-any-return]
    return tuple([0 if n == 1 else s for n, s in zip(shape, strides, strict=True)])


def one_stride(shape: tuple[int, ...], strides: tuple[int, ...]) -> int | None:
    """The stride that counts through axes of this shape and `strides_of` in C order, if one does.

    0 where they have one element together.
    """
    step, count = 0, 1  # of the axes from the last one on
    for n, stride in zip(reversed(shape), reversed(strides), strict=True):
        if n == 1:
            continue
        if count == 1:
            step = stride
        elif stride != step * count:
            return None
        count *= n
    return step


def to_device(array: Array, device: str) -> Array:
    """``array`` itself when it is on ``device`` already, else a copy there."""
    device = normalize_device(device)
    if device_of(array) == device:
        return array
    if device == "cpu":
        refuse_read()
        return array.get()
    if not is_cuda(array):
        refuse_upload()
    cupy = import_cupy()
    with cupy.cuda.Device(int(device.removeprefix("cuda:"))):
        return cupy.asarray(array)


def home_of(array: Array) -> tuple[Any, AbstractContextManager[Any]]:
    """`array_module` and `on_device_of`; TypeError for what is no array."""
    if isinstance(array, (np.ndarray, np.generic)):
        return np, _NOWHERE_ELSE
    if not is_cuda(array):
        raise TypeError(
            f"[Tensor] expected an array as the .data of a tensor, got {type(array).__name__}, "
            "which it was set to"
        )
    return import_cupy(), array.device


def to_numpy(array: Array) -> np.ndarray:
    """A NumPy array with the values of ``array``; always a copy of its own."""
    if not is_cuda(array):
        return np.array(array)
    refuse_read()
    host: np.ndarray = array.get()
    return host


def full(shape: tuple[int, ...], value: Any, dtype: Any, device: str) -> Array:
    """A new array on ``device``, every element ``value``."""
    device = normalize_device(device)
    if device == "cpu":
        return np.full(shape, value, dtype)
    cupy = import_cupy()
    with cupy.cuda.Device(int(device.removeprefix("cuda:"))):
        return cupy.full(shape, value, dtype)


@functools.cache
def memory_size() -> int:
    """Bytes of memory that a CPU array can have at most: all of the machine's, swap included."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        sizes = {
            name: int(rest.split()[0]) << 10 for name, _, rest in (x.partition(":") for x in lines)
        }
        swap = sizes["SwapTotal"]
        most = sizes["MemTotal"] + swap
    except (OSError, LookupError, ValueError):  # no Linux
        return MOST_BYTES
    try:  # of a container
        return min(most, int(Path("/sys/fs/cgroup/memory.max").read_text()) + swap)
    except (OSError, ValueError):  # none, or "max"
        return most


def expect_memory(op: str, shape: tuple[int, ...], itemsize: int, on_gpu: bool = False) -> None:
    """Raise ``MemoryError`` naming ``op`` where no memory holds an array of this shape.

    A GPU's own allocator knows what it has; here it is only kept from what overflows.
    """
    size = math.prod(shape) * itemsize
    most = MOST_BYTES if on_gpu else memory_size()
    if size > most:
        raise MemoryError(
            f"[{op}] expected an array of at most {most} bytes, all the memory there is, got shape "
            f"{shape} of {size} bytes"
        )


def synchronize() -> None:
    """Wait until every device has finished what it was given."""
    if cuda_available():
        import_cupy().cuda.Device().synchronize()


# --- kernels ------------------------------------------------------------------------------------


@functools.lru_cache(4096)
def int32s(*values: int) -> tuple[Any, ...]:
    """Arguments of a launch, of type int."""
    return _by_value(np.int32, values)


@functools.lru_cache(4096)
def int64s(*values: int) -> tuple[Any, ...]:
    """Arguments of a launch, of type long long."""
    return _by_value(np.int64, values)


@functools.lru_cache(4096)
def float64s(*values: float) -> tuple[Any, ...]:
    """Arguments of a launch, of type double."""
    return _by_value(np.float64, values)


def _by_value(dtype: Any, values: tuple[float, ...]) -> tuple[Any, ...]:
    """What CuPy makes of such numbers at every launch, made once."""
    # CuPy takes an array of one element by value; without this class it makes the argument itself.
    argument = getattr(import_cupy().cuda.function, "CNumpyArray", np.asarray)
    return tuple([argument(np.array(value, dtype)) for value in values])


def null() -> Any:
    """The null pointer as an argument of a launch."""
    return int64s(0)[0]


class Kernel:
    """One callable with a NumPy body and a CUDA body; the kind of the first array chooses.

    ``cpu`` and ``cuda`` take the same arguments and return the same result. ``cuda`` is a Python
    function that launches a kernel, or an `Elementwise`.
    """

    def __init__(self, cpu: Callable[..., Any], cuda: Callable[..., Any]) -> None:
        self.cpu, self.cuda = cpu, cuda

    def __call__(self, *arguments: Any) -> Any:
        return (self.cuda if is_cuda(arguments[0]) else self.cpu)(*arguments)


class Elementwise:
    """A CUDA kernel applied element by element, compiled on first use (by CuPy, and cached)."""

    def __init__(self, inputs: str, outputs: str, body: str, name: str) -> None:
        self.source = (inputs, outputs, body, name)

    @functools.cached_property
    def compiled(self) -> Any:
        return import_cupy().ElementwiseKernel(*self.source)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.compiled(*arguments, **options)


class Reduction:
    """A CUDA kernel that reduces over axes, compiled on first use (by CuPy, and cached).

    Nothing at all gives 0; ``inside`` is the C type that is computed in.
    """

    def __init__(
        self, given: str, made: str, each: str, pair: str, end: str, name: str, inside: str
    ) -> None:
        self.source = (given, made, each, pair, end, "0", name, inside)

    @functools.cached_property
    def compiled(self) -> Any:
        return import_cupy().ReductionKernel(*self.source)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.compiled(*arguments, **options)


MOST_UNASKED = 32 << 10  # of 48 KiB of shared memory, which a kernel's own declarations are part of
COMPILERS = 6  # threads; NVRTC lets go of the interpreter


@functools.cache
def _compilers() -> ThreadPoolExecutor:
    """For `CudaFile.prepare`. A program that ends waits for them, and leaves a full cache."""
    return ThreadPoolExecutor(COMPILERS, "tinygrad_cupy-nvrtc")


class CudaFile:
    """The kernels of ``.cu`` files, compiled on first use (by CuPy, and kept in its disk cache).

    `prepare` has it done earlier. Several files are compiled as one: what kernels share comes
    first. ``defines`` are macros (``"CHANNELS=32"``) that a kernel is specialised by: each set of
    them is compiled by itself. ``arch`` names an architecture (``"sm_90a"``) where the GPU's own
    name is not enough.
    """

    def __init__(self, beside: str, *names: str, arch: str | None = None) -> None:
        self.paths = [Path(beside).parent / name for name in names]
        self.arch = arch
        self._modules: dict[tuple[str, ...], Any] = {}
        self._begun: dict[tuple[str, ...], Future[Any]] = {}
        self._kernels: dict[tuple[str, tuple[str, ...]], Any] = {}

    def kernel(self, name: str, defines: tuple[str, ...] = ()) -> Any:
        """The compiled kernel ``name``."""
        found = self._kernels.get((name, defines))
        if found is None:
            module = self._modules.get(defines) or self._wanted(defines)
            found = self._kernels[name, defines] = module.get_function(name)
        return found

    def prepare(self, defines: tuple[str, ...] = ()) -> None:
        """Have the kernels compiled in another thread, as they are wanted soon.

        A mistake in them is an error when they are wanted.
        """
        if defines not in self._modules and defines not in self._begun:
            device = import_cupy().cuda.Device()
            try:
                self._begun[defines] = _compilers().submit(self._module, defines, device)
            except RuntimeError:  # the program is ending, and starts no threads any more
                return

    def _wanted(self, defines: tuple[str, ...]) -> Any:
        """What `prepare` began; where its turn has not come yet, this thread does it."""
        begun = self._begun.get(defines)
        try:
            if begun is None or begun.cancel():
                module = self._module(defines, import_cupy().cuda.Device())
            else:
                module = begun.result()
            self._modules[defines] = module
        finally:
            self._begun.pop(defines, None)
        return module

    def _module(self, defines: tuple[str, ...], device: Any) -> Any:
        cupy = import_cupy()
        code = "".join(path.read_text() for path in self.paths)
        options = ("-std=c++17", *[f"-D{define}" for define in defines])
        with device:
            if self.arch is None:
                module = cupy.RawModule(code=code, options=options)
                module.compile()
                return module
            return cupy.RawModule(path=str(cubin(cupy.cuda.nvrtc, self.arch, code, options)))

    def launch(
        self,
        name: str,
        blocks: int | tuple[int, ...],
        arguments: Sequence[Any],
        block: int = 256,
        shared: int = 0,
        defines: tuple[str, ...] = (),
    ) -> None:
        """Run ``name`` on a grid of ``blocks`` of ``block`` threads with ``shared`` bytes each."""
        kernel = self._kernels.get((name, defines)) or self.kernel(name, defines)
        if shared > MOST_UNASKED and kernel.max_dynamic_shared_size_bytes < shared:
            kernel.max_dynamic_shared_size_bytes = shared
        grid = blocks if isinstance(blocks, tuple) else (blocks,)
        kernel(grid, (block,), tuple(arguments), shared_mem=shared)

    @staticmethod
    def blocks(threads: int, block: int = 256) -> int:
        """How many blocks of ``block`` threads make at least ``threads``; at least 1."""
        return max(1, -(-threads // block))
