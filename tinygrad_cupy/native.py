"""C files compiled at run time by the machine's own compiler, where it has one.

What NVRTC is to the ``.cu`` files, ``cc`` is to the ``.c`` files: they are compiled on first use for
the processor they run on and kept in the cache folder. Without a compiler everything works through
NumPy. ``$TINYGRAD_CUPY_CC`` names another compiler (GCC or Clang), or none if it is set but empty.
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
from pathlib import Path
from typing import Any

from .cache import cache_dir

FLAGS = ("-std=gnu11", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
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
    """The functions of ``.c`` files, which are compiled as one: what they share comes first."""

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
                return ctypes.CDLL(str(_compiled(*(path.read_text() for path in self.paths))))
            except (OSError, subprocess.SubprocessError) as error:
                if os.environ.get("TINYGRAD_CUPY_CC"):
                    said = getattr(error, "stderr", None) or error
                    raise RuntimeError(f"{compiler()} cannot compile {self.paths}: {said}") from error
                return None

    def function(self, name: str) -> Any:
        """The function of that name, which returns nothing; None where there is no library."""
        if self.library is None:
            return None
        found = getattr(self.library, name)
        found.restype = None
        return found


def _compiled(*sources: str) -> Path:
    """The library of these sources in the cache folder, made if it is not there yet.

    Its name comes from the sources, the flags, and what the compiler says of itself and of the
    processor: a cache folder may be shared by machines of several kinds.
    """
    code = "".join(sources).encode()
    command = [str(compiler()), *FLAGS]
    target = _run([*command, "-dM", "-E", "-x", "c", os.devnull])  # all of its predefined macros
    name = hashlib.sha256(b"\0".join([" ".join(command).encode(), target, code])).hexdigest()[:32]
    path = _folder() / f"{name}.so"
    if not path.exists():
        handle, unfinished = tempfile.mkstemp(suffix=".so", dir=path.parent)
        os.close(handle)
        try:
            _run([*command, "-x", "c", "-", "-o", unfinished], code)
            os.replace(unfinished, path)
        except BaseException:
            Path(unfinished).unlink(missing_ok=True)
            raise
    return path


def _run(command: list[str], text: bytes = b"") -> bytes:
    return subprocess.run(command, input=text, capture_output=True, check=True, timeout=120).stdout


@functools.cache
def _folder() -> Path:
    """Where compiled libraries are kept: the cache, else a folder of this process."""
    folder = cache_dir() / "native"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return Path(_private_folder().name)


@functools.cache
def _private_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="tinygrad_cupy-")
