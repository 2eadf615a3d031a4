"""PyTorch's own test records of operations (`op_db`) on what stands here for them.

`python -m tests.peers` prints the figures.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from peers.opinfo import TABLE
from peers.translations import NotOurs
from support.peers import import_torch

torch = import_torch()
pytest.importorskip("expecttest", reason="PyTorch's test records need it")

from peers.running import Run, Wrong, entries, records, samples  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # what PyTorch says of its own calls

THERE = [name for name, entry in TABLE.items() if entry.functions()]
FLOOR = 495  # of PyTorch's 636 operations
FEW = 6  # samples of a record in the fast suite, which asks every third record

# Where ours differs by design, or PyTorch's is wrong: the error, and why.
_EMPTY = ("no elements to reduce", "an empty axis has no largest element: an error here")
_BESSEL = ("result: values", "PyTorch's are off by up to 7e-7 around x = 5")
DIFFERS: dict[str, tuple[str, str]] = {
    **dict.fromkeys([f"special.bessel_{name}" for name in ("j0", "j1", "y0", "y1")], _BESSEL),
    **dict.fromkeys(("log_softmax", "log_softmax.with_dtype"), _EMPTY),
    **dict.fromkeys(("softmax", "softmax.with_dtype"), _EMPTY),
    "bincount": ("float32, expected float64", "integers become the class's default float"),
    "nn.functional.hardsigmoid": ("gradient: values", "PyTorch's slope, 1 / 6, is a float32"),
    "gather": ("as many axes", "PyTorch takes empty indices of any shape"),
    **dict.fromkeys(
        ("cummax", "cummin", "logcumsumexp"),
        (r"shape \(1,\), expected \(\)", "NumPy's scan of a number has an axis"),
    ),
}


def of(name: str, count: int | None) -> list[Any]:
    """The samples of a record: all, or some from first to last."""
    every = samples(name)
    return every if count is None else every[:: max(1, -(-len(every) // count))]


def check(entry: str, count: int | None) -> None:
    """Every sample is right, or left out for a reason; some are not left out."""
    differs = DIFFERS.get(entry)
    compared, different, left_out = 0, 0, set()
    for record in entries(entry):
        for sample in of(record, count):
            try:
                Run(record, sample).check()
                compared += 1
            except NotOurs as reason:
                left_out.add(str(reason))
            except Wrong as error:
                if differs is None or not re.search(differs[0], str(error)):
                    raise AssertionError(f"{record}{sample.summary()}: {error}") from error
                different += 1
    if count is None:
        assert compared, f"nothing of {entry} is compared: {left_out}"
        assert different or not differs, f"{entry} no longer differs"


@pytest.mark.short
@pytest.mark.parametrize("entry", THERE[::3])
def test_some_samples(entry: str) -> None:
    check(entry, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("entry", THERE)
def test_all_samples(entry: str) -> None:
    check(entry, None)


def test_names_of_the_table_are_pytorchs() -> None:
    assert not [name for name in TABLE if not entries(name)]


def test_count_of_counterparts() -> None:
    found = {records()[record].name for name in THERE for record in entries(name)}
    assert len(found) >= FLOOR
