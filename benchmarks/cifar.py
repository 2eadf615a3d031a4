"""CIFAR-10 in seconds: Jordan's recipe airbench94_muon, on our engine.

    python -m benchmarks.cifar --data-dir DIR [--runs 10] [--device cuda] [--precision fp16]
                               [--epochs 8] [--batch 2000] [--images N] [--out FILE]
    python -m benchmarks.cifar --cold | --kernels [--device cuda] [--precision fp16]

The recipe is in `airbench.py`. DIR has train.tar.xz and test.tar.xz with CLASS/*.jpg in them, or
folders like these, or CIFAR-10 as it was published. A line for each run says its seconds, and its
accuracy with six views and with one. The seconds are those of the original's clock: from the
pictures on the device to the accuracy of the six views, the whitening layer included; a run before
them, of six steps, warms up.

--cold: seconds from the start of a process, with empty caches of kernels, to the end of its first
step, on made-up pictures; then the same with full caches.
--kernels: what a step's kernels take (`benchmarks.kernels`), with the whitening layer's bias
trained and without.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

import tinygrad_cupy as tg
from tinygrad_cupy import backend, datasets

from . import report, steps_ours
from .airbench import WARM_UP, WHITENED, Pictures, Row, Training, here
from .processes import clean_environment


def read(folder: Path) -> tuple[Any, Any]:
    """CIFAR-10 from archives of pictures, folders of pictures, or as it was published."""
    if (folder / "train.tar.xz").is_file():
        with tempfile.TemporaryDirectory() as place:
            for part in ("train", "test"):
                with tarfile.open(folder / f"{part}.tar.xz") as archive:
                    archive.extractall(place, filter="data")
            return datasets.image_folder(place)
    if (folder / "train").is_dir():
        return datasets.image_folder(folder)
    return datasets.cifar10(folder)


def made_up(count: int) -> Any:
    """Noise in ten classes."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 3, 32, 32), np.uint8)
    return datasets.ArrayDataset(images, rng.integers(0, 10, count))


def prepared(train: Any, options: argparse.Namespace) -> Training:
    """Training on these pictures, on the device and in the precision of the options."""
    tg.set_default_device(options.device)
    # Muon's products are of float32: rounded as the original's, which iterates in bfloat16.
    narrow = "16" in options.precision
    tg.set_precision("bf16" if narrow else options.precision)
    return Training(Pictures(train), options.batch, options.precision)


def first_step(options: argparse.Namespace) -> float:
    """In a new process: when its first step was done."""
    training = prepared(made_up(max(options.batch, options.images or WHITENED)), options)
    training.restart(0)
    training.whiten()
    training.set_rates(0, 200, 75)
    rows = here(np.arange(options.batch))
    training.step(rows, here(np.zeros(training.train.count, bool)))
    backend.synchronize()
    return time.monotonic()


def cold(options: argparse.Namespace) -> Row:
    """Seconds of a start with empty caches, and of one with those that it left."""
    caches = ("CUPY_CACHE_DIR", "CUDA_CACHE_PATH", "XDG_CACHE_HOME")
    words = [word for word in sys.argv[1:] if word != "--cold"]
    row: Row = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = clean_environment() | dict.fromkeys(caches, folder)
        for name in ("cold", "warm"):
            started = time.monotonic()
            command = [sys.executable, "-m", "benchmarks.cifar", "--child", *words]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
            row[f"{name}_seconds"] = json.loads(done.stdout.splitlines()[-1]) - started
    return row


def list_kernels(options: argparse.Namespace) -> None:
    """Print the kernels of a step, in both phases of the training."""
    from .kernels import record_steps

    training = prepared(made_up(max(options.batch, options.images or WHITENED)), options)
    rows = here(np.arange(options.batch))
    mirrored = here(np.arange(training.train.count) % 2 == 0)

    def run(steps: int) -> None:
        for _ in range(steps):
            training.step(rows, mirrored)
        backend.synchronize()

    for phase, number in (("with the whitening layer's bias", 0), ("without", 1)):
        training.set_rates(number, 2, 1)
        run(WARM_UP)
        record_steps(f"{options.precision}, {phase}", run, 10, options.device)


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", choices=["fp16", "bf16", "tf32", "fp32"], default="fp16")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=2000)
    parser.add_argument("--images", type=int, help="that many of each alone, for a trial")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--kernels", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(words)
    if not (options.cold or options.kernels or options.child or options.data_dir):
        parser.error("expected --data-dir, --cold or --kernels")
    if options.kernels and options.device == "cpu":
        parser.error("[--kernels] expected a GPU, whose kernels are listed, got --device cpu")
    return options


def measured(options: argparse.Namespace) -> list[Row]:
    """A row for each run, printed as it comes."""
    train, test = read(options.data_dir)
    # The published order is a random one: its first pictures are of all classes.
    rng = np.random.default_rng(0)
    train, test = (part[rng.permutation(len(part))[: options.images]] for part in (train, test))
    started = time.perf_counter()
    training, tested = prepared(train, options), Pictures(test)
    training.run_steps(0, 2 * WARM_UP, WARM_UP, tested)
    print(f"warmed up in {time.perf_counter() - started:.1f} s", flush=True)
    rows = []
    for seed in range(options.runs):
        row = training.run(seed, options.epochs, tested)
        rows.append(row)
        print(
            f"run {seed}: {row['seconds']:.3f} s, {row['accuracy']:.2%} with six views, "
            f"{row['accuracy_plain']:.2%} with one",
            flush=True,
        )
    return rows


def main() -> None:
    """Run what was asked for, and say what came of it."""
    options = parse()
    if options.child:
        print(first_step(options))
        return
    if options.kernels:
        list_kernels(options)
        return
    if options.cold:
        rows = [cold(options)]
        print(", ".join(f"{name}: {value:.2f}" for name, value in rows[0].items()))
    else:
        rows = measured(options)
        for name, unit in (("seconds", 1), ("accuracy", 100), ("accuracy_plain", 100)):
            values = [row[name] * unit for row in rows]
            spread = stdev(values) if len(values) > 1 else 0.0
            print(f"{name}: mean {mean(values):.3f}, standard deviation {spread:.3f}")
    if options.out:
        device = steps_ours.device_name(options.device)
        head = report.facts(report.command("cifar"), device, steps_ours.versions(options.device))
        report.write(options.out, head | {"precision": options.precision, "rows": rows})


if __name__ == "__main__":
    main()
