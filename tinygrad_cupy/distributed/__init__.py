"""Several processes that work as one: the *ranks* of `mpirun`, `srun` or `torchrun`.

    tg.distributed.init()                                # which rank this is, and its GPU
    tg.distributed.data_parallel(model, optimizer)       # one model, each rank its share
    loader = datasets.DataLoader(train, batch_size=256)  # of all ranks together

A process started alone is rank 0 of 1: nothing changes. GPUs exchange through NCCL, CPUs through
MPI (mpi4py); see docs/many-gpus.md.
"""

from .collectives import (
    all_gather,
    all_reduce,
    barrier,
    batch,
    broadcast,
    exchange,
    no_batch,
    reduce_scatter,
    split,
)
from .launch import LaunchError
from .parallel import DataParallel, data_parallel
from .world import MismatchError, close, init, local_rank, rank, size

__all__ = [
    "DataParallel",
    "LaunchError",
    "MismatchError",
    "all_gather",
    "all_reduce",
    "barrier",
    "batch",
    "broadcast",
    "close",
    "data_parallel",
    "exchange",
    "init",
    "local_rank",
    "no_batch",
    "rank",
    "reduce_scatter",
    "size",
    "split",
]
