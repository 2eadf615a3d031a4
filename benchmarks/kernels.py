"""The kernels of one train step with their times, as the driver saw them.

    python -m benchmarks.kernels [--net deep] [--batch 1024] [--precision tf32]
                                 [--impl ours,torch-graph] [--steps 20] [--rows 40]

Recorded through CUPTI by PyTorch's profiler, which sees every kernel of the process, captured ones
as well. Several implementations are recorded one after the other. Nets of the wide suite are known
too. A kernel's kind is told by its name (KINDS): a guess where a library's names say little.
"""

from __future__ import annotations

import argparse
import gc
import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from .cells import Cell, read_data, runner_of

KINDS = {  # the first whose words are in a kernel's name
    "normalization": r"batch_?norm|bn_[fb]w|bnorm|layer_?norm|LayerNorm|GammaBeta|group_?norm",
    "copies": r"nchwToNhwc|nhwcToNchw|transpose|im2col|col2im|copy|Memcpy|conv_wide_(pack|stage)"
    r"|CatArray|convert|permute",
    "convolutions and products": r"conv|gemm|gemv|cutlass|xmma|wgrad|dgrad|fprop|nvjet|winograd"
    r"|implicit|cudnn|splitK|split_k|skinny_linear|flash|fmha|attention|lstm|LSTM|RNN|dots",
    "elementwise": r"elementwise|chain|cupy_(?!sum|max|min|mean|any|all|arg)|Memset|fill",
}


def kind_of(kernel: str) -> str:
    """What a kernel is for, by its name: one of KINDS, or else "others"."""
    return next((kind for kind, words in KINDS.items() if re.search(words, kernel)), "others")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", default="deep")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--precision", default="tf32")
    parser.add_argument("--impl", default="ours", help="one, or several behind each other")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--data-dir")
    options = parser.parse_args()
    dataset = read_data(options.data_dir)
    for impl in options.impl.split(","):
        cell = Cell(impl, options.net, options.batch, options.precision)
        record(cell, dataset, options)
        gc.collect()


def record(cell: Cell, dataset: Any, options: argparse.Namespace) -> None:
    """Print a cell's kernels."""
    runner = runner_of(cell)(cell, dataset, options.device)
    warm = min(8, options.steps) * runner.steps_per_call
    runner.losses(warm)
    runner.run(warm)
    count = options.steps * runner.steps_per_call
    record_steps(str(cell), runner.run, count, options.device, options.rows)


def record_steps(
    name: str, run: Callable[[int], Any], count: int, device: str, rows: int = 40
) -> None:
    """Print the kernels of so many steps, which `run` does and waits for: longest, and by kind."""
    from torch.profiler import ProfilerActivity, profile

    activity = ProfilerActivity.CPU if device == "cpu" else ProfilerActivity.CUDA
    with profile(activities=[activity]) as recorded:
        run(count)
    times: dict[str, list[float]] = defaultdict(list)
    for event in recorded.events():
        took = event.device_time if device != "cpu" else event.cpu_time
        times[event.name].append(took)
    total = sum(sum(took) for took in times.values())
    print(f"{name}: {total / count:.1f} us in kernels per step")
    by_kind = dict.fromkeys([*KINDS, "others"], 0.0)
    for kernel, all_of_it in times.items():
        by_kind[kind_of(kernel)] += sum(all_of_it)
    print("; ".join(f"{kind} {took / count:.1f}" for kind, took in by_kind.items()))
    print(f"{'us/step':>9}{'calls':>7}{'us/call':>9}  kernel")
    ranked = sorted(times.items(), key=lambda item: -sum(item[1]))
    for kernel, took in ranked[:rows]:
        mean = sum(took) / len(took)
        print(
            f"{sum(took) / count:9.2f}{len(took) / count:7.1f}{mean:9.2f}  "
            f"{kind_of(kernel)}: {kernel[:100]}"
        )


if __name__ == "__main__":
    main()
