"""A photograph is fitted by 400 spots of color, by a CUDA kernel of one's own with its gradient.

The picture is Σ c exp(-|p - m|² / 2 σ²) over spots with middle m, width σ and color c. Drawing it
is one kernel, with a thread for each pixel; the gradient another, with a block for each spot, which
adds up what its threads find in a fixed order. `tg.custom_op` makes an operation of both, which
Adam trains through. Where there is no GPU the same in NumPy stands in; the kernels are held to it.
They are in custom_kernel.cu, beside this file.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib import cbook
from matplotlib import pyplot as plt

import tinygrad_cupy as tg
from tinygrad_cupy import nn

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--spots", type=int, default=400)
parser.add_argument("--steps", type=int, default=350)
parser.add_argument("--size", type=int, default=64)
parser.add_argument("--device", default=tg.default_device())
parser.add_argument("--out", default="custom_kernel.png")
options = parser.parse_args()
S, THREADS = options.size, 128


def spread(spots):
    """How far each pixel is from each spot, (K, S), and what the spot leaves there, (K, S, S)."""
    middles = (np.arange(S, dtype=np.float32) + np.float32(0.5)) / S
    dy, dx, sharp = middles - spots[:, :1], middles - spots[:, 1:2], np.exp(-2 * spots[:, 2:3])
    e = np.exp(-(dy**2) * sharp / 2)[:, :, None] * np.exp(-(dx**2) * sharp / 2)[:, None]
    return dy, dx, sharp, e


def draw(spots):
    """The picture (S, S, 3) of spots (K, 6), as arrays."""
    if isinstance(spots, np.ndarray):
        return np.einsum("kc,kyx->yxc", spots[:, 3:], spread(spots)[3], optimize=True)
    picture = cupy.empty((S, S, 3), "float32")
    sizes = np.int32(len(spots)), np.int32(S)
    kernel = MODULE.get_function("draw")
    kernel((-(-S * S // THREADS),), (THREADS,), (spots, picture, *sizes))
    return picture


def draw_backward(grad, picture, spots):
    if not isinstance(spots, np.ndarray):
        slopes, size = cupy.empty_like(spots), np.int32(S)
        kernel = MODULE.get_function("draw_backward")
        kernel((len(spots),), (THREADS,), (grad, spots, slopes, size))
        return slopes
    dy, dx, sharp, e = spread(spots)
    g = np.tensordot(spots[:, 3:], grad, axes=(1, 2)) * e  # (K, S, S)
    by_y, by_x = (g.sum(axis=2) * dy * sharp), (g.sum(axis=1) * dx * sharp)
    by_width = (by_y * dy).sum(axis=1) + (by_x * dx).sum(axis=1)
    colors = np.tensordot(e, grad, axes=((1, 2), (0, 1)))  # (K, 3)
    return np.column_stack([by_y.sum(axis=1), by_x.sum(axis=1), by_width, colors])


if options.device != "cpu":
    import cupy

    source = Path(__file__).with_suffix(".cu").read_text()
    MODULE = cupy.RawModule(code=source, options=(f"-DTHREADS={THREADS}",))
picture_of = tg.custom_op(draw, backward=draw_backward)
with cbook.get_sample_data("grace_hopper.jpg") as file:
    photograph = plt.imread(file, format="jpg")[20:340, 90:410]
side = 320 // S
truth = photograph.reshape(S, side, S, side, 3).mean(axis=(1, 3)).astype(np.float32) / 255
rng = np.random.default_rng(0)
places, widths = rng.random((options.spots, 2)), np.full((options.spots, 1), np.log(0.04))
start = np.hstack([places, widths, 0.2 * rng.random((options.spots, 3))]).astype(np.float32)
spots = nn.Parameter(tg.Tensor(start, device=options.device))
wanted = tg.Tensor(truth, device=options.device)
optimizer = nn.optim.Adam([spots], lr=0.01)


@tg.jit
def step():
    optimizer.zero_grad()
    loss = picture_of(spots).mse_loss(wanted)
    loss.backward()
    optimizer.step()
    return loss


losses = [step().item() for _ in range(options.steps)]
found = picture_of(spots).detach().numpy()
decibels = -10 * np.log10(losses[-1])
print(f"{options.spots} spots draw {S} x {S} pixels to {decibels:.1f} dB")

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
middles = spots.detach().numpy()
left.imshow(truth)
middle.imshow(found.clip(0, 1))
areas, colors = 3000 * np.exp(middles[:, 2]), (middles[:, 3:] + 0.3).clip(0, 1)
right.scatter(middles[:, 1], middles[:, 0], s=areas, c=colors, alpha=0.6)
right.set(xlim=(0, 1), ylim=(1, 0), aspect="equal")
titles = "a photograph", f"{options.spots} spots, {decibels:.1f} dB", "where they lie, and how wide"
for ax, title in zip((left, middle, right), titles, strict=True):
    ax.set(title=title, xticks=[], yticks=[])
figure.savefig(options.out, dpi=100)
