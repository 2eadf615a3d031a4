"""What ResNet-18 reaches on CIFAR-10, beside PyTorch's with the same recipe.

    python -m benchmarks.cifar10 --data-dir DIR [--impls ours,torch] [--seeds 0,1,2] [--epochs 15]
                                 [--device cuda] [--precisions tf32] [--out FILE]
    mpirun -n 2 python -m benchmarks.cifar10 --data-dir DIR --impls ours [...]

DIR has train/CLASS/*.jpg and test/CLASS/*.jpg. Both nets have torchvision's layers and first
weights, but 3 x 3 pixels and no pool at the stem; both flip at random and crop 32 x 32 of 40 x 40
pixels, on the device, and take Nesterov's steps along the mean cross-entropy: batch 256, momentum
0.9, weight decay 5e-4, learning rate 0.2 by one cycle, whose first quarter rises. Judged by the
weights after the last epoch. Seconds are those of the epochs. Rows join those in FILE. --precisions
are of fp32, tf32, bf16 and fp16; those of 16 bits are autocast, fp16 with a scaler of losses. Ranks
split each batch, with the statistics of all of it in batch norms: the accuracy is that of one GPU.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np

import tinygrad_cupy as tg
from tinygrad_cupy import backend, nn
from tinygrad_cupy.command.several import after_the_first
from tinygrad_cupy.datasets import ArrayDataset, DataLoader, image_folder
from tinygrad_cupy.nn import augment, models, optim, schedules

from . import report, steps_ours, steps_torch

BATCH, RATE, RISE, DECAY, PADDING = 256, 0.2, 0.25, 5e-4, 4
TESTED = 1000  # images at once
AUTOCAST = ("bf16", "fp16")

Row = dict[str, Any]


def ours(
    train: ArrayDataset, test: ArrayDataset, seed: int, precision: str, options: argparse.Namespace
) -> Row:
    """Accuracy on ``test``, and the seconds of each epoch."""
    device, narrow = tg.default_device(), precision in AUTOCAST
    tg.set_precision("fp32" if device == "cpu" else "tf32" if narrow else precision)
    tg.manual_seed(seed)
    model = nn.SyncBatchNorm.convert(models.build("resnet18", len(train.classes), 3, 32))
    loader = DataLoader(train, BATCH, shuffle=True, drop_last=True, device=device)
    steps = options.epochs * len(loader)
    sgd = optim.SGD(model.parameters(), RATE, 0.9, weight_decay=DECAY, nesterov=True)
    changes = nn.Sequential(
        augment.RandomHorizontalFlip(), augment.RandomCrop((32, 32), padding=PADDING)
    )
    schedule = schedules.OneCycle(RATE, steps, rise=RISE)
    cast = precision if narrow else None
    trainer = nn.Trainer(model, sgd, None, schedule, augment=changes, autocast=cast)
    history = trainer.fit(loader, epochs=options.epochs)
    found = trainer.evaluate(DataLoader(test, min(TESTED, len(test)), device=device))
    return _row(found.accuracy, [record.seconds for record in history.records])


def torch(
    train: ArrayDataset, test: ArrayDataset, seed: int, precision: str, options: argparse.Namespace
) -> Row:
    """The same by PyTorch and torchvision."""
    import torch

    torch.manual_seed(seed)
    backends, fast, scaled = torch.backends, precision != "fp32", precision == "fp16"
    backends.cudnn.benchmark = True
    backends.cudnn.allow_tf32 = backends.cuda.matmul.allow_tf32 = fast
    device = torch.device(options.device)
    model = _torch_net(len(train.classes)).to(device, memory_format=torch.channels_last)
    x, y = _on(train, device)
    sgd = torch.optim.SGD(model.parameters(), RATE, 0.9, weight_decay=DECAY, nesterov=True)
    count = len(train) // BATCH
    rate = schedules.OneCycle(RATE, options.epochs * count, rise=RISE)
    kind = torch.float16 if scaled else torch.bfloat16
    scaler = torch.amp.GradScaler(device.type, enabled=scaled)
    seconds, step = [], 0
    for _ in range(options.epochs):
        started = time.perf_counter()
        order = torch.randperm(len(train), device=device)
        for index in order[: count * BATCH].split(BATCH):
            sgd.param_groups[0]["lr"] = float(rate(step))
            images = _changed(x[index]).contiguous(memory_format=torch.channels_last)
            sgd.zero_grad()
            with torch.autocast(device.type, kind, enabled=precision in AUTOCAST):
                loss = torch.nn.functional.cross_entropy(model(images), y[index])
            scaler.scale(loss).backward()
            scaler.step(sgd)
            scaler.update()
            step += 1
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    model.eval()
    with torch.no_grad():
        pairs = zip(*(part.split(TESTED) for part in _on(test, device)), strict=True)
        right = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in pairs)
    return _row(right / len(test), seconds)


def _torch_net(classes: int) -> Any:
    import torch
    import torchvision

    net = torchvision.models.resnet18(num_classes=classes)
    net.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    torch.nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    net.maxpool = torch.nn.Identity()
    return net


def _on(dataset: ArrayDataset, device: Any) -> tuple[Any, Any]:
    import torch

    images = torch.tensor(np.asarray(dataset.inputs), device=device)
    return images.float() / 255, torch.tensor(np.asarray(dataset.targets), device=device).long()


def _changed(x: Any) -> Any:
    """Images (N, 3, 32, 32), half of them mirrored, each a part of itself with a border of 0."""
    import torch

    n, device = len(x), x.device
    mirrored = torch.rand(n, device=device) < 0.5
    x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    x = torch.nn.functional.pad(x, (PADDING,) * 4)
    down, right = torch.randint(0, 2 * PADDING + 1, (2, n), device=device)
    places = torch.arange(32, device=device)
    rows, columns = down[:, None] + places, right[:, None] + places
    every = torch.arange(n, device=device)[:, None, None]
    return x.permute(0, 2, 3, 1)[every, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _row(accuracy: float, seconds: list[float]) -> Row:
    return {"accuracy": round(accuracy, 4), "epoch_seconds": [round(s, 2) for s in seconds]}


IMPLEMENTATIONS = {"ours": ours, "torch": torch}


def main() -> None:
    """Train all that was asked for, and say what is known by now."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--impls", default="ours,torch")
    parser.add_argument("--seeds", default="0,1,2,3,4,5,6,7,8,9")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precisions", default="tf32")
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no run after these")
    parser.add_argument("--images", type=int, help="that many of each alone, for a trial")
    parser.add_argument("--out", type=Path)
    options, begun = parser.parse_args(), time.monotonic()
    if not tg.distributed.init("cpu" if options.device == "cpu" else None):
        tg.set_default_device(options.device)
    size, is_first = tg.distributed.size(), tg.distributed.rank() == 0
    if size > 1 and options.impls != "ours":
        parser.error(f"[--impls] expected ours where there are ranks, got {options.impls}")
    train, test = _read(options)
    kept: list[Row] = []
    if options.out and options.out.exists():
        kept = json.loads(options.out.read_text())["rows"]
    device = tg.default_device()
    versions = steps_ours.versions(device)
    if "torch" in options.impls:
        versions |= steps_torch.versions(device)
    words, name = report.command("cifar10"), steps_ours.device_name(device) or report.cpu_name()
    if size > 1:
        words, name = f"mpirun -n {size} {words}", f"{size} x {name}"
    head = report.facts(words, name, versions)
    seeds, impls = map(int, options.seeds.split(",")), options.impls.split(",")
    for run in itertools.product(seeds, options.precisions.split(","), impls):
        passed, *_ = tg.distributed.exchange(time.monotonic() - begun)  # all ranks go by one clock
        if passed > 60 * options.minutes:
            if is_first:
                print(f"out of time before {run}", flush=True)
            break
        seed, precision, impl = run
        found = IMPLEMENTATIONS[impl](train, test, seed, precision, options)
        facts = {"epochs": options.epochs, "precision": precision, "ranks": size}
        kept.append({"impl": impl, "seed": seed, **facts, **found})
        backend.synchronize()
        if is_first:
            print(kept[-1], flush=True)
        if is_first and options.out:
            report.write(options.out, head | {"rows": kept})
    if is_first:
        print(*_summary(kept), sep="\n")


def _read(options: argparse.Namespace) -> tuple[ArrayDataset, ArrayDataset]:
    """The photographs; the first rank decodes them, the others find them decoded."""
    train, test = after_the_first(lambda: image_folder(options.data_dir))
    if options.images:
        few = np.random.default_rng(0).permutation(len(test))[: options.images]
        train, test = train[few], test[few]
    return train, test


def _summary(rows: list[Row]) -> list[str]:
    """Lines: the mean over seeds of each way to train."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        ran = row["impl"], row["precision"], row["epochs"], row.get("ranks", 1)
        groups.setdefault(ran, []).append(row)
    lines = []
    for (impl, precision, epochs, ranks), mine in groups.items():
        values = [row["accuracy"] for row in mine]
        seconds = [one for row in mine for one in row["epoch_seconds"][1:]]
        if len(values) > 1:
            error = stdev(values) / len(values) ** 0.5
            line = f"{impl} {precision}, {epochs} epochs, ranks {ranks}: {mean(values):.4f} +- "
            line += f"{error:.4f} (standard error, {len(values)} seeds)"
            lines.append(line + (f", {median(seconds):.2f} s an epoch" if seconds else ""))
    return lines


if __name__ == "__main__":
    main()
