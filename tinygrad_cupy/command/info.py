"""`tinygrad-cupy info`: what a bug report needs, and where things are."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator

import numpy as np
import threadpoolctl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import backend, datasets
from ..backend import compiling
from ..printing import printable
from .experiment import versions


def info() -> None:
    """Print versions, devices, the data cache and the linear algebra library with its threads."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(overflow="fold")  # a path that is cut off leads nowhere
    for name, value in facts():
        table.add_row(name, Text(printable(value)))
    Console().print(table)


def facts() -> Iterator[tuple[str, str]]:
    """What `info` prints, as (name, value)."""
    yield from versions().items()
    yield "platform", f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores"
    yield "default device", backend.default_device()
    yield "CUDA", _cuda()
    yield "BLAS", "; ".join(_blas()) or "none that can be asked"
    yield "C compiler", _told(_compiler)
    yield "data cache", str(datasets.cache_dir())
    yield "MNIST", _told(_mnist)


def _told(fact: Callable[[], str]) -> str:
    """A fact, or what stands in its way: that is wanted most in a bug report."""
    try:
        return fact()
    except (RuntimeError, ValueError, OSError) as error:
        return f"error: {error}"


def _compiler() -> str:
    return compiling.compiler() or "none: NumPy does what C would"


def _mnist() -> str:
    mnist = datasets.find_mnist()
    return str(mnist) if mnist else "not here yet: downloaded by `train` when needed"


def _cuda() -> str:
    if not backend.cuda_available():
        return "none (CuPy is missing, or sees no CUDA device)"
    return ", ".join(backend.device_names())


def _blas() -> Iterator[str]:
    np.dot(np.ones((2, 2)), np.ones((2, 2)))  # some libraries are loaded by their first product
    for library in threadpoolctl.threadpool_info():
        if library["user_api"] == "blas":
            name = f"{library['internal_api']} {library.get('version') or ''}".strip()
            architecture = library.get("architecture")
            yield f"{name}, {library['num_threads']} threads" + (
                f", kernels for {architecture}" if architecture else ""
            )
