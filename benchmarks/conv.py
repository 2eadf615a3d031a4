"""Each convolution of the wide suite's nets, pass by pass, against cuDNN through PyTorch.

    python -m benchmarks.conv [--nets resnet18,vgg11_bn,...] [--batches 128,1024]
        [--precisions tf32,bf16] [--rounds 3] [--minutes 8] [--bound 0.75] [--out FILE]

Layers that several nets have are measured once. Images are channels-last on both sides, bf16 is
stored as bfloat16, PyTorch has `cudnn.benchmark`. Results are compared first (by norm, 3e-3 in
TF32 and 2e-2 in bf16); then both run from CUDA graphs, in turns,
medians. ``x`` is cuDNN's time over ours. The process ends with code 1 where results differ. The
file grows with every layer.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import geometric_mean
from typing import Any, NamedTuple

import numpy as np

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, backend, nn
from tinygrad_cupy.backend import blas
from tinygrad_cupy.backend.dtypes import resolve_dtype
from tinygrad_cupy.kernels import conv
from tinygrad_cupy.kernels.common.windows import Geometry, Windows

from . import captured, report, steps_ours, steps_torch, wide

NETS = ("resnet18", "vgg11_bn", "mobilenet_v2", "unet", "lenet", "airbench", "resnet50")
PASSES = ("fprop", "dgrad", "wgrad")
SAME = {"tf32": 3e-3, "bf16": 2e-2}


class Layer(NamedTuple):
    """Of images (C, H, W): outputs, kernel, stride, padding, dilation, groups."""

    channels: int
    size: tuple[int, int]
    outputs: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    @property
    def name(self) -> str:
        """As people write it: 64->128 3x3 /2 of 32x32."""
        high, across = self.kernel
        groups = f" groups {self.groups}" if self.groups > 1 else ""
        step = f" /{self.stride[0]}" if self.stride[0] > 1 else ""
        wide = f"{self.channels}->{self.outputs} {high}x{across}"
        return f"{wide}{step}{groups} of {self.size[0]}x{self.size[1]}"


def layers_of(net: str) -> dict[Layer, bool]:
    """The convolutions that a net runs, once each, and whether its input wants a gradient."""
    described, found = wide.NETS[net], dict[Layer, bool]()

    def note(layer: Any, inputs: tuple[Any, ...], _: Any) -> None:
        x, (o, _, *kernel) = inputs[0], layer.weight.shape
        how = [_pair(value) for value in (layer.stride, layer.padding, layer.dilation)]
        made = Layer(x.shape[1], _pair(x.shape[2:]), o, _pair(kernel), *how, layer.groups)
        found.setdefault(made, bool(found))

    model = described.ours().to("cpu")
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(note)
    with tg.no_grad():
        model(Tensor(np.zeros((2, *described.shape), np.float32), device="cpu"))
    return found


def _pair(value: Any) -> tuple[int, int]:
    first, second = value if isinstance(value, tuple | list) else (value, value)
    return int(first), int(second)


class Both:
    """A layer's passes in both libraries, on the same numbers."""

    def __init__(self, layer: Layer, batch: int, precision: str) -> None:
        torch: Any = importlib.import_module("torch")
        narrow = precision == "bf16"
        self.dtype = resolve_dtype("bfloat16" if narrow else "float32")
        windows = Windows.parse("conv2d", layer.kernel, *layer[4:7])
        self.geometry = Geometry(windows, layer.groups)
        size = windows.output_size("conv2d", layer.size)
        rng = np.random.default_rng(0)

        def made(*shape: int) -> Any:
            values = torch.from_numpy(rng.standard_normal(shape, np.float32)).cuda()
            return values.to(torch.bfloat16 if narrow else torch.float32)

        last = {"memory_format": torch.channels_last}
        x = made(batch, layer.channels, *layer.size).contiguous(**last)
        w = made(layer.outputs, layer.channels // layer.groups, *layer.kernel)
        g = made(batch, layer.outputs, *size).contiguous(**last)
        self.theirs, self.ours = (x, w, g), tuple(self._shared(a) for a in (x, w, g))
        self.how = [list(pair) for pair in layer[4:7]]

    def _shared(self, tensor: Any) -> Any:
        """The same memory as an array."""
        cupy, torch = backend.import_cupy(), importlib.import_module("torch")
        images = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
        bare = tensor.permute(0, 2, 3, 1) if images else tensor
        bits = bare.view(torch.int16) if self.dtype.itemsize == 2 else bare
        array = cupy.from_dlpack(bits).view(self.dtype)
        return array.transpose(0, 3, 1, 2) if images else array

    def our(self, which: str) -> Any:
        x, w, g = self.ours
        if which == "fprop":
            return conv.fprop(x, w, None, self.geometry)
        if which == "dgrad":
            return conv.dgrad(g, w, self.geometry, tuple(x.shape))
        return conv.wgrad(x, g, self.geometry, tuple(w.shape))

    def their(self, which: str) -> Any:
        torch: Any = importlib.import_module("torch")
        (x, w, g), (stride, padding, dilation) = self.theirs, self.how
        groups = self.geometry.groups
        if which == "fprop":
            return torch.nn.functional.conv2d(x, w, None, stride, padding, dilation, groups)
        mask = [which == "dgrad", which == "wgrad", False]
        found = torch.ops.aten.convolution_backward(
            g, x, w, None, stride, padding, dilation, False, [0, 0], groups, mask
        )
        return found[0 if which == "dgrad" else 1]

    def apart(self, which: str) -> float:
        """How far the results differ, by norm."""
        mine = np.asarray(backend.import_cupy().asnumpy(self.our(which).astype(np.float32)))
        other = self.their(which).float().cpu().numpy()
        return float(np.linalg.norm(mine - other) / np.linalg.norm(other))


def measure(
    layer: Layer, batch: int, precision: str, asked: list[str], rounds: int
) -> Iterator[Any]:
    """A row for each pass."""
    both = Both(layer, batch, precision)
    windows, n = both.geometry.windows, batch
    pixels = int(np.prod(windows.output_size("conv2d", layer.size)))
    products = n * pixels * layer.outputs * layer.channels // layer.groups * windows.taps
    for which in asked:
        row = {"layer": layer.name, "batch": batch, "precision": precision, "pass": which}
        apart = both.apart(which)
        times = captured.microseconds(
            {
                "ours": captured.ours(lambda which=which: both.our(which)),
                "cudnn": captured.theirs(lambda which=which: both.their(which)),
            },
            rounds,
        )
        row |= {"us": {name: round(took, 2) for name, took in times.items()}}
        row |= {"x": round(times["cudnn"] / times["ours"], 3), "apart": float(f"{apart:.2g}")}
        yield row | {"tflops": round(2 * products / times["ours"] / 1e6, 1)}


def summary(rows: list[dict[str, Any]], bound: float) -> Iterator[str]:
    """A line for each precision and pass, and one for all."""
    for precision in dict.fromkeys(row["precision"] for row in rows):
        for which in ("", *PASSES):
            of = [r["x"] for r in rows if r["precision"] == precision and which in ("", r["pass"])]
            if of:
                share = sum(x >= bound for x in of) / len(of)
                yield (
                    f"{precision} {which or 'all':6} {len(of):4} times: {geometric_mean(of):.2f} "
                    f"of cuDNN, worst {min(of):.2f}, {share:.0%} at {bound} or more"
                )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--batches", default="128,1024")
    parser.add_argument("--precisions", default="tf32,bf16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--bound", type=float, default=0.75)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    ends = time.monotonic() + 60 * options.minutes
    torch: Any = importlib.import_module("torch")
    torch.backends.cudnn.benchmark = torch.backends.cudnn.allow_tf32 = True
    blas.set_precision("tf32")
    versions = steps_ours.versions("cuda") | steps_torch.versions("cuda")
    head = report.facts(report.command("conv"), steps_ours.device_name("cuda"), versions)
    rows: list[dict[str, Any]] = []
    for layer, batch, precision, asked in cells(options):
        if time.monotonic() > ends:
            print("no time for more")
            break
        for row in measure(layer, batch, precision, asked, options.rounds):
            rows.append(row)
            us = row["us"]
            print(
                f"{row['layer']:34} {batch:5} {precision} {row['pass']:6}{us['ours']:9.1f} us, "
                f"cuDNN {us['cudnn']:9.1f}: {row['x']:5.2f}  {row['tflops']:6.1f} TFLOP/s",
                flush=True,
            )
        if options.out:
            report.write(options.out, head | {"rows": rows})
        gc.collect()
    for line in summary(rows, options.bound):
        print(line)
    wrong = [row for row in rows if not row["apart"] < SAME[row["precision"]]]
    for row in wrong:
        print(f"differs by {row['apart']}: {row}")
    return int(bool(wrong) or not rows)


def cells(options: argparse.Namespace) -> Iterator[tuple[Layer, int, str, list[str]]]:
    """The layers of each net at each batch, those of 224 x 224 pictures at 64."""
    done = set()
    for net in options.nets.split(","):
        found = layers_of(net)
        batches = [64] if net == "resnet50" else [int(n) for n in options.batches.split(",")]
        for precision in options.precisions.split(","):
            for batch in batches:
                for layer, inner in found.items():
                    cell = (layer, batch, precision)
                    if cell not in done:
                        done.add(cell)
                        yield *cell, [p for p in PASSES if inner or p != "dgrad"]


if __name__ == "__main__":
    sys.exit(main())
