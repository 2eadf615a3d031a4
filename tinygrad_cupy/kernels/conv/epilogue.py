"""What a convolution does to its sums before they are stored."""

from __future__ import annotations

from typing import NamedTuple


class Epilogue(NamedTuple):
    """ReLU, and then the max-pool of 2 × 2 windows, where asked for."""

    relu: bool = False
    pool: bool = False
