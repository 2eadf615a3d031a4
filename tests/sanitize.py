"""The kernel tests, for NVIDIA's compute-sanitizer to watch:

    compute-sanitizer --tool memcheck python tests/sanitize.py [PYTEST ARGUMENTS]

and the same with --tool racecheck and --tool initcheck. Every array gets memory of its own instead
of a piece of CuPy's pool, so that a step beyond its end shows.
"""

import os
import sys

import pytest

from tinygrad_cupy.backend import import_cupy

FILES = (
    "conv_cuda",
    "norm_cuda",
    "pool_cuda",
    "relu_cuda",
    "nn_optim_cuda",
    "nn_meter_cuda",
    "datasets_loader",
    "linear",
    "loss",
    "random",
)

if __name__ == "__main__":
    os.environ["TINYGRAD_CUPY_SANITIZE"] = "1"
    import_cupy().cuda.set_allocator(None)
    files = [os.path.join(os.path.dirname(__file__), f"test_{name}.py") for name in FILES]
    sys.exit(pytest.main(["-m", "gpu and not slow", "-q", "-p", "no:xdist", *files, *sys.argv[1:]]))
