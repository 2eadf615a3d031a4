"""What training reaches on MNIST's test images, and how fast.

    python -m benchmarks.accuracy [time] [parity] --data-dir DIR [--device cuda|cpu]
        [--peers torch] [--nets small,medium,deep] [--precisions fp32,tf32,bf16,fp16]
        [--seeds 10] [--jobs 1] [--out FILE]

time: seconds of training to 99 %. One epoch of deep on all 60,000 images, batch 256, Adam, learning
rate 0.004 warmed up over the first 20 % of the steps and then down in a straight line to 2 %, five
seeds. Seconds are those of all steps; compiling, capturing and uploading are timed apart, by a few
steps that are undone.

parity: ours in each precision (and PyTorch in strict fp32, where it is a peer) on 54,000 images by
the settings of the README, seeds 0 to 9, judged by the weights after the last epoch. bf16 and fp16
are `autocast`, and named so in the rows, fp16 with its scaler of losses; how far each is from fp32
is said with two standard errors of the difference. No run is begun after --minutes.

Both drop the smaller last batch. On a GPU every step, ours and PyTorch's, is one CUDA graph. With
--jobs above 1 that many runs of `parity` share the device: accuracies stay, seconds grow.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, backend, datasets
from tinygrad_cupy.datasets import ArrayDataset, DataLoader
from tinygrad_cupy.nn import models, optim

from . import report, steps_ours, steps_torch
from .nets import torch_net
from .processes import side_by_side

Row = dict[str, Any]
WARM_UP = 3  # steps: eager, captured, replayed
TO_REACH = 0.99
AUTOCAST = ("bf16", "fp16")


@dataclass(frozen=True)
class Settings:
    """How a net is trained."""

    net: str
    epochs: int
    batch: int
    lr: float
    scheduled: bool = False

    def steps(self, images: int) -> int:
        return self.epochs * (images // self.batch)

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0."""
        if not self.scheduled:
            return self.lr
        rise = min(1.0, (step + 1) / (0.2 * steps))
        return self.lr * rise * max(0.02, 1 - max(0.0, step / steps - 0.2) / 0.8)


TIMED = Settings("deep", epochs=1, batch=256, lr=4e-3, scheduled=True)
PARITY = {
    "small": Settings("small", epochs=10, batch=128, lr=5e-3),
    "medium": Settings("medium", epochs=5, batch=128, lr=1e-3),
    "deep": Settings("deep", epochs=5, batch=128, lr=1e-3),
}


def train_ours(
    settings: Settings, seed: int, precision: str, train: ArrayDataset, test: ArrayDataset,
    device: str,
) -> Row:  # fmt: skip
    """Accuracy, seconds of training, and seconds of getting ready."""
    started = time.perf_counter()
    tg.set_default_device(device)
    narrow = precision in AUTOCAST
    tg.set_precision("tf32" if narrow else precision)
    cast = tg.autocast(precision if narrow else "bf16", enabled=narrow)
    scaler = tg.GradScaler(enabled=precision == "fp16")
    tg.manual_seed(seed)
    model = models.build(settings.net)
    adam = optim.Adam(list(model.parameters()), lr=settings.lr)
    loader = DataLoader(train, settings.batch, shuffle=True, drop_last=True, device=device)

    @tg.jit
    def step(rows: Tensor) -> Tensor:
        x, y = loader.batch(rows)
        adam.zero_grad()
        with cast:
            loss: Tensor = model(x).cross_entropy(y)
        scaler.scale(loss).backward()
        scaler.step(adam)
        scaler.update()
        return loss

    weights, state = model.state_dict(), adam.state_dict()
    for rows in itertools.islice(loader.rows(), WARM_UP):
        step(rows)
    model.load_state_dict(weights)
    adam.load_state_dict(state)
    tg.manual_seed(seed)
    backend.synchronize()
    trained = time.perf_counter()
    count, steps = 0, settings.steps(len(train))
    for _ in range(settings.epochs):
        for rows in loader.rows():
            if settings.scheduled:
                adam.lr = settings.rate(count, steps)
            step(rows)
            count += 1
    backend.synchronize()
    ended = time.perf_counter()
    return {
        "accuracy": _accuracy(model, test, device),
        "seconds": ended - trained,
        "prepare_seconds": trained - started,
    }


def _accuracy(model: Any, test: ArrayDataset, device: str) -> float:
    model.eval()
    with tg.no_grad():
        right = [(model(x).argmax(1) == y).sum() for x, y in DataLoader(test, 1000, device=device)]
    return sum(int(count.item()) for count in right) / len(test)


def train_torch(
    settings: Settings, seed: int, precision: str, train: ArrayDataset, test: ArrayDataset,
    device: str,
) -> Row:  # fmt: skip
    """The same in PyTorch, the step captured on a GPU."""
    import torch
    from torch.nn.functional import cross_entropy

    started = time.perf_counter()
    torch.manual_seed(seed)
    tf32, cuda = precision == "tf32", device != "cpu"
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    model = torch_net(settings.net).to(device, memory_format=torch.channels_last)
    x, y = _torch_data(train, device)
    lr: Any = torch.tensor(settings.lr, device=device) if cuda else settings.lr
    adam = torch.optim.Adam(model.parameters(), lr=lr, fused=True, capturable=cuda)
    index = torch.randperm(len(train), device=device)[: settings.batch].clone()

    def step() -> None:
        adam.zero_grad(set_to_none=not cuda)
        cross_entropy(model(x[index]), y[index]).backward()
        adam.step()

    run: Callable[[], None] = step
    if cuda:
        run = steps_torch.captured(step, model, adam).graph.replay
        torch.cuda.synchronize()
    trained = time.perf_counter()
    count, steps = 0, settings.steps(len(train))
    for _ in range(settings.epochs):
        order = torch.randperm(len(train), device=device)
        for i in range(len(train) // settings.batch):
            if settings.scheduled:
                _set_rate(adam, settings.rate(count, steps))
            index.copy_(order[i * settings.batch : (i + 1) * settings.batch])
            run()
            count += 1
    if cuda:
        torch.cuda.synchronize()
    ended = time.perf_counter()
    model.eval()
    right = 0
    with torch.no_grad():
        xt, yt = _torch_data(test, device)
        for part in range(0, len(test), 1000):
            right += int((model(xt[part : part + 1000]).argmax(1) == yt[part : part + 1000]).sum())
    return {
        "accuracy": right / len(test),
        "seconds": ended - trained,
        "prepare_seconds": trained - started,
    }


def _set_rate(adam: Any, rate: float) -> None:
    group = adam.param_groups[0]
    if hasattr(group["lr"], "fill_"):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def _torch_data(dataset: ArrayDataset, device: str) -> tuple[Any, Any]:
    import torch

    images = torch.tensor(dataset.images, device=device).float().div_(255)
    return images, torch.tensor(dataset.labels, device=device)


# --- the runs -------------------------------------------------------------------------------------

TRAIN = {"ours": train_ours, "torch": train_torch}


@functools.cache
def _mnist(data_dir: str | None) -> tuple[ArrayDataset, ArrayDataset]:
    return datasets.mnist(data_dir)


def one_run(what: str, impl: str, net: str, precision: str, seed: int, options: Any) -> Row:
    """A row of the file; runs in a process of its pool."""
    train, test = _mnist(options.data_dir)
    settings = TIMED if what == "time" else PARITY[net]
    if what == "parity":
        train, _ = train.split(0.1, seed)
    if options.images:
        train = train.take(np.arange(options.images))
    row = TRAIN[impl](settings, seed, precision, train, test, options.device)
    row["seconds"], row["prepare_seconds"] = (
        round(row["seconds"], 4),
        round(row.pop("prepare_seconds"), 2),
    )
    steps_ours.release(options.device if impl == "ours" else "cpu")
    named = f"autocast-{precision}" if precision in AUTOCAST else precision
    return {"what": what, "impl": impl, "net": net, "precision": named, "seed": seed, **row}


def versions(impl: str, device: str) -> tuple[dict[str, str], str | None]:
    """Of the library that a process uses, and the name of the GPU where ours is asked."""
    if impl == "torch":
        return steps_torch.versions(device), None
    return steps_ours.versions(device), steps_ours.device_name(device)


def runs(what: str, impl: str, options: Any) -> list[tuple[str, str, str, str, int]]:
    """The arguments of `one_run` for one part of the benchmark and one library."""
    if what == "time":
        return [("time", impl, TIMED.net, "tf32", seed) for seed in range(min(5, options.seeds))]
    precisions = options.precisions if impl == "ours" else ["fp32"]
    return [
        ("parity", impl, net, precision, seed)
        for net in options.nets
        for precision in precisions
        for seed in range(options.seeds)
    ]


def summary(rows: list[Row]) -> list[str]:
    """A line per library, net and precision."""
    lines = []
    for group in dict.fromkeys((r["what"], r["impl"], r["net"], r["precision"]) for r in rows):
        same = [r for r in rows if (r["what"], r["impl"], r["net"], r["precision"]) == group]
        reached = [r["accuracy"] for r in same]
        line = (
            f"{' '.join(group):30} {len(same):2d} seeds  mean {100 * mean(reached):.3f} %  least "
            f"{100 * min(reached):.2f} %  median {median(r['seconds'] for r in same):.3f} s"
        )
        if group[0] == "time":
            line += f", {sum(a >= TO_REACH for a in reached)} of {len(same)} at 99 %"
        lines.append(line)
    return [*lines, *differences(rows)]


def differences(rows: list[Row]) -> Iterator[str]:
    """How far each precision of ours is from fp32, seed by seed, in points."""
    ours = [r for r in rows if (r["what"], r["impl"]) == ("parity", "ours")]
    reached = {(r["net"], r["precision"], r["seed"]): r["accuracy"] for r in ours}
    for net, precision in dict.fromkeys((r["net"], r["precision"]) for r in ours):
        apart = [
            100 * (accuracy - reached[net, "fp32", seed])
            for (of, how, seed), accuracy in reached.items()
            if (of, how) == (net, precision) and (net, "fp32", seed) in reached
        ]
        if precision != "fp32" and len(apart) > 1:
            error = 2 * stdev(apart) / math.sqrt(len(apart))
            yield f"{net} {precision} - fp32: {mean(apart):+.3f} points +- {error:.3f}"


def main() -> None:
    names = lambda text: [name for name in text.split(",") if name]  # noqa: E731
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=["time", "parity"])
    parser.add_argument("--data-dir")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--peers", type=names, default=["torch"])
    parser.add_argument("--nets", type=names, default=[*PARITY])
    parser.add_argument("--precisions", type=names, default=["fp32", "tf32", "bf16"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60.0, help="start no run after these")
    parser.add_argument("--images", type=int, help="train on so many images only, to try this out")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    command = report.command("accuracy")
    rows: list[Row] = []
    found: dict[str, str] = {}
    device: str | None = None
    for what in options.what:
        for impl in ["ours", *options.peers]:
            jobs = options.jobs if what == "parity" else 1
            with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
                facts, name = pool.submit(versions, impl, options.device).result()
                found, device = found | facts, name or device
                each = [(*run, options) for run in runs(what, impl, options)]
                for run, done in side_by_side(pool, jobs, end, one_run, each):
                    if done is None:
                        print("out of time before", *run[:-1], flush=True)
                        continue
                    rows.append(done.result())
                    if options.out:
                        report.write(
                            options.out, report.facts(command, device, found) | {"rows": rows}
                        )
            mine = [row for row in rows if (row["what"], row["impl"]) == (what, impl)]
            print("\n".join(summary(mine)), flush=True)


if __name__ == "__main__":
    main()
