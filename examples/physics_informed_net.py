"""A net learns a shock wave from nothing but its equation: Burgers' u_t + u u_x = ν u_xx.

u(x, t) = -sin(π x) + t (1 - x²) net(x, t) is right at time 0 and at the ends x = -1 and 1 for every
net; its weights make what is left of the equation small at 800 random points (Raissi, Perdikaris
and Karniadakis 2019, Physics-informed neural networks). Derivatives by x and t are forward mode
(`tg.jvp`), one in the other for the second. `tg.vmap` does it at all points, and makes of gradients
by the weights the Jacobian that Levenberg and Marquardt's method asks for.
"""

import argparse
from functools import partial

import numpy as np
from matplotlib import pyplot as plt
from scipy.optimize import least_squares

import tinygrad_cupy as tg

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=60)
parser.add_argument("--device", default=tg.default_device())
parser.add_argument("--out", default="physics_informed_net.png")
options = parser.parse_args()
tensor = partial(tg.Tensor, dtype="float64", device=options.device)
NU, SHAPES = 0.02, ((2, 16), (16,), (16, 16), (16,), (16,), ())
ENDS = np.cumsum([np.prod(shape, dtype=int) for shape in SHAPES])
ALONG_X, ALONG_T = tensor([1, 0]), tensor([0, 1])


def u(weights, point):
    """At one point (x, t). Weights are a vector, as SciPy has them."""
    a, b, c, d, e, f = map(np.reshape, np.split(weights, ENDS[:-1]), SHAPES)
    net = np.tanh(np.tanh(point @ a + b) @ c + d) @ e + f
    x, t = point
    return t * (1 - x**2) * net - np.sin(np.pi * x)


def residual(weights, point):
    def along(direction):
        return lambda point: tg.jvp(partial(u, weights), (point,), (direction,))

    value, u_t = along(ALONG_T)(point)
    u_x, u_xx = tg.jvp(lambda point: along(ALONG_X)(point)[1], (point,), (ALONG_X,))
    return u_t + value * u_x - NU * u_xx


rng = np.random.default_rng(0)
points = tensor(rng.uniform([-1, 0], [1, 1], (800, 2)))
everywhere = [tg.vmap(f, in_axes=(None, 0)) for f in (residual, tg.grad(residual))]
guess = rng.standard_normal(ENDS[-1]) / 2
rest, slopes = (lambda w, f=f: f(tensor(w), points).numpy() for f in everywhere)
found = least_squares(rest, guess, slopes, method="lm", max_nfev=options.steps)
x, t = np.meshgrid(np.linspace(-1, 1, 201), np.linspace(0, 1, 101))
grid = tensor(np.stack([x.ravel(), t.ravel()], -1))
learned = tg.vmap(u, in_axes=(None, 0))(tensor(found.x), grid).numpy().reshape(x.shape)
# The exact solution by Cole and Hopf's substitution, an integral by Gauss and Hermite's rule.
nodes, heights = np.polynomial.hermite.hermgauss(100)
y = x[..., None] - np.sqrt(4 * NU * t[..., None]) * nodes
kernel = np.exp(-np.cos(np.pi * y) / (2 * np.pi * NU)) * heights
truth = -(np.sin(np.pi * y) * kernel).sum(-1) / kernel.sum(-1)
error = np.linalg.norm(learned - truth) / np.linalg.norm(truth)
print(f"relative error {error:.1e}")
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
shown = left.pcolormesh(t, x, learned, cmap="RdBu_r", rasterized=True)
left.plot(*points.numpy().T[::-1], "k.", ms=2, alpha=0.5)
left.set(title="what the net learned, and at which points", xlabel="t", ylabel="x")
figure.colorbar(shown, ax=left)
for row, color in zip((0, 25, 50, 100), plt.cm.viridis(np.linspace(0, 0.85, 4)), strict=True):
    right.plot(x[row], learned[row], color=color, lw=2, label=f"t = {t[row, 0]:.2f}")
    right.plot(x[row, ::8], truth[row, ::8], "o", color=color, ms=4)
right.set(title="the wave steepens (dots: exact)", xlabel="x", ylabel="u")
right.legend(frameon=False)
figure.savefig(options.out, dpi=100)
