"""Memory over a long run: 20,000 captured steps must not move it.

    python -m benchmarks.long_run [--device cuda|cpu] [--net small] [--batch 128] [--steps 20000]
                                  [--out FILE]

Every step has another learning rate and every 1,000th reads its loss; memory of the device, of
CuPy's pools, of the captures and of the process are noted as often. Exit code 1 when device memory
at any note after the first differs from the first, or when live tensors do.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, backend
from tinygrad_cupy.datasets import DataLoader
from tinygrad_cupy.nn import models, optim

from . import report, steps_ours
from .cells import batches_of, read_data

NOTES = 20


def memory(step: Any, device: str) -> dict[str, int]:
    """Bytes in use now, and how many tensors are alive."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    facts = {
        "host_bytes": pages * os.sysconf("SC_PAGE_SIZE"),
        "tensors": sum(isinstance(x, Tensor) for x in gc.get_objects()),
        "captured_bytes": step.memory_bytes if device != "cpu" else 0,
    }
    if device != "cpu":
        cupy = backend.import_cupy()
        free, total = cupy.cuda.runtime.memGetInfo()
        pool = cupy.get_default_memory_pool()
        facts |= {"device_bytes": total - free, "pool_bytes": pool.total_bytes()}
    return facts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--net", default="small")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--data-dir")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    tg.set_default_device(options.device)
    tg.manual_seed(0)
    dataset = read_data(options.data_dir)
    model = models.build(options.net)
    adam = optim.Adam(list(model.parameters()), lr=1e-3)
    loader = DataLoader(dataset, options.batch, device=options.device)

    @tg.jit
    def step(rows: Tensor) -> Tensor:
        x, y = loader.batch(rows)
        adam.zero_grad()
        loss: Tensor = model(x).cross_entropy(y)
        loss.backward()
        adam.step()
        return loss

    batches = [
        Tensor(rows, device=options.device) for rows in batches_of(len(dataset), options.batch)
    ]
    for rows in batches[:4]:  # eager, captured, replayed
        loss = step(rows)
    backend.synchronize()
    started = time.perf_counter()
    every, rows_of_file = max(1, options.steps // NOTES), []
    for i in range(options.steps):
        adam.lr = 1e-3 * (1 - i / options.steps)
        loss = step(batches[i % len(batches)])
        if (i + 1) % every == 0:
            value = float(loss.item())
            note = {"step": i + 1, "loss": round(value, 4), **memory(step, options.device)}
            rows_of_file.append(note)
            print("  ".join(f"{key} {figure:,}" for key, figure in note.items()), flush=True)
            if not np.isfinite(value):
                break
    seconds = time.perf_counter() - started
    kept = ["tensors", "captured_bytes", *(["device_bytes"] if options.device != "cpu" else [])]
    flat = all(note[key] == rows_of_file[0][key] for note in rows_of_file for key in kept)
    print(f"{options.steps} steps in {seconds:.1f} s, memory {'flat' if flat else 'NOT FLAT'}")
    if options.out:
        command = report.command("long_run")
        name = steps_ours.device_name(options.device)
        facts = report.facts(command, name, steps_ours.versions(options.device))
        summary = {"flat": flat, "seconds": round(seconds, 1), "rows": rows_of_file}
        report.write(options.out, facts | summary)
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
