"""Time of one training step, ours beside PyTorch eager, interleaved in one process.

    python -m benchmarks.train_step [--device cpu] [--nets small,medium,deep] [--batches 128]
                                    [--rounds 15] [--out FILE]

One step: forward, cross-entropy, backward, Adam, in float32 on random images already on the
device. Medians over the rounds. The measuring process runs without OPENBLAS_* variables, which a
user's machine does not set and which can halve the speed of NumPy's products.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, backend
from tinygrad_cupy.nn import models, optim
from tinygrad_cupy.parallel import thread_count

from .torch_nets import torch_net

Step = Callable[[], float]  # does one step, gives the loss


def our_step(net: str, images: np.ndarray, labels: np.ndarray, device: str) -> Step:
    tg.set_default_device(device)
    tg.manual_seed(0)
    model = models.build(net)
    adam = optim.Adam(list(model.parameters()), lr=1e-3)
    x, y = Tensor(images, device=device), Tensor(labels, device=device)

    def step() -> float:
        adam.zero_grad()
        loss = model(x).cross_entropy(y)
        loss.backward()
        adam.step()
        return float(loss.item())

    return step


def torch_step(net: str, images: np.ndarray, labels: np.ndarray, device: str) -> Step:
    import torch
    from torch.nn.functional import cross_entropy

    torch.manual_seed(0)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    model = torch_net(net).to(device)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, fused=device != "cpu")
    x, y = torch.tensor(images, device=device), torch.tensor(labels, device=device)

    def step() -> float:
        adam.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        adam.step()
        return float(loss.item())

    return step


def measure(net: str, batch: int, device: str, rounds: int) -> dict[str, Any]:
    """Median milliseconds of both, after checking that both losses fall."""
    rng = np.random.default_rng(0)
    images = rng.random((batch, 1, 28, 28), np.float32)
    labels = rng.integers(0, 10, batch)
    steps = {"ours": our_step(net, images, labels, device)}
    steps["torch"] = torch_step(net, images, labels, device)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    losses: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 3):
        for name, step in steps.items():
            started = time.perf_counter()
            losses[name].append(step())
            seconds[name].append(time.perf_counter() - started)
    for name, values in losses.items():
        if not values[-1] < values[0]:
            raise RuntimeError(f"[{name}] the loss of {net} did not fall: {values}")
    milliseconds = {name: 1e3 * median(values[3:]) for name, values in seconds.items()}
    return {"net": net, "batch": batch, **milliseconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--nets", default="small,medium,deep")
    parser.add_argument("--batches", default="128")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    if any(name.startswith("OPENBLAS_") for name in os.environ):  # read when NumPy was loaded
        clean = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
        os.execve(
            sys.executable, [sys.executable, "-m", "benchmarks.train_step", *sys.argv[1:]], clean
        )
    import torch

    device = backend.normalize_device(options.device)
    rows = []
    print(f"{'net':8}{'batch':>6}{'ours ms':>10}{'torch ms':>10}{'ours / torch':>14}")
    for net in options.nets.split(","):
        for batch in map(int, options.batches.split(",")):
            row = measure(net, batch, device, options.rounds)
            rows.append(row)
            print(
                f"{net:8}{batch:6d}{row['ours']:10.1f}{row['torch']:10.1f}"
                f"{row['ours'] / row['torch']:14.2f}",
                flush=True,
            )
    if options.out:
        facts = {
            "device": platform.machine() if device == "cpu" else torch.cuda.get_device_name(),
            "threads": thread_count(),
            "date": date.today().isoformat(),
            "versions": {
                "tinygrad_cupy": tg.__version__,
                "numpy": np.__version__,
                "torch": torch.__version__,
            },
            "unit": "milliseconds per step",
            "rows": rows,
        }
        options.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
