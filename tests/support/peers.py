"""The libraries that the tests compare with, and what happens where they are not installed.

A file of comparisons says at its top

    from support.peers import import_torch

    torch = import_torch()

and all its tests then carry the marker `peers` (conftest.py). Without PyTorch they are skipped,
with one line for all of them, since the skip is always raised here.
"""

import os
from typing import Any

import pytest

NEEDS_JAX = "needs JAX: pip install jax"
NEEDS_TORCH = 'needs PyTorch: pip install -e ".[peers]"'


def import_torch() -> Any:
    """PyTorch, or a skip that says how to install it."""
    return pytest.importorskip("torch", reason=NEEDS_TORCH)


def import_jax() -> Any:
    """JAX, or a skip that says how to install it. Of a GPU it takes what memory it needs alone."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    return pytest.importorskip("jax", reason=NEEDS_JAX)
