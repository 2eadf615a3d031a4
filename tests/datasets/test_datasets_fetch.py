"""Loaders of any dataset: samples stacked here or by worker processes, errors, and samplers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.samples import Batched, Drawn, Failing, Squares, Unreadable, largest
from tinygrad_cupy import Tensor
from tinygrad_cupy.datasets import (
    ArrayDataset,
    DataError,
    DataLoader,
    SampleError,
    WeightedSampler,
    WorkerError,
    default_collate,
)

ROOT = Path(__file__).parents[2]


class Pair(NamedTuple):
    x: Any
    y: Any


def flat(loader: DataLoader) -> list[Any]:
    return [(x["x"].tolist(), x["name"], y.tolist()) for x, y in loader]


def test_any_object_with_a_length_and_items(device: str) -> None:
    for data in (Squares(), Batched()):
        batches = list(DataLoader(data, 8, device=device))
        x, y = batches[-1]
        assert (x["x"].shape, str(x["x"].dtype), x["name"]) == (
            (4, 2),
            "float32",
            ["16", "17", "18", "19"],
        )
        assert (str(y.dtype), y.tolist(), y.device) == (
            "int64",
            [256, 289, 324, 361],
            x["x"].device,
        )


def test_what_samples_may_hold() -> None:
    batch = default_collate([Pair(1.5, (True, np.float64(2))), Pair(2, (False, np.float64(3)))])
    assert isinstance(batch, Pair)
    assert [a.dtype for a in (batch.x, *batch.y)] == [np.float32, bool, np.float64]
    tensors = default_collate([[Tensor([1.0])], [Tensor([2.0])]])
    assert tensors[0].tolist() == [[1.0], [2.0]]
    assert default_collate([b"a", b"b"]) == [b"a", b"b"]


@pytest.mark.parametrize(
    ("samples", "text"),
    [
        (
            [{"x": np.ones(2)}, {"x": np.ones(3)}],
            "samples that agree in a shape (at ['x']), got (2,) and, at position 1 of the batch, "
            "(3,): a collate= of yours can pad or choose",
        ),
        ([{"x": 1}, {"y": 1}], "agree in keys, got ['x'] and, at position 1 of the batch, ['y']"),
        ([(1, 2), (1,)], "agree in a length, got 2 and, at position 1 of the batch, 1"),
        ([(1, 2), 5], "agree in a length, got 2 and, at position 1 of the batch, int"),
        ([None, None], "strings, or tuples, lists and dicts of them in a sample, got NoneType"),
        ([(1, object())], "dicts of them in a sample (at [1]), got object"),
    ],
)
def test_samples_that_cannot_be_stacked(samples: list[Any], text: str) -> None:
    with pytest.raises(DataError, match=re.escape(text)):
        default_collate(samples)


def test_what_is_no_dataset() -> None:
    text = "[DataLoader] expected a dataset with __len__ and __getitem__, got generator"
    with pytest.raises(DataError, match=re.escape(text)):
        DataLoader(i for i in range(3))
    with pytest.raises(DataError, match="samples of Squares, with drop_last"):
        DataLoader(Squares(), 21, drop_last=True)


def test_a_collate_of_ones_own(device: str) -> None:
    (values,) = DataLoader(Squares(5), 5, collate=largest, device=device)
    assert values.tolist() == [1, 2, 3, 4, 5]
    data = ArrayDataset(np.arange(4), np.arange(4))
    ((x, y),) = DataLoader(data, 4, collate=lambda samples: (len(samples), samples[0][0]))
    assert (x, y.tolist()) == (4, 0)


def test_an_error_names_the_sample() -> None:
    with pytest.raises(SampleError, match=r"\[DataLoader\] sample 7: KeyError: 'no such") as caught:
        list(DataLoader(Failing(), 4))
    assert caught.value.index == 7
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(SampleError, match="a batch of samples 0, 1, 2: ZeroDivisionError"):
        list(DataLoader(Squares(3), 3, collate=lambda samples: 1 / 0))


# --- workers ------------------------------------------------------------------------------------


def test_workers_give_the_same_batches() -> None:
    loader = DataLoader(Squares(30), 4, shuffle=True, seed=3, num_workers=2)
    plain = DataLoader(Squares(30), 4, shuffle=True, seed=3)
    assert flat(loader) == flat(plain)
    assert loader._pool is not None
    pids = [worker.process.pid for worker in loader._pool.workers]
    first = iter(loader)
    next(first)
    del first  # what was made ahead for it is thrown away
    flat(plain)
    assert flat(loader) == flat(plain)
    assert [worker.process.pid for worker in loader._pool.workers] == pids
    loader.close()
    assert flat(loader) == flat(plain)
    processes = [worker.process for worker in loader._pool.workers]
    del loader
    assert not any(process.is_alive() for process in processes)


@pytest.mark.slow
def test_random_samples_are_the_same_whoever_makes_them() -> None:
    def drawn(loader: DataLoader) -> list[Any]:
        return [[x.tolist(), y.tolist()] for x, y in loader]

    loaders = [DataLoader(Drawn(12), 3, shuffle=True, num_workers=count) for count in (1, 2)]
    found = []
    for loader in loaders:
        tg.manual_seed(3)
        found.append(drawn(loader) + drawn(loader))
    assert found[0] == found[1]
    numbers = np.array([x for x, _ in found[0]]).reshape(-1)
    assert len(set(numbers.tolist())) == 2 * 12 * 3  # no two batches have the same
    tg.manual_seed(3)
    batches = iter(loaders[0])
    assert [next(batches)[0].tolist() for _ in range(2)] == [x for x, _ in found[0][:2]]
    loaders[1].load_state_dict(loaders[0].state_dict())
    assert drawn(loaders[1]) == found[0][2:4]
    tg.manual_seed(4)
    assert drawn(loaders[1]) != found[0][:4]
    for loader in loaders:
        loader.close()


@pytest.mark.slow
def test_passes_at_once_through_the_same_workers(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(40000, dtype=np.float32).reshape(40, 1000))
    data = ArrayDataset(np.load(tmp_path / "x.npy", mmap_mode="r"), np.arange(40))
    loader = DataLoader(data, 8, num_workers=1)
    pairs = list(zip(loader, loader, strict=True))
    assert [y.tolist() for _, (_, y) in pairs] == [y.tolist() for (_, y), _ in pairs]
    assert pairs[4][1][0].tolist() == data.inputs[32:].tolist()
    loader.close()


def test_an_error_of_a_worker_comes_in_its_turn_with_its_traceback() -> None:
    loader = DataLoader(Failing(), 2, num_workers=1)
    batches = iter(loader)
    assert [next(batches)[1].tolist() for _ in range(3)] == [[0, 1], [4, 9], [16, 25]]
    with pytest.raises(SampleError, match=r"sample 7: KeyError: 'no such file'") as caught:
        next(batches)
    assert caught.value.index == 7
    trace = str(caught.value.__cause__)
    assert "in a worker process:" in trace
    assert 'raise KeyError("no such file")' in trace
    assert len(next(iter(loader))) == 2  # the workers go on
    loader.close()


@pytest.mark.slow
def test_a_worker_that_is_gone_is_no_hang() -> None:
    with pytest.raises(WorkerError, match=r"worker process \d+ ended \(exit code 3\)"):
        list(DataLoader(Failing("exit"), 2, num_workers=1))
    loader = DataLoader(Failing("sleep"), 2, num_workers=1)
    batches = iter(loader)
    next(batches)
    assert loader._pool is not None
    pid = loader._pool.workers[0].process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match=r"\(SIGKILL\): perhaps the system ran out of memory"):
        list(batches)
    assert len(next(iter(loader))) == 2  # by new ones
    loader.close()  # which are ended in their sleep


@pytest.mark.slow
def test_what_cannot_be_sent_to_a_worker() -> None:
    loader = DataLoader(Squares(), 2, num_workers=1, collate=lambda samples: samples)
    with pytest.raises(DataError, match=r"num_workers: the dataset, or collate, cannot be sent"):
        next(iter(loader))
    with pytest.raises(
        WorkerError, match=r"cannot read the dataset.*the database is not"
    ) as caught:
        next(iter(DataLoader(Unreadable(), 2, num_workers=1)))
    assert "OSError: the database is not there" in str(caught.value.__cause__)


SCRIPT = """
import os, sys, time
from support.samples import Failing
from tinygrad_cupy.datasets import DataLoader
{guard}
    loader = DataLoader(Failing("sleep"), 2, num_workers=2)
    next(iter(loader))
    print(*[worker.process.pid for worker in loader._pool.workers], flush=True)
    {then}
"""


def script(tmp_path: Path, guard: str, then: str) -> subprocess.Popen[str]:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT.format(guard=guard, then=then))
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    command = [sys.executable, "-W", "error", str(path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, text=True, **pipes)  # type: ignore[call-overload,no-any-return]


def ended(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    "then",
    [
        "time.sleep(1000)",
        pytest.param("os.fork(); time.sleep(5)", marks=pytest.mark.slow),
        pytest.param("pass", marks=pytest.mark.slow),
    ],
)
def test_workers_end_with_their_parent(tmp_path: Path, then: str) -> None:
    run = script(tmp_path, 'if __name__ == "__main__":', then)
    assert run.stdout is not None
    pids = [int(word) for word in run.stdout.readline().split()]
    assert len(pids) == 2
    if then != "pass":
        run.kill()
        run.wait()
    else:
        assert run.communicate(timeout=60)[1] == ""
    deadline = time.monotonic() + 20
    while not all(map(ended, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    run.stdout.close()
    assert run.stderr is not None
    run.stderr.close()


@pytest.mark.slow
def test_a_script_without_its_guard_is_told(tmp_path: Path) -> None:
    _, errors = script(tmp_path, "if True:", "pass").communicate(timeout=120)
    assert 'stands under `if __name__ == "__main__":`' in errors


FORKING = """
import os
from support.samples import Squares
from tinygrad_cupy.datasets import DataLoader
if __name__ == "__main__":
    loader = DataLoader(Squares(), 5, num_workers=1)
    assert len(list(loader)) == 4
    if (child := os.fork()) == 0:
        assert len(list(loader)) == 4
        loader.close()
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert len(list(loader)) == 4
    forked = DataLoader(Squares(), 5, num_workers=1, worker_method="fork")
    assert [y.tolist() for _, y in forked] == [y.tolist() for _, y in loader]
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_has_workers_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(FORKING)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    command = [sys.executable, str(tmp_path / "script.py")]
    subprocess.run(command, env=environment, check=True, timeout=120)


# --- samplers -----------------------------------------------------------------------------------


def test_a_sampler_decides_the_rows(device: str) -> None:
    data = ArrayDataset(np.arange(6), np.arange(6))
    for resident in (True, False):
        loader = DataLoader(data, 2, sampler=[5, 0, 5], device=device, resident=resident)
        assert len(loader) == 2
        assert [y.tolist() for _, y in loader] == [[5, 0], [5]]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"sampler": [1], "shuffle": True}, "expected shuffle, or a sampler that has a length"),
        ({"sampler": iter([1])}, "got list_iterator without __len__"),
        ({"num_workers": -1}, "expected num_workers as a whole number of at least 0, got -1"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], text: str) -> None:
    with pytest.raises(DataError, match=re.escape(text)):
        DataLoader(Squares(), 2, **options)


def test_rows_of_a_sampler_that_do_not_exist() -> None:
    with pytest.raises(DataError, match="expected a sampler of rows from 0 to 19, got 20"):
        next(iter(DataLoader(Squares(), 2, sampler=[3, 20])))


def test_weights_are_the_shares_of_the_rows() -> None:
    sampler = WeightedSampler([1, 0, 3, 4], count=80_000, seed=1)
    shares = np.bincount(sampler.rows(), minlength=4) / 80_000
    np.testing.assert_allclose(shares, [1 / 8, 0, 3 / 8, 4 / 8], atol=0.006)
    assert list(sampler) != list(sampler)
    tg.manual_seed(4)
    first = list(WeightedSampler([1, 2, 3]))
    tg.manual_seed(4)
    assert list(WeightedSampler([1, 2, 3])) == first


def test_without_replacement_the_first_row_follows_the_weights() -> None:
    weights = [1, 2, 5, 0]
    firsts, sampler = [], WeightedSampler(weights, 3, replacement=False, seed=0)
    for _ in range(3000):
        rows = sampler.rows()
        assert sorted(rows) == [0, 1, 2]
        firsts.append(rows[0])
    np.testing.assert_allclose(np.bincount(firsts) / 3000, [1 / 8, 2 / 8, 5 / 8], atol=0.03)


def test_classes_are_balanced() -> None:
    labels = np.repeat([0, 1, 2], [900, 90, 10])
    for weights, shares in ((None, [1 / 3] * 3), ({0: 1, 1: 1, 2: 2}, [0.25, 0.25, 0.5])):
        sampler = WeightedSampler.of_classes(labels, weights, count=30_000, seed=0)
        found = np.bincount(labels[sampler.rows()]) / 30_000
        np.testing.assert_allclose(found, shares, atol=0.015)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: WeightedSampler([[1.0]]), "expected weights (N,), got shape (1, 1)"),
        (
            lambda: WeightedSampler([0.0]),
            "finite weights of at least 0, not all of them 0",
        ),
        (lambda: WeightedSampler([1, np.nan]), "expected finite weights of at least 0"),
        (lambda: WeightedSampler([1, 0], 2, replacement=False), "a count from 1 to 1, got 2"),
        (lambda: WeightedSampler.of_classes([0.5]), "labels as integers (N,), got float64 (1,)"),
        (lambda: WeightedSampler.of_classes([0, 2], [1, 1]), "a weight for each class from 0 to 2"),
    ],
)
def test_weights_that_are_none(make: Any, text: str) -> None:
    with pytest.raises(DataError, match=re.escape(text)):
        make()
