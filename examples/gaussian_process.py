"""A Gaussian process draws a mountain from 1,000 points, and says how far it can be trusted.

Heights are values of a Gaussian process with Matérn's covariance s² (1 + r) exp(-r), r being √3
times the distance over a length along each axis. The spread s, both lengths and the noise are those
under which what was measured is likeliest: SciPy's L-BFGS-B climbs the marginal likelihood, whose
gradient is from `tg.value_and_grad` (Rasmussen and Williams, Gaussian Processes, algorithm 2.1).
"""

import argparse
from functools import partial

import numpy as np
from matplotlib import cbook
from matplotlib import pyplot as plt
from matplotlib.colors import LightSource
from scipy.optimize import minimize

import tinygrad_cupy as tg

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--points", type=int, default=1000)
parser.add_argument("--device", default=tg.default_device())
parser.add_argument("--out", default="gaussian_process.png")
options = parser.parse_args()
tensor = partial(tg.Tensor, device=options.device)

truth = cbook.get_sample_data("jacksboro_fault_dem.npz")["elevation"][::3, ::3].astype(float)
places = np.indices(truth.shape).reshape(2, -1).T / 10
rng = np.random.default_rng(0)
chosen = rng.choice(truth.size, options.points, replace=False)
mean, scale = truth.mean(), truth.std()
y = tensor((truth.ravel()[chosen] - mean) / scale)
x, places = tensor(places[chosen]), tensor(places)


def covariance(a, b, theta):
    """(N, M) of the points a (N, 2) and b (M, 2). theta: the logs of s, two lengths, the noise."""
    gaps = (a[:, None] - b) / np.exp(theta[1:3])
    r = np.sqrt(3 * (gaps**2).sum(-1) + 1e-12)  # at 0 the root alone would have no slope
    return np.exp(2 * theta[0] - r) * (1 + r)


def fit(theta):
    """The factor L of the covariance L Lᵀ of what is measured, and L⁻¹ y, which is white noise."""
    noise = tensor(np.eye(len(y))) * np.exp(2 * theta[3])
    factor = np.linalg.cholesky(covariance(x, x, theta) + noise)
    return factor, tg.linalg.solve_triangular(factor, y, lower=True)


def surprise(theta):
    """-log p(y), but for a constant."""
    factor, white = fit(theta)
    return (white**2).sum() / 2 + np.log(factor.diagonal()).sum()


def objective(theta):
    return [a.numpy() for a in tg.value_and_grad(surprise)(tensor(theta))]


found = minimize(objective, [0.0, 0.0, 0.0, -1.0], jac=True, method="L-BFGS-B")
theta = tensor(found.x)
factor, white = fit(theta)
across = tg.linalg.solve_triangular(factor, covariance(x, places, theta), lower=True)  # (N, M)
height = mean + scale * (white @ across).numpy().reshape(truth.shape)
spread = scale * np.sqrt(np.exp(2 * theta[0]) - (across**2).sum(0)).numpy().reshape(truth.shape)
explained = 1 - ((height - truth) ** 2).mean() / truth.var()
print(f"{explained:.1%} of the variance explained")
figure, axes = plt.subplots(1, 3, figsize=(13, 3.7), layout="constrained")
light = {"cmap": plt.cm.gist_earth, "vmin": truth.min(), "vmax": truth.max(), "vert_exag": 0.05}
for ax, z in zip(axes, (truth, height), strict=False):
    ax.imshow(LightSource().shade(z, blend_mode="soft", **light))
shown = axes[2].imshow(spread, cmap="magma")
axes[2].plot(*(x.numpy().T[::-1] * 10), "w.", markersize=1)
figure.colorbar(shown, ax=axes[2])
titles = "a mountain", f"its mean, by {len(y):,} points", "its standard deviation in meters"
for ax, title in zip(axes, titles, strict=True):
    ax.set(title=title, xticks=[], yticks=[])
figure.savefig(options.out, dpi=100)
