"""Weather in one dimension is forecast: a chaotic flow's first state is found from noisy sensors.

Kuramoto and Sivashinsky's u_t = -u u_x - u_xx - u_xxxx on a periodic line. Derivatives are products
in Fourier space, steps are Runge and Kutta's with the linear terms solved exactly (Trefethen 2000,
Spectral Methods in Matlab, program 27). The state at time 0 is the one that is likely a priori and
fits what 16 sensors saw (4D-Var). L-BFGS-B has the gradient through the solver, over a window that
grows, as the whole has many minima. The forecast goes on until chaos has the better of it.
"""

import argparse
from functools import partial

import numpy as np
from matplotlib import pyplot as plt
from scipy.optimize import minimize

import tinygrad_cupy as tg

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--window", type=int, default=40, help="steps that the sensors see")
parser.add_argument("--device", default=tg.default_device())
parser.add_argument("--out", default="spectral_pde.png")
options = parser.parse_args()
tensor, rng = partial(tg.Tensor, device=options.device), np.random.default_rng(0)
N, LENGTH, STEP, NOISE = 128, 16 * np.pi, 0.5, 0.4
k = 2 * np.pi * np.fft.rfftfreq(N, LENGTH / N)
half = tensor(np.exp(STEP / 2 * (k**2 - k**4)))  # the linear terms do that in half a step
advection = tensor(-0.5j * k * STEP)


def advect(v):  # the spectrum of -u u_x = -(u²)_x / 2, times the step
    return advection * np.fft.rfft(np.fft.irfft(v, N) ** 2)


def simulate(u, steps):
    """The states (steps + 1, N) that begin with u (N,)."""
    spectra = [np.fft.rfft(u)]
    for _ in range(steps):
        v, a = half * spectra[-1], half * advect(spectra[-1])
        b = advect(v + a / 2)
        c = advect(v + b / 2)
        d = advect(half * (v + c))
        spectra.append(half * (v + (a + 2 * (b + c)) / 6) + d / 6)
    return np.fft.irfft(tg.stack(spectra), N)


truth = simulate(simulate(tensor(rng.standard_normal(N)), 300)[-1], 2 * options.window)
seen = truth[: options.window + 1 : 2, ::8]
seen = seen + tensor(NOISE * rng.standard_normal(seen.shape))
prior = tensor(40 * np.exp(-(k**4) / 4) * (k > 0))  # how large each wave may be


def state(noise):  # likely a priori, if the noise (N,) is white
    return np.fft.irfft(prior * np.fft.rfft(noise) / N**0.5, N)


@tg.jit
@tg.value_and_grad
def cost(noise, seen):
    misfit = simulate(state(noise), 2 * len(seen) - 2)[::2, ::8] - seen
    return (noise**2).sum() / 2 + (misfit**2).sum() / (2 * NOISE**2)


def objective(noise, rows):
    return [a.numpy() for a in cost(tensor(noise), seen[:rows])]


noise, few = np.zeros(N), {"maxiter": 20}
for rows in (len(seen) // 4, len(seen) // 2, len(seen)):
    noise = minimize(objective, noise, rows, jac=True, method="L-BFGS-B", options=few).x
truth, forecast = truth.numpy(), simulate(state(tensor(noise)), 2 * options.window).numpy()
figure, axes = plt.subplots(1, 3, figsize=(12, 5), layout="constrained", sharey=True)
titles = "the flow, and its sensors", "the forecast", "the difference"
for ax, u, title in zip(axes, (truth, forecast, forecast - truth), titles, strict=True):
    ax.imshow(u, "RdBu_r", aspect="auto", vmin=-3, vmax=3, origin="lower")
    ax.axhline(options.window, color="black", lw=1, ls="--")
    ax.set(title=title, xlabel="x", xticks=[], ylabel="steps")
axes[0].plot(*np.mgrid[0:N:8, 0 : options.window : 2].reshape(2, -1), "k.", ms=1)
figure.savefig(options.out, dpi=100)
