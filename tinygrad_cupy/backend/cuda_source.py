"""``.cu`` files: compiled on first use, and launched."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import import_cupy

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor


@functools.lru_cache(4096)
def int32s(*values: int) -> tuple[Any, ...]:
    """Arguments of a launch, of type int."""
    return _by_value(np.int32, values)


@functools.lru_cache(4096)
def uint32s(*values: int) -> tuple[Any, ...]:
    """Arguments of a launch, of type unsigned int."""
    return _by_value(np.uint32, values)


@functools.lru_cache(4096)
def int64s(*values: int) -> tuple[Any, ...]:
    """Arguments of a launch, of type long long."""
    return _by_value(np.int64, values)


@functools.lru_cache(4096)
def float64s(*values: float) -> tuple[Any, ...]:
    """Arguments of a launch, of type double."""
    return _by_value(np.float64, values)


def number(value: Any, dtype: Any) -> Any:
    """An argument of a launch: one element of a dtype."""
    found = np.asarray(value, dtype)
    return _argument()(found.view(np.uint16) if found.dtype.kind == "V" else found)


def struct(values: tuple[int, ...], dtype: Any) -> Any:
    """An argument of a launch: a C struct, of ``dtype``, that is one list of these integers."""
    return _argument()(np.array(values, dtype[0].base).view(dtype))


def _by_value(dtype: Any, values: tuple[float, ...]) -> tuple[Any, ...]:
    """What CuPy makes of such numbers at every launch, made once."""
    argument = _argument()
    return tuple([argument(np.array(value, dtype)) for value in values])


@functools.cache
def _argument() -> Any:
    # CuPy takes an array of one element by value; without this class it makes the argument itself.
    return getattr(import_cupy().cuda.function, "CNumpyArray", np.asarray)


def null() -> Any:
    """The null pointer as an argument of a launch."""
    return int64s(0)[0]


THREADS = 256  # of a block, where nothing else is said
MOST_UNASKED = 32 << 10  # of 48 KiB of shared memory, which a kernel's own declarations are part of
COMPILERS = 6  # threads; NVRTC lets go of the interpreter


@functools.cache
def _compilers() -> ThreadPoolExecutor:
    """For `CudaSource.prepare`. A program that ends waits for them, and leaves a full cache."""
    from concurrent.futures import ThreadPoolExecutor  # not imported where there is no GPU

    return ThreadPoolExecutor(COMPILERS, "tinygrad_cupy-nvrtc")


_HEADER = Path(__file__).with_name("cuda_source.cuh")

_MACROS = {
    "float32": ("TYPE=float", "ACC=float"),
    "float64": ("TYPE=double", "ACC=double"),
    "float16": ("TYPE=__half", "ACC=float", "HALF"),
    "bfloat16": ("TYPE=__nv_bfloat16", "ACC=float", "BFLOAT"),
}


@functools.cache
def dtype_macros(dtype: Any) -> tuple[str, ...]:
    """What a kernel for arrays of a dtype is compiled with; nothing where it is no float."""
    return _MACROS.get(dtype.name, ())


_INTEGERS = {
    ("b", 1): "bool",
    ("i", 1): "signed char",
    ("i", 2): "short",
    ("i", 4): "int",
    ("i", 8): "long long",
    ("u", 1): "unsigned char",
    ("u", 2): "unsigned short",
    ("u", 4): "unsigned int",
    ("u", 8): "unsigned long long",
}


@functools.cache
def number_macros(dtype: Any) -> tuple[str, ...]:
    """`dtype_macros`, and of integers and booleans as well."""
    found = _INTEGERS.get((dtype.kind, dtype.itemsize))
    return dtype_macros(dtype) if found is None else (f"TYPE={found}", f"ACC={found}")


class CudaSource:
    """The kernels of ``.cu`` files, compiled on first use (by CuPy, and kept in its disk cache).

    `prepare` has it done earlier. Several files are compiled as one: what kernels share comes
    first, and in front of all stands ``cuda_source.cuh``. ``defines`` are macros
    (``"CHANNELS=32"``): those given here are numbers that both languages know, as is THREADS,
    ``threads`` of a block; those given with a launch specialise a kernel, and each set of them is
    compiled by itself. ``arch`` names an architecture (``"sm_90a"``) where the GPU's own name is
    not enough.
    """

    def __init__(
        self,
        beside: str,
        *names: str,
        arch: str | None = None,
        threads: int = THREADS,
        defines: tuple[str, ...] = (),
    ) -> None:
        self.paths = [Path(beside).parent / name for name in names]
        self.arch, self.threads = arch, threads
        self.defines = (f"THREADS={threads}", *defines)
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
        code = "".join(path.read_text() for path in (_HEADER, *self.paths))
        options = ("-std=c++17", *[f"-D{define}" for define in (*self.defines, *defines)])
        with device:
            if self.arch is None:
                module = cupy.RawModule(code=code, options=options)
                module.compile()
                return module
            from .cubin import cubin  # nor that

            return cupy.RawModule(path=str(cubin(cupy.cuda.nvrtc, self.arch, code, options)))

    def launch(
        self,
        name: str,
        blocks: int | tuple[int, ...],
        arguments: Sequence[Any],
        block: int | None = None,
        shared: int = 0,
        defines: tuple[str, ...] = (),
    ) -> None:
        """Run ``name`` on a grid of ``blocks`` of ``block`` threads with ``shared`` bytes each.

        Blocks have `threads` threads where nothing else is said. A grid of none does nothing: CuPy
        would make it one block, which reads and writes what is not there.
        """
        grid = blocks if isinstance(blocks, tuple) else (blocks,)
        if 0 in grid:
            return
        kernel = self._kernels.get((name, defines)) or self.kernel(name, defines)
        if shared > MOST_UNASKED and kernel.max_dynamic_shared_size_bytes < shared:
            kernel.max_dynamic_shared_size_bytes = shared
        kernel(grid, (block or self.threads,), tuple(arguments), shared_mem=shared)

    def blocks(self, threads: int) -> int:
        """How many blocks make at least ``threads``; at least 1."""
        return max(1, -(-threads // self.threads))
