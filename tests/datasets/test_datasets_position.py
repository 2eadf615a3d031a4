"""A loader's place in a checkpoint: it goes on with exactly the batches that would have come."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.samples import Squares
from tinygrad_cupy import random
from tinygrad_cupy.datasets import ArrayDataset, DataError, DataLoader, WeightedSampler

DATA = ArrayDataset(np.arange(23) * 1.0, np.arange(23))


def make(device: str, case: str) -> DataLoader:
    cases: dict[str, dict[str, Any]] = {
        "plain": {},
        "seed": {"shuffle": True, "seed": 5},
        "stream": {"shuffle": True, "drop_last": True},
        "host": {"shuffle": True, "resident": False},
        "sampler": {"sampler": WeightedSampler(np.arange(23) + 1.0, 15, seed=2)},
        "drawn": {"sampler": WeightedSampler(np.arange(23) + 1.0, 15)},
        "list": {"sampler": [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7]},
        "workers": {"shuffle": True, "seed": 1, "num_workers": 1, "resident": False},
    }
    return DataLoader(DATA, 4, device=device, **cases[case])


def labels(batches: Any, most: int = 99) -> list[list[int]]:
    return [y.tolist() for (_, y), _ in zip(batches, range(most), strict=False)]


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    "case", ["plain", "seed", "stream", "host", "sampler", "drawn", "list", "workers"]
)
@pytest.mark.parametrize("given", [0, 1, 3])
@pytest.mark.parametrize("passes", [0, 1])
def test_going_on_in_the_middle(device: str, case: str, given: int, passes: int) -> None:
    if case == "workers" and (given, passes) != (1, 1):
        pytest.skip("one is enough: processes take their time")
    tg.manual_seed(9)
    loader = make(device, case)
    for _ in range(passes):
        labels(loader)
    batches = iter(loader)
    [next(batches) for _ in range(given)]
    state, drawn = loader.state_dict(), random.get_state()
    expected = [labels(batches), labels(loader), labels(loader)]
    again = make(device, case)
    tg.manual_seed(0)
    again.load_state_dict({name: np.array(value) for name, value in state.items()})
    random.set_state(drawn)
    assert str(again.state_dict()) == str(state)
    assert [labels(again), labels(again), labels(again)] == expected
    again.close()
    loader.close()


def test_rows_go_on_too(device: str) -> None:
    loader = make(device, "seed")
    rows = loader.rows()
    [next(rows) for _ in range(2)]
    again = make(device, "seed")
    again.load_state_dict(loader.state_dict())
    assert [r.tolist() for r in again.rows()] == [r.tolist() for r in rows]


def test_after_a_whole_pass_the_next_one_comes(device: str) -> None:
    loader = make(device, "seed")
    labels(loader)
    state = loader.state_dict()
    assert (int(state["iteration"]), int(state["given"])) == (1, 0)
    again = make(device, "seed")
    again.load_state_dict(state)
    assert labels(again) == labels(loader)


def test_the_state_of_another_loader() -> None:
    state = DataLoader(Squares(20), 4).state_dict()
    with pytest.raises(DataError, match="the state of a loader with samples 23, got 20"):
        make("cpu", "plain").load_state_dict(state)
    with pytest.raises(DataError, match="a loader with batch_size 5, got 4"):
        DataLoader(Squares(20), 5).load_state_dict(state)
    with pytest.raises(DataError, match="a loader with given , got none"):
        DataLoader(Squares(20), 4).load_state_dict({k: state[k] for k in state if k != "given"})


@pytest.mark.parametrize(("own", "other"), [(5, None), (None, 5), (5, 2**64 - 1)])
def test_the_state_of_a_loader_of_another_seed(own: int | None, other: int | None) -> None:
    loader, theirs = (DataLoader(DATA, 4, shuffle=True, seed=seed) for seed in (own, other))
    next(iter(theirs))
    state = theirs.state_dict()
    with pytest.raises(DataError, match=f"a loader with seed {own}, got {other}"):
        loader.load_state_dict(state)
    assert loader.state_dict()["given"] == 0
    theirs.load_state_dict(state)
    del state["seed"]  # a state of before
    loader.load_state_dict(state)


@pytest.mark.gpu
def test_a_state_of_a_gpu_goes_on_on_the_cpu() -> None:
    tg.manual_seed(9)
    loader = make("cuda:0", "stream")
    batches = iter(loader)
    next(batches)
    again = make("cpu", "stream")
    again.load_state_dict(loader.state_dict())
    assert labels(again) == labels(batches)
