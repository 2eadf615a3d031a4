"""The physical limit of a train step: its operations and its bytes, over what the chip can do.

Operations are those of the convolutions and products: forward, weight gradient and, but for the
first layer, input gradient (2 per multiply-add each). Bytes are those of a step whose layers are
fused as far as they go without recomputing: see `traffic`. Letters: C channels, H rows, W columns.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from .nets import NETS, Layer

# Of one NVIDIA H200, which is taken for an H100 too: dense products of 8192 x 8192 as measured in
# tf32 and bf16; in fp32 not a measurement, but the vendor's peak of the vector units.
FLOPS = {"tf32": 390e12, "bf16": 800e12, "fp32": 60e12}
BYTES_PER_SECOND = {"H200": 4.3e12, "H100": 3.0e12}  # by card: a copy on the device, measured


class Work(NamedTuple):
    """What a layer does for one image: multiply-adds of its forward, parameters, output size."""

    layer: Layer
    macs: int
    parameters: int
    outputs: int


def layers_of(net: str, channels: int = 1, size: int = 28) -> list[Work]:
    """Each layer of the net on a (channels, size, size) image."""
    works, features = [], channels * size * size
    for layer in NETS[net]:
        macs = parameters = 0
        if layer.kind == "conv":
            into, channels, kernel, padding = layer.sizes
            size += 2 * padding - kernel + 1
            macs = channels * size * size * into * kernel * kernel
            parameters = channels * (into * kernel * kernel + 1)
            features = channels * size * size
        elif layer.kind == "fc":
            features = layer.sizes[1]
            macs, parameters = math.prod(layer.sizes), (layer.sizes[0] + 1) * layer.sizes[1]
        elif layer.kind == "pool":
            size //= 2
            features = channels * size * size
        elif layer.kind == "norm":
            parameters = 2 * channels
        works.append(Work(layer, macs, parameters, features))
    return works


def flops(net: str, batch: int) -> int:
    """Floating-point operations of one step."""
    works = [work for work in layers_of(net) if work.macs]
    return batch * (sum(6 * work.macs for work in works) - 2 * works[0].macs)


def traffic(net: str, batch: int, precision: str) -> int:
    """Bytes that one step moves to and from memory.

    A run of layers up to the next convolution, product or batch norm stores one array, its last
    output: written, read by the next layer's forward and by its weight gradient (a ReLU's mask
    comes with that read). The array's gradient is written, and read by the weight gradient and
    the input gradient of the layer that it belongs to (not by the latter in the first layer). A
    batch norm reads its input in the forward once (sums come with the write before) and twice in
    the backward, and its output's gradient twice. Each 2x2 window has a byte, written and read.
    Parameters are read by forward and backward; they and Adam's two moments are read and written.
    Images are bytes, read in the first layer's forward and weight gradient.
    """
    element = 2 if precision == "bf16" else 4
    works = layers_of(net)
    image = 28 * 28 * 2
    arrays = codes = 0
    producers = [i for i, work in enumerate(works) if work.layer.kind in ("conv", "fc", "norm")]
    for start, end in zip(producers, [*producers[1:], len(works)], strict=True):
        last = works[end - 1]
        pooled = any(work.layer.kind == "pool" for work in works[start:end])
        codes += 2 * last.outputs * pooled
        if end == len(works):  # the logits and their gradient stay in one kernel's registers
            accesses = 0
        elif works[end].layer.kind == "norm":  # written, read once and twice; gradient to and fro
            accesses = 4
        else:
            accesses = 3
        # The gradient of this array: written by whoever follows, read by the run's own layer.
        reads = 2 if start > 0 else 1
        arrays += last.outputs * (accesses + 1 + reads)
    parameters = sum(work.parameters for work in works)
    return batch * (image + codes + element * arrays) + 4 * 8 * parameters


def seconds(net: str, batch: int, precision: str, device: str | None = None) -> float:
    """What a step takes at the least: the longer of arithmetic and memory.

    `device` is the maker's name of the GPU; one that is not listed is counted as an H200.
    """
    card = next((card for card in BYTES_PER_SECOND if card in (device or "")), "H200")
    arithmetic = flops(net, batch) / FLOPS[precision]
    return max(arithmetic, traffic(net, batch, precision) / BYTES_PER_SECOND[card])
