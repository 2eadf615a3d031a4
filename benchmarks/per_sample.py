"""Gradients by sample: `vmap(grad)` over a batch against a loop over its samples.

    python -m benchmarks.per_sample --models small deep --device cpu
    python -m benchmarks.per_sample --models medium --device cuda

Interleaved, medians, in one process; the figures go into benchmarks/results.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, backend
from tinygrad_cupy.nn import models

from . import report
from .steps_ours import device_name, versions


def seconds(run: Callable[[], Any]) -> float:
    """How long a call takes, all that it launched included."""
    backend.synchronize()
    begun = time.perf_counter()
    run()
    backend.synchronize()
    return time.perf_counter() - begun


def cell(model: str, batch: int, device: str, rounds: int) -> dict[str, Any]:
    """One net: milliseconds of both ways, and how much faster the batch is."""
    tg.manual_seed(0)
    net = models.build(model)
    net.to(device)
    net.eval()
    rng = np.random.default_rng(0)
    x = Tensor(rng.random((batch, 1, 28, 28), np.float32), device=device)
    y = Tensor(rng.integers(10, size=batch), device=device)
    weights = {name: p.detach() for name, p in net.named_parameters()}

    def loss(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        logits = tg.functional_call(net, weights, x.unsqueeze(0))
        found: Tensor = logits.cross_entropy(y.unsqueeze(0))
        return found

    gradient = tg.grad(loss)
    together = tg.vmap(gradient, in_axes=(None, 0, 0))
    ways = {
        "vmap": lambda: together(weights, x, y),
        "loop": lambda: [gradient(weights, x[i], y[i]) for i in range(batch)],
    }
    for run in ways.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            times[name].append(seconds(run))
    medians = {name: statistics.median(found) for name, found in times.items()}
    return {
        "model": model,
        "batch": batch,
        **{f"{name}_ms": round(1e3 * found, 3) for name, found in medians.items()},
        "ratio": round(medians["loop"] / medians["vmap"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=["small", "medium", "deep"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", help="write the figures to this file")
    options = parser.parse_args()
    cells = [cell(m, options.batch, options.device, options.rounds) for m in options.models]
    for found in cells:
        print(found)
    if options.out:
        print(device_name(options.device), versions(), report)


if __name__ == "__main__":
    main()
