"""What the tests of `jit` share: the training of a small net, and state for the stand-in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinygrad_cupy as tg
from support.graph_stand_in import StandInPool
from tinygrad_cupy import Tensor, backend, nn
from tinygrad_cupy.nn import optim, schedules


def values(x: Tensor | None) -> list[Any]:
    assert x is not None
    return list(x.numpy().ravel())


class State:
    """A tensor that a captured function writes, for the stand-in to put back."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def state_dict(self) -> np.ndarray:
        return self.tensor.numpy()

    def load_state_dict(self, state: np.ndarray) -> None:
        self.tensor.assign_(state)


class Training(NamedTuple):
    """A net with everything that moves from step to step, and its step."""

    model: nn.Module
    optimizer: optim.Optimizer
    step: Callable[[Tensor, Tensor], Tensor]


def network(dropout: float) -> nn.Sequential:
    """For images of 1 × 8 × 8 and three classes, with everything that has a state."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(4 * 9, 3),
    )


def training(
    make: Callable[..., optim.Optimizer] = optim.Adam,
    net: Callable[[], nn.Module] = lambda: network(0.3),
) -> Training:
    tg.manual_seed(1)
    model = net()
    optimizer = make(list(model.parameters()), lr=0.01)

    def step(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = model(x).cross_entropy(y)
        loss.backward()
        optimizer.step()
        return loss

    StandInPool.owners[:] = [model, optimizer]
    return Training(model, optimizer, step)


def batches(
    count: int, sizes: tuple[int, ...] = (6,), side: int = 8
) -> list[tuple[Tensor, Tensor]]:
    rng = np.random.default_rng(5)
    device = backend.default_device()
    return [
        (
            Tensor(rng.random((n, 1, side, side), np.float32), device=device),
            Tensor(rng.integers(0, 3, n), device=device),
        )
        for n in [sizes[i % len(sizes)] for i in range(count)]
    ]


def trained(
    steps: int, sizes: tuple[int, ...], jitted: bool, make: Any, *net: Any, side: int = 8
) -> list[np.ndarray]:
    """The losses of a training, and everything that it left."""
    model, optimizer, step = training(make, *net)
    if jitted:
        step = tg.jit(step)
    schedule = schedules.Cosine(0.02, steps, warmup=3)
    losses = []
    for i, (x, y) in enumerate(batches(steps, sizes, side)):
        optimizer.lr = schedule(i)
        losses.append(step(x, y).numpy())
    states = [*model.state_dict().values(), *optimizer.state_dict().values()]
    grads = [p.grad.numpy() for p in model.parameters() if p.grad is not None]
    return [*losses, *states, *grads]
