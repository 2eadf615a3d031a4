"""What transforms cost: gradients by sample, checkpoints, and the bridge to PyTorch.

    python -m benchmarks.transforms [samples|checkpoint|bridge …] [--device cuda|cpu] [--batch 128]
        [--models small,medium,deep] [--rounds 5] [--out FILE]

samples: `vmap(grad)` over a batch against a loop over its samples. checkpoint: peak memory and time
of a step of a net of 16 layers, four checkpoints against none. bridge: what a call through
`interop` takes beyond the function's own, forward and with its backward. Interleaved, medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, backend, nn
from tinygrad_cupy.nn import models

from . import report
from .steps_ours import device_name, versions

Ways = dict[str, Callable[[], Any]]
Row = dict[str, Any]


def seconds(run: Callable[[], Any], calls: int) -> float:
    """How long a call takes, all that it launched included."""
    backend.synchronize()
    begun = time.perf_counter()
    for _ in range(calls):
        run()
    backend.synchronize()
    return (time.perf_counter() - begun) / calls


def medians(ways: Ways, rounds: int, calls: int = 1) -> dict[str, float]:
    """Median seconds of each way; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for run in ways.values():
        seconds(run, calls)
    for _ in range(rounds):
        for name, run in ways.items():
            times[name].append(seconds(run, calls))
    return {name: statistics.median(found) for name, found in times.items()}


def samples(model: str, options: Any) -> Row:
    """Gradients by sample of one net, in eval mode."""
    tg.manual_seed(0)
    net, batch, device = models.build(model), options.batch, options.device
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
    found = medians(
        {
            "vmap": lambda: together(weights, x, y),
            "loop": lambda: [gradient(weights, x[i], y[i]) for i in range(batch)],
        },
        options.rounds,
    )
    return {
        "what": "samples",
        "model": model,
        "batch": batch,
        "vmap_ms": round(1e3 * found["vmap"], 3),
        "loop_ms": round(1e3 * found["loop"], 3),
        "ratio": round(found["loop"] / found["vmap"], 2),
    }


def peak_bytes(run: Callable[[], Any], device: str) -> int:
    """The most memory that a call has at a time, beyond what there was."""
    if device == "cpu":
        tracemalloc.start()
        run()
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found
    cupy = backend.import_cupy()
    most = [0]
    pool = cupy.get_default_memory_pool()
    before = pool.used_bytes()

    class Watch(cupy.cuda.MemoryHook):  # type: ignore[misc]
        name = "peak"

        def malloc_postprocess(self, **_: Any) -> None:
            most[0] = max(most[0], pool.used_bytes() - before)

    with Watch():
        run()
    return most[0]


def checkpoint(options: Any) -> Row:
    """A step of 16 layers, each a product, a normalization and an activation."""
    device, width = options.device, 512
    rows = options.batch * (16 if device == "cpu" else 256)
    tg.manual_seed(0)
    layers = [
        nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.GELU()) for _ in range(16)
    ]
    for layer in layers:
        layer.to(device)
    x = Tensor(np.random.default_rng(0).standard_normal((rows, width)), "float32", device)

    def part(start: int, x: Tensor) -> Tensor:
        for layer in layers[start : start + 4]:
            x = layer(x)
        return x

    def step(through: Callable[[int, Tensor], Tensor]) -> None:
        y = x
        for start in range(0, 16, 4):
            y = through(start, y)
        (y * y).mean().backward()
        for layer in layers:
            layer.zero_grad()

    def plain() -> None:
        step(part)

    def saving() -> None:
        step(lambda start, y: tg.checkpoint(part, start, y))

    for run in (plain, saving):
        run()
    memory = [peak_bytes(run, device) for run in (saving, plain)]
    found = medians({"plain": plain, "checkpoint": saving}, options.rounds)
    return {
        "what": "checkpoint",
        "layers": 16,
        "memory": round(memory[0] / memory[1], 3),
        "time": round(found["checkpoint"] / found["plain"], 3),
        "plain_ms": round(1e3 * found["plain"], 3),
    }


def bridge(options: Any) -> list[Row]:
    """Both directions, on a function of one cheap operation."""
    import torch

    device = options.device
    values = np.random.default_rng(0).random((16, 16), np.float32)
    ours = Tensor(values, device=device, requires_grad=True)
    theirs = torch.tensor(values, device=device, requires_grad=True)
    seed, torch_seed = ours.detach(), theirs.detach()
    sine, torch_sine = tg.interop.from_torch(torch.sin), tg.interop.to_torch(lambda x: x.sin())
    ways: Ways = {
        "ours": lambda: ours.sin(),
        "from_torch": lambda: sine(ours),
        "theirs": lambda: torch.sin(theirs),
        "to_torch": lambda: torch_sine(theirs),
        "ours, backward": lambda: tg.grad(ours.sin(), ours, seed),
        "from_torch, backward": lambda: tg.grad(sine(ours), ours, seed),
        "theirs, backward": lambda: torch.autograd.grad(torch.sin(theirs), theirs, torch_seed),
        "to_torch, backward": lambda: torch.autograd.grad(torch_sine(theirs), theirs, torch_seed),
    }
    found = {name: 1e6 * t for name, t in medians(ways, options.rounds, calls=300).items()}
    rows = []
    # What runs inside is the other side's function: a call of from_torch runs PyTorch's.
    for name, inside in (("from_torch", "theirs"), ("to_torch", "ours")):
        for tail in ("", ", backward"):
            rows.append(
                {
                    "what": f"bridge, {name}{tail}",
                    "us": round(found[name + tail], 1),
                    "own_us": round(found[inside + tail], 1),
                    "beyond_us": round(found[name + tail] - found[inside + tail], 1),
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("what", nargs="*", default=["samples", "checkpoint"])
    parser.add_argument("--models", default="small,medium,deep")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    rows: list[Row] = []
    if "samples" in options.what:
        rows += [samples(model, options) for model in options.models.split(",")]
    if "checkpoint" in options.what:
        rows.append(checkpoint(options))
    if "bridge" in options.what:
        rows += bridge(options)
    for row in rows:
        print(row)
    if options.out:
        facts = report.facts(
            report.command("transforms"), device_name(options.device), versions(options.device)
        )
        report.write(options.out, {**facts, "rows": rows})


if __name__ == "__main__":
    main()
