"""NCCL: one rank on one GPU, and several on several, against a process by itself."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from support.killed_ranks import SECONDS, kill_and_resume, needs_proc
from support.ranks import PROGRAMS, command, environment, needs_mpi
from tinygrad_cupy import backend

EXPECTED = "collectives as expected\ndraws as expected\ntraining as expected\n"


def _run(words: list[str]) -> str:
    given = environment()
    given.pop("TINYGRAD_CUPY_DEVICE")
    ended = subprocess.run(words, env=given, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@needs_mpi
@pytest.mark.gpu
def test_one_rank_on_one_gpu() -> None:
    # By mpirun as well: not everywhere can a program without it start the daemon that MPI needs.
    assert _run(command(1, PROGRAMS / "on_gpu.py")) == EXPECTED


@needs_mpi
@pytest.mark.gpu
@pytest.mark.multi
@pytest.mark.parametrize("ranks", [2, 4])
def test_a_rank_on_each_gpu(ranks: int) -> None:
    if backend.cuda_count() < ranks:
        pytest.skip(f"{ranks} GPUs are asked for, {backend.cuda_count()} are here")
    assert _run(command(ranks, PROGRAMS / "on_gpu.py")) == EXPECTED


@needs_mpi
@pytest.mark.gpu
@pytest.mark.multi
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_models_train_as_in_one_process(ranks: int) -> None:
    """Rows and masks bit for bit, losses within 1e-5, the same weights twice; medium and deep."""
    if backend.cuda_count() < ranks:
        pytest.skip(f"{ranks} GPUs are asked for, {backend.cuda_count()} are here")
    printed = _run(command(ranks, PROGRAMS / "models.py"))
    runs = [(net, how) for net in ("medium", "deep") for how in ("eager", "captured")]
    assert [tuple(line.split()[:2]) for line in printed.splitlines()] == runs


@needs_mpi
@needs_proc
@pytest.mark.gpu
@pytest.mark.multi
@pytest.mark.parametrize("moment", range(10))
def test_a_rank_killed_in_a_captured_run(tmp_path: Path, moment: int) -> None:
    """Of two; goes on with one or with two. `-n 5` has five such runs at a time on the GPUs."""
    if backend.cuda_count() < 2:
        pytest.skip(f"2 GPUs are asked for, {backend.cuda_count()} are here")
    taken = kill_and_resume(tmp_path, "cuda", random.uniform(0, 1.0), 1 + moment % 2)
    print(f"gone after {taken:.1f} s")
    assert taken < SECONDS
