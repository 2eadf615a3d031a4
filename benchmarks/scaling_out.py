"""Many GPUs: what a step costs with the gradients' reduction, and what it would on N GPUs.

    python -m benchmarks.scaling_out --predict
    mpirun -n 4 python -m benchmarks.scaling_out [--nets small,medium,deep] [--batches 128,1024]
        [--device cuda|cpu] [--dtype tf32] [--seconds 1] [--strong] [--out FILE]

Measured: a step as users write it (gather, forward, cross-entropy, backward, Adam), captured
on a GPU, first by each rank for itself, then with `data_parallel`: weak scaling, the batch is each
rank's. `--strong` splits the batch: it is that of all ranks. Started alone it is one rank of one,
through NCCL all the same. Figures are medians over repetitions, in microseconds per step.

Predicted: step of one GPU + all-reduce, hidden or not. The all-reduce of S bytes over N GPUs takes
a + b S, of one machine from the figures below; over machines of eight GPUs, reduced inside of each
first, of M machines 2 (M - 1) / M · S / W + 2 log2(M) · L more, W the bytes per second of a
machine's network and L its latency.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

# All-reduce of float32 on H200s of one machine, NCCL 2.28 through CuPy, captured: bytes and µs.
FOUR_GPUS = ((4e3, 15), (80e3, 16), (1e6, 21), (5e6, 44), (47e6, 243), (512e6, 2317))
TWO_GPUS = ((4e3, 15), (5e6, 37), (47e6, 190), (512e6, 1705))
GPUS_OF_A_MACHINE = 8
NETWORK = 8 * 50e9  # bytes per second of a machine: eight adapters of 400 Gb/s
LATENCY = 10e-6  # seconds, of a message between machines with NCCL's kernels around it
# µs of a captured step on one H200, TF32 (benchmarks/README.md), and parameters.
STEPS = {
    "small": ({128: 34.8, 1024: 69.1}, 15_770),
    "medium": ({128: 193, 1024: 791}, 1_199_882),
    "deep": ({128: 260, 1024: 939}, 87_850),
}
MANY = (1, 2, 4, 8, 16, 64, 256, 1024, 4096, 10_000)


def all_reduce(size: float, gpus: int) -> float:
    """Seconds that the all-reduce of so many bytes takes."""
    if gpus == 1:
        return 0.0
    known = np.array(TWO_GPUS if gpus == 2 else FOUR_GPUS, float)
    inside = float(np.interp(size, known[:, 0], known[:, 1])) * 1e-6
    if gpus > 4:  # a ring of n moves 2 (n - 1) / n of the bytes through each
        n = min(gpus, GPUS_OF_A_MACHINE)
        inside *= ((n - 1) / n) / (3 / 4)
    machines = math.ceil(gpus / GPUS_OF_A_MACHINE)
    if machines == 1:
        return inside
    between = 2 * (machines - 1) / machines * size / NETWORK
    return inside + between + 2 * math.log2(machines) * LATENCY


def predicted() -> None:
    """Print the table."""
    head = f"{'net @ batch of each':22}" + "".join(f"{n:>9,}" for n in MANY)
    print("Efficiency, %, of weak scaling with one all-reduce behind the backward pass, and the")
    print("step in µs; a batch is each GPU's.\n")
    print(head)
    for net, (steps, parameters) in STEPS.items():
        for batch, alone in steps.items():
            times = [alone + all_reduce(4.0 * parameters, n) * 1e6 for n in MANY]
            name = f"{net} @ {batch}"
            print(f"{name:22}" + "".join(f"{100 * alone / t:9.1f}" for t in times))
            print(f"{'  µs':22}" + "".join(f"{t:9.0f}" for t in times))
            print(f"{'  global batch':22}" + "".join(f"{batch * n:9,}" for n in MANY))
    print("\nThe all-reduce, µs:")
    for net, (_, parameters) in STEPS.items():
        row = [all_reduce(4.0 * parameters, n) * 1e6 for n in MANY]
        name = f"{net}, {4 * parameters / 1e6:.2f} MB"
        print(f"{name:22}" + "".join(f"{t:9.0f}" for t in row))


class Step:
    """A net's step on random pictures, captured where it can be."""

    def __init__(self, net: str, batch: int, device: str, parallel: bool) -> None:
        import tinygrad_cupy as tg
        from tinygrad_cupy import datasets, nn

        tg.manual_seed(0)
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (8192, 1, 28, 28), dtype=np.uint8)
        data = datasets.ArrayDataset(images, rng.integers(0, 10, 8192))
        model = nn.models.build(net)
        if parallel:
            model = nn.SyncBatchNorm.convert(model)
        adam = nn.optim.Adam(model.parameters())
        if parallel:
            tg.distributed.data_parallel(model, adam)
        self.loader = datasets.DataLoader(
            data, batch, shuffle=True, drop_last=True, device=device, split=parallel
        )

        def step(rows: Any) -> Any:
            x, y = self.loader.batch(rows)
            adam.zero_grad()
            loss = model(x).cross_entropy(y)
            loss.backward()
            adam.step()
            return loss

        self.step, self.batches = tg.jit(step), self._forever()

    def _forever(self) -> Any:
        while True:
            yield from self.loader.rows()

    def seconds(self, steps: int) -> float:
        """Of each of so many steps."""
        from tinygrad_cupy import backend

        backend.synchronize()
        began = time.perf_counter()
        for _ in range(steps):
            self.step(next(self.batches))
        backend.synchronize()
        return (time.perf_counter() - began) / steps


def measured(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Each cell alone and together, in turns."""
    import tinygrad_cupy as tg

    distributed = tg.distributed
    distributed.init("cpu" if options.device == "cpu" else None, even_alone=True)
    tg.set_precision(options.precision)
    device, count = tg.default_device(), distributed.size()
    rows = []
    for net in options.nets.split(","):
        for batch in map(int, options.batches.split(",")):
            together = batch if options.strong else batch * count
            cells = [
                Step(net, batch, device, False),
                Step(net, together, device, True),
            ]
            for one in cells:
                one.seconds(5)
            steps = distributed.exchange(max(3, int(options.seconds / 5 / cells[1].seconds(5))))[0]
            times: list[list[float]] = [[], []]
            for _ in range(5):
                for one, found in zip(cells, times, strict=True):
                    distributed.barrier()
                    found.append(one.seconds(steps))
            alone, with_others = (median(x) * 1e6 for x in times)
            row = {
                "net": net, "batch": batch, "ranks": count, "strong": options.strong,
                "alone_us": alone, "together_us": with_others, "ratio": with_others / alone,
            }  # fmt: skip
            rows.append(row)
            if distributed.rank() == 0:
                print(
                    f"{net:8} @ {batch:5}: {alone:10.1f} µs alone, {with_others:10.1f} µs as one "
                    f"of {count}, ratio {with_others / alone:.3f}",
                    flush=True,
                )
            if options.out and distributed.rank() == 0:
                Path(options.out).write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predict", action="store_true")
    parser.add_argument("--nets", default="small,medium,deep")
    parser.add_argument("--batches", default="128,1024")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", default="tf32")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--strong", action="store_true")
    parser.add_argument("--out")
    options = parser.parse_args()
    if options.predict:
        predicted()
    else:
        measured(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
