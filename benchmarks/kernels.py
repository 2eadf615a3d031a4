"""The kernels of one train step with their times, as the driver saw them.

    python -m benchmarks.kernels [--net deep] [--batch 1024] [--precision tf32] [--impl ours]
                                 [--steps 20] [--rows 40]

Recorded through CUPTI by PyTorch's profiler, which sees every kernel of the process, captured ones
as well. --impl torch-graph-cl shows PyTorch's.
"""

from __future__ import annotations

import argparse
import importlib
from collections import defaultdict
from typing import Any

from .cells import Cell, read_data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", default="deep")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--precision", default="tf32")
    parser.add_argument("--impl", default="ours")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--data-dir")
    options = parser.parse_args()
    from torch.profiler import ProfilerActivity, profile

    cell = Cell(options.impl, options.net, options.batch, options.precision)
    kind = cell.impl.partition("-")[0]
    steps: Any = importlib.import_module(f".steps_{kind}", __package__)
    dataset = read_data(options.data_dir)
    runner = getattr(steps, kind.capitalize())(cell, dataset, options.device)
    runner.losses(8 * runner.steps_per_call)
    runner.run(8 * runner.steps_per_call)
    count = options.steps * runner.steps_per_call
    activity = ProfilerActivity.CPU if options.device == "cpu" else ProfilerActivity.CUDA
    with profile(activities=[activity]) as recorded:
        runner.run(count)
    times: dict[str, list[float]] = defaultdict(list)
    for event in recorded.events():
        took = event.device_time if options.device != "cpu" else event.cpu_time
        times[event.name].append(took)
    total = sum(sum(took) for took in times.values())
    print(f"{cell}: {total / count:.1f} us in kernels per step")
    print(f"{'us/step':>9}{'calls':>7}{'us/call':>9}  kernel")
    ranked = sorted(times.items(), key=lambda item: -sum(item[1]))
    for name, took in ranked[: options.rows]:
        mean = sum(took) / len(took)
        print(f"{sum(took) / count:9.2f}{len(took) / count:7.1f}{mean:9.2f}  {name[:100]}")


if __name__ == "__main__":
    main()
