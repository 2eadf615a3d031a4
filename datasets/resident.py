"""Data that lies on the device as a whole, and batches gathered there by row numbers.

Letters in shapes: N samples, B samples of a batch, C channels, H rows, W columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.backend import Array, capture
from tinygrad_cupy.tensor import Tensor

from .dataset import ArrayDataset, size_of_sample
from .mapped import is_mapped
from .trees import mapped

_kernels = backend.CudaSource(__file__, "loader.cu")


def _gather_cpu(images: Array, labels: Array, rows: Array) -> tuple[Array, Array]:
    return np.divide(images.take(rows, axis=0), np.float32(255)), labels.take(rows)


def _gather_cuda(images: Array, labels: Array, rows: Array) -> tuple[Array, Array]:
    xp = backend.array_module(images)
    with backend.on_device_of(images):
        x = xp.empty((len(rows), *images.shape[1:]), np.float32)
        y = xp.empty(len(rows), np.int64)
        rows = xp.ascontiguousarray(rows)
        sizes = [np.int64(n) for n in (len(images), len(rows), images.size // len(images))]
        blocks = min(max(len(rows), 1), 1 << 20)
        _kernels.launch("gather_batch", blocks, (images, labels, rows, x, y, *sizes))
    return x, y


# (N, C, H, W) uint8, (N,) int64, (B,) int64 -> (B, C, H, W) float32 in [0, 1] and (B,) int64.
gather = backend.Kernel(cpu=_gather_cpu, cuda=_gather_cuda)


def is_pictures(array: Any) -> bool:
    """Whether an input is pictures, uint8 (N, C, H, W), to be scaled to [0, 1]."""
    return bool(array.dtype == np.uint8 and len(array.shape) == 4)


def fits_device(dataset: object) -> bool:
    """Whether a dataset can lie on a device: arrays in memory."""
    return isinstance(dataset, ArrayDataset) and not any(
        is_mapped(leaf) for _, leaf in dataset.leaves()
    )


class Resident:
    """The arrays of a dataset on a device."""

    def __init__(self, dataset: ArrayDataset, device: str) -> None:
        labels = dataset.targets
        self.fused = (  # one kernel makes both parts of the batch
            hasattr(dataset.inputs, "shape")
            and is_pictures(dataset.inputs)
            and hasattr(labels, "shape")
            and labels.dtype.kind in "iu"
            and labels.ndim == 1
        )
        if self.fused:
            labels = labels.astype(np.int64, copy=False)

        def brought(leaf: Any) -> Any:
            return backend.to_device(backend.array_module(leaf).ascontiguousarray(leaf), device)

        self.inputs = mapped(brought, dataset.inputs)
        self.targets = None if labels is None else mapped(brought, labels)
        self.arrays = [
            *([] if self.targets is None else _listed(self.targets)),
            *_listed(self.inputs),
        ]
        # How many predictions a sample asks for: the labels of an image's pixels, say.
        self.targets_per_row = 1
        if hasattr(labels, "shape") and labels.dtype.kind in "iu":
            self.targets_per_row = size_of_sample(labels)

    def batch(self, rows: Array) -> Any:
        """The samples of these rows, int64 (B,)."""
        capture.keep(*self.arrays)
        if self.fused:
            x, y = gather(self.inputs, self.targets, rows)
            return Tensor(x), Tensor(y)
        x = mapped(lambda leaf: scaled(leaf.take(rows, axis=0)), self.inputs)
        if self.targets is None:
            return x
        return x, mapped(lambda leaf: Tensor(leaf.take(rows, axis=0)), self.targets)


def scaled(array: Array) -> Tensor:
    """An input's values as a tensor: of pictures pixel / 255."""
    if not is_pictures(array):
        return Tensor(array)
    found = array.astype(np.float32)
    found /= np.float32(255)
    return Tensor(found)


def _listed(tree: Any) -> list[Any]:
    found: list[Any] = []
    mapped(found.append, tree)
    return found
