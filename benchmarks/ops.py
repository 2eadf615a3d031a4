"""Each operation by itself, eager, against PyTorch and plain CuPy (NumPy on the CPU).

    python -m benchmarks.ops [--device cuda|cpu] [--only conv,pool] [--batch 1024] [--rounds 7]
                             [--out FILE]
    python -m benchmarks.ops --arrays [--sizes 1e3,1e5,1e7] [--only einsum,take] [--bound 0.8]

Microseconds per call, forward alone and forward with backward, in one process, taking turns;
medians. Values and gradients are compared first. What is short of about 30 us on a GPU is the time
of the host that launches it: inside `tg.jit` that goes away.

With ``--arrays``, NumPy's operations (`benchmarks.arrays`) on arrays of so many elements. ``x``
columns are PyTorch's time over ours, the median of all rounds; where forward with backward falls
short of ``--bound`` the process ends with code 1.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, backend

from . import arrays, report, steps_ours, steps_torch

Call = Callable[..., Any]


class Case(NamedTuple):
    """An operation on inputs of these shapes in three libraries.

    ``plain`` (CuPy or NumPy) gets the module first; None where there is no plain line for it.
    ``integers``: the last input is a class number below so many, without a gradient, ``distinct``
    ones if so. ``random``: its values cannot be compared. ``chooses``: behind products it takes a
    maximum, which their rounding may move, so that gradients can be compared in strict fp32 only.
    ``apart``: no two elements of an input are alike. ``images``: what has four axes is images,
    which lie with their channels last on a GPU.
    """

    name: str
    shapes: list[tuple[int, ...]]
    ours: Call
    torch: Call
    plain: Call | None = None
    integers: int = 0
    random: bool = False
    chooses: bool = False
    distinct: bool = False
    apart: bool = False
    images: bool = True


def cases(n: int) -> list[Case]:
    """The operations that the nets and their users run, at batch size n."""
    from torch.nn import functional

    F = functional  # the name it goes by
    images, maps = (n, 32, 26, 26), (n, 64, 24, 24)
    rows = (8 * n, 1024)

    def conv(cin: int, cout: int, kernel: int, size: int) -> Case:
        shapes = [(n, cin, size, size), (cout, cin, kernel, kernel), (cout,)]
        name = f"conv {cin}->{cout} {kernel}x{kernel}"
        return Case(name, shapes, Tensor.conv2d, F.conv2d)

    return [
        Case("add", [rows, rows], lambda a, b: a + b, lambda a, b: a + b, lambda xp, a, b: a + b),
        Case("add bias", [rows, rows[1:]], lambda a, b: a + b, lambda a, b: a + b,
             lambda xp, a, b: a + b),
        Case("multiply", [rows, rows], lambda a, b: a * b, lambda a, b: a * b,
             lambda xp, a, b: a * b),
        Case("exp", [rows], Tensor.exp, lambda a: a.exp(), lambda xp, a: xp.exp(a)),
        Case("tanh", [rows], Tensor.tanh, lambda a: a.tanh(), lambda xp, a: xp.tanh(a)),
        Case("gelu", [rows], Tensor.gelu, F.gelu),
        Case("relu", [images], Tensor.relu, F.relu, lambda xp, a: xp.maximum(a, 0)),
        Case("sum", [rows], Tensor.sum, lambda a: a.sum(), lambda xp, a: a.sum()),
        Case("sum axis 0", [rows], lambda a: a.sum(0), lambda a: a.sum(0),
             lambda xp, a: a.sum(0)),
        Case("max axis 1", [rows], lambda a: a.max(1), lambda a: a.amax(1),
             lambda xp, a: a.max(1)),
        Case("softmax", [rows], lambda a: a.softmax(1), lambda a: a.softmax(1), _plain_softmax),
        Case("transpose, copy", [rows], lambda a: a.T + 0, lambda a: a.T + 0,
             lambda xp, a: a.T + 0),
        Case("matmul 1024", [(1024, 1024)] * 2, lambda a, b: a @ b, lambda a, b: a @ b,
             lambda xp, a, b: a @ b),
        Case("linear 9216->128", [(n, 9216), (128, 9216), (128,)], Tensor.linear, F.linear,
             lambda xp, x, w, b: x @ w.T + b),
        conv(1, 8, 3, 28), conv(1, 32, 3, 28), conv(1, 32, 5, 28), conv(32, 32, 5, 24),
        conv(32, 64, 3, 26), conv(64, 64, 3, 8),
        Case("conv 32->64, relu, pool", [images, (64, 32, 3, 3), (64,)],
             lambda x, w, b: x.conv2d_block(w, b, relu=True, pool=True),
             lambda x, w, b: F.max_pool2d(F.relu(F.conv2d(x, w, b)), 2), chooses=True),
        Case("max-pool 2x2", [maps], lambda x: x.max_pool2d(2), lambda x: F.max_pool2d(x, 2)),
        Case("max-pool 3x3 stride 2", [maps], lambda x: x.max_pool2d(3, 2),
             lambda x: F.max_pool2d(x, 3, 2)),
        Case("avg-pool 2x2", [maps], lambda x: x.avg_pool2d(2), lambda x: F.avg_pool2d(x, 2)),
        Case("batch norm", [(n, 32, 20, 20), (32,), (32,)], _our_norm,
             lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True)),
        Case("cross-entropy", [(8 * n, 10), (8 * n,)], lambda x, y: x.cross_entropy(y),
             F.cross_entropy, integers=10),
        Case("dropout", [(n, 9216)], lambda x: x.dropout(0.5), lambda x: F.dropout(x, 0.5),
             random=True),
    ]  # fmt: skip


def of_arrays(sizes: list[float]) -> Iterator[Case]:
    """NumPy's operations on arrays of these numbers of elements."""
    for size in sizes:
        for case in arrays.cases(int(size)):
            yield Case(
                f"{case.name}, {size:.0e}".replace("e+0", "e"),
                *(case.shapes, case.ours, case.torch),
                integers=case.integers,
                distinct=case.distinct,
                apart=case.apart,
                images=False,
            )


def _plain_softmax(xp: Any, a: Any) -> Any:
    powers = xp.exp(a - a.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def _our_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    channels = x.shape[1]
    mean, variance = Tensor.zeros(channels, device=x.device), Tensor.ones(channels, device=x.device)
    result: Tensor = x.batch_norm(weight, bias, mean, variance)
    return result


# --- measuring ------------------------------------------------------------------------------------


class Subject:
    """One case in the three libraries, on the same inputs."""

    def __init__(self, case: Case, device: str) -> None:
        import torch

        self.case, self.torch = case, torch
        rng = np.random.default_rng(0)
        arrays: list[np.ndarray] = [
            rng.standard_normal(shape, np.float32) / np.float32(_scale(case, i))
            for i, shape in enumerate(case.shapes)
        ]
        if case.integers:
            arrays[-1] = rng.integers(0, case.integers, case.shapes[-1])
        if case.apart:  # numbers that float32 tells apart
            arrays = [rng.permutation(x.size).reshape(x.shape).astype(np.float32) for x in arrays]
        if case.distinct:
            arrays[-1] = rng.permutation(case.integers)[: len(arrays[-1])]
        floating = [array.dtype == np.float32 for array in arrays]
        last = device != "cpu" and case.images
        self.inputs = [
            Tensor(_placed(array, device, i, last), requires_grad=wanted)
            for i, (array, wanted) in enumerate(zip(arrays, floating, strict=True))
        ]
        self.theirs = [
            torch.tensor(array, device=device, requires_grad=wanted)
            for array, wanted in zip(arrays, floating, strict=True)
        ]
        if last:  # in which the convolutions of both give their results
            self.theirs = [
                x.detach().to(memory_format=torch.channels_last).requires_grad_()
                if x.ndim == 4 else x for x in self.theirs
            ]  # fmt: skip
        self.plain = [tensor.data for tensor in self.inputs]
        self.xp = backend.array_module(self.plain[0])
        result = case.ours(*self.inputs)
        grad = rng.standard_normal(result.shape, np.float32)
        self.grad = Tensor(_placed(grad, device, 0, last))
        self.their_grad = torch.tensor(grad, device=device)
        if last and grad.ndim == 4:
            self.their_grad = self.their_grad.to(memory_format=torch.channels_last)

    def calls(self) -> dict[str, Callable[[], Any]]:
        """What is timed, by name."""
        case = self.case
        found: dict[str, Callable[[], Any]] = {
            "ours": self._our_forward,
            "torch": self._their_forward,
            "ours backward": self.our_backward,
            "torch backward": self.their_backward,
        }
        if case.plain is not None:
            plain = case.plain
            found["plain"] = lambda: plain(self.xp, *self.plain)
        return found

    def _our_forward(self) -> Any:
        with tg.no_grad():
            return self.case.ours(*self.inputs)

    def _their_forward(self) -> Any:
        with self.torch.no_grad():
            return self.case.torch(*self.theirs)

    def our_backward(self) -> list[Any]:
        wanted = [x for x in self.inputs if x.requires_grad]
        return list(tg.grad(self.case.ours(*self.inputs), wanted, self.grad))

    def their_backward(self) -> list[Any]:
        wanted = [x for x in self.theirs if x.requires_grad]
        result = self.case.torch(*self.theirs)
        return list(self.torch.autograd.grad(result, wanted, self.their_grad))

    def check(self, precision: str) -> float:
        """The largest relative difference (by norm) of values and gradients from PyTorch's."""
        if self.case.random:
            return 0.0
        pairs = [(self._our_forward(), self._their_forward())]
        if self.case.chooses:
            set_precision("fp32")
        pairs += zip(self.our_backward(), self.their_backward(), strict=True)
        set_precision(precision)
        found = [_difference(a.numpy(), b.detach().cpu().numpy()) for a, b in pairs]
        return float(np.max(found))  # NaN where one is


def set_precision(precision: str) -> None:
    """How all libraries round the factors of products on a GPU: fp32 or tf32."""
    import torch

    tg.set_precision(precision)
    tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32


def _placed(array: np.ndarray, device: str, position: int, last: bool) -> Any:
    """The array on the device, images with their channels last if so; weights come later."""
    if not last or array.ndim != 4 or position:
        return backend.to_device(array, device)
    placed = backend.to_device(array.transpose(0, 2, 3, 1).copy(), device)
    return placed.transpose(0, 3, 1, 2)


def _scale(case: Case, position: int) -> float:
    """Weights are scaled so that sums stay near 1."""
    fan_in = math.prod(case.shapes[position][1:]) if position == 1 else 1
    return math.sqrt(fan_in) if case.name.startswith(("conv", "linear")) else 1.0


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / (np.linalg.norm(b) + 1e-30))


def measure(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """A row: microseconds of each library."""
    subject = Subject(case, options.device)
    difference = subject.check(options.precision)
    if not difference <= 1e-2:
        raise ArithmeticError(f"differs from PyTorch by {difference:.1e}")
    calls = subject.calls()
    counts = {name: _count(call, options.sample_ms / 1e3) for name, call in calls.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(options.rounds):
        for name, call in calls.items():
            samples[name].append(_seconds(call, counts[name]))
    us = {name: round(1e6 * median(took), 1) for name, took in samples.items()}
    return {
        "op": case.name,
        "difference": float(f"{difference:.1e}"),
        "us": us,
        "x": _ratio(samples, ""),
        "x backward": _ratio(samples, " backward"),
    }


def _ratio(samples: dict[str, list[float]], which: str) -> float:
    """PyTorch's time over ours, by rounds: what slows the machine down slows down both."""
    pairs = zip(samples[f"ours{which}"], samples[f"torch{which}"], strict=True)
    return round(median(theirs / ours for ours, theirs in pairs), 2)


def _seconds(call: Callable[[], Any], count: int) -> float:
    """Of one call; all libraries use the same device, so that CuPy can wait for PyTorch as well."""
    backend.synchronize()
    started = time.perf_counter()
    for _ in range(count):
        call()
    backend.synchronize()
    return (time.perf_counter() - started) / count


def _count(call: Callable[[], Any], sample: float) -> int:
    for _ in range(3):
        call()
    return max(1, round(sample / _seconds(call, 3)))


def main() -> int:
    options = _options()
    import torch

    batch = options.batch or (64 if options.device == "cpu" else 1024)
    tg.set_default_device(options.device)
    set_precision(options.precision)
    torch.backends.cudnn.benchmark = True
    versions = steps_ours.versions(options.device) | steps_torch.versions(options.device)
    name = steps_ours.device_name(options.device)
    head = report.facts(report.command("ops"), name, versions)
    sizes = [float(word) for word in options.sizes.split(",")]
    chosen: Iterable[Case] = of_arrays(sizes) if options.arrays else cases(batch)
    wanted = [word for word in options.only.split(",") if word]
    found = Table(options.out, head | {"batch": batch})
    for case in chosen:
        if wanted and not any(word in case.name for word in wanted):
            continue
        found.add(case, options)
        steps_ours.release(options.device)
    slow = [row["op"] for row in found.rows if row["x backward"] < options.bound]
    if slow:
        print(f"below {options.bound} of PyTorch's speed: {'; '.join(slow)}")
    return int(bool(slow))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", default="", help="operations whose names hold one of these")
    parser.add_argument("--batch", type=int, help="1024, on a CPU 64")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sample-ms", type=float, default=10.0)
    parser.add_argument("--precision", choices=["fp32", "tf32"], default="tf32")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--arrays", action="store_true", help="NumPy's operations, by --sizes")
    parser.add_argument("--sizes", default=",".join(f"{n:g}" for n in arrays.SIZES))
    parser.add_argument("--bound", type=float, default=0.0)
    return parser.parse_args()


class Table:
    """The rows so far, on the screen and in a file."""

    columns = ("ours", "torch", "plain", "ours backward", "torch backward")

    def __init__(self, path: Path | None, head: dict[str, Any]) -> None:
        self.path, self.head = path, head
        self.rows: list[dict[str, Any]] = []
        self.failures: list[dict[str, Any]] = []
        titles = "".join(f"{column:>15}" for column in self.columns)
        print(f"{'operation':32}{titles}   us per call{'x':>8}{'x backward':>12}")

    def add(self, case: Case, options: argparse.Namespace) -> None:
        """Measure and show a case."""
        try:
            row = measure(case, options)
        except Exception as error:
            self.failures.append(
                {"op": case.name, "error": f"{type(error).__name__}: {error}"[:300]}
            )
            print(f"{case.name:32}FAILED {self.failures[-1]['error']}", flush=True)
            return
        self.rows.append(row)
        us = row["us"]
        cells = [f"{us[name]:15.1f}" if name in us else " " * 15 for name in self.columns]
        ratios = f"{row['x']:22.2f}{row['x backward']:12.2f}"
        print(f"{case.name:32}" + "".join(cells) + ratios, flush=True)
        if self.path:
            report.write(self.path, self.head | {"rows": self.rows, "failures": self.failures})


if __name__ == "__main__":
    sys.exit(main())
