"""Data parallelism: each rank computes its share of a batch, and all step along one gradient."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import random
from ..backend import Array, on_device_of, to_numpy
from ..backend.capture import active
from ..backend.devices import copy
from ..backend.dtypes import is_narrow
from ..backend.ranks import ranks
from ..tensor import Tensor
from .flat import Flat
from .world import MismatchError

REDUCTIONS = ("mean", "sum")


class DataParallel:
    """What `data_parallel` gives: the model's parameters, and when their gradients are reduced.

    Called like the model. `reduce()` does at once what optimizers and clipping would have done.

    >>> model = nn.Linear(4, 3)
    >>> parallel = tg.distributed.data_parallel(model, nn.optim.Adam(model.parameters()))
    >>> isinstance(parallel, tg.distributed.DataParallel), parallel(Tensor.zeros(2, 4)).shape
    (True, (2, 3))
    """

    def __init__(self, model: Any, optimizer: Any, reduction: str) -> None:
        self.model, self.reduction = model, reduction
        self.params: list[Tensor] = list(optimizer.params)
        self._ids = {id(param) for param in self.params}
        self._reduced: list[tuple[Any, int]] = []  # gradients that are, with their versions
        self._carried: list[Tensor] = []
        self._flats: dict[Any, Flat] = {}
        self._check(optimizer)
        self._broadcast()

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """The model's output."""
        return self.model(*inputs, **named)

    # --- the beginning --------------------------------------------------------------------------

    def _check(self, optimizer: Any) -> None:
        world = ranks.world
        shapes = [
            f"{name} {tuple(x.shape)} {x.dtype}{'' if x.requires_grad else ' frozen'}"
            for name, x in self.model.named_parameters()
        ]
        facts = {
            "the parameters of the model": shapes,
            "what the optimizer steps": [f"{tuple(x.shape)} {x.dtype}" for x in self.params],
            "the optimizer": type(optimizer).__name__,
            **{
                f"the optimizer's {name}": repr(getattr(optimizer, name))
                for name in optimizer.hyperparameters
            },
            "the seed": random.generator.seed,
        }
        if world is not None:
            world.check_alike("models", facts)
        devices = {x.device for x in self.params}
        if len(devices) > 1:
            raise MismatchError(
                f"[data_parallel] expected the parameters on one device, got {sorted(devices)}"
            )

    def _broadcast(self) -> None:
        """Weights and buffers of rank 0 for all."""
        self._give([tensor for _, tensor in self.model.named_parameters()])
        self.share_buffers()

    def share_buffers(self) -> None:
        """Buffers of rank 0 for all: running statistics, say, which each has of its own samples."""
        self._give([tensor for _, tensor in self.model.named_buffers()])

    def _give(self, tensors: list[Tensor]) -> None:
        world = ranks.world
        if world is None or world.size == 1:
            return
        for tensor in tensors:
            array = tensor.data
            found = world.begin_collective("broadcast of weights", array).broadcast(array, 0)
            with on_device_of(array):
                copy(found, array)
            tensor.bump_version()

    # --- every step -----------------------------------------------------------------------------

    def carry(self, tensor: Tensor) -> None:
        """Have the sum of a tensor over the ranks taken with the next gradients, in place."""
        self._carried.append(tensor)

    def reduce_for(self, params: Iterable[Tensor]) -> None:
        """Reduce the gradients, unless they are, where these parameters are among its own."""
        if any(id(param) in self._ids for param in params):
            self.reduce()

    def reduce(self) -> None:
        """Replace each gradient by its mean over the ranks, in one exchange for each dtype.

        A gradient that no rank has stays away; where one has it, the others count as 0. The mean of
        what is the same on all ranks is what it was: reducing twice does no harm.
        """
        if ranks.world is None:
            return
        wanted = [param for param in self.params if param.requires_grad]
        if self._is_reduced(wanted) and not self._carried:
            return
        groups = self._groups(wanted)
        carried, self._carried = self._carried, []
        if carried and not groups:
            groups[np.dtype(np.float32)] = []
        found: dict[int, Array] = {}
        flags: list[Array] = []
        for number, (dtype, params) in enumerate(groups.items()):
            mine = carried if number == len(groups) - 1 else []
            like = params[0].data if params else mine[0].data
            grads = [None if param.grad is None else param.grad.data for param in params]
            flat = self._flat(dtype, params)
            views, values, said = flat.reduce(ranks.world, like, grads, [x.data for x in mine])
            found |= {id(param): view for param, view in zip(params, views, strict=True)}
            flags.append(said)
            for tensor, value in zip(mine, values, strict=True):
                with on_device_of(tensor.data):
                    copy(value, tensor.data)
        ordered = [param for params in groups.values() for param in params]
        for param, some in zip(ordered, self._somewhere(ordered, flags), strict=True):
            param.grad = Tensor._wrap(found[id(param)]) if some else None
        self.remember(wanted)

    def _groups(self, wanted: list[Tensor]) -> dict[Any, list[Tensor]]:
        """By what their sums are taken in."""
        groups: dict[Any, list[Tensor]] = {}
        for param in wanted:
            groups.setdefault(_sum_dtype(param.dtype), []).append(param)
        return groups

    def _somewhere(self, params: list[Tensor], flags: list[Array]) -> list[bool]:
        """Which parameters have a gradient on some rank.

        Inside a captured function flags must not be read; what a rank knows itself it can say.
        """
        here = [param.grad is not None for param in params]
        if ranks.world.size == 1 or not params:
            return here
        if active.run is not None:
            everyone = ranks.world.exchange("which parameters have gradients", here)
            return [any(one) for one in zip(*everyone, strict=True)]
        return [bool(flag > 0) for part in flags for flag in to_numpy(part)]

    def _flat(self, dtype: Any, params: list[Tensor]) -> Flat:
        key = (dtype, tuple(id(param) for param in params))
        if key not in self._flats:
            self._flats = {k: v for k, v in self._flats.items() if k[0] != dtype}
            self._flats[key] = Flat(dtype, [param.data for param in params])
        return self._flats[key]

    def _is_reduced(self, wanted: list[Tensor]) -> bool:
        grads = [param.grad for param in wanted]
        return len(grads) == len(self._reduced) and all(
            grad is known and (grad is None or grad._version.count == count)
            for grad, (known, count) in zip(grads, self._reduced, strict=True)
        )

    def remember(self, params: Iterable[Tensor]) -> None:
        """The gradients as they are now are reduced ones."""
        if not any(id(param) in self._ids for param in params):
            return
        grads = [param.grad for param in self.params if param.requires_grad]
        self._reduced = [(grad, 0 if grad is None else grad._version.count) for grad in grads]


def _sum_dtype(dtype: Any) -> Any:
    """What sums of gradients are taken in."""
    found = np.dtype(dtype)
    if is_narrow(found):
        return np.dtype(np.float32)
    return np.dtype(found.type(0).real.dtype) if found.kind == "c" else found


def data_parallel(model: Any, optimizer: Any, reduction: str = "mean") -> DataParallel:
    """Have all ranks train one model, each on its share of a batch.

    The weights and buffers of rank 0 are given to all. From then on whatever reads gradients as a
    whole, `optimizer.step()`, clipping, a `GradScaler`, first replaces them by those of the loss
    over the whole batch: one exchange, of one flat buffer, inside a captured step too. Gradients
    may be accumulated over several backward passes before.

    `loss.backward()` takes the loss as the mean over this rank's samples, which counts by their
    number; losses that leave targets out, or weigh classes, see to their divisor themselves. With
    `reduction="sum"` it is taken as a sum. A process by itself has nothing to do.

    Returns an object that is called like the model. It, or the optimizer, has to live as long as
    training does. Raises MismatchError where parameters or the optimizer's numbers differ.

    >>> model = nn.Linear(4, 3)
    >>> optimizer = nn.optim.SGD(model.parameters(), lr=0.1)
    >>> parallel = tg.distributed.data_parallel(model, optimizer)
    >>> parallel(Tensor.zeros(2, 4)).shape
    (2, 3)
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"[data_parallel] expected reduction in {REDUCTIONS}, got {reduction!r}")
    known = parallel_of(optimizer)
    if known is not None and known.model is model:
        known.reduction = reduction
        return known
    parallel = DataParallel(model, optimizer, reduction)
    if ranks.world is not None:
        ranks.parallel = [ref for ref in ranks.parallel if ref() is not None]
        ranks.parallel.append(weakref.ref(parallel))
        optimizer.parallel = parallel
    return parallel


def parallel_of(optimizer: Any) -> DataParallel | None:
    """What `data_parallel` made of an optimizer."""
    found: DataParallel | None = getattr(optimizer, "parallel", None)
    return found if ranks.world is not None else None
