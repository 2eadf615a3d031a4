"""What ranks do together with tensors: operations, with gradients where they have one.

A gradient is that of the sum of what the ranks call `backward` on. So the gradient of a sum over
ranks is again a sum over ranks, and each rank takes part in the backward pass of the others.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from ..autograd import Op
from ..backend import Array, array_module
from ..backend.dtypes import is_narrow
from ..backend.ranks import Share, ranks
from ..pytree import flatten, rebuild
from ..tensor import Tensor

OPERATIONS = ("sum", "mean", "max", "min")


def _reduced(what: str, array: Array, operation: str) -> Array:
    """Sums of 16-bit floats are taken in float32, those of booleans in int64."""
    wide = array
    if is_narrow(array.dtype):
        wide = array.astype(np.float32)
    elif array.dtype == np.bool_:
        wide = array.astype(np.int64)
    found = ranks.world.begin_collective(what, wide).all_reduce(wide, operation)
    return found if array.dtype == np.bool_ else found.astype(array.dtype, copy=False)


class AllReduce(Op):
    """Σ_r x_r, on every rank."""

    linear = ("x",)

    def forward(self, x: Array) -> Array:
        return _reduced("all_reduce (sum)", x, "sum")

    def backward(self, grad: Tensor) -> Tensor:
        return AllReduce()(grad)


class AllExtremum(Op):
    """The largest or smallest x_r of each element; its gradient goes to where it is, shared."""

    only_real = True
    saves = ("x", "y")

    def __init__(self, operation: str) -> None:
        self.operation = operation

    def forward(self, x: Array) -> Array:
        return _reduced(f"all_reduce ({self.operation})", x, self.operation)

    def backward(self, grad: Tensor, x: Tensor, y: Tensor) -> Tensor:
        here = (x.detach() == y.detach()).astype(grad.dtype)
        return AllReduce()(grad) * here / AllReduce()(here)


class AllGather(Op):
    """The x_r (n_r, …) of all ranks along axis 0: (Σ n_r, …)."""

    linear = ("x",)

    def __init__(self, counts: tuple[int, ...]) -> None:
        self.counts = counts

    def forward(self, x: Array) -> Array:
        xp, most = array_module(x), max(self.counts)
        padded = x
        if len(x) < most:
            padded = xp.zeros((most, *x.shape[1:]), x.dtype)
            padded[: len(x)] = x
        parts = ranks.world.begin_collective("all_gather", padded).all_gather(padded)
        if min(self.counts) == most:
            return parts.reshape(-1, *x.shape[1:])
        return xp.concatenate([part[:n] for part, n in zip(parts, self.counts, strict=True)])

    def backward(self, grad: Tensor) -> Tensor:
        return ReduceScatter(self.counts)(grad)


class ReduceScatter(Op):
    """Of the sum over ranks of x (Σ n_r, …) the part (n_r, …) of each rank."""

    linear = ("x",)

    def __init__(self, counts: tuple[int, ...]) -> None:
        self.counts = counts

    def forward(self, x: Array) -> Array:
        xp, most, mine = array_module(x), max(self.counts), self.counts[ranks.world.rank]
        wide = x.astype(np.float32) if is_narrow(x.dtype) else x
        if min(self.counts) == most:
            parts = wide.reshape(len(self.counts), most, *x.shape[1:])
        else:
            parts = xp.zeros((len(self.counts), most, *x.shape[1:]), wide.dtype)
            ends = np.cumsum(self.counts)
            for part, end, n in zip(parts, ends.tolist(), self.counts, strict=True):
                part[:n] = wide[end - n : end]
        found = ranks.world.begin_collective("reduce_scatter", parts).reduce_scatter(parts, "sum")
        return found[:mine].astype(x.dtype, copy=False)

    def backward(self, grad: Tensor) -> Tensor:
        return AllGather(self.counts)(grad)


class Broadcast(Op):
    """x of rank `root`, on every rank. Its gradient is the sum over ranks, on that rank alone."""

    linear = ("x",)

    def __init__(self, root: int) -> None:
        self.root = root

    def forward(self, x: Array) -> Array:
        return ranks.world.begin_collective(f"broadcast from {self.root}", x).broadcast(
            x, self.root
        )

    def backward(self, grad: Tensor) -> Tensor:
        found = AllReduce()(grad)
        return found if ranks.world.rank == self.root else found * 0


# --- for users ----------------------------------------------------------------------------------


def all_reduce(x: Tensor, op: str = "sum") -> Tensor:
    """The "sum", "mean", "max" or "min" over the ranks of tensors of one shape, on every rank.

    Sums are taken in the order of the ranks: on the CPU all have the same bits, run after run. With
    a gradient: that of the sum of what the ranks call `backward` on. 16-bit floats are added in
    float32 and rounded once; booleans are counted, int64.

    >>> tg.distributed.all_reduce(Tensor([1.0, 2.0]))  # a process by itself
    Tensor([1., 2.])
    """
    _expect_tensor("all_reduce", x)
    if op not in OPERATIONS:
        raise ValueError(f"[all_reduce] expected op in {OPERATIONS}, got {op!r}")
    if ranks.world is None:
        return x.astype(np.int64) if x.dtype == np.bool_ and op == "sum" else x
    if op in ("max", "min"):
        return AllExtremum(op)(x)
    total = AllReduce()(x)
    return total if op == "sum" else total / ranks.world.size


def all_gather(x: Tensor, counts: tuple[int, ...] | None = None) -> Tensor:
    """The tensors (n, …) of all ranks along axis 0, in their order, on every rank.

    counts: the n of each rank where they differ; default: that of the batch which is split, where x
        has as many, else this rank's for all

    >>> tg.distributed.all_gather(Tensor([[1.0, 2.0]]))
    Tensor([[1., 2.]])
    """
    _expect_tensor("all_gather", x)
    if not x.ndim:
        raise ValueError("[all_gather] expected (n, …), got shape ()")
    if ranks.world is None:
        return x
    counts = _counts("all_gather", counts, x.shape[0])
    if counts[ranks.world.rank] != x.shape[0]:
        raise ValueError(
            f"[all_gather] expected {counts[ranks.world.rank]} along axis 0, as counts say, got "
            f"shape {x.shape}"
        )
    return AllGather(counts)(x)


def reduce_scatter(x: Tensor, counts: tuple[int, ...] | None = None) -> Tensor:
    """Of the sum over the ranks of tensors (Σ n_r, …) this rank's part (n_r, …) along axis 0.

    counts: the n of each rank; default: equal parts

    >>> tg.distributed.reduce_scatter(Tensor([1.0, 2.0]))
    Tensor([1., 2.])
    """
    _expect_tensor("reduce_scatter", x)
    if ranks.world is None:
        return x
    size = ranks.world.size
    if counts is None:
        counts = (x.shape[0] // size if x.ndim else 0,) * size
    if not x.ndim or len(counts) != size or sum(counts) != x.shape[0]:
        raise ValueError(
            f"[reduce_scatter] expected (n, …) with parts for {size} ranks, got shape {x.shape} "
            f"and counts {counts}"
        )
    return ReduceScatter(tuple(counts))(x)


def broadcast(x: Tensor, root: int = 0) -> Tensor:
    """The tensor of rank `root`, on every rank; all give one of its shape and dtype.

    >>> tg.distributed.broadcast(Tensor([1.0]))
    Tensor([1.])
    """
    _expect_tensor("broadcast", x)
    count = 1 if ranks.world is None else ranks.world.size
    if not 0 <= root < count:
        raise ValueError(f"[broadcast] expected a rank from 0 to {count - 1}, got {root}")
    return x if ranks.world is None else Broadcast(root)(x)


def barrier() -> None:
    """Wait until all ranks are here.

    >>> tg.distributed.barrier()
    """
    if ranks.world is not None:
        ranks.world.exchange("barrier", None)


def exchange(value: Any) -> list[Any]:
    """What each rank gives, in their order, on every rank: for small things of Python's.

    Numbers, strings, None, bytes, NumPy arrays, and lists, tuples and dicts of these.

    >>> tg.distributed.exchange("here")
    ['here']
    """
    return (
        [value] if ranks.world is None else cast(list[Any], ranks.world.exchange("exchange", value))
    )


def _expect_tensor(name: str, x: Any) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"[{name}] expected a Tensor, got {type(x).__name__}")


def _counts(name: str, counts: tuple[int, ...] | None, n: int) -> tuple[int, ...]:
    size, share = ranks.world.size, ranks.split
    if counts is None and share is not None and share.samples == n and share.present:
        counts = share.counts
    counts = (n,) * size if counts is None else tuple(counts)
    if len(counts) != size:
        raise ValueError(f"[{name}] expected {size} counts, one for each rank, got {counts}")
    return counts


# --- batches ------------------------------------------------------------------------------------


def split(batch: Any) -> Any:
    """This rank's part of a batch that all ranks have: tensors (N, …), in a tuple or dict too.

    From here on the batch is what is worked on: random draws are those of its samples, and losses
    count by their share, until the next. A `DataLoader` does it by itself.

    >>> x, y = tg.distributed.split((Tensor.zeros(4, 3), Tensor.zeros(4)))
    >>> x.shape
    (4, 3)
    """
    world = ranks.world
    if world is None or world.size == 1:
        return batch
    leaves: list[Any] = []
    structure = flatten(batch, leaves)
    lengths = {x.shape[0] for x in leaves if getattr(x, "ndim", 0)}
    if len(lengths) != 1 or not min(lengths):
        raise ValueError(f"[split] expected tensors of one length along axis 0, got {lengths}")
    share = ranks.share = Share.even(lengths.pop(), world.size, world.rank)
    return rebuild(structure, [x[share.rows] if getattr(x, "ndim", 0) else x for x in leaves])


def batch(count: int) -> None:
    """Say how many samples, 1 or more, of the batch that is now worked on this rank has itself.

    For loops that read their own samples on each rank; every rank calls it.

    >>> tg.distributed.batch(32)
    """
    world = ranks.world
    if world is None or world.size == 1:
        return
    if count < 1:
        raise ValueError(f"[batch] expected a sample or more, got {count}")
    ranks.share = Share(tuple(world.exchange("batch", int(count))), world.rank)


def no_batch() -> None:
    """What follows is no batch: draws are the same on all ranks.

    >>> tg.distributed.no_batch()
    """
    ranks.share = None
