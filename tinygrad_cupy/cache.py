"""Where what can be made again is kept (downloads, decoded pictures, compiled code), and how a file
comes there in one piece."""

import functools
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def cache_dir() -> Path:
    """The folder for files that can be made again; it need not exist yet.

    $XDG_CACHE_HOME/tinygrad_cupy where that is set, else what the platform asks for:
    %LOCALAPPDATA% on Windows, ~/Library/Caches on macOS, ~/.cache elsewhere.
    """
    if configured := os.environ.get("XDG_CACHE_HOME"):
        base = Path(configured)
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path.home() / ".cache"
    return base / "tinygrad_cupy"


@functools.cache
def usable_folder(name: str) -> Path:
    """The folder ``name`` of the cache, made; where that cannot be, a folder of this process."""
    folder = cache_dir() / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return Path(_private_folder(name).name)


@functools.cache
def _private_folder(name: str) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix=f"tinygrad_cupy-{name}-")


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Fill `path` through `write(file)`, so that others see the old file or the whole new one.

    The bytes go to a temporary file beside it, which takes its place at the end. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
