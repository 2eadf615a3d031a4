"""What is measured: an implementation on one net, batch size and precision.

Also what all implementations share: the data, the order of the batches, the first weights.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any, NamedTuple

import numpy as np

import tinygrad_cupy as tg
from tinygrad_cupy import datasets
from tinygrad_cupy.datasets import ArrayDataset
from tinygrad_cupy.nn import models

from . import wide

LEARNING_RATE = 1e-3
SCAN_STEPS = 200  # at most so many steps in one call of jax-scan and ours-scan
OURS = ("ours", "ours-scan", "ours-eager")
TORCH = ("torch-eager", "torch-eager-cl", "torch-compile", "torch-graph", "torch-graph-cl")
JAX = ("jax-jit", "jax-scan")
IMPLEMENTATIONS = {  # by precision, on a GPU
    "tf32": (*OURS, "torch-eager", "torch-compile", "torch-graph", "torch-graph-cl", *JAX),
    "bf16": ("ours", "ours-scan", "torch-graph", "torch-graph-cl", *JAX),
    "fp32": ("ours", "ours-scan", "torch-graph", "torch-graph-cl"),
}
ON_CPU = ("ours", "torch-eager", "torch-eager-cl")
WIDE = ("ours", "torch-compile", "torch-graph", "torch-graph-cl")  # on a GPU


class Cell(NamedTuple):
    """One figure of the table."""

    impl: str
    net: str
    batch: int
    precision: str

    def __str__(self) -> str:
        return f"{self.impl} {self.net} {self.batch} {self.precision}"


def read_data(data_dir: str | None, images: int = 60_000) -> ArrayDataset:
    """MNIST's training images where they are to be had without a download, else the digits.

    The digits are repeated until there are as many: what a step costs does not depend on them.
    """
    if data_dir is not None or datasets.find_mnist() is not None:
        return datasets.mnist(data_dir, download=False)[0]
    digits = read_digits()
    return digits.take(np.arange(images) % len(digits))


def read_digits() -> ArrayDataset:
    """The training images of the digits inside the package."""
    return datasets.digits()[0]


def batches_of(images: int, batch: int, limit: int | None = None) -> np.ndarray:
    """(L, B) int64: the rows of each batch of one shuffled epoch, full batches only."""
    order = np.random.default_rng(0).permutation(images)
    count = min(images // batch, limit or images)
    if count == 0:
        raise ValueError(f"[batch] expected at most {images}, the number of images, got {batch}")
    return order[: count * batch].reshape(count, batch)


@functools.cache
def first_weights(net: str) -> dict[str, Any]:
    """The weights that every implementation starts from, float32, by name.

    Leaves the CPU as the default device: whoever wants another sets it afterwards.
    """
    tg.set_default_device("cpu")
    tg.manual_seed(0)
    model: Any = wide.net_of(net).ours() if wide.is_here(net) else models.build(net)
    return dict(model.state_dict())


def runner_of(cell: Cell) -> Any:
    """The class that does a cell's steps: of `steps_ours`, `steps_torch` or `steps_jax`."""
    kind = cell.impl.partition("-")[0]
    steps = importlib.import_module(f".steps_{kind}", __package__)
    return getattr(steps, kind.capitalize() + ("Wide" if wide.is_here(cell.net) else ""))
