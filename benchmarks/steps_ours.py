"""Our train step as an ordinary function, captured, and with several steps per launch."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, backend
from tinygrad_cupy.datasets import ArrayDataset, DataLoader
from tinygrad_cupy.nn import models, optim

from . import wide
from .cells import LEARNING_RATE, SCAN_STEPS, Cell, batches_of, first_weights

STEPS_PER_LAUNCH = 8


class Ours:
    """Gather a batch, forward, cross-entropy, backward, Adam."""

    def __init__(self, cell: Cell, dataset: ArrayDataset, device: str) -> None:
        weights = first_weights(cell.net)
        tg.set_default_device(device)
        self.memory = Memory() if device != "cpu" else None
        self.peak_bytes: int | None = None
        tg.set_precision(cell.precision if device != "cpu" else "fp32")
        tg.manual_seed(0)
        self.device = backend.normalize_device(device)
        model = models.build(cell.net)
        model.load_state_dict(weights)
        adam = optim.Adam(list(model.parameters()), lr=LEARNING_RATE)
        model = self._joined(model, adam)
        self.model, self.optimizer = model, adam
        loader = DataLoader(dataset, cell.batch, device=device)

        def train(rows: Tensor) -> Tensor:
            x, y = loader.batch(rows)
            adam.zero_grad()
            loss: Tensor = model(x).cross_entropy(y)
            loss.backward()
            adam.step()
            return loss

        self.scan = cell.impl == "ours-scan"
        batches = batches_of(len(dataset), cell.batch, SCAN_STEPS if self.scan else None)
        self.steps_per_call = len(batches) if self.scan else 1
        self.arguments = [
            Tensor(rows, device=device) for rows in ([batches] if self.scan else batches)
        ]
        self.step = self._decorated(train, cell.impl)
        self.data_bytes = dataset.images.nbytes + dataset.labels.nbytes
        self.calls = 0

    def _joined(self, model: Any, optimizer: Any) -> Any:
        """The model as it is trained: by this process alone."""
        return model

    def _decorated(
        self, train: Callable[[Tensor], Tensor], impl: str
    ) -> Callable[[Tensor], Tensor]:
        if impl == "ours-scan":
            return tg.jit(steps=min(STEPS_PER_LAUNCH, self.steps_per_call))(train)
        return train if impl == "ours-eager" else tg.jit(train)

    def _call(self) -> Tensor:
        rows = self.arguments[self.calls % len(self.arguments)]
        self.calls += 1
        return self.step(rows)

    def run(self, steps: int) -> None:
        """Do so many steps (a multiple of `steps_per_call`) and wait until they are done."""
        for _ in range(steps // self.steps_per_call):
            self._call()
        backend.synchronize()

    def losses(self, steps: int) -> list[float]:
        """The losses of the first steps, which also compile, capture and count memory."""
        values: list[float] = []
        while len(values) < steps:
            values.extend(np.ravel(self._call().numpy()).tolist())
        if self.memory is not None:
            self.memory.stop()  # from here on it would only cost time
            self.peak_bytes, self.memory = self.memory.peak, None
        return values[:steps]


class OursWide(Ours):
    """Forward, cross-entropy, backward, SGD with momentum, on one batch that stays."""

    def __init__(self, cell: Cell, _: ArrayDataset, device: str) -> None:
        weights = first_weights(cell.net)
        x, y = self._batch(cell)
        tg.set_default_device(device)
        self.memory = Memory() if device != "cpu" else None
        self.peak_bytes: int | None = None
        tg.set_precision("tf32" if cell.precision == "bf16" else cell.precision)
        tg.manual_seed(0)
        model = wide.without_dropout(wide.net_of(cell.net).ours())
        model.load_state_dict(weights)
        sgd = optim.SGD(list(model.parameters()), wide.LEARNING_RATE, momentum=wide.MOMENTUM)
        model = self._joined(model, sgd)
        self.model, self.optimizer = model, sgd
        bf16 = cell.precision == "bf16"

        def train(x: Tensor, y: Tensor) -> Tensor:
            sgd.zero_grad()
            with tg.autocast("bf16") if bf16 else nullcontext():
                loss: Tensor = model(x).cross_entropy(y)
            loss.backward()
            sgd.step()
            return loss

        step = train if cell.impl == "ours-eager" else tg.jit(train)
        batch = Tensor(x, device=device), Tensor(y, device=device)
        self.step: Callable[..., Tensor] = lambda _: step(*batch)
        self.steps_per_call, self.arguments, self.calls = 1, [batch[1]], 0
        self.data_bytes = x.nbytes + y.nbytes

    def _batch(self, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
        return wide.batch_of(cell.net, cell.batch)


class Memory:
    """Counts what CuPy's pools hand out, also private ones; `peak` is the most at one time.

    Counted is what is in use, as `torch.cuda.max_memory_allocated` counts it.
    """

    def __init__(self) -> None:
        cuda = backend.import_cupy().cuda
        counter = self
        self.used = self.peak = 0

        class Hook(cuda.MemoryHook):  # type: ignore[name-defined, misc]
            name = "Memory"

            def malloc_postprocess(self, **allocation: Any) -> None:
                counter.used += allocation["mem_size"]
                counter.peak = max(counter.peak, counter.used)

            def free_postprocess(self, **allocation: Any) -> None:
                counter.used -= allocation["mem_size"]

        self.hook = Hook()
        self.hook.__enter__()

    def stop(self) -> None:
        self.hook.__exit__(None, None, None)


def release(device: str) -> None:
    """Give memory that nothing uses any more back to the device."""
    gc.collect()
    if device != "cpu":
        cupy = backend.import_cupy()
        cupy.get_default_memory_pool().free_all_blocks()
        cupy.get_default_pinned_memory_pool().free_all_blocks()


def versions(device: str) -> dict[str, str]:
    found = {"tinygrad_cupy": tg.__version__, "numpy": np.__version__}
    if device != "cpu":
        cupy = backend.import_cupy()
        found["cupy"] = cupy.__version__
        found["cuda"] = str(cupy.cuda.runtime.runtimeGetVersion())
        found["driver"] = str(cupy.cuda.runtime.driverGetVersion())
    return found


def device_name(device: str) -> str | None:
    """The maker's name of a GPU; None for the CPU."""
    if device == "cpu":
        return None
    return backend.device_names()[int(device.partition(":")[2] or 0)].partition(" ")[2]
