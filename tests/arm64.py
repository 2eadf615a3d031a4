"""The C files on arm64: compiled by a cross compiler, and tested on an emulated processor.

    python tests/arm64.py [PYTEST ARGUMENTS]

Every `.c` file of the package must compile without a warning and be loaded, and the tests that hold
C to NumPy must pass in a Python for arm64 under qemu. Debian's gcc-aarch64-linux-gnu and qemu-user
must be there; Python for arm64 comes from the same archive and NumPy from its wheels, unpacked into
a temporary folder. What is missing is said in a line, and nothing is run.

An emulator shows what is computed. It shows neither how fast, nor what a processor that orders its
writes more loosely than this one would make of threads.c.
"""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parent
CHECKOUT = TESTS.parent
FILES = (
    *("backend/test_native.py", "backend/test_product.py", "kernels/test_scan.py"),
    "kernels/test_sort.py",
)
# What starts processes or is large takes minutes here.
LONG = "same_bits or compiler or 64-64 or 5-5 or 70001 or long or (plain_kernels and 130)"
COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
WARNINGS = "-Wall -Wextra -Werror -Wno-unused"  # of what is shared not everything is always used
PACKAGES = ("python3", "libstdc++6")  # Debian's
WHEELS = ("numpy", "scipy", "ml_dtypes", "threadpoolctl", "safetensors", "pillow", "pytest",
          "hypothesis")  # fmt: skip
GLIBC = ("2_17", "2_27", "2_28")  # that wheels may ask for

# In the Python for arm64. Modules are imported for their C files, which must be all there are.
COMPILE = """
import gc, importlib, os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tinygrad_cupy.backend import c_source, compiling

compiling.PATIENCE = compiling.AT_WORK = 110.0
root = Path(sys.argv[1])
for top in ("tinygrad_cupy", "nn", "datasets"):
    for path in (root / top).rglob("*.py"):
        if "CSource(" in path.read_text():
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts if top == "tinygrad_cupy" else ("tinygrad_cupy", *parts))
            importlib.import_module(name.removesuffix(".__init__"))
threads = c_source.CSource(c_source.__file__, "threads.c")
files = [one for one in gc.get_objects() if type(one) is c_source.CSource]
there = {path.resolve() for top in ("tinygrad_cupy", "nn") for path in (root / top).rglob("*.c")}
missing = there - {path.resolve() for one in files for path in one.paths}
assert not missing, f"of no CSource that is made on import: {sorted(map(str, missing))}"
with ThreadPoolExecutor(2) as pool:
    assert None not in pool.map(lambda one: one.library, files)
print(f"{len(there)} C files, {len(files)} libraries for {os.uname().machine}")
"""
PYTEST = """
import sys
sys.executable = sys.argv.pop(1)  # qemu stands in front of it
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


class Missing(Exception):
    """What cannot be had here."""


def tools() -> None:
    """Raise `Missing` where the compiler or the emulator is not there, or not needed."""
    if platform.machine() in ("aarch64", "arm64"):
        raise Missing("this is such a machine, on which pytest asks the same")
    for name in (COMPILER, EMULATOR, "apt-get", "dpkg-deb"):
        if shutil.which(name) is None:
            raise Missing(f"there is no {name}")


def done(command: list[str]) -> None:
    """Run a command; `Missing` with its last words where it fails."""
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        words = (run.stderr or run.stdout).strip().splitlines() or ["without a word"]
        raise Missing(f"{command[0]} failed: {words[-1]}")


def unpacked(folder: Path) -> Path:
    """Python for arm64 from the archive that this machine's packages come from."""
    state, cache, root = (folder / name for name in ("state", "cache", "root"))
    for path in (state / "lists/partial", cache / "archives/partial", root):
        path.mkdir(parents=True)
    (state / "status").touch()
    apt = ["apt-get", "-o", f"Dir::State={state}", "-o", f"Dir::State::status={state / 'status'}",
           "-o", f"Dir::Cache={cache}", "-o", "APT::Architecture=arm64",
           "-o", "APT::Architectures::=arm64", "-o", "APT::Sandbox::User="]  # fmt: skip
    done([*apt, "update"])
    done([*apt, "install", "-y", "--download-only", "--no-install-recommends", *PACKAGES])
    for path in (cache / "archives").glob("*.deb"):
        done(["dpkg-deb", "-x", str(path), str(root)])
    return root


def wheels(folder: Path, version: str) -> Path:
    """The libraries that the tests need."""
    site = folder / "site"
    tags = [f"--platform=manylinux_{one}_aarch64" for one in GLIBC]
    options = ["--only-binary=:all:", f"--python-version={version}", *tags]
    done([sys.executable, "-m", "pip", "install", "--quiet", "--target", str(site), *options,
          *WHEELS])  # fmt: skip
    return site


def script(path: Path, *lines: str) -> str:
    """A shell script."""
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return str(path)


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            tools()
            root = unpacked(folder)
            (python,) = (root / "usr/bin").glob("python3.*[0-9]")
            site = wheels(folder, python.name.removeprefix("python"))
        except Missing as missing:
            print(f"arm64: skipped, {missing}")
            return 0
        command = script(folder / "python", f'exec {EMULATOR} -L "{root}" "{python}" "$@"')
        given = {
            **os.environ,
            "TINYGRAD_CUPY_CC": script(folder / "cc", f'exec {COMPILER} "$@" {WARNINGS}'),
            "TINYGRAD_CUPY_DEVICE": "cpu",
            "XDG_CACHE_HOME": str(folder / "cache"),
            "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(TESTS), str(site)]),
        }
        given.pop("PYTEST_ADDOPTS", None)  # for plugins that are not there
        asked = functools.partial(subprocess.run, cwd=CHECKOUT, env=given, check=False)
        if asked([command, "-c", COMPILE, str(CHECKOUT)]).returncode:
            return 1
        short = ["-m", "not gpu and not slow", "-k", f"not ({LONG})"]
        which = sys.argv[1:] or [*short, *(f"tests/{one}" for one in FILES)]
        options = ["-p", "no:cacheprovider", "-p", "no:xdist", "--durations=5", *which]
        return asked([command, "-c", PYTEST, command, *options]).returncode


if __name__ == "__main__":
    sys.exit(main())
