"""Two and three ranks over MPI on the CPU, held to one process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.ranks import PROGRAMS, needs_mpi, run, run_well

pytestmark = needs_mpi


@pytest.mark.parametrize("ranks", [2, 3])
def test_what_ranks_do_together(ranks: int) -> None:
    names = (
        *("reductions", "gathering", "draws", "losses", "gradients", "searching", "mixing"),
        *("loaders", "synchronized", "synchronized_sizes", "synchronized_twice"),
        "collectives_of_a_norm",
    )
    printed = run_well(ranks, "checks.py")
    assert printed.split(" as expected\n") == [*names, ""]


def _results(tmp_path: Path, ranks: int, *words: object) -> Any:
    file = tmp_path / f"{ranks}.json"
    run_well(ranks, "training.py", file, *words)
    return json.loads(file.read_text(encoding="utf-8"))


def test_ranks_train_as_one_process_does(tmp_path: Path) -> None:
    one, two, again, three = (_results(tmp_path, n) for n in (1, 2, 2, 3))
    assert two == again  # losses and weights, to the bit
    for several in (two, three):
        for dtype, rtol in (("float32", 1e-5), ("float64", 1e-12)):
            found, expected = several[dtype]["losses"], one[dtype]["losses"]
            np.testing.assert_allclose(found, expected, rtol=rtol)


def test_a_trainers_checkpoint_goes_on_with_another_number_of_ranks(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    begun = _results(tmp_path, 2, folder, "ask")
    assert begun["stopped"] == "asked"
    assert len(begun["epochs"]) == 1
    found = []
    for ranks in (1, 2, 3):
        shutil.copytree(folder, tmp_path / str(ranks))
        found.append(_results(tmp_path, ranks, tmp_path / str(ranks)))
    whole = _results(tmp_path, 1, tmp_path / "whole")
    for one in found:
        assert one["stopped"] == "finished"
        assert one["labels"] == whole["labels"]
        np.testing.assert_allclose(one["answers"], whole["answers"], rtol=1e-6)
        np.testing.assert_allclose(one["loss"], whole["loss"], rtol=1e-6)
        for mine, expected in zip(one["epochs"], whole["epochs"], strict=True):
            np.testing.assert_allclose(mine[:3], expected[:3], rtol=1e-6)
            assert mine[3] == pytest.approx(expected[3])


def test_what_is_shown_is_shown_once(tmp_path: Path) -> None:
    found = run(2, PROGRAMS / "training.py", tmp_path / "a.json", tmp_path / "folder")
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("val accuracy") == 1  # the header of the lines


def test_captured_steps_of_ranks_give_the_bits_of_plain_ones() -> None:
    run_well(2, "captured.py")


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_models_train_as_in_one_process(ranks: int) -> None:
    printed = run_well(ranks, "models.py")
    assert [line.split()[:2] for line in printed.splitlines()] == [
        ["medium", "eager"],
        ["deep", "eager"],
    ]
