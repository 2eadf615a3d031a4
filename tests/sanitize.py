"""The kernel tests, for NVIDIA's compute-sanitizer to watch:

    compute-sanitizer --tool memcheck python tests/sanitize.py [PYTEST ARGUMENTS]

and the same with --tool racecheck and --tool initcheck. Every array gets memory of its own instead
of a piece of CuPy's pool, so that a step beyond its end shows. `--part 2/8` runs every eighth test
from the second on: eight of these side by side are done much sooner than one after the other.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pytest

from tinygrad_cupy.backend import import_cupy

FILES = (
    "conv_cuda",
    "conv_direct",
    "conv_wide_cuda",
    "depthwise_cuda",
    "attention_cuda",
    "recurrent_cuda",
    "layer_norm_cuda",
    "softmax_cuda",
    "norm_cuda",
    "pool_cuda",
    "relu_cuda",
    "nn_optim_cuda",
    "nn_meter_cuda",
    "datasets_loader",
    "linear",
    "sums_cuda",
    "interpolate_cuda",
    "rows_cuda",
    "rank_cuda",
    "dots_cuda",
    "scan",
    "loss",
    "random",
    "strides",
    "sizes",
)


class Part:
    """Keeps every `of`-th test, from the `first` on (counted from 1)."""

    def __init__(self, part: str) -> None:
        first, of = map(int, part.split("/"))
        self.kept = slice(first - 1, None, of)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = items[self.kept]


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the kernel tests without CuPy's pool.")
    parser.add_argument("--part", default="1/1")
    options, others = parser.parse_known_args()
    os.environ["TINYGRAD_CUPY_SANITIZE"] = "1"
    import_cupy().cuda.set_allocator(None)
    tests = Path(__file__).resolve().parent
    files = [str(path) for name in FILES for path in tests.glob(f"*/test_{name}.py")]
    arguments = ["-m", "gpu and (not slow or one_in)", "-q", "-p", "no:xdist", *files, *others]
    return pytest.main(arguments, plugins=[Part(options.part)])


if __name__ == "__main__":
    sys.exit(main())
