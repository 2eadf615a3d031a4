"""Leaves of the bridge's tests, on either side of it, with the same values for the same rank."""

from __future__ import annotations

from typing import Any

import numpy as np

from support.peers import import_torch
from tinygrad_cupy import Tensor


def theirs(device: str, *shape: int) -> Any:
    values = np.random.default_rng(len(shape)).standard_normal(shape)
    return import_torch().tensor(values, device=device, requires_grad=True)


def ours(device: str, *shape: int) -> Tensor:
    values = np.random.default_rng(len(shape)).standard_normal(shape)
    return Tensor(values, device=device, requires_grad=True)
