"""Times of kernels by themselves: calls in a CUDA graph, ours and PyTorch's in turns."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from statistics import median
from typing import Any

from tinygrad_cupy import backend

Call = Callable[[], Any]
CALLS = 8  # in a graph
SAMPLE_MS = 4.0  # of a sample, at least


def ours(call: Call) -> Call:
    """What replays `CALLS` calls that work on CuPy's arrays."""
    cupy: Any = backend.import_cupy()
    cupy.cuda.Device().synchronize()
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        call()  # compiles, and leaves the pool what the capture takes
        stream.synchronize()
        stream.begin_capture()
        for _ in range(CALLS):
            call()
        graph = stream.end_capture()
    return lambda: graph.launch(cupy.cuda.Stream.null)


def theirs(call: Call) -> Call:
    """The same of PyTorch's tensors."""
    torch: Any = importlib.import_module("torch")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(CALLS):
            call()
    replay: Call = graph.replay
    return replay


def microseconds(replays: dict[str, Call], rounds: int) -> dict[str, float]:
    """Of a call, for each of what `ours` and `theirs` gave: medians of rounds, in turns."""
    cupy: Any = backend.import_cupy()

    def sample(replay: Call, count: int) -> float:
        begun, ended = cupy.cuda.Event(), cupy.cuda.Event()
        begun.record()
        for _ in range(count):
            replay()
        ended.record()
        ended.synchronize()
        return float(cupy.cuda.get_elapsed_time(begun, ended)) / count

    counts = {}
    for name, replay in replays.items():
        replay()
        counts[name] = max(1, int(SAMPLE_MS / max(sample(replay, 1), 1e-3)))
    found: dict[str, list[float]] = {name: [] for name in replays}
    for _ in range(rounds):
        for name, replay in replays.items():
            found[name].append(sample(replay, counts[name]))
    return {name: 1e3 * median(times) / CALLS for name, times in found.items()}
