"""Kernels of `CudaSource` on the CPU, compiled by the machine's C++ compiler (see the header).

Slow, and without what only a GPU has: it shows that the indices, the tables and the formulas are
right where there is no GPU. Arrays are NumPy's with an address where CuPy's have one.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import re
import shutil
import subprocess
import threading
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tinygrad_cupy import backend
from tinygrad_cupy.backend import CudaSource, cuda_source

THREADS = 64  # of a block: each is one of the CPU's
SHARED = 1 << 16  # bytes of shared memory that a launch may ask for
HEADER = Path(__file__).with_name("cuda_emulator.h")
FLAGS = ("-std=c++20", "-O1", "-w", "-fpermissive", "-shared", "-fPIC", "-pthread")
_launching = threading.Lock()  # a launch's blocks and threads are numbered by global variables
KERNELS = (
    r"__global__ void(?: __launch_bounds__\(\w*THREADS[^)]*\))?\s+(?!NAME|__)(\w+)\(",
    r"(?m)^STEP\((\w+),",
)


class OnDevice(np.ndarray):
    """An array that a kernel may be given."""

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.ctypes.data)


def on_device(values: Any) -> Any:
    return np.array(values).view(OnDevice)


@functools.cache
def compiler() -> str | None:
    """A compiler of C++20, or None."""
    found = shutil.which("c++") or shutil.which("g++")
    if found is None:
        return None
    command = [found, "-std=c++20", "-fsyntax-only", "-x", "c++", str(HEADER)]
    return None if subprocess.run(command, capture_output=True, check=False).returncode else found


@functools.cache
def library(code: str, folder: Path, flags: tuple[str, ...]) -> ctypes.CDLL:
    """Compiled in ``folder``, once."""
    path = folder / f"{hashlib.sha256(code.encode()).hexdigest()[:16]}.so"
    source = path.with_suffix(".cpp")
    source.write_text(code)
    command = [str(compiler()), *flags, "-o", str(path), str(source)]
    run = subprocess.run(command, capture_output=True, check=False, text=True)
    assert run.returncode == 0, run.stderr
    return ctypes.CDLL(str(path))


def _code(source: CudaSource, defines: tuple[str, ...]) -> str:
    macros = [define for define in source.defines if not define.startswith("THREADS=")]
    lines = [define.replace("=", " ", 1) for define in (f"THREADS={THREADS}", *macros, *defines)]
    body = "".join(path.read_text() for path in (cuda_source._HEADER, *source.paths))
    body = re.sub(r"extern __shared__ (\w+ \w+)\[\]", f"static \\1[{SHARED} / 8]", body)
    body = re.sub(r"#include <cuda_\w+\.h>", "", body)  # the header has what is needed of them
    names = dict.fromkeys(name for pattern in KERNELS for name in re.findall(pattern, body))
    runs = "".join(
        f'extern "C" void run_{name}(const unsigned* blocks, int threads, void** arguments) '
        f"{{ emulate({name}, blocks, threads, arguments); }}\n"
        for name in names
    )
    macro_lines = "".join(f"#define {line}\n" for line in lines)
    return f'#include "{HEADER}"\n{macro_lines}{body}\n{runs}'


def install(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have `CudaSource.launch` run on the CPU, and `import_cupy` give what launches need."""

    def launch(
        source: CudaSource,
        name: str,
        blocks: int | tuple[int, ...],
        arguments: Any,
        block: int | None = None,
        shared: int = 0,
        defines: tuple[str, ...] = (),
    ) -> None:
        passed = []
        for argument in arguments:
            if isinstance(argument, np.ndarray) and argument.dtype.names is None:
                passed.append(ctypes.c_void_p(argument.ctypes.data))
            else:  # by value
                content = np.asarray(argument).tobytes()
                passed.append((ctypes.c_char * len(content)).from_buffer_copy(content))  # type: ignore[arg-type]
        addresses = (ctypes.c_void_p * len(passed))(*map(ctypes.addressof, passed))
        grid = (*(blocks if isinstance(blocks, tuple) else (blocks,)), 1, 1)[:3]
        with _launching:
            function = getattr(library(_code(source, defines), folder, FLAGS), f"run_{name}")
            function((ctypes.c_uint * 3)(*grid), block or THREADS, addresses)

    stream = SimpleNamespace(is_capturing=lambda: False)
    cupy = SimpleNamespace(
        zeros=lambda shape, dtype: on_device(np.zeros(shape, dtype)),
        empty=lambda shape, dtype: on_device(np.full(shape, 77, dtype)),  # to be written
        ascontiguousarray=lambda x: np.ascontiguousarray(x).view(OnDevice),
        isfinite=np.isfinite,
        cuda=SimpleNamespace(
            Device=lambda number: nullcontext(), get_current_stream=lambda: stream
        ),
    )
    monkeypatch.setattr(CudaSource, "launch", launch)
    monkeypatch.setattr(backend, "import_cupy", lambda: cupy)
