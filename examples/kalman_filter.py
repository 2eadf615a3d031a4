"""How much a boat swerves, and how well it is seen, are read off its noisy track.

A state, place and velocity, turns slowly and is pushed by random accelerations of spread q; the
place is measured with noise of spread r. The Kalman filter gives the likelihood of all measurements
from its surprises (Durbin and Koopman, Time Series Analysis by State Space Methods, section 7.2).
SciPy's L-BFGS-B climbs it with the gradient through the filter; for its map `tg.vmap` runs 400.
"""

import argparse
from functools import partial

import numpy as np
from matplotlib import pyplot as plt
from scipy.optimize import minimize

import tinygrad_cupy as tg

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=150)
parser.add_argument("--device", default=tg.default_device())
parser.add_argument("--out", default="kalman_filter.png")
options = parser.parse_args()
tensor = partial(tg.Tensor, device=options.device)
rng = np.random.default_rng(0)
truth = np.log10([0.05, 1.2])  # of q and r
move, look = np.eye(4) + np.eye(4, k=2), np.eye(2, 4)  # of (x, y, their velocities)
move[2:, 2:] = [[0.998, -0.06], [0.06, 0.998]]  # 3.4 degrees to the left
push = np.vstack([np.eye(2) / 2, np.eye(2)])  # what an acceleration does to them
track = [np.array([0.0, 0.0, 1.0, 0.0])]
for _ in range(options.steps - 1):
    track.append(move @ track[-1] + 10 ** truth[0] * push @ rng.standard_normal(2))
track = np.stack(track)[:, :2]
seen = tensor(track + 10 ** truth[1] * rng.standard_normal(track.shape))
move, look, push, start = map(tensor, (move, look, push, 10 * np.eye(4)))


def kalman(theta):
    """-log p(seen), and mean and covariance of the state after each measurement."""
    drift, noise = 10 ** (2 * theta[0]) * push @ push.T, 10 ** (2 * theta[1]) * look @ look.T
    mean, cov, cost, path = 0 * start[0], start, 0.0, []
    for place in seen:
        surprise, s = place - look @ mean, look @ cov @ look.T + noise
        gain = np.linalg.solve(s, look @ cov).T
        cost = cost + surprise @ np.linalg.solve(s, surprise) / 2 + np.linalg.slogdet(s)[1] / 2
        mean, cov = mean + gain @ surprise, cov - gain @ look @ cov
        path.append((mean, cov))
        mean, cov = move @ mean, move @ cov @ move.T + drift
    return cost + len(seen) * np.log(2 * np.pi), path


def objective(theta):
    (cost, _), slope = tg.value_and_grad(kalman, has_aux=True)(tensor(theta))
    return cost.numpy(), slope.numpy()


climb = [np.zeros(2)]
found = minimize(objective, climb[0], jac=True, method="L-BFGS-B", callback=climb.append).x
means, covs = (
    np.stack([a.numpy() for a in b]) for b in zip(*kalman(tensor(found))[1], strict=True)
)
print("q and r are", *np.round(10**truth, 3), "and were found to be", *np.round(10**found, 3))

q, r = np.linspace(-2, 0.25, 20), np.linspace(-0.5, 0.75, 20)
grid = tensor(np.stack(np.meshgrid(q, r), -1).reshape(-1, 2))
costs = tg.vmap(lambda theta: kalman(theta)[0])(grid).numpy().reshape(20, 20)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
left.plot(*track.T, color="0.8", lw=6, label="a boat's track")
left.plot(*seen.numpy().T, "o", color="tab:orange", ms=2, label="as it is seen")
left.plot(*means[:, :2].T, color="tab:blue", label="as the filter knows it")
circle = np.stack([np.cos(angles := np.linspace(0, 2 * np.pi)), np.sin(angles)])
for mean, cov in zip(means[::8, :2], covs[::8, :2, :2], strict=True):
    edge = mean[:, None] + 2 * np.linalg.cholesky(cov) @ circle
    left.plot(*edge, color="tab:blue", lw=0.7)
left.legend(frameon=False, loc=(0.18, 0.42))
right.contourf(q, r, np.log(costs - costs.min() + 1), 30, cmap="viridis_r")
right.plot(*np.stack(climb).T, "o-", color="white", ms=4)
right.plot(*truth, "*", color="tab:red", ms=14)
right.set(title="from a guess to the likeliest; in red the truth", xlabel="log q", ylabel="log r")
figure.savefig(options.out, dpi=100)
