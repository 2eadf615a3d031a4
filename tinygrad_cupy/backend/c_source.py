"""C files compiled at run time by the machine's own compiler, where it has one.

What NVRTC is to the ``.cu`` files, ``cc`` is to the ``.c`` files: they are compiled on first use,
for the processor they run on, and kept in the cache folder. Without a compiler everything works
through NumPy. ``$TINYGRAD_CUPY_CC`` names another compiler (GCC or Clang), or none if it is empty.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .cpu_memory import keep_freed
from .cpu_threads import alone, parts_of, thread_count, workspace

if TYPE_CHECKING:
    from .compiling import Compilation

POINTER = ctypes.c_void_p

_HEADER = Path(__file__).with_name("c_source.h")


class CSource:
    """The functions of ``.c`` files, which are compiled as one: what they share comes first.

    In front of them stand ``defines``, macros (``"MASKED=4"``) of numbers that both languages know,
    and ``c_source.h``. ``library`` is the compiled files; None without a compiler, or where it
    cannot compile them or takes too long, which is said: NumPy then does their work in this process
    to its end, so that a run has the same bits throughout. A compiler that was asked for by name
    and fails is a RuntimeError with what it said.
    """

    library: ctypes.CDLL | None

    def __init__(self, beside: str, *names: str, defines: tuple[str, ...] = ()) -> None:
        self.paths = [Path(beside).parent / name for name in names]
        self.defines = defines
        self._compilations: dict[int, Compilation] = {}  # by process: a fork begins anew

    def __getattr__(self, name: str) -> Any:
        # Once. `functools.cached_property` holds a lock meanwhile, in Python 3.11, and a process
        # forked by another thread would wait for it for ever.
        if name != "library":
            raise AttributeError(f"[CSource] there is no attribute {name!r}")
        self.library = self._wanted()
        return self.library

    def _wanted(self) -> ctypes.CDLL | None:
        from .cache import say_once  # what compiling takes is loaded when something is compiled
        from .compiling import Compilation, compiler

        if compiler() is None:
            return None
        new = Compilation(str(self), [_HEADER, *self.paths], self.defines)
        compilation = self._compilations.setdefault(os.getpid(), new)
        compilation.begin()
        if not compilation.wait():
            return None
        if compilation.error is not None:
            if os.environ.get("TINYGRAD_CUPY_CC"):
                raise RuntimeError(
                    f"[TINYGRAD_CUPY_CC] {compiler()} cannot compile {self}: {compilation.error}"
                )
            reason = str(compilation.error).partition("\n")[0]
            say_once(f"[native] {compiler()} cannot compile {self}, NumPy does its work: {reason}")
        return compilation.library

    def __repr__(self) -> str:
        return " and ".join(path.name for path in self.paths)

    def size(self, name: str, sizes: ctypes.Structure | None = None) -> int:
        """What a function of sizes returns, or one of nothing; there must be a library."""
        function = getattr(self.library, name)
        function.restype = ctypes.c_int64
        return int(function() if sizes is None else function(ctypes.byref(sizes)))

    def run(
        self,
        name: str,
        sizes: Any,
        count: int,
        arguments: Sequence[Any],
        scratch: int = 0,
        least: int = 1,
    ) -> None:
        """``name(sizes, share, *arguments, scratch)`` on every thread, for its share of ``count``.

        ``count`` is cut into `parts_of` it, none below ``least``; each call gets ``scratch`` floats
        to work in. Arguments, and ``sizes``, are arrays, structures and None.
        """
        if count:
            passed = [*map(_passed, (sizes, *arguments))]
            self.start(name, passed, share_of(count, least), scratch)

    def start(self, name: str, addresses: Sequence[int | None], share: Share, scratch: int) -> None:
        """As `run`, of addresses, that of ``sizes`` first, and a `share_of`."""
        given = _pointers(len(addresses))(*addresses)
        task = getattr(self.library, f"{name}_task")
        pitch = -(-scratch // 16) * 16
        if share.parts == 1:  # this thread does it
            place = workspace("native", (1, pitch), np.float32) if pitch else None
            task(given, ctypes.byref(share), POINTER(_passed(place)))
            return
        pool = _threads()
        with alone() as is_alone:
            threads = min(thread_count(), share.parts) if is_alone and pool else 1
            place = workspace("native", (threads, pitch), np.float32) if pitch else None
            if pool is None:
                task(given, ctypes.byref(share), POINTER(_passed(place)))
            else:
                pool.threads_run(task, given, share, _passed(place), pitch, threads)


class Share(ctypes.Structure):
    """As in c_source.h: which parts of the work a thread does."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("n", "each", "parts", "first", "step")),
        ("own", ctypes.c_uint64),
        ("taken", ctypes.c_void_p),  # none: only this thread's own parts are done
    ]


@functools.cache
def _pointers(count: int) -> Any:
    """The type of so many pointers; to make one takes longer than most of what is done with it."""
    return POINTER * count


@functools.lru_cache(4096)
def share_of(count: int, least: int = 1) -> Share:
    """All of ``count`` items, cut into `parts_of` it, none below ``least``."""
    parts = parts_of(count, least)
    each = parts[0].stop if count > least else count
    return Share(count, each, max(1, len(parts)), 0, 1, 0, None)


@functools.cache
def _threads() -> Any:
    """The functions of threads.c; without them one thread does everything."""
    keep_freed()
    library: Any = CSource(__file__, "threads.c").library
    if library is None:
        return None
    given = [POINTER, POINTER, Share, POINTER, ctypes.c_int64, ctypes.c_int64]
    library.threads_run.argtypes, library.threads_run.restype = given, None
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=library.threads_forget)
    return library


def address_of(array: Any) -> int:
    """Where the first element of ``array`` is."""
    if array.flags.carray and array.size and array.dtype.kind in "fiub":
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # a fifth of the time
    return int(array.ctypes.data)


def _passed(value: Any) -> int | None:
    """The address of an array's first element or of a structure."""
    if isinstance(value, np.ndarray):
        return address_of(value)
    return None if value is None else ctypes.addressof(value)


def plain(x: np.ndarray) -> np.ndarray:
    """x in C order at an address that is a multiple of its items' size, as C takes it."""
    flags = x.flags
    return x if flags.c_contiguous and flags.aligned else np.require(x, requirements=["C", "A"])
