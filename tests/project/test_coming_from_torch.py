"""The tables in docs/from-pytorch.md: both sides of each row give the same."""

from __future__ import annotations

from typing import Any

import pytest

from support.doc_rows import Row, evaluated, expect_same, setup, troubles
from support.peers import import_torch
from tinygrad_cupy import Tensor, nn

torch = import_torch()


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_both_sides() -> None:
    def check(row: Row) -> None:
        ours = setup("from-pytorch")  # anew for each row: some write
        names = {name: in_torch(value) for name, value in setup("from-pytorch").items()}
        names |= {"torch": torch, "nn": torch.nn, "F": torch.nn.functional}
        expect_same(evaluated(row[0], names), evaluated(row[1], ours))

    assert not troubles("from-pytorch", check)


def in_torch(value: Any) -> Any:
    """What PyTorch's side of the table has under the same name."""
    if isinstance(value, Tensor):
        return torch.from_numpy(value.numpy())
    if isinstance(value, nn.Linear):
        return torch.nn.Linear(value.in_features, value.out_features)
    if isinstance(value, nn.optim.Optimizer):
        return torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=value.lr)
    return value
