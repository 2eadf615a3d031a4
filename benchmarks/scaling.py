"""Time per image from batch 32 to 16384: `benchmarks.train_step` on other batches.

    python -m benchmarks.scaling [--nets medium] [--batches 32,16384] [--impls ours,jax-scan]
                                 [options of benchmarks.train_step]

An epoch has 60,000 images: at batch 16384 the scanned implementations do 3 steps per call.
"""

from __future__ import annotations

import sys

from . import report, train_step

BATCHES = "32,64,128,256,512,1024,2048,4096,8192,16384"
DEFAULTS = [
    "--nets", "medium", "--batches", BATCHES, "--precisions", "tf32", "--rounds", "5",
    "--impls", "ours,ours-scan,torch-graph,torch-graph-cl,jax-jit,jax-scan",
]  # fmt: skip


def main() -> int:
    options = train_step.parse([*DEFAULTS, *sys.argv[1:]])
    return train_step.run(options, report.command("scaling"))


if __name__ == "__main__":
    sys.exit(main())
