"""Batches for training: gathered on the device from data that lies there, or made on the host.

Letters in shapes: N samples, B samples of a batch, C channels, H rows, W columns.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from tinygrad_cupy import backend, random
from tinygrad_cupy.backend import Array, capture
from tinygrad_cupy.backend.ranks import Share, ranks
from tinygrad_cupy.tensor import Tensor

from .dataset import LOADER_KEY, ArrayDataset, DataError, seeded_permutation
from .fetch import Fetch
from .position import Position, drawn_order, stream_place
from .resident import Resident, fits_device, scaled
from .trees import mapped
from .workers import Pool

T = TypeVar("T")


class DataLoader:
    """Iterate over a dataset in batches, tensors on one device.

    A batch is what a sample is, with arrays (B, ...): (x, y) of samples (x, y), a dict of dicts. Of
    an `ArrayDataset` whose inputs are uint8 (N, C, H, W), pictures, x is float32 (B, C, H, W),
    pixel / 255, so in [0, 1]; with integer labels (N,), y is int64 (B,). Everything else keeps its
    dtype; see `default_collate` for what samples may hold.

    Arrays in memory are *resident*: they go to the device once, and nothing is copied from the host
    per batch. Inside of a function under `tinygrad_cupy.jit`, gather with `batch(rows)`; the rows
    come from `rows()`, or from `order()`. Other data is read on the host, batch by batch. A loader
    may be iterated again and again.

    dataset: an `ArrayDataset`, or any object with `__len__` and `__getitem__`, PyTorch's or Hugging
        Face's
    batch_size: B, at least 1; the last batch is smaller when B does not divide N
    shuffle: a new order at every iteration. Without `seed` it comes from the global stream of
        shuffles, which tinygrad_cupy.manual_seed sets; with it, iteration k of this loader has an
        order fixed by (seed, k), whatever else draws random numbers. Both are the same on a CPU
        and a GPU.
    drop_last: leave the smaller last batch out; B may not be larger than N then
    device: "cpu", "cuda:0"; default tinygrad_cupy.default_device()
    seed: see `shuffle`
    sampler: in place of `shuffle`, the rows of a pass: any iterable of them that has a length, such
        as `WeightedSampler`, or PyTorch's. Rows may be missing or repeated.
    collate: a function of a list of samples that makes the batch, of arrays or tensors; in place of
        `default_collate`
    num_workers: processes that make batches ahead, begun with the first pass and kept until the
        loader goes or `close()`. Batches are the same as with 0, unless samples are random: the
        random numbers of Python, NumPy and this library are begun anew for each batch, from `seed`
        or else that of manual_seed, the pass and the batch's number, so that they are the same
        with any number of workers. A script does its work under `if __name__ == "__main__":` then.
    worker_method: how they are begun, "spawn" (a fresh interpreter), "forkserver" or "fork", which
        inherits the dataset as it is, locks that threads hold, and no use of CUDA
    split: where there are several ranks (`tinygrad_cupy.distributed`), `batch_size` is that of all
        together, and each has its share of a batch, the first one sample more where it does not
        come out; False: each has all of it
    resident: False leaves an `ArrayDataset` in memory on the host, for data that the device has no
        room for; default: resident where that can be, without `collate` and workers

    Raises DataError when no batch would be left or the seed is not one, `SampleError`
    for an error of the dataset, naming the sample, and `WorkerError` for a worker that is gone.

    >>> loader = datasets.DataLoader(datasets.spiral(100), batch_size=32, shuffle=True, seed=0)
    >>> for x, y in loader:
    ...     print(x.shape, y.dtype)
    (32, 2) int64
    (32, 2) int64
    (32, 2) int64
    (4, 2) int64
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 128,
        shuffle: bool = False,
        drop_last: bool = False,
        device: str | None = None,
        seed: int | None = None,
        *,
        sampler: Iterable[int] | None = None,
        collate: Callable[[list[Any]], Any] | None = None,
        num_workers: int = 0,
        worker_method: str = "spawn",
        resident: bool | None = None,
        split: bool = True,
    ) -> None:
        _check_dataset(dataset)
        _check_sizes(batch_size, num_workers)
        _check_workers(dataset, num_workers)
        if seed is not None and not 0 <= seed < 1 << 64:
            raise DataError(f"[DataLoader] expected a seed from 0 to 2**64 - 1, got {seed}")
        if sampler is not None and (shuffle or not hasattr(sampler, "__len__")):
            got = "both" if shuffle else f"{type(sampler).__name__} without __len__"
            raise DataError(
                f"[DataLoader] expected shuffle, or a sampler that has a length, got {got}"
            )
        self.dataset = dataset
        self.batch_size = int(batch_size)
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.device = backend.normalize_device(device or backend.default_device())
        self.seed = seed
        self.sampler, self.collate = sampler, collate
        if drop_last and self.batch_size > self._samples():
            name = dataset.name if isinstance(dataset, ArrayDataset) else type(dataset).__name__
            what = f"samples of {name}" if sampler is None else "rows of the sampler"
            raise DataError(
                f"[DataLoader] expected a batch_size of at most {self._samples()}, the number of "
                f"{what}, with drop_last, which would leave no batch, got {batch_size}"
            )
        self.num_workers, self.worker_method = int(num_workers), worker_method
        self.split = split
        self._iterations = 0
        self._position: Position | None = None  # of the pass begun last
        self._resume: Position | None = None  # where the next one begins
        self._pool: Pool | None = None
        can = fits_device(dataset) and collate is None and not num_workers
        if resident and not can:
            raise DataError(
                "[DataLoader] resident=True needs an ArrayDataset in memory, no collate and no "
                "workers"
            )
        self.resident = can if resident is None else resident
        self._data = Resident(dataset, self.device) if self.resident else None

    def __len__(self) -> int:
        """The number of batches of a whole pass."""
        full, rest = divmod(self._samples(), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def _samples(self) -> int:
        return len(self.dataset if self.sampler is None else self.sampler)  # type: ignore[arg-type]

    @property
    def has_targets(self) -> bool | None:
        """Whether batches are (x, y); None where `collate`, or a dataset of others, decides it."""
        if not isinstance(self.dataset, ArrayDataset) or self.collate is not None:
            return None
        return self.dataset.targets is not None

    @property
    def targets_per_row(self) -> int:
        """How many integer targets a sample of resident data has."""
        return 1 if self._data is None else self._data.targets_per_row

    def __iter__(self) -> Iterator[Any]:
        if self.resident:
            return map(self.batch, self.rows())
        order, position = self._begin("cpu")
        return self._fetched(self._parts(order, position), position)

    def rows(self) -> Iterator[Tensor]:
        """Which samples make up each batch of one iteration, int64 (B,) on the device."""
        order, position = self._begin(self.device)
        parts = self._parts(backend.to_device(order, self.device), position)
        return (Tensor(part) for part in self._announced(parts, position))

    def order(self) -> Tensor:
        """Which sample comes when in the next iteration, int64 on the device.

        Counts as an iteration: the one after it has another order.
        """
        order = backend.to_device(self._order(self.device), self.device)
        self._iterations += 1
        return Tensor(order)

    def batch(self, rows: Tensor | Array) -> Any:
        """The samples `rows`, integers (B,) on the loader's device, as a batch of resident data.

        Raises DataError for anything else. On a GPU a row outside of the data is no error, for
        looking would stall it: of pictures the pixels are NaN there and the label -1.
        """
        if self._data is None:
            raise DataError("[DataLoader] batch(rows) needs resident data: iterate over the loader")
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
        return self._data.batch(array.astype(np.int64, copy=False))

    def close(self) -> None:
        """End the worker processes; the next pass would begin new ones."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    # --- its place ------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray]:
        """Where the loader stands, as arrays, for `load_state_dict` of one like it.

        After k batches of a pass were taken, that pass goes on with batch k + 1. An order without
        `seed` is drawn from the global stream of random numbers, whose own state belongs into the
        same checkpoint (`tinygrad_cupy.random.get_state`). With a sampler the rows of the pass are
        part of the state, and the sampler's own `state_dict`, where it has one.
        """
        state = {"samples": self._samples(), "batch_size": self.batch_size}
        state |= {"drop_last": self.drop_last, "shuffle": self.shuffle}
        found = {name: np.asarray(value) for name, value in state.items()}
        found["seed"] = np.array([] if self.seed is None else [self.seed], np.uint64)
        position = self._resume or self._position
        if position is None or position.given >= len(self):
            found |= {"iteration": np.asarray(self._iterations), "given": np.asarray(0)}
        else:
            found |= position.state_dict()
        sampler: Any = self.sampler
        if hasattr(sampler, "state_dict"):
            own = sampler.state_dict()
            found |= {f"sampler.{name}": np.asarray(value) for name, value in own.items()}
        return found

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Stand where the loader that gave `state` stood: the next pass is the rest of its pass.

        DataError, and nothing is changed, for the state of a loader of other data, batches or seed;
        a state of an earlier release says no seed, and is taken.
        """
        own = {"samples": self._samples(), "batch_size": self.batch_size}
        own |= {"drop_last": self.drop_last, "shuffle": self.shuffle}
        for name in (*own, "iteration", "given"):
            if name not in state or (name in own and int(state[name]) != own[name]):
                got = int(state[name]) if name in state else "none"
                raise DataError(
                    f"[DataLoader] expected the state of a loader with {name} "
                    f"{int(own[name]) if name in own else ''}, got {got}"
                )
        if "seed" in state:
            seed = next(map(int, np.asarray(state["seed"])), None)
            if seed != (None if self.seed is None else int(self.seed)):
                raise DataError(
                    f"[DataLoader] expected the state of a loader with seed {self.seed}, got {seed}"
                )
        sampler: Any = self.sampler
        if hasattr(sampler, "load_state_dict"):
            prefix = "sampler."
            sampler.load_state_dict(
                {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            )
        self._iterations, self._position = int(state["iteration"]), None
        begun = bool(int(state["given"])) or "origin" in state or "order" in state
        self._resume = Position.of(state) if begun else None

    def _begin(self, device: str) -> tuple[Array, Position]:
        """The order of the pass that begins now, and where in it to begin."""
        position, self._resume = self._resume, None
        if position is None:
            position = Position(self._iterations)
            if self.sampler is None and self.shuffle and self.seed is None:
                position.origin = stream_place(device)
            order = self._order(device)
            if self.sampler is not None:
                position.order = order
        elif position.order is not None:
            order = position.order
        elif position.origin is not None:
            order = drawn_order(len(self.dataset), position.origin)
        else:
            order = self._order("cpu")
        self._iterations = position.iteration + 1
        self._position = position
        return order, position

    def _order(self, device: str) -> Array:
        """int64 (N,): which sample comes when in pass `self._iterations`, here or on the device."""
        n = len(self.dataset)
        if self.sampler is not None:
            return self._sampled(n)
        if self.shuffle and self.seed is None:
            return random.permutation(n, device)
        if self.shuffle and self.seed is not None:
            return seeded_permutation(n, self.seed, LOADER_KEY, self._iterations)
        return np.arange(n)

    def _sampled(self, n: int) -> np.ndarray:
        assert self.sampler is not None
        rows = np.array([int(row) for row in self.sampler], np.int64)
        if len(rows) != self._samples():
            raise DataError(
                f"[DataLoader] expected {self._samples()} rows of the sampler, as its length says, "
                f"got {len(rows)}"
            )
        if rows.size and (rows.min() < 0 or rows.max() >= n):
            bad = rows[(rows < 0) | (rows >= n)][0]
            raise DataError(f"[DataLoader] expected a sampler of rows from 0 to {n - 1}, got {bad}")
        return rows

    def _parts(self, order: Array, position: Position) -> Iterator[Array]:
        """The rows of each batch that is left of a pass; of several ranks those of this one."""
        starts = range(position.given * self.batch_size, len(order), self.batch_size)
        for start in starts[: len(self) - position.given]:
            rows = order[start : start + self.batch_size]
            share = self._share(start // self.batch_size)
            yield rows if share is None else rows[share.rows]

    def _share(self, index: int) -> Share | None:
        """How a batch is split among ranks; None where it is not."""
        world = ranks.world
        if world is None or world.size == 1 or not self.split:
            return None
        total = min(self.batch_size, self._samples() - index * self.batch_size)
        return Share.even(total, world.size, world.rank)

    def _announced(self, batches: Iterable[T], position: Position) -> Iterator[T]:
        """The batches, counted; all ranks are told which part of which is worked on."""
        said = None
        try:
            for batch in position.counted(batches):
                if ranks.world is not None:  # also where each rank has all of it
                    said = ranks.share = self._share(position.given - 1)
                yield batch
        finally:
            if said is not None and ranks.share is said:
                ranks.share = None

    # --- batches made on the host ---------------------------------------------------------------

    def _fetched(self, parts: Iterator[np.ndarray], position: Position) -> Iterator[Any]:
        fetch = Fetch(self.dataset, self.collate)
        if self.num_workers:
            seed = self._seed_of(position)
            tasks = (
                ((*seed, i, *self._place(i)), part)
                for i, part in enumerate(parts, start=position.given)
            )
            made = self._workers(fetch).map(tasks)
        else:
            made = map(fetch, parts)
        return (self._on_device(batch) for batch in self._announced(made, position))

    def _place(self, index: int) -> tuple[int, ...]:
        """What the random numbers of a rank's part come from as well, of all but the first."""
        share = self._share(index)
        return (share.start,) if share is not None and share.start else ()

    def _seed_of(self, position: Position) -> tuple[int, int, int]:
        """What the random numbers of workers come from in a pass, beside the batch's number."""
        if position.origin is not None:  # begun anew by manual_seed, as the order is
            seed, place = backend.to_numpy(position.origin)[:2].tolist()
            return seed, 1, place
        return random.generator.seed if self.seed is None else self.seed, 0, position.iteration

    def _workers(self, fetch: Fetch) -> Pool:
        pool = self._pool
        if pool is None or pool.owner != os.getpid() or not pool.workers:
            pool = self._pool = Pool(fetch, self.num_workers, self.worker_method)
        return pool

    def _on_device(self, batch: Any) -> Any:
        if isinstance(self.dataset, ArrayDataset) and self.collate is None:
            alone = self.dataset.targets is None
            x, y = (batch, None) if alone else batch
            x = mapped(lambda leaf: scaled(backend.to_device(leaf, self.device)), x)
            return x if alone else (x, mapped(self._tensor, y))
        return mapped(self._tensor, batch)

    def _tensor(self, value: Any) -> Any:
        """Arrays and tensors on the loader's device; anything else, strings say, as it is."""
        if isinstance(value, Tensor):
            return value.to(self.device)
        if not backend.is_cuda(value):
            if not hasattr(value, "__array__"):
                return value
            value = np.asarray(value)  # PyTorch's, too
        if value.dtype.kind in "OSUMm":
            return value
        return Tensor(backend.to_device(value, self.device))

    def _check_rows(self, rows: np.ndarray) -> None:
        count = len(self.dataset)
        if rows.size and (rows.min() < 0 or rows.max() >= count):
            position = int(np.argmax((rows < 0) | (rows >= count)))
            raise DataError(
                f"[DataLoader] expected rows from 0 to {count - 1}, the samples of "
                f"{self.dataset.name}, got {rows[position]} at position {position}"
            )


def _check_dataset(dataset: Any) -> None:
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise DataError(
            "[DataLoader] expected a dataset with __len__ and __getitem__, got "
            f"{type(dataset).__name__}"
        )
    if not len(dataset):
        raise DataError(f"[DataLoader] expected a sample or more in {type(dataset).__name__}")


def _check_sizes(batch_size: int, num_workers: int) -> None:
    for name, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0)):
        if not isinstance(value, int | np.integer) or value < least:
            raise DataError(
                f"[DataLoader] expected {name} as a whole number of at least {least}, got {value!r}"
            )


def _check_workers(dataset: Any, num_workers: int) -> None:
    arrays = dataset.leaves() if isinstance(dataset, ArrayDataset) else ()
    if num_workers and any(backend.is_cuda(array) for _, array in arrays):
        raise DataError(
            "[DataLoader] num_workers: the arrays are on a GPU, where batches are gathered without "
            "workers"
        )
