"""What exchanges between GPUs cost a step, on paper: a model, and its table for many GPUs.

A step of N GPUs takes that of one and, behind it, the all-reduce of its gradients; each
`SyncBatchNorm` adds two exchanges of 2 C doubles and two launches of few threads. On one machine
the all-reduce of S bytes takes what was measured; over machines of eight GPUs, reduced inside of
each first, M machines take 2 (M - 1) / M · S / W + 2 log2(M) · L more, W the bytes per second of a
machine's network and L its latency.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# All-reduce of float32 on H200s of one machine, NCCL 2.28 through CuPy, captured: bytes and µs.
FOUR_GPUS = ((4e3, 15), (80e3, 16), (1e6, 21), (5e6, 44), (47e6, 243), (512e6, 2317))
TWO_GPUS = ((4e3, 15), (5e6, 37), (47e6, 190), (512e6, 1705))
GPUS_OF_A_MACHINE = 8
NETWORK = 8 * 50e9  # bytes per second of a machine: eight adapters of 400 Gb/s
LATENCY = 10e-6  # seconds, of a message between machines with NCCL's kernels around it
LAUNCH = 2.5e-6  # seconds, of a kernel of few threads in a graph
MANY = (1, 2, 4, 8, 16, 64, 256, 1024, 4096, 10_000)


class Work(NamedTuple):
    """What a net's ranks exchange: bytes of gradients, and channels of each batch norm."""

    bytes: float
    norms: tuple[int, ...] = ()


# µs of a captured step on one H200, TF32 (benchmarks/README.md).
STEPS = {
    "small": ({128: 34.8, 1024: 69.1}, Work(4 * 15_770)),
    "medium": ({128: 193, 1024: 791}, Work(4 * 1_199_882)),
    "deep": ({128: 260, 1024: 939}, Work(4 * 87_850, (32, 64))),
}


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


def exchanges(work: Work, gpus: int) -> float:
    """Seconds that a step of so many GPUs takes beyond that of one, with nothing hidden."""
    if gpus == 1:
        return 0.0
    norms = sum(2 * (all_reduce(16.0 * channels, gpus) + LAUNCH) for channels in work.norms)
    return all_reduce(work.bytes, gpus) + norms


def print_table(many: Sequence[int] = MANY) -> None:
    """Print what N GPUs would take."""
    head = f"{'net @ batch of each':22}" + "".join(f"{n:>9,}" for n in many)
    print("Efficiency, %, of weak scaling with one all-reduce behind the backward pass and two")
    print("exchanges for each batch norm, and the step in µs; a batch is each GPU's.\n")
    print(head)
    for net, (steps, work) in STEPS.items():
        for batch, alone in steps.items():
            times = [alone + exchanges(work, n) * 1e6 for n in many]
            name = f"{net} @ {batch}"
            print(f"{name:22}" + "".join(f"{100 * alone / t:9.1f}" for t in times))
            print(f"{'  µs':22}" + "".join(f"{t:9.0f}" for t in times))
            print(f"{'  global batch':22}" + "".join(f"{batch * n:9,}" for n in many))
    print("\nThe all-reduce of the gradients, µs:")
    for net, (_, work) in STEPS.items():
        row = [all_reduce(work.bytes, n) * 1e6 for n in many]
        name = f"{net}, {work.bytes / 1e6:.2f} MB"
        print(f"{name:22}" + "".join(f"{t:9.0f}" for t in row))
