"""A planet is seen sharply through turbulent air, although nobody knows how the air blurred it.

Each of eight short exposures is the planet convolved with a blur of its own. A blur is how a star
looks: |FFT of the aperture times exp(i phase)|², where the phase, a sum of smooth modes, is what
the air did to the light (Schulz 1993, Multiframe blind deconvolution of astronomical images).
Planet and phases are found together by Adam; total variation keeps out noise that no lens resolves.
"""

import argparse
from functools import partial

import numpy as np
from matplotlib import pyplot as plt

import tinygrad_cupy as tg
from tinygrad_cupy.nn import optim

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--device", default=tg.default_device())
parser.add_argument("--out", default="blind_deconvolution.png")
options = parser.parse_args()
tensor = partial(tg.Tensor, dtype="float32", device=options.device)
rng, N, NOISE = np.random.default_rng(0), 128, 0.01

# The planet, (N, N): a ball with bands, and a ring that is partly behind it.
y, x = np.tensordot([[0.92, 0.39], [-0.39, 0.92]], (np.indices((N, N)) - N / 2) / N, 1)
ball, ring = np.hypot(x, 1.1 * y) / 0.2, np.hypot(x, 2.9 * y) / 0.42
disc = np.sqrt(np.clip(1 - ball**2, 0, 1)) * (0.75 + 0.15 * np.sin(55 * y + 14 * x**2))
lit = (ring > 0.62) & (ring < 1) & (abs(ring - 0.86) > 0.025)
truth = np.where((ball < 1) & ((y < 0) | ~lit), disc, lit * (0.6 + 0.15 * np.sin(40 * ring)))

# The aperture, a disc, and smooth phases over it, (M, N, N); tilts would only move the picture.
x, y = (np.indices((N, N)) - N / 2) / (0.22 * N)
inside = np.hypot(x, y) < 1
terms = [(x**i * y ** (d - i))[inside] for d in range(5) for i in range(d + 1)]
modes = np.zeros((len(terms) - 3, N, N))
modes[:, inside] = np.linalg.qr(np.stack(terms, 1))[0].T[3:] * np.sqrt(inside.sum())
inside, modes = tensor(inside), tensor(modes)


def expose(picture, phases):
    """The exposures (K, N, N) of a picture through air with the phases (K, M), and the blurs."""
    light = abs(np.fft.fft2(inside * np.exp(1j * np.tensordot(phases, modes, 1)))) ** 2
    blurs = light / light.sum((1, 2), keepdims=True)
    return np.fft.irfft2(np.fft.rfft2(picture) * np.fft.rfft2(blurs), (N, N)), blurs


seen, air = expose(tensor(truth), tensor(0.5 * rng.standard_normal((8, len(modes)))))
seen = seen + tensor(NOISE * rng.standard_normal((8, N, N)))
root = np.sqrt(np.clip(seen.mean(0), 1e-3, None)).requires_grad_()  # light is not negative
phases = tensor(0.1 * rng.standard_normal((8, len(modes)))).requires_grad_()
adam = optim.Adam([root, phases], lr=0.03)


@tg.jit  # on a GPU one launch
def step():
    adam.zero_grad()
    misfit = expose(root**2, phases)[0] - seen
    slopes = np.diff(root, axis=0)[:, 1:] ** 2 + np.diff(root, axis=1)[1:] ** 2
    loss = (misfit**2).sum() / (2 * NOISE**2) + 8 * np.sqrt(slopes + 1e-4).sum()
    loss.backward()
    adam.step()


for _ in range(options.steps):
    step()
mean, found = seen.mean(0).numpy(), root.detach().numpy() ** 2
before, after = (np.sqrt(((picture - truth) ** 2).mean()) for picture in (mean, found))
print(f"error of the mean {before:.3f}, of what was found {after:.3f}")
titles = "one of 8 exposures", "their mean", "found, and the first blur", "the truth"
figure, axes = plt.subplots(1, 4, figsize=(14, 3.8), layout="constrained")
for ax, picture, title in zip(axes, (seen[0].numpy(), mean, found, truth), titles, strict=True):
    ax.imshow(picture[10:-10, 10:-10], cmap="inferno", vmin=0, vmax=0.95)
    ax.set(title=title, xticks=[], yticks=[])
for ax, blur in ((axes[2], expose(root, phases)[1]), (axes[3], air)):
    inset = ax.inset_axes([0.72, 0, 0.28, 0.28], xticks=[], yticks=[])
    inset.imshow(np.fft.fftshift(blur[0].detach().numpy())[48:80, 48:80], cmap="gray")
figure.savefig(options.out, dpi=100)
