"""PyTorch's train step: eager, compiled, and whole in a CUDA graph."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cupy.datasets import ArrayDataset

from . import wide
from .cells import LEARNING_RATE, Cell, batches_of, first_weights
from .nets import torch_net

_data: dict[str, tuple[Any, Any]] = {}


def torch_data(dataset: ArrayDataset, device: str) -> tuple[Any, Any]:
    """float32 images in [0, 1] and int64 labels, on the device; once per process."""
    import torch

    if device not in _data:
        images = torch.tensor(dataset.images, device=device).float().div_(255)
        _data[device] = images, torch.tensor(dataset.labels, device=device)
    return _data[device]


class Torch:
    """Gather a batch, forward, cross-entropy, backward, fused Adam."""

    steps_per_call = 1
    warm_ups = 4  # steps before a capture

    def __init__(self, cell: Cell, dataset: ArrayDataset, device: str) -> None:
        import torch

        torch.manual_seed(0)
        self.cuda = device != "cpu"
        tf32 = cell.precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = True
        self.images, self.labels = torch_data(dataset, device)
        self.data_bytes = self.images.nbytes + self.labels.nbytes
        self.model = torch_net(cell.net).to(device)
        self._load(first_weights(cell.net))
        if cell.impl.endswith("-cl"):
            self.model = self.model.to(memory_format=torch.channels_last)
        graph = "-graph" in cell.impl
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=LEARNING_RATE, fused=True, capturable=graph and self.cuda
        )
        self.keep_gradients = graph
        self.model = self._joined()
        forward = self._forward(cell.precision == "bf16")
        if cell.impl == "torch-compile":
            forward = torch.compile(forward, mode="reduce-overhead")
        self.forward = forward
        self.batches = list(torch.tensor(batches_of(len(dataset), cell.batch), device=device))
        self.calls = 0
        self.peak_bytes: int | None = None
        self.step = self._captured() if graph else self._step
        if cell.impl == "torch-compile":
            without_trace(lambda: self._step(self.batches[0]), self.model, self.optimizer)

    def _joined(self) -> Any:
        """The model as it is trained: by this process alone."""
        return self.model

    def _load(self, weights: dict[str, Any]) -> None:
        import torch

        self.model.load_state_dict({k: torch.tensor(np.asarray(v)) for k, v in weights.items()})

    def _forward(self, bf16: bool) -> Callable[[Any, Any], Any]:
        import torch
        from torch.nn.functional import cross_entropy

        kind = "cuda" if self.cuda else "cpu"

        def forward(x: Any, y: Any) -> Any:
            with torch.autocast(kind, torch.bfloat16, enabled=bf16):
                return cross_entropy(self.model(x), y)

        return forward

    def _step(self, rows: Any) -> Any:
        return self._update(self.images[rows], self.labels[rows])

    def _update(self, x: Any, y: Any) -> Any:
        loss = self.forward(x, y)
        self.optimizer.zero_grad(set_to_none=not self.keep_gradients)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _captured(self) -> Callable[[Any], Any]:
        """The step as one CUDA graph; on the CPU, for trying this out, the step itself."""
        if not self.cuda:
            return self._step
        rows = self.batches[0].clone()
        step = functools.partial(self._step, rows)
        done = captured(step, self.model, self.optimizer, self.warm_ups)
        self.peak_bytes = done.peak_bytes

        def replay(new_rows: Any) -> Any:
            rows.copy_(new_rows)
            done.graph.replay()
            return done.result

        return replay

    def _call(self) -> Any:
        rows = self.batches[self.calls % len(self.batches)]
        self.calls += 1
        return self.step(rows)

    def run(self, steps: int) -> None:
        """Do so many steps and wait until they are done."""
        import torch

        for _ in range(steps):
            self._call()
        if self.cuda:
            torch.cuda.synchronize()

    def losses(self, steps: int) -> list[float]:
        """The losses of the next steps."""
        return [float(self._call()) for _ in range(steps)]


class TorchWide(Torch):
    """Forward, cross-entropy, backward, fused SGD with momentum, on one batch that stays."""

    def __init__(self, cell: Cell, _: ArrayDataset, device: str) -> None:
        import torch

        self.cuda = device != "cpu"
        if self.cuda:
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
            torch.backends.cudnn.benchmark = True
        self.images, self.labels = (torch.tensor(x, device=device) for x in self._batch(cell))
        self.data_bytes = self.images.nbytes + self.labels.nbytes
        self.model = wide.without_dropout(wide.net_of(cell.net).theirs()).to(device)
        self._load(first_weights(cell.net))
        if cell.impl.endswith("-cl"):
            self.model = self.model.to(memory_format=torch.channels_last)
            self.images = self.images.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), wide.LEARNING_RATE, wide.MOMENTUM, fused=True
        )
        graph = "-graph" in cell.impl
        self.keep_gradients = graph
        self.model = self._joined()
        self.forward = self._forward(cell.precision == "bf16")
        self.batches = [torch.zeros(1, dtype=torch.int64, device=device)]  # there is one
        self.calls = 0
        self.peak_bytes: int | None = None
        if cell.impl == "torch-compile":
            self.forward = torch.compile(self.forward, mode="max-autotune")
            without_trace(lambda: self._step(None), self.model, self.optimizer)
        self.step = self._captured() if graph else self._step

    def _batch(self, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
        return wide.batch_of(cell.net, cell.batch)

    def _step(self, rows: Any) -> Any:
        return self._update(self.images, self.labels)


def without_trace(step: Callable[[], Any], model: Any, optimizer: Any, steps: int = 4) -> None:
    """A few steps, to warm up, after which weights and optimizer are as they were."""
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(steps):
        step()
    model.load_state_dict(kept)
    for state in optimizer.state.values():
        for value in state.values():
            value.zero_()


class Captured(NamedTuple):
    """A CUDA graph, what each replay writes its result to, and the peak of memory."""

    graph: Any
    result: Any
    peak_bytes: int


def captured(step: Callable[[], Any], model: Any, optimizer: Any, warm_ups: int = 4) -> Captured:
    """``step`` as a CUDA graph; capturing leaves no trace in weights and optimizer."""
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        without_trace(step, model, optimizer, warm_ups)
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()  # what cuDNN tried out to choose from does not count
    graph = torch.cuda.CUDAGraph()
    # Other threads, such as one that watches NCCL, may ask the GPU something meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        result = step()
    torch.cuda.synchronize()
    return Captured(graph, result, torch.cuda.max_memory_allocated())


def release(device: str) -> None:
    """Give memory that nothing uses any more back to the device."""
    import torch

    gc.collect()
    torch._dynamo.reset()
    if device != "cpu":
        torch.cuda.empty_cache()


def versions(device: str) -> dict[str, str]:
    import torch

    return {"torch": torch.__version__}
