"""Batches for training: the data goes to the device once, and every batch is gathered there.

Letters in shapes: N images, B images of a batch, C channels, H rows, W columns.
"""

from collections.abc import Iterator

import numpy as np

from tinygrad_cupy import backend, random
from tinygrad_cupy.backend import Array, capture
from tinygrad_cupy.tensor import Tensor

from .dataset import LOADER_KEY, ArrayDataset, DataError, seeded_permutation

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


class DataLoader:
    """Iterate over a dataset in batches (x, y) of tensors on one device.

    x: float32 (B, C, H, W), pixel / 255, so in [0, 1];  y: int64 (B,)

    Images stay uint8 on the device and become float32 as a batch is gathered: nothing is copied
    from the host per batch. A loader may be iterated again and again. Inside of a function under
    `tinygrad_cupy.jit`, gather with `batch(rows)`; the rows come from `rows()`, or from `order()`.

    dataset: what to iterate over
    batch_size: B, from 1 to len(dataset); the last batch is smaller when B does not divide N
    shuffle: a new order at every iteration. Without `seed` it comes from the global stream of
        shuffles, which tinygrad_cupy.manual_seed sets; with it, iteration k of this loader has an
        order fixed by (seed, k), whatever else draws random numbers. Both are the same on a CPU
        and a GPU.
    drop_last: leave the smaller last batch out
    device: "cpu", "cuda:0"; default tinygrad_cupy.default_device()

    Raises DataError when the batch size does not fit the data or the seed is not one.
    """

    def __init__(
        self,
        dataset: ArrayDataset,
        batch_size: int = 128,
        shuffle: bool = False,
        drop_last: bool = False,
        device: str | None = None,
        seed: int | None = None,
    ) -> None:
        if not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise DataError(
                f"[DataLoader] expected batch_size as a whole number of at least 1, "
                f"got {batch_size!r}"
            )
        if batch_size > len(dataset):
            raise DataError(
                f"[DataLoader] expected batch_size to be at most {len(dataset)}, the number of "
                f"images of {dataset.name}, got {batch_size}"
            )
        if seed is not None and not 0 <= seed < 1 << 64:
            raise DataError(f"[DataLoader] expected a seed from 0 to 2**64 - 1, got {seed}")
        self.dataset = dataset
        self.batch_size = int(batch_size)
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.device = backend.normalize_device(device or backend.default_device())
        self.seed = seed
        self._iterations = 0
        self._images = backend.to_device(np.ascontiguousarray(dataset.images), self.device)
        self._labels = backend.to_device(np.ascontiguousarray(dataset.labels), self.device)

    def __len__(self) -> int:
        """The number of batches."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return map(self.batch, self.rows())

    def rows(self) -> Iterator[Tensor]:
        """Which images make up each batch of one iteration, int64 (B,) on the device."""
        order = self.order()
        ends = range(self.batch_size, len(self) * self.batch_size + 1, self.batch_size)
        return (Tensor(order.data[end - self.batch_size : end]) for end in ends)

    def order(self) -> Tensor:
        """Which image comes when in the next iteration, int64 (N,) on the device.

        Counts as an iteration: the one after it has another order.
        """
        order = self._order()
        self._iterations += 1
        return Tensor(order)

    def batch(self, rows: Tensor | Array) -> tuple[Tensor, Tensor]:
        """The images `rows`, integers (B,) on the loader's device, as a batch (x, y).

        Raises DataError for anything else. On a GPU a row outside of the data is no error, for
        looking would stall it: its pixels are NaN there and its label -1.
        """
        array = rows.data if isinstance(rows, Tensor) else rows
        if (
            not hasattr(array, "dtype")
            or array.ndim != 1
            or array.dtype.kind not in "iu"
            or backend.device_of(array) != self.device
        ):
            kind = f"{array.dtype} {array.shape}" if hasattr(array, "dtype") else type(rows)
            raise DataError(
                f"[DataLoader] expected rows as integers (B,) on {self.device}, got {kind}"
                + (f" on {backend.device_of(array)}" if hasattr(array, "dtype") else "")
            )
        if not backend.is_cuda(array):
            self._check_rows(array)
        if isinstance(rows, Tensor):
            capture.use(rows)
        capture.keep(self._images, self._labels)
        x, y = gather(self._images, self._labels, array.astype(np.int64, copy=False))
        return Tensor(x), Tensor(y)

    def _check_rows(self, rows: np.ndarray) -> None:
        count = len(self.dataset)
        if rows.size and (rows.min() < 0 or rows.max() >= count):
            position = int(np.argmax((rows < 0) | (rows >= count)))
            raise DataError(
                f"[DataLoader] expected rows from 0 to {count - 1}, the images of "
                f"{self.dataset.name}, got {rows[position]} at position {position}"
            )

    def _order(self) -> Array:
        """(N,) int64 on the device: which image comes when."""
        n = len(self.dataset)
        if self.shuffle and self.seed is None:
            return random.permutation(n, self.device)
        if self.shuffle and self.seed is not None:
            order = seeded_permutation(n, self.seed, LOADER_KEY, self._iterations)
        else:
            order = np.arange(n)
        return backend.to_device(order, self.device)
