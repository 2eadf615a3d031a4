"""Averages of a model's weights over its training: equal (SWA) or with a memory (EMA)."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tinygrad_cupy.autograd.mode import no_grad
from tinygrad_cupy.backend.capture import use
from tinygrad_cupy.nn import checks
from tinygrad_cupy.nn.inputs import forward, targets_of
from tinygrad_cupy.nn.module import Buffer, Mismatch, Module
from tinygrad_cupy.nn.state import host_array
from tinygrad_cupy.tensor import Tensor

from .elementwise import Elementwise
from .rule import Rule


class Averaging(Elementwise):
    """An average as an optimizer: its step is what a new value, in the gradient's place, does.

    The first value is taken as it is. With a `decay` of 0 all weigh the same.
    """

    hyperparameters = ("lr", "decay")
    decay: float = 0.0
    rule = Rule(
        names=("decay",),
        slots=(),
        derive="share = where(decay > 0, where(t > 1, 1 - decay, 1), 1 / t)",
        update="p = where(share < 1, p + share * (g - p), g)",
    )
    values: list[Tensor]

    def __init__(self, params: Iterable[Tensor], decay: float) -> None:
        super().__init__(params, lr=1.0, decay=decay)

    def check(self, name: str, value: Any) -> Any:
        return checks.number(self, name, value, 0, 1) if name == "decay" else value

    def _gradient(self, position: int) -> Tensor | None:
        return self.values[position]


class AveragedModel(Module):
    """A copy of `model` whose parameters are the mean of those that `update_parameters` was given.

    Stochastic weight averaging (Izmailov et al., "Averaging weights leads to wider optima and
    better generalization", 2018), or with a `decay` above 0 an `ExponentialMovingAverage`. Take
    the average after each step or epoch towards the end, and then have `update_bn` gather the
    statistics of batch norms for it. Buffers are copied at each update; with `use_buffers` those of
    floats are averaged as the parameters are, and `update_bn`, which would write over the averages,
    is not needed.

    Averages have the parameters' dtype. On a GPU an update of the parameters is one launch, which
    `tg.jit` captures together with a step (after a first one outside). `n_averaged`, a Buffer of
    int64, counts the updates. A state_dict, also that of a Module that holds this one, has
    PyTorch's names: "module." before the model's own, and "n_averaged".

    >>> model = nn.Linear(1, 1)
    >>> averaged = nn.optim.AveragedModel(model)
    >>> for value in (1.0, 3.0):
    ...     model.weight = nn.Parameter([[value]])
    ...     averaged.update_parameters(model)
    >>> averaged.module.weight.detach()
    Tensor([[2.]])
    """

    def __init__(self, model: Module, decay: float = 0.0, use_buffers: bool = False) -> None:
        if not isinstance(model, Module):
            raise TypeError(
                f"[{type(self).__name__}] expected a Module, got {type(model).__name__}"
            )
        device = next((param.device for param in model.parameters()), None)
        self.n_averaged = Buffer(np.zeros((), np.int64), device=device)
        self.module: Any = copy.deepcopy(model)
        self.module.zero_grad()
        self.use_buffers = use_buffers
        self._averaging = Averaging(self._split(self.module)[0], decay)

    @property
    def decay(self) -> float:
        """How much of the average an update keeps; 0 where all values weigh the same."""
        return self._averaging.decay

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The output of the averaged weights."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take the present parameters of `model` into the average, and its buffers.

        ValueError, and nothing is changed, for a model of other parameters or on another device.
        """
        averaged, copied = self._split(self.module)
        values, buffers = self._split(model)
        own, given = (
            [x.shape for x in (*a, *b)] for a, b in ((averaged, copied), (values, buffers))
        )
        if own != given:
            raise ValueError(
                f"[{type(self).__name__}] expected a model of parameters and buffers of shapes "
                f"{own}, got {given}"
            )
        use(*values)
        self._averaging.values = values
        self._averaging.step()
        self._averaging.values = []
        with no_grad():
            self.n_averaged.assign_(self.n_averaged + 1)
            for buffer, value in zip(copied, buffers, strict=True):
                buffer.assign_(value)

    def _split(self, model: Module) -> tuple[list[Tensor], list[Tensor]]:
        """What is averaged of a model, and what is copied."""
        averaged: list[Tensor] = list(model.parameters())
        copied: list[Tensor] = []
        for buffer in model.buffers():
            floats = buffer.dtype.kind in "fcV"
            (averaged if self.use_buffers and floats else copied).append(buffer)
        return averaged, copied

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> Mismatch:
        """As `Module.load_state_dict`; the average goes on from "n_averaged" updates."""
        count = host_array(state["n_averaged"]) if "n_averaged" in state else None
        if strict and (count is None or count.size != 1 or count < 0):
            raise ValueError(
                f"[{type(self).__name__}] n_averaged: expected a number of updates, got "
                f"{'none' if count is None else count}"
            )
        if count is not None and count.size == 1:
            state = {**state, "n_averaged": count.reshape(())}
        return super().load_state_dict(state, strict)

    def _after_loading(self) -> None:
        """Have the average go on from what was loaded, also as a part of another Module."""
        count = max(int(self.n_averaged.item()), 0)
        for position in range(len(self._averaging.params)):
            self._averaging._set_state(position, {}, count)


class ExponentialMovingAverage(AveragedModel):
    """A copy of `model` whose parameters follow its: a = decay * a + (1 - decay) * p per update.

    The first update takes the parameters as they are. Polyak and Juditsky, "Acceleration of
    stochastic approximation by averaging" (1992), with a memory of about 1 / (1 - decay) updates.
    Everything else is as in `AveragedModel`.

    >>> model = nn.Linear(1, 1)
    >>> average = nn.optim.ExponentialMovingAverage(model, decay=0.75)
    >>> for value in (0.0, 4.0):
    ...     model.weight = nn.Parameter([[value]])
    ...     average.update_parameters(model)
    >>> average.module.weight.detach()
    Tensor([[1.]])
    """

    def __init__(self, model: Module, decay: float = 0.999, use_buffers: bool = False) -> None:
        super().__init__(model, decay, use_buffers)


def update_bn(loader: Iterable[Any], model: Module) -> None:
    """Have batch norm's running statistics be the mean over the batches of `loader`.

    Averaged weights have statistics of their own, which no training has gathered. Batches are
    inputs, or tuples that begin with them, on the model's device; several inputs, in a tuple or
    dict, are arguments of the model, as in `Trainer`. Whether the model is training stays as it
    was. A model without batch norm is left alone.

    >>> net = nn.Sequential(nn.BatchNorm1d(1))
    >>> nn.optim.update_bn([Tensor([[1.0], [3.0]]), Tensor([[5.0], [7.0]])], net)
    >>> net[0].running_mean  # of 2 and 6
    Tensor([4.])
    """
    norms: list[Any] = [
        module
        for _, module in model.named_modules()
        if isinstance(getattr(module, "running_mean", None), Tensor)
    ]
    if not norms:
        return
    modes = [(module, module.training) for _, module in model.named_modules()]
    momenta = [norm.momentum for norm in norms]
    model.train()
    try:
        with no_grad():
            for norm in norms:
                norm.running_mean.assign_(0)
                norm.running_var.assign_(1)
                if getattr(norm, "num_batches_tracked", None) is not None:
                    norm.num_batches_tracked.assign_(0)
            for count, batch in enumerate(loader, start=1):
                for norm in norms:
                    norm.momentum = 1 / count
                begins = isinstance(batch, list | tuple) and targets_of(loader) is not False
                forward(model, batch[0] if begins else batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, training in modes:  # one by one: some may be frozen
            module.training = training
