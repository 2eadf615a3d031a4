"""Train steps of nets that nobody tuned for, ours beside PyTorch's whole-step CUDA graph.

    python -m benchmarks.wide [--device cuda|cpu] [--nets resnet18,mlp] [--batches 128,1024]
        [--precisions tf32,bf16] [--rounds 5] [--seconds 480] [--merge] [--out FILE]

A step is forward, cross-entropy, backward, SGD with momentum, on one batch that stays; ours is
captured by `tg.jit`. PyTorch's is captured in both memory layouts; on a CPU both run as they are.
"bf16" is autocast in both. Dropout is off, for its draws differ. Weights are the same at first, and
so must the losses of three steps be; then all take turns, medians. ``x``: the time of the faster of
PyTorch's over ours. Peak memory is what the allocators gave at one time. The file grows with every
cell; ``--merge`` keeps cells of an older one, and ``--seconds`` begins no cell after that time.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, backend, nn
from tinygrad_cupy.nn import models

from . import report, steps_ours, steps_torch

RATE, MOMENTUM, CLASSES = 1e-3, 0.9, 10
Row = dict[str, Any]


class Net(NamedTuple):
    """What a net of the suite takes, and how both libraries make it.

    ``shape`` of one input; ``pixels``: a class for each of them. ``batches`` on a GPU and a CPU.
    """

    shape: tuple[int, ...]
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    pixels: bool = False
    batches: tuple[tuple[int, ...], tuple[int, ...]] = ((128, 1024), (32, 128))


def _model(name: str, side: int = 32, colours: int = 3, **options: Any) -> Net:
    def theirs() -> Any:
        twins: Any = importlib.import_module(".torch_models", __package__)
        return twins.model(name, CLASSES, (side, side), side <= 64, colours)

    ours = functools.partial(models.build, name, CLASSES, colours, side)
    return Net((colours, side, side), ours, theirs, **options)


def _layers(shape: tuple[int, ...], make: Callable[[Any], list[Any]]) -> Net:
    """A net of layers that both libraries call alike."""

    def theirs() -> Any:
        layers: Any = importlib.import_module("torch.nn")
        return layers.Sequential(*make(layers))

    return Net(shape, lambda: nn.Sequential(*make(nn)), theirs)


def _lenet(layers: Any) -> list[Any]:
    return [
        *(layers.Conv2d(3, 6, 5), layers.ReLU(), layers.MaxPool2d(2)),
        *(layers.Conv2d(6, 16, 5), layers.ReLU(), layers.MaxPool2d(2), layers.Flatten()),
        *(layers.Linear(400, 120), layers.ReLU(), layers.Linear(120, 84), layers.ReLU()),
        layers.Linear(84, CLASSES),
    ]


def _airbench(layers: Any) -> list[Any]:
    """Jordan's net for CIFAR-10 (arXiv:2404.00498): a whitening layer and three blocks."""
    parts = [layers.Conv2d(3, 24, 2), layers.GELU()]
    for inputs, outputs in ((24, 64), (64, 256), (256, 256)):
        parts += [
            *(layers.Conv2d(inputs, outputs, 3, padding=1, bias=False), layers.MaxPool2d(2)),
            *(layers.BatchNorm2d(outputs), layers.GELU()),
            *(layers.Conv2d(outputs, outputs, 3, padding=1, bias=False),),
            *(layers.BatchNorm2d(outputs), layers.GELU()),
        ]
    return [*parts, layers.MaxPool2d(3), layers.Flatten(), layers.Linear(256, CLASSES)]


def _mlp(layers: Any) -> list[Any]:
    return [
        *(layers.Linear(784, 1024), layers.LayerNorm(1024), layers.GELU()),
        *(layers.Linear(1024, 1024), layers.LayerNorm(1024), layers.GELU()),
        layers.Linear(1024, CLASSES),
    ]


def _our_lstm() -> Any:
    class Lstm(nn.Module):
        def __init__(self) -> None:
            self.lstm = nn.LSTM(64, 256, 2, batch_first=True)
            self.head = nn.Linear(256, CLASSES)

        def forward(self, x: Tensor) -> Any:
            return self.head(self.lstm(x)[0][:, -1])

    return Lstm()


def _their_lstm() -> Any:
    layers: Any = importlib.import_module("torch.nn")

    class Lstm(layers.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.lstm = layers.LSTM(64, 256, 2, batch_first=True)
            self.head = layers.Linear(256, CLASSES)

        def forward(self, x: Any) -> Any:
            return self.head(self.lstm(x)[0][:, -1])

    return Lstm()


_FEW = ((128, 1024), (8,))
NETS = {
    "resnet18": _model("resnet18"),
    "mlp": _layers((784,), _mlp),
    "vit_tiny": _model("vit_tiny", batches=_FEW),
    "vgg11_bn": _model("vgg11_bn"),
    "airbench": _layers((3, 32, 32), _airbench),
    "lenet": _layers((3, 32, 32), _lenet),
    "mobilenet_v2": _model("mobilenet_v2"),
    "unet": _model("unet", 64, 1, pixels=True, batches=_FEW),
    "lstm": Net((128, 64), _our_lstm, _their_lstm),
    "resnet50": _model("resnet50", 224, batches=((64,), (8,))),
}


class Cell(NamedTuple):
    """One line of the table."""

    net: str
    batch: int
    precision: str


def _without_dropout(model: Any) -> Any:
    for layer in model.modules():
        if type(layer).__name__.startswith("Dropout"):
            layer.p = 0.0
    return model


def ours(cell: Cell, x: np.ndarray, y: np.ndarray, device: str) -> tuple[Any, Any]:
    """The step, and its model."""
    tg.set_precision("tf32" if device != "cpu" else "fp32")
    tg.set_default_device(device)
    model = _without_dropout(NETS[cell.net].ours())
    optimizer = nn.optim.SGD(model.parameters(), RATE, momentum=MOMENTUM)
    inputs, targets = Tensor(x, device=device), Tensor(y, device=device)

    def step(inputs: Tensor, targets: Tensor) -> Tensor:
        optimizer.zero_grad()
        if cell.precision == "bf16":
            with tg.autocast("bf16"):
                loss = model(inputs).cross_entropy(targets)
        else:
            loss = model(inputs).cross_entropy(targets)
        loss.backward()
        optimizer.step()
        return loss

    run = tg.jit(step)
    return lambda: run(inputs, targets), model


def theirs(
    cell: Cell, x: np.ndarray, y: np.ndarray, device: str, last: bool, state: Row
) -> tuple[Any, int | None]:
    """PyTorch's step, images channels-last if so, and the peak of memory."""
    import torch

    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    model = _without_dropout(NETS[cell.net].theirs()).to(device)
    model.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
    inputs, targets = torch.tensor(x, device=device), torch.tensor(y, device=device)
    if last:
        model = model.to(memory_format=torch.channels_last)
        inputs = inputs.to(memory_format=torch.channels_last)
    fast = {"foreach": True} if device == "cpu" else {"fused": True}
    sgd = torch.optim.SGD(model.parameters(), RATE, MOMENTUM, **fast)
    kind = device.partition(":")[0]

    def step() -> Any:
        sgd.zero_grad(set_to_none=device == "cpu")
        with torch.autocast(kind, torch.bfloat16, enabled=cell.precision == "bf16"):
            loss = torch.nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        sgd.step()
        return loss.detach()

    if device == "cpu":
        return step, None
    done = steps_torch.captured(step, model, sgd)

    def replay() -> Any:
        done.graph.replay()
        return done.result

    return replay, done.peak_bytes


def measure(cell: Cell, device: str, rounds: int) -> Row:
    """A line: microseconds of each, after the first losses were compared."""
    net, rng = NETS[cell.net], np.random.default_rng(0)
    x = rng.standard_normal((cell.batch, *net.shape), np.float32)
    y = rng.integers(0, CLASSES, (cell.batch, *(net.shape[1:] if net.pixels else ())))
    tg.manual_seed(0)
    memory = steps_ours.Memory() if device != "cpu" else None
    call, model = ours(cell, x, y, device)
    state = {name: np.array(value) for name, value in model.state_dict().items()}
    calls, losses = {"ours": call}, {"ours": [float(call().item()) for _ in range(3)]}
    peaks: dict[str, int | None] = {"ours": None}
    if memory is not None:
        memory.stop()
        peaks["ours"] = memory.peak
    for name, last in (("torch", False), ("torch channels-last", True)):
        if last and len(net.shape) != 3:
            continue
        calls[name], peaks[name] = theirs(cell, x, y, device, last, state)
        losses[name] = [float(calls[name]()) for _ in range(3)]
    far = max(abs(a - b) / abs(b) for a, b in zip(losses["ours"], losses["torch"], strict=True))
    if far > (3e-2 if cell.precision == "bf16" else 1e-2):
        raise ArithmeticError(f"losses {losses['ours']} where PyTorch has {losses['torch']}")
    took: dict[str, list[float]] = {name: [] for name in calls}
    counts = {name: max(1, round(0.05 / _seconds(call, 2, device))) for name, call in calls.items()}
    for _ in range(rounds):
        for name, call in calls.items():
            took[name].append(_seconds(call, counts[name], device))
    us = {name: round(1e6 * median(seconds), 1) for name, seconds in took.items()}
    best = min(value for name, value in us.items() if name != "ours")
    return {
        **cell._asdict(),
        "us": us,
        "x": round(best / us["ours"], 3),
        "peak_bytes": peaks,
        "loss_difference": float(f"{far:.1e}"),
    }


def _seconds(call: Callable[[], Any], count: int, device: str) -> float:
    if device != "cpu":
        backend.synchronize()
    started = time.perf_counter()
    for _ in range(count):
        call()
    if device != "cpu":
        backend.synchronize()  # of the device: PyTorch's work as well
    return (time.perf_counter() - started) / count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--batches", default="", help="those of the issue where nothing is said")
    parser.add_argument("--precisions", default="")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--merge", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    on_cpu = options.device == "cpu"
    name = steps_ours.device_name(options.device)
    versions = steps_ours.versions(options.device) | steps_torch.versions(options.device)
    head = report.facts(report.command("wide"), name, versions)
    asked = options.precisions or ("fp32" if on_cpu else "tf32,bf16")
    rows: list[Row] = []
    if options.merge and options.out and options.out.exists():
        rows = report.kept_rows(options.out)
    failures: list[Row] = []
    started = time.monotonic()
    for net in options.nets.split(","):
        batches = NETS[net].batches[on_cpu]
        if options.batches:
            batches = tuple(int(word) for word in options.batches.split(","))
        for batch in sorted(batches, reverse=True):
            for precision in asked.split(","):
                cell = Cell(net, batch, precision)
                if time.monotonic() - started > options.seconds:
                    print(f"{net} {batch} {precision}: no time left", flush=True)
                    continue
                try:
                    row = measure(cell, options.device, options.rounds)
                except Exception as error:
                    failures.append(
                        {**cell._asdict(), "error": f"{type(error).__name__}: {error}"[:500]}
                    )
                    print(f"FAILED {json.dumps(failures[-1])}", flush=True)
                    continue
                finally:
                    steps_ours.release(options.device)
                    steps_torch.release(options.device)
                rows = [old for old in rows if Cell(*(old[key] for key in Cell._fields)) != cell]
                rows.append(row)
                print(
                    f"{net:13}{batch:6}{precision:>6} {json.dumps(row['us'])}  x {row['x']}",
                    flush=True,
                )
                if options.out:
                    report.write(options.out, head | {"rows": rows, "failures": failures})
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
