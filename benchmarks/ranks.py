"""Train steps of one of several ranks: ours, and PyTorch's by DistributedDataParallel.

Batch norms have the statistics of all ranks on both sides (PyTorch's on a GPU only). PyTorch's are
eager, or the whole step in a CUDA graph, with the reduction of buckets inside; NCCL through
`torch.distributed`, on a CPU gloo.
"""

from __future__ import annotations

import importlib
import inspect
import os
import socket
from typing import Any

import numpy as np

import tinygrad_cupy as tg
from tinygrad_cupy import backend, nn
from tinygrad_cupy.backend.cpu_threads import thread_count

from . import wide
from .cells import Cell
from .steps_ours import Ours, OursWide
from .steps_torch import Torch, TorchWide


class Rank:
    """A part of a batch that all have: ranks begin at different batches, or take parts of one."""

    calls: int
    count: int

    def _part(self, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
        rank, size = tg.distributed.rank(), tg.distributed.size()
        x, y = wide.batch_of(cell.net, cell.batch * size)
        mine = slice(rank * cell.batch, (rank + 1) * cell.batch)
        return x[mine], y[mine]

    def ready(self) -> None:
        """From here on the batch that is worked on is this one, of all ranks."""
        tg.distributed.batch(self.count)


class _OursOfRanks(Rank):
    def _joined(self, model: Any, optimizer: Any) -> Any:
        model = nn.SyncBatchNorm.convert(model)
        self.parallel = tg.distributed.data_parallel(model, optimizer)
        return model


class OursOfRanks(_OursOfRanks, Ours):
    """Gather, forward, cross-entropy, backward, reduction, Adam."""

    def __init__(self, cell: Cell, dataset: Any, device: str) -> None:
        super().__init__(cell, dataset, device)
        self.calls, self.count = tg.distributed.rank(), cell.batch


class OursWideOfRanks(_OursOfRanks, OursWide):
    """Forward, cross-entropy, backward, reduction, SGD with momentum."""

    def __init__(self, cell: Cell, dataset: Any, device: str) -> None:
        super().__init__(cell, dataset, device)
        self.count = cell.batch

    def _batch(self, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
        return self._part(cell)


class _TorchOfRanks(Rank):
    warm_ups = 11  # as PyTorch asks for, of a step with DistributedDataParallel
    cuda: bool
    model: Any

    def _joined(self) -> Any:
        torch: Any = importlib.import_module("torch")
        parallel = torch.nn.parallel.DistributedDataParallel
        has_new = "forward_sync_buffers" in inspect.signature(parallel.__init__).parameters
        # Running statistics are the same on all ranks: they need not be sent in every step.
        buffers = "forward_sync_buffers" if has_new else "broadcast_buffers"
        options = {"gradient_as_bucket_view": True, buffers: False}
        if not self.cuda:
            return parallel(self.model, **options)
        model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        side = torch.cuda.Stream()  # what is captured later must not be made on the default one
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            made = parallel(model, device_ids=[torch.cuda.current_device()], **options)
        torch.cuda.current_stream().wait_stream(side)
        return made

    def ready(self) -> None:
        """Nothing is to be said: each rank has its batches."""


class TorchOfRanks(_TorchOfRanks, Torch):
    """As `OursOfRanks`."""

    def __init__(self, cell: Cell, dataset: Any, device: str) -> None:
        super().__init__(cell, dataset, device)
        self.calls = tg.distributed.rank()


class TorchWideOfRanks(_TorchOfRanks, TorchWide):
    """As `OursWideOfRanks`."""

    def _batch(self, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
        return self._part(cell)


class _Alone:
    def ready(self) -> None:
        """No other rank has a part of the batch."""
        tg.distributed.no_batch()


class Alone(_Alone, Ours):
    """Ours as a process by itself."""


class AloneWide(_Alone, OursWide):
    """The same of the other nets."""


def runner(cell: Cell, dataset: Any, device: str) -> Any:
    """What does a cell's steps: "alone", "ours", or one of DistributedDataParallel."""
    of_wide = wide.is_here(cell.net)
    if cell.impl == "alone":
        return (AloneWide if of_wide else Alone)(cell, dataset, device)
    if cell.impl == "ours":
        return (OursWideOfRanks if of_wide else OursOfRanks)(cell, dataset, device)
    begin_torch(device)
    return (TorchWideOfRanks if of_wide else TorchOfRanks)(cell, dataset, device)


def begin_torch(device: str) -> None:
    """Have PyTorch's ranks find each other, once: as ours are numbered, on a free port."""
    torch: Any = importlib.import_module("torch")
    if torch.distributed.is_initialized():
        return
    if device == "cpu":
        torch.set_num_threads(thread_count())
    else:
        torch.cuda.set_device(int(device.partition(":")[2] or 0))
        # Events cannot be asked for while a graph is captured that has them.
        os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
    place = None
    if tg.distributed.rank() == 0:
        with socket.socket() as one:
            one.bind(("", 0))
            place = [socket.gethostname(), one.getsockname()[1]]
    host, port = tg.distributed.exchange(place)[0]
    host = "127.0.0.1" if host == socket.gethostname() else host
    torch.distributed.init_process_group(
        "gloo" if device == "cpu" else "nccl",
        init_method=f"tcp://{host}:{port}",
        rank=tg.distributed.rank(),
        world_size=tg.distributed.size(),
    )


def end_torch() -> None:
    """Let go of PyTorch's communicator, if there is one: what was captured with it must be gone."""
    torch: Any = importlib.import_module("torch")
    if torch.distributed.is_initialized():
        backend.synchronize()
        torch.distributed.destroy_process_group()
