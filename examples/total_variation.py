"""A noisy photograph is smoothed, and its edges stay: total-variation denoising.

The picture u with the least |u - noisy|² / 2 + λ Σ |∇u|, where |∇u| is the length of the gradient
of a pixel's three colors together (Rudin, Osher and Fatemi 1992; Blomgren and Chan 1998), rounded
off by ε at 0, where it has an edge. Nesterov's accelerated gradient descent takes steps of 1 / L,
L = 1 + 8 λ / ε being how fast the slope may change; `tg.jit` makes each one launch on a GPU.
"""

import argparse

import numpy as np
from matplotlib import cbook
from matplotlib import pyplot as plt

import tinygrad_cupy as tg

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=150)
parser.add_argument("--device", default=tg.default_device())
parser.add_argument("--out", default="total_variation.png")
options = parser.parse_args()
NOISE, WEIGHT, EPSILON = 0.15, 0.15, 0.01

with cbook.get_sample_data("grace_hopper.jpg") as file:
    truth = plt.imread(file, format="jpg")[20:340, 90:410] / 255
noise = NOISE * np.random.default_rng(0).standard_normal(truth.shape)
noisy = tg.Tensor(truth + noise, dtype="float32", device=options.device)


@tg.grad
def slope(u, noisy):
    """Of the energy of a picture (H, W, 3)."""
    down = np.diff(u, axis=0, append=u[-1:])  # 0 at the last row
    right = np.diff(u, axis=1, append=u[:, -1:])
    edges = np.sqrt((down**2 + right**2).sum(-1) + EPSILON**2)
    return ((u - noisy) ** 2).sum() / 2 + WEIGHT * edges.sum()


@tg.jit
def descend(u, ahead, momentum):
    """The next u, and the point ahead of it where the slope is taken."""
    lower = ahead - slope(ahead, noisy) / (1 + 8 * WEIGHT / EPSILON)
    return lower, lower + momentum * (lower - u)


def decibels(picture):
    """The peak signal-to-noise ratio."""
    return -10 * np.log10(((picture - truth) ** 2).mean())


u = ahead = noisy
for k in range(options.steps):
    momentum = tg.Tensor(k / (k + 3), device=options.device)  # as a tensor: it is another each time
    u, ahead = descend(u, ahead, momentum)
before, after = decibels(noisy.numpy()), decibels(u.numpy())
print(f"from {before:.1f} to {after:.1f} dB")

figure, axes = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
pictures = truth, noisy.numpy(), u.numpy()
titles = "a photograph", f"with noise, {before:.1f} dB", f"denoised, {after:.1f} dB"
for ax, picture, title in zip(axes, pictures, titles, strict=True):
    ax.imshow(np.clip(picture, 0, 1))
    ax.set(title=title, xticks=[], yticks=[])
figure.savefig(options.out, dpi=100)
