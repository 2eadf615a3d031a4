"""Attention, forward and with its gradients, against PyTorch's fused kernels.

    python -m benchmarks.attention [--precisions bf16,tf32] [--lengths 256,1024,8192]
        [--widths 64,128] [--rounds 3] [--minutes 5] [--out FILE]

16,384 queries in all, 2,048 numbers for each in all heads, whole and causal; and the shapes of
`vit_tiny` @1024 and of a GPT of 256 (4 heads, length 512) @32. Heads lie inside of rows, as layers
have them. The peer is the fastest of PyTorch's kernels (flash, cuDNN's, memory-efficient). Values
are compared first; then both run from CUDA graphs, in turns, medians. ``x`` is its time over ours;
the last lines have the least and the mean of it.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.backend import blas
from tinygrad_cupy.backend.dtypes import resolve_dtype
from tinygrad_cupy.kernels.attention import cuda
from tinygrad_cupy.kernels.attention.plan import Rule

from . import captured, report, steps_ours, steps_torch

KERNELS = ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION")
QUERIES, NUMBERS = 16384, 2048
SAME = {"tf32": 5e-3, "bf16": 2e-2}


class Shape(NamedTuple):
    """Batches, heads, length, numbers of a head, and whether it is causal."""

    batches: int
    heads: int
    length: int
    width: int
    causal: bool


def shapes(lengths: list[int], widths: list[int]) -> Iterator[Shape]:
    yield Shape(1024, 3, 64, 64, False)  # vit_tiny
    yield Shape(32, 4, 512, 64, True)  # the GPT
    for length in lengths:
        for width in widths:
            for causal in (False, True):
                yield Shape(QUERIES // length, NUMBERS // width, length, width, causal)


def rows_of(shape: Shape, precision: str, rounds: int) -> dict[str, Any]:
    """A row, with times in µs."""
    torch: Any = importlib.import_module("torch")
    cupy, narrow = backend.import_cupy(), precision == "bf16"
    dtype = resolve_dtype("bfloat16" if narrow else "float32")
    stored = (shape.batches, shape.length, shape.heads, shape.width)
    kind = torch.bfloat16 if narrow else torch.float32
    tensors = [torch.randn(stored, device="cuda").to(kind) for _ in range(4)]
    arrays = [
        cupy.from_dlpack(t.view(torch.int16) if narrow else t).view(dtype).transpose(0, 2, 1, 3)
        for t in tensors
    ]
    q, k, v, g = arrays
    rule = Rule(shape.causal, shape.width**-0.5)

    def forward() -> Any:
        return cuda.forward(q, k, v, None, rule, False)

    def both() -> Any:
        y, logs = forward()
        return y, *cuda.backward(g, q, k, v, None, y, logs, rule, (True, True, True))

    own = {"forward": captured.ours(forward), "both": captured.ours(both)}
    found = [cupy.asnumpy(a.astype(np.float32)) for a in both()]
    peers: dict[str, dict[str, Any]] = {"forward": {}, "both": {}}
    apart = 0.0
    for name in KERNELS:
        try:
            pair = _theirs(torch, name, tensors, shape.causal)
        except RuntimeError:  # not for this dtype
            continue
        expected = [t.float().cpu().numpy() for t in pair["both"]()]
        for mine, other in zip(found, expected, strict=True):
            apart = max(apart, float(np.linalg.norm(mine - other) / np.linalg.norm(other)))
        for part in peers:
            peers[part][name] = captured.theirs(pair[part])
    row = {**shape._asdict(), "precision": precision, "apart": float(f"{apart:.2g}")}
    products = 4 * shape.batches * shape.heads * shape.length**2 * shape.width
    products //= 2 if shape.causal else 1
    for part, times in (
        (p, captured.microseconds({"ours": own[p]} | peers[p], rounds)) for p in own
    ):
        peer = min((name for name in times if name != "ours"), key=times.__getitem__)
        row[part] = {
            "us": round(times["ours"], 1), "peer": peer, "peer_us": round(times[peer], 1),
            "x": round(times[peer] / times["ours"], 3),
            "tflops": round((1 if part == "forward" else 3.5) * products / times["ours"] / 1e6, 1),
        }  # fmt: skip
    return row


def _theirs(torch: Any, name: str, tensors: list[Any], causal: bool) -> dict[str, Any]:
    attention: Any = importlib.import_module("torch.nn.attention")
    one = getattr(attention.SDPBackend, name)
    q, k, v, g = (t.detach().transpose(1, 2) for t in tensors)
    inputs = [t.requires_grad_() for t in (q, k, v)]
    product = torch.nn.functional.scaled_dot_product_attention

    def forward() -> Any:
        with attention.sdpa_kernel(one), torch.no_grad():
            return product(*inputs, is_causal=causal)

    def both() -> Any:
        with attention.sdpa_kernel(one):
            y = product(*inputs, is_causal=causal)
            return y.detach(), *torch.autograd.grad(y, inputs, g)

    both()
    return {"forward": forward, "both": both}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precisions", default="bf16,tf32")
    parser.add_argument("--lengths", default="256,1024,8192")
    parser.add_argument("--widths", default="64,128")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    ends = time.monotonic() + 60 * options.minutes
    importlib.import_module("torch").backends.cuda.matmul.allow_tf32 = True
    blas.set_precision("tf32")
    versions = steps_ours.versions("cuda") | steps_torch.versions("cuda")
    head = report.facts(report.command("attention"), steps_ours.device_name("cuda"), versions)
    lengths, widths = (
        [int(n) for n in text.split(",")] for text in (options.lengths, options.widths)
    )
    rows: list[dict[str, Any]] = []
    for precision in options.precisions.split(","):
        for shape in shapes(lengths, widths):
            if time.monotonic() > ends:
                print("no time for more")
                break
            row = rows_of(shape, precision, options.rounds)
            rows.append(row)
            about = " ".join(f"{key} {row[key]}" for key in (*shape._fields, "precision"))
            for part in ("forward", "both"):
                one = row[part]
                about += f"; {part} {one['us']} us, {one['tflops']} TFLOP/s, {one['peer'][:5]} "
                about += f"{one['peer_us']}: {one['x']:.2f}"
            print(about, flush=True)
            if options.out:
                report.write(options.out, head | {"rows": rows})
    for precision in dict.fromkeys(row["precision"] for row in rows):
        for part in ("forward", "both"):
            found = [row[part]["x"] for row in rows if row["precision"] == precision]
            mean = float(np.exp(np.mean(np.log(found))))
            print(f"{precision} {part}: x from {min(found):.2f}, geometric mean {mean:.2f}")
    wrong = [row for row in rows if not row["apart"] < SAME[row["precision"]]]
    for row in wrong:
        print(f"differs by {row['apart']}: {row}")
    return int(bool(wrong) or not rows)


if __name__ == "__main__":
    sys.exit(main())
