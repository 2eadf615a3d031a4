"""NCCL: one rank on one GPU, and several on several, against a process by itself."""

from __future__ import annotations

import subprocess

import pytest

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
