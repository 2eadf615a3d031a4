"""Batches: what a loader is asked for, how a step takes one, and what becomes of its results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from tinygrad_cupy import backend
from tinygrad_cupy.backend.ranks import ranks
from tinygrad_cupy.pytree import flatten, rebuild
from tinygrad_cupy.tensor import Tensor

from . import steps
from .inputs import parted, targets_of
from .steps import Gather

Item = tuple[Any, ...]  # (rows,) or (x, y)


class Loader(Protocol):
    """What `Trainer` asks of a loader: batches (x, y), repeatedly, and their number.

    One that also has `rows` and `batch`, as a `DataLoader` of resident data, gathers its batches
    inside the captured step. One may say in `has_targets` whether its batches are (x, y), True, or
    x alone, False; where it does not, a batch of two is (x, y).
    """

    def __iter__(self) -> Iterator[tuple[Any, Any]]: ...

    def __len__(self) -> int: ...


@runtime_checkable
class GatheringLoader(Loader, Protocol):
    """A loader that makes a batch of rows, on its device; one whose `resident` is false does not.

    It may say in `targets_per_row` how many predictions a row asks for, which is 1 otherwise.
    """

    def rows(self) -> Iterator[Tensor]:
        """The row numbers (B,) of each batch of a new pass over the data."""
        ...

    def batch(self, rows: Tensor) -> Any:
        """(x, y) of these rows."""
        ...


def items_of(loader: Loader) -> Iterator[tuple[Gather, Item, int]]:
    """Each batch as the functions in steps.py take it, and how many predictions it asks for."""
    has_targets = targets_of(loader)
    if isinstance(loader, GatheringLoader) and getattr(loader, "resident", True):
        each = getattr(loader, "targets_per_row", 1)
        gather = steps.Inputs(loader.batch) if has_targets is False else loader.batch
        return ((gather, (rows,), _of_all_ranks(rows.size * each)) for rows in loader.rows())
    return (_item(batch, has_targets) for batch in loader)


def has_place(loader: Loader) -> bool:
    """Whether one can go on in the middle of a pass."""
    return hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")


def _item(batch: Any, has_targets: bool | None) -> tuple[Gather, Item, int]:
    x, y = parted(batch, has_targets)
    target = y if isinstance(y, Tensor) and y.dtype.kind in "iu" else None
    first = next(_tensors((x, y)), None)
    if first is None:
        raise TypeError(
            f"[Trainer] expected batches (x, y) of tensors, got {type(batch).__name__}: a loader's "
            "collate= can make them of samples of another form"
        )
    count = first.shape[0] if target is None else target.size
    return None, ((x,) if y is None else (x, y)), _of_all_ranks(count)


def _of_all_ranks(count: int) -> int:
    """How many predictions a batch asks for, of which this rank has so many."""
    share = ranks.split
    return count if share is None else count // share.samples * share.total


def _tensors(tree: Any) -> Iterator[Tensor]:
    found: list[Any] = []
    flatten(tree, found)
    return (one for one in found if isinstance(one, Tensor))


def copied(tree: Any) -> Any:
    """Copies of a result's arrays, in its structure."""
    found: list[Any] = []
    structure = flatten(tree, found)
    return rebuild(structure, [one.data.copy() for one in found])


def to_host(batches: list[Any]) -> Any:
    """The arrays of several batches joined, as NumPy's, in the structure of each batch."""
    parts: list[list[Any]] = []
    for batch in batches:
        parts.append([])
        structure = flatten(batch, parts[-1], once=False)
    joined = [
        backend.to_numpy(backend.array_module(arrays[0]).concatenate(arrays))
        for arrays in zip(*parts, strict=True)
    ]
    return rebuild(structure, joined)


def check_loader(role: str, loader: Loader) -> None:
    """Raise ValueError for one without batches, naming its role."""
    if len(loader) == 0:
        raise ValueError(
            f"[Trainer] the {role} loader has no batches (is the batch larger than the data?)"
        )
