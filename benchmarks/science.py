"""Problems of science, value and gradient, beside JAX and PyTorch.

    python -m benchmarks.science [--device cuda|cpu] [--only process,heat] [--rounds 7] [--out FILE]

What people write down as it stands, in each library's own words (`benchmarks.problems`):
a Gaussian process's marginal likelihood, a step of phase retrieval, 200 steps of a heat equation's
stencil, a mixture's log-likelihood. Ours under `tg.jit` (and eager, on a GPU), JAX under `jax.jit`,
PyTorch eager and with `torch.compile`; in one process, taking turns; medians, milliseconds. Values
and gradients are compared first. ``x``: the time of the best of JAX and PyTorch over ours.

On the CPU OpenMP's threads sleep while they wait (``OMP_WAIT_POLICY=PASSIVE`` unless it is set):
those that spin take the cores from the library whose turn is next.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, backend

from . import problems, report, steps_ours, steps_torch
from .problems import Problem

Calls = dict[str, Callable[[], Any]]
Found = tuple[np.ndarray, np.ndarray]


class Subject(NamedTuple):
    """A problem in one library: what is timed, and the value and gradient that it leaves."""

    call: Callable[[], Any]
    read: Callable[[Any], Found]


def ours(problem: Problem, device: str, captured: bool) -> Subject:
    function = tg.value_and_grad(problem.ours)
    if captured:
        function = tg.jit(function)
    given = [Tensor(array, device=device) for array in problem.arrays]
    return Subject(lambda: function(*given), lambda found: tuple(x.numpy() for x in found))


def torch(problem: Problem, device: str, compiled: bool) -> Subject:
    import torch

    given = [torch.tensor(array, device=device) for array in problem.arrays]
    given[0].requires_grad_()
    function = problem.torch(torch.compile if compiled else lambda function: function)

    def call() -> Any:
        value = function(*given)
        return value, torch.autograd.grad(value, given[0])[0]

    return Subject(call, lambda found: tuple(x.detach().cpu().numpy() for x in found))


def jax(problem: Problem, device: str) -> Subject:
    import jax

    where = jax.devices("cpu" if device == "cpu" else "gpu")[0]
    given = [jax.device_put(array, where) for array in problem.arrays]
    function = jax.jit(jax.value_and_grad(problem.jax()))
    return Subject(
        lambda: jax.block_until_ready(function(*given)),
        lambda found: tuple(np.asarray(x) for x in found),
    )


def subjects(device: str) -> dict[str, Callable[[Problem], Subject]]:
    """The implementations by name."""
    ways: dict[str, Callable[[Problem], Subject]] = {
        "ours": lambda problem: ours(problem, device, captured=True)
    }
    if device != "cpu":  # where a jitted function is another one
        ways["ours-eager"] = lambda problem: ours(problem, device, captured=False)
    return ways | {
        "torch-eager": lambda problem: torch(problem, device, compiled=False),
        "torch-compile": lambda problem: torch(problem, device, compiled=True),
        "jax-jit": lambda problem: jax(problem, device),
    }


def measure(problem: Problem, options: argparse.Namespace) -> dict[str, Any]:
    """A row: milliseconds of each library that can, and why others cannot."""
    calls: Calls = {}
    results: dict[str, Found] = {}
    failures: dict[str, str] = {}
    for name, make in subjects(options.device).items():
        if name in options.skip.split(","):
            continue
        try:
            subject = make(problem)
            for _ in range(3):  # the first runs, the second captures, the third is a replay
                results[name] = subject.read(subject.call())
            calls[name] = subject.call
        except Exception as error:
            failures[name] = f"{type(error).__name__}: {error}"[:300]
            results.pop(name, None)
    difference = _largest_difference(list(results.values()))
    if difference > problem.tolerance:
        raise ArithmeticError(f"the libraries differ by {difference:.1e}")
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(options.rounds):
        for name, call in calls.items():
            seconds[name].append(_seconds(call, options.sample_ms / 1e3))
    ms = {name: round(1e3 * median(took), 3) for name, took in seconds.items()}
    own = [name for name in ("ours", "ours-eager") if name in seconds]
    peers = [name for name in seconds if name not in own]
    row = {
        "problem": problem.name,
        "size": problem.size,
        "difference": float(f"{difference:.1e}"),
        "ms": ms,
    }
    if own and peers:
        best, peer = (min(names, key=ms.__getitem__) for names in (own, peers))
        turns = zip(seconds[best], seconds[peer], strict=True)
        row["x"] = round(median(theirs / mine for mine, theirs in turns), 2)
    return row | ({"failures": failures} if failures else {})


def _largest_difference(results: list[Found]) -> float:
    """Of values and gradients from the first library's, relative, by norm."""
    return max(
        (
            float(np.linalg.norm(a - b) / (np.linalg.norm(b) + 1e-30))
            for result in results[1:]
            for a, b in zip(result, results[0], strict=True)
        ),
        default=0.0,
    )


def _seconds(call: Callable[[], Any], least: float) -> float:
    """Of one call, the mean of as many as take so long together."""
    backend.synchronize()
    started, count, took = time.perf_counter(), 0, 0.0
    while took < least:
        call()
        count += 1
        if count & (count - 1) == 0:  # to wait costs time: after 1, 2, 4, 8 … calls
            backend.synchronize()
            took = time.perf_counter() - started
    return took / count


def main() -> int:
    options = _options()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before anything loads OpenMP
    warnings.filterwarnings("ignore", module="torch")  # of what its compiler leaves alone
    tg.set_default_device(options.device)
    tg.set_precision("fp32")
    versions = steps_ours.versions(options.device) | steps_torch.versions(options.device)
    try:
        import jax

        jax.config.update("jax_enable_x64", True)
        versions["jax"] = jax.__version__
    except ImportError:
        options.skip += ",jax-jit"
    head = report.facts(report.command("science"), steps_ours.device_name(options.device), versions)
    rows: list[dict[str, Any]] = []
    for problem in problems.chosen(options.device, options.scale):
        if not any(word in problem.name for word in options.only.split(",")):
            continue
        try:
            rows.append(measure(problem, options))
        except ArithmeticError as error:
            print(f"{problem.name}: FAILED, {error}", flush=True)
            continue
        row = rows[-1]
        shown = ", ".join(f"{name} {ms:.2f}" for name, ms in row["ms"].items())
        print(f"{problem.name} {problem.size}: {shown} ms; x {row.get('x')}", flush=True)
        for name, why in row.get("failures", {}).items():
            print(f"  {name}: {why}", flush=True)
        if options.out:
            report.write(options.out, head | {"rows": rows})
        steps_ours.release(options.device)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", default="", help="problems whose names hold one of these")
    parser.add_argument("--skip", default="", help="implementations, by their names")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sample-ms", type=float, default=50.0)
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes, for a trial")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
