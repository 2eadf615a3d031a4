"""C files compiled at run time by the machine's own compiler, where it has one.

What NVRTC is to the ``.cu`` files, ``cc`` is to the ``.c`` files: they are compiled on first use,
for the processor they run on, and kept in the cache folder. Without a compiler everything works
through NumPy. ``$TINYGRAD_CUPY_CC`` names another compiler (GCC or Clang), or none if it is empty.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .cache import usable_folder, write_atomically
from .parallel import alone, parts_of, thread_count, workspace

POINTER = ctypes.c_void_p

FLAGS = (
    *("-std=gnu11", "-O3", "-march=native", "-fPIC", "-shared", "-pthread"),
    *("-fno-math-errno", "-fno-trapping-math"),  # or conditions are not made into vectors
)
_HEADER = Path(__file__).with_name("native.h")
_lock = threading.Lock()


@functools.cache
def compiler() -> str | None:
    """The path of the C compiler to use, if any; RuntimeError if the one named is not there."""
    wanted = os.environ.get("TINYGRAD_CUPY_CC")
    if wanted == "" or (wanted is None and os.name != "posix"):
        return None
    found = shutil.which(wanted or "cc")
    if found is None and wanted:
        raise RuntimeError(f"[TINYGRAD_CUPY_CC] expected a C compiler, found no {wanted!r}")
    return found


class CFile:
    """The functions of ``.c`` files, which are compiled as one: what they share comes first.

    In front of them stands ``native.h``.
    """

    def __init__(self, beside: str, *names: str) -> None:
        self.paths = [Path(beside).with_name(name) for name in names]

    @functools.cached_property
    def library(self) -> ctypes.CDLL | None:
        """The compiled files; None without a compiler, or where it cannot compile them.

        A compiler that was asked for by name and fails is a RuntimeError with what it said.
        """
        with _lock:
            if compiler() is None:
                return None
            try:
                sources = [path.read_text() for path in (_HEADER, *self.paths)]
                return ctypes.CDLL(str(_compiled(*sources)))
            except (OSError, subprocess.SubprocessError) as error:
                if os.environ.get("TINYGRAD_CUPY_CC"):
                    said = getattr(error, "stderr", None) or error
                    raise RuntimeError(f"{compiler()} cannot compile {self}: {said}") from error
                return None

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
        sizes: ctypes.Structure,
        count: int,
        arguments: Sequence[Any],
        scratch: int = 0,
        least: int = 1,
    ) -> None:
        """``name(sizes, share, *arguments, scratch)`` on every thread, for its share of ``count``.

        ``count`` is cut into `parts_of` it, none below ``least``; each call gets ``scratch`` floats
        to work in. Arguments are arrays, structures and None.
        """
        parts = parts_of(count, least)
        if not parts:
            return
        passed = [*map(_passed, (sizes, *arguments))]
        addresses = (POINTER * len(passed))(*passed)
        share = Share(count, parts[0].stop, len(parts))
        pitch = -(-scratch // 16) * 16
        with alone() as is_alone:
            threads = min(thread_count(), len(parts)) if is_alone else 1
            place = workspace("native", (threads, pitch), np.float32)
            task = getattr(self.library, f"{name}_task")
            _threads().threads_run(task, addresses, share, _passed(place), pitch, threads)


class Share(ctypes.Structure):
    """As in native.h: which parts of the work a thread takes."""

    _fields_ = [(name, ctypes.c_int64) for name in ("n", "each", "parts", "first", "step")]


@functools.cache
def _threads() -> Any:
    """The functions of threads.c; who has compiled another file can compile this one."""
    library: Any = CFile(__file__, "threads.c").library
    given = [POINTER, POINTER, Share, POINTER, ctypes.c_int64, ctypes.c_int64]
    library.threads_run.argtypes, library.threads_run.restype = given, None
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=library.threads_forget)
    return library


def _passed(value: Any) -> int | None:
    """The address of an array's first element or of a structure."""
    if isinstance(value, np.ndarray):
        return int(value.ctypes.data)
    return None if value is None else ctypes.addressof(value)


def plain(x: np.ndarray) -> np.ndarray:
    """x in C order at an address that is a multiple of its items' size, as C takes it."""
    return np.require(x, requirements=["C", "A"])


def _compiled(*sources: str) -> Path:
    """The library of these sources in the cache folder, made if it is not there yet.

    Its name comes from the sources, the flags, and what the compiler says of itself and of the
    processor: a cache folder may be shared by machines of several kinds.
    """
    code = "".join(sources).encode()
    command = [str(compiler()), *FLAGS]
    target = _run([*command, "-dM", "-E", "-x", "c", os.devnull])  # all of its predefined macros
    name = hashlib.sha256(b"\0".join([" ".join(command).encode(), target, code])).hexdigest()[:32]
    path = usable_folder("native") / f"{name}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory() as folder:
            unfinished = Path(folder) / path.name
            _run([*command, "-x", "c", "-", "-o", str(unfinished)], code)
            write_atomically(path, lambda file: file.write(unfinished.read_bytes()))
    return path


def _run(command: list[str], text: bytes = b"") -> bytes:
    return subprocess.run(command, input=text, capture_output=True, check=True, timeout=120).stdout
