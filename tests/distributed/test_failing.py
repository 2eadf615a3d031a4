"""A rank that dies, hangs or differs ends all, with one message that names it."""

from __future__ import annotations

import importlib
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.killed_ranks import SECONDS, kill_and_resume, needs_proc
from support.ranks import PROGRAMS, environment, needs_mpi, run

FAILURES = {
    "kill": "rank {} .*died without a word",
    "raise": "rank {} .*failed: ValueError: no such number",
    "hang": "rank {} .*hangs: .*all_reduce",
    "stop": "rank {} .*no sign of life",
    "leave": "rank {} .*has ended its program",
    "other": "the ranks do different things at the same place: .*broadcast",
    "seed": "expected the seed to be the same on all ranks, got 7 on rank 0 and 8 on rank {}",
    "shape": r"expected the parameters of the model to be .*\(4, 3\).* on rank {}",
}
FAST = ("kill", "raise", "hang", "shape")


@needs_mpi
@pytest.mark.parametrize(
    ("how", "who"),
    [
        pytest.param(how, who, marks=() if how in FAST and who else pytest.mark.slow)
        for how in FAILURES
        for who in (1, 0)
        if who or how not in ("seed", "shape")
    ],
)
def test_a_rank_that_fails_ends_all(how: str, who: int) -> None:
    began = time.monotonic()
    ended = run(2, PROGRAMS / "failing.py", how, who, TINYGRAD_CUPY_TIMEOUT="3")
    assert ended.returncode != 0
    assert re.search(FAILURES[how].format(who), ended.stderr, re.DOTALL), ended.stderr
    assert ended.stderr.count("ranks end; a run with checkpoints goes on") == 1
    assert time.monotonic() - began < 30  # with the start of the interpreters


def test_mpirun_without_mpi4py_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "mpi4py").mkdir()
    (tmp_path / "mpi4py" / "__init__.py").write_text("raise ImportError('none here')")
    code = "import tinygrad_cupy as tg; tg.distributed.init()"
    given = environment(OMPI_COMM_WORLD_RANK="0", OMPI_COMM_WORLD_SIZE="2")
    given["PYTHONPATH"] = str(tmp_path) + os.pathsep + given["PYTHONPATH"]
    ended = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "mpirun started 2 processes, and mpi4py, with which they find each other" in ended.stderr
    assert "pip install mpi4py" in ended.stderr


def test_alone_nothing_is_begun_nor_imported() -> None:
    code = (
        "import sys, tinygrad_cupy as tg, tinygrad_cupy.nn\n"
        "assert 'tinygrad_cupy.distributed' not in sys.modules\n"
        "assert not tg.distributed.init() and tg.distributed.size() == 1\n"
        "assert not {'mpi4py', 'cupy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True)


@pytest.mark.parametrize("by", ["torchrun", "slurm"])
def test_launchers_variables_suffice_without_mpi(by: str) -> None:
    code = (
        "import tinygrad_cupy as tg\n"
        "d = tg.distributed\n"
        "assert d.init()\n"
        "print(d.all_reduce(tg.Tensor([1.0 + d.rank()])).item(), d.local_rank())\n"
    )
    port = str(random.randrange(20000, 30000))
    started = []
    for rank in "01":
        if by == "torchrun":
            more = {"RANK": rank, "WORLD_SIZE": "2", "LOCAL_RANK": rank, "MASTER_PORT": port}
        else:
            more = {"SLURM_PROCID": rank, "SLURM_STEP_NUM_TASKS": "2", "SLURM_JOB_ID": port}
        given = environment(MASTER_ADDR="127.0.0.1", **more)
        words = [sys.executable, "-c", code]
        started.append(subprocess.Popen(words, env=given, stdout=subprocess.PIPE, text=True))
    assert sorted(one.communicate(timeout=60)[0] for one in started) == ["3.0 0\n", "3.0 1\n"]


def test_the_first_of_slurms_nodes() -> None:
    first_host = importlib.import_module("tinygrad_cupy.distributed.launch").first_host
    for nodes, first in (("gpu[07-09,12],x1", "gpu07"), ("a1,a2", "a1"), ("n[1-2]-ib", "n1-ib")):
        assert first_host(nodes) == first


@needs_mpi
@needs_proc
def test_a_killed_rank_and_on_with_fewer(tmp_path: Path) -> None:
    assert kill_and_resume(tmp_path, "cpu", 0.2, 1) < SECONDS


@needs_mpi
@needs_proc
@pytest.mark.slow
@pytest.mark.skipif("TINYGRAD_CUPY_HARDSHIPS" not in os.environ, reason="takes minutes")
@pytest.mark.parametrize("moment", range(20))
def test_ranks_killed_at_random_moments(tmp_path: Path, moment: int) -> None:
    assert kill_and_resume(tmp_path, "cpu", random.uniform(0, 2.0), 1 + moment % 2) < SECONDS
