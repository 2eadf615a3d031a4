"""Test accuracy on MNIST over several seeds, ours beside PyTorch trained with the same settings.

    python -m benchmarks.mnist_accuracy --data-dir DIR [--device cuda:0] [--seeds 10] [--jobs 1]
                                        [--out FILE]

Both train the three nets with Adam at batch 128 on the first 54,000 images of a seeded order (the
command's own split), the last smaller batch included in ours and left out in PyTorch's captured
step, and are judged by the weights after the last epoch. On a GPU PyTorch runs a step as one CUDA
graph, so its ten seeds take seconds. Strict float32 on both sides. With
--jobs above 1 that many runs share the device: accuracies stay, seconds grow.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

import tinygrad_cupy as tg
from tinygrad_cupy import datasets
from tinygrad_cupy.datasets import ArrayDataset, DataLoader
from tinygrad_cupy.nn import Trainer, models, optim

from .nets import torch_net

BATCH = 128
SETTINGS = {"small": (10, 5e-3), "medium": (5, 1e-3), "deep": (5, 1e-3)}  # epochs, learning rate


def train_ours(
    net: str, seed: int, train: ArrayDataset, test: ArrayDataset, device: str
) -> tuple[float, float]:
    """Test accuracy and seconds of training."""
    tg.set_default_device(device)
    tg.manual_seed(seed)
    epochs, lr = SETTINGS[net]
    model = models.build(net)
    trainer = Trainer(model, optim.Adam(list(model.parameters()), lr=lr))
    history = trainer.fit(DataLoader(train, BATCH, shuffle=True, device=device), epochs=epochs)
    accuracy = trainer.evaluate(DataLoader(test, 256, device=device)).accuracy
    return accuracy, history.seconds


def train_torch(
    net: str, seed: int, train: ArrayDataset, test: ArrayDataset, device: str
) -> tuple[float, float]:
    """Test accuracy and seconds of training."""
    import torch
    from torch.nn.functional import cross_entropy

    torch.manual_seed(seed)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    epochs, lr = SETTINGS[net]
    on_gpu = device != "cpu"
    model = torch_net(net).to(device)
    x, y = _torch_data(train, device)
    options = {"fused": True, "capturable": True} if on_gpu else {}
    adam = torch.optim.Adam(model.parameters(), lr=lr, **options)
    index = torch.randperm(len(train), device=device)[:BATCH].clone()

    def step() -> None:
        adam.zero_grad(set_to_none=not on_gpu)
        cross_entropy(model(x[index]), y[index]).backward()
        adam.step()

    run = _captured(step, model, adam) if on_gpu else step
    started = time.perf_counter()
    for _ in range(epochs):
        order = torch.randperm(len(train), device=device)
        for start in range(0, len(train) - BATCH + 1, BATCH):
            index.copy_(order[start : start + BATCH])
            run()
    model.eval()
    right = 0
    with torch.no_grad():
        xt, yt = _torch_data(test, device)
        for part in range(0, len(test), 2000):
            guess = model(xt[part : part + 2000]).argmax(1)
            right += int((guess == yt[part : part + 2000]).sum())
    return right / len(test), time.perf_counter() - started


def _torch_data(dataset: ArrayDataset, device: str) -> tuple[Any, Any]:
    import torch

    images = torch.tensor(dataset.images, device=device).float().div_(255)
    return images, torch.tensor(dataset.labels, device=device)


def _captured(step: Callable[[], None], model: Any, adam: Any) -> Callable[[], None]:
    """``step`` as one CUDA graph; the warm-up it needs leaves no trace in the weights."""
    import torch

    kept = {name: value.clone() for name, value in model.state_dict().items()}
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    model.load_state_dict(kept)
    for state in adam.state.values():
        for value in state.values():
            value.zero_()
    return graph.replay  # type: ignore[no-any-return]


def train_both(net: str, seed: int, data_dir: str | None, device: str) -> list[tuple[float, float]]:
    """Test accuracy and seconds of ours and of PyTorch, on one seed's training images."""
    images, test = datasets.mnist(data_dir)
    train, _ = images.split(0.1, seed)
    return [run(net, seed, train, test, device) for run in (train_ours, train_torch)]


def _device_name(device: str) -> str:
    if device == "cpu":
        return platform.processor() or platform.machine()
    import torch

    return str(torch.cuda.get_device_name())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", default=None)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--nets", default="small,medium,deep")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    import torch

    results: dict[str, Any] = {
        "device": _device_name(options.device),
        "date": date.today().isoformat(),
        "versions": {
            "tinygrad_cupy": tg.__version__, "numpy": np.__version__, "torch": torch.__version__,
        },
        "nets": {},
    }  # fmt: skip
    nets = options.nets.split(",")
    print(f"{'net':8}{'ours':>10}{'torch':>10}{'difference':>12}   seconds (ours, torch)")
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        waiting = {
            net: [
                pool.submit(train_both, net, seed, options.data_dir, options.device)
                for seed in range(options.seeds)
            ]
            for net in nets
        }
        for net in nets:
            results["nets"][net] = _summary(net, [run.result() for run in waiting[net]])
            if options.out:
                options.out.write_text(json.dumps(results, indent=1) + "\n")


def _summary(net: str, runs: list[list[tuple[float, float]]]) -> dict[str, Any]:
    """Print a net's row of the table; give its figures."""
    ours, theirs = ([100 * run[who][0] for run in runs] for who in (0, 1))
    seconds = [mean(run[who][1] for run in runs) for who in (0, 1)]
    print(
        f"{net:8}{mean(ours):10.3f}{mean(theirs):10.3f}{mean(ours) - mean(theirs):+12.3f}   "
        f"{seconds[0]:.2f}, {seconds[1]:.2f}",
        flush=True,
    )
    return {
        "accuracy": {"ours": ours, "torch": theirs},
        "seconds": {"ours": seconds[0], "torch": seconds[1]},
    }


if __name__ == "__main__":
    main()
