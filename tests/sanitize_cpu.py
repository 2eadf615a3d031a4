"""Tests under AddressSanitizer and UndefinedBehaviorSanitizer, which watch the C files:

    python tests/sanitize_cpu.py [PYTEST ARGUMENTS]

The C files are compiled with `-fsanitize=address,undefined` by the machine's compiler, into a cache
folder of this run's own, and the compiler's libasan is loaded in front of everything. NumPy's
memory is watched with it, so that a step beyond an array shows. The first report ends the run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parent
FILES = (
    *("strides", "native", "sizes", "conv", "conv_grouped", "norm", "rows", "rows_native", "grids"),
    *("product", "pool_native", "loss_native"),
)
# At -O3 a compiler needs six times as long to instrument what it made vectors of.
FLAGS = "-O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g"

# Watched code takes long to compile, longer than a user's process would wait: without this, NumPy
# would do on a busy machine what is to be watched.
COMPILE = """
from tinygrad_cupy.backend import block_machine, c_source, compiling, product
from tinygrad_cupy.kernels.common import rows, sums_native as sums
from tinygrad_cupy.kernels.conv import grouped_cpu as grouped, native as conv
from tinygrad_cupy.kernels.dropout import native as dropout
from tinygrad_cupy.kernels.grid_sample import native as grid_sample
from tinygrad_cupy.kernels.interpolate import native as interpolate
from tinygrad_cupy.kernels.layer_norm import native as layer_norm
from tinygrad_cupy.kernels.loss import native as loss
from tinygrad_cupy.kernels.norm import native as norm
from tinygrad_cupy.kernels.pool import native as pool
from tinygrad_cupy.kernels.recurrent import native as recurrent
from tinygrad_cupy.kernels.softmax import native as softmax

compiling.PATIENCE = compiling.AT_WORK = 110.0
for source in (product._file, loss._file, pool._file, conv._file, grouped._file, dropout._file,
               norm._file, rows._take, sums._file, layer_norm._file, recurrent._file, softmax._file,
               *rows._add.values(),
               *block_machine.FILES.values(), *grid_sample.files.values(),
               *interpolate.files.values()):
    assert source.library is not None, source
assert c_source._threads() is not None
"""


def library(compiler: str) -> str | None:
    """The path of the compiler's libasan, or None where it has none."""
    asked = [compiler, "-print-file-name=libasan.so"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    path = os.path.realpath(done.stdout.strip())
    return path if done.returncode == 0 and os.path.isfile(path) else None


def environment(folder: Path) -> dict[str, str] | None:
    """What a process needs for its C files to be watched; None where the compiler cannot."""
    compiler = shutil.which(os.environ.get("TINYGRAD_CUPY_CC") or "cc")
    runtime = None if compiler is None else library(compiler)
    if compiler is None or runtime is None:
        return None
    wrapper = folder / "cc"
    wrapper.write_text(f'#!/bin/sh\nexec "{compiler}" "$@" {FLAGS}\n')
    wrapper.chmod(0o755)
    return {
        **os.environ,
        "TINYGRAD_CUPY_CC": str(wrapper),
        "TINYGRAD_CUPY_DEVICE": "cpu",
        "XDG_CACHE_HOME": str(folder / "cache"),
        "LD_PRELOAD": runtime,
        "PYTHONMALLOC": "malloc",
        # Python itself leaves memory behind when it ends; a refused allocation is an exception.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def compile_all(given: dict[str, str]) -> None:
    """Compile every C file into the cache folder of `environment`."""
    subprocess.run([sys.executable, "-c", COMPILE], env=given, check=True)


def arguments(*others: str) -> list[str]:
    """pytest's: which tests, where no others are named."""
    files = [str(path) for name in FILES for path in TESTS.glob(f"*/test_{name}.py")]
    which = ["-m", "not gpu and (not slow or one_in)"]
    return [*which, "-q", "-p", "no:xdist", "-p", "no:cacheprovider", *(others or files)]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        given = environment(Path(folder))
        if given is None:
            print("sanitize_cpu.py: the C compiler has no AddressSanitizer", file=sys.stderr)
            return 1
        compile_all(given)
        command = [sys.executable, "-m", "pytest", *arguments(*sys.argv[1:])]
        return subprocess.run(command, env=given, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
