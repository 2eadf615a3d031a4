"""What the environment says of how this process was started, and of the others."""

from __future__ import annotations

import os
import re
from typing import NamedTuple


class LaunchError(RuntimeError):
    """The ranks cannot begin: what is wrong, and what to do.

    >>> try:
    ...     tg.distributed.init()
    ... except tg.distributed.LaunchError as error:
    ...     print(error)  # as: mpirun started 4 processes, and mpi4py is not installed
    False
    """


class Launch(NamedTuple):
    """By whom ("mpi", "torchrun", "slurm", "alone"), which of how many, and which on its machine.

    address: where rank 0 listens, "host:port", where the environment says it; MPI tells it itself
    """

    by: str
    rank: int
    size: int
    local_rank: int
    local_size: int
    address: str | None = None


# Of each way to start: rank, size, rank and number on the machine (either may be unknown).
MPI = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),  # MPICH and Intel's
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
)
LOCAL_RANK = (
    *("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "MV2_COMM_WORLD_LOCAL_RANK"),
    *("LOCAL_RANK", "SLURM_LOCALID"),
)
LOCAL_SIZE = (
    *("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "MV2_COMM_WORLD_LOCAL_SIZE"),
    "LOCAL_WORLD_SIZE",
)
PORT = "TINYGRAD_CUPY_PORT"


def launched() -> Launch | None:
    """How this process was started; None where it was started alone.

    Slurm's variables count under `srun` only: the batch script itself has some of them, too.
    """
    for of_rank, of_size in MPI:
        if of_size in os.environ and of_rank in os.environ:
            return _alone_is_none("mpi", _number(of_rank), _number(of_size))
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        rank, size = _number("RANK"), _number("WORLD_SIZE")
        return _alone_is_none("torchrun", rank, size, _master())
    if "SLURM_PROCID" in os.environ and "SLURM_STEP_NUM_TASKS" in os.environ:
        rank, size = _number("SLURM_PROCID"), _number("SLURM_STEP_NUM_TASKS")
        return _alone_is_none("slurm", rank, size, _of_slurm())
    return None


def _alone_is_none(by: str, rank: int, size: int, address: str | None = None) -> Launch | None:
    if size == 1:
        return None
    if not 0 <= rank < size:
        raise LaunchError(f"[distributed] expected a rank from 0 to {size - 1}, got {rank}")
    local_rank, local_size = _first(LOCAL_RANK, rank), _first(LOCAL_SIZE, 0)
    return Launch(by, rank, size, local_rank, local_size, address)


def _number(name: str) -> int:
    text = os.environ[name]
    if not re.fullmatch("[0-9]{1,9}", text):
        raise LaunchError(f"[distributed] expected ${name} to be a whole number, got {text!r}")
    return int(text)


def _first(names: tuple[str, ...], default: int) -> int:
    return next((_number(name) for name in names if name in os.environ), default)


def _master() -> str | None:
    """torchrun's own store listens on MASTER_PORT; ours on the port behind it."""
    host = os.environ.get("MASTER_ADDR")
    if host is None:
        return None
    if PORT in os.environ:
        return f"{host}:{_number(PORT)}"
    return f"{host}:{_number('MASTER_PORT') + 1}" if "MASTER_PORT" in os.environ else None


def _of_slurm() -> str | None:
    host = os.environ.get("MASTER_ADDR") or os.environ.get("SLURM_LAUNCH_NODE_IPADDR")
    nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_NODELIST", "")
    if "MASTER_ADDR" not in os.environ and nodes:
        host = first_host(nodes)
    if not host:
        return None
    if PORT in os.environ:
        return f"{host}:{_number(PORT)}"
    if "MASTER_PORT" in os.environ:
        return f"{host}:{_number('MASTER_PORT')}"
    job, step = _first(("SLURM_JOB_ID",), 0), _first(("SLURM_STEP_ID",), 0)
    return f"{host}:{20000 + (job * 31 + step) % 20000}"


def first_host(nodes: str) -> str:
    """The first of Slurm's list of nodes: `gpu[07-09,12],login1` begins with gpu07."""
    match = re.match(r"([^,\[]+)(?:\[([0-9]+)[^\]]*\]([^,]*))?", nodes)
    if match is None:
        return nodes
    return match[1] + (match[2] or "") + (match[3] or "")
