"""Small MNIST-like files for tests, built byte by byte from the description of the format."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from tinygrad_cupy.datasets import mnist_files

COUNTS = {"train": 12, "t10k": 5}


def idx_bytes(array: np.ndarray) -> bytes:
    header = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def small_mnist(rng: np.random.Generator) -> dict[str, bytes]:
    """The four files, not gzipped, with 12 training and 5 test images."""
    files = {}
    for prefix, count in COUNTS.items():
        files[f"{prefix}-images-idx3-ubyte"] = idx_bytes(rng.integers(0, 256, (count, 28, 28)))
        files[f"{prefix}-labels-idx1-ubyte"] = idx_bytes(rng.integers(0, 10, count))
    return files


def expect_files(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    """Make these files the ones whose sha256 is looked for."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(mnist_files, "SHA256", hashes)


def write_gzipped(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    return folder


def isolate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the cache nor the data folder of the machine may decide a test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(mnist_files.DATA_VARIABLE, raising=False)
    monkeypatch.setattr(mnist_files, "MIRRORS", ("http://127.0.0.1:9/",))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
