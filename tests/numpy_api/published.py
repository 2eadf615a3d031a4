"""Functions in the style of published NumPy code: losses, kernels, filters, ODEs, statistics.

Each takes the module that stands for NumPy, and arrays. `CALLS` has inputs for each, of float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

# --- losses -------------------------------------------------------------------------------------


def huber(np: Any, prediction: Any, target: Any) -> Any:
    error = np.abs(prediction - target)
    return np.mean(np.where(error < 1.0, 0.5 * error**2, error - 0.5))


def log_cosh(np: Any, prediction: Any, target: Any) -> Any:
    error = prediction - target
    return np.mean(np.logaddexp(error, -error) - np.log(2.0))


def logistic_loss(np: Any, weights: Any, x: Any, sign: Any) -> Any:
    margins = sign * np.dot(x, weights)
    return np.mean(np.log1p(np.exp(-np.abs(margins))) + np.maximum(-margins, 0.0))


def softmax_cross_entropy(np: Any, logits: Any, labels: Any) -> Any:
    shifted = logits - np.max(logits, axis=1, keepdims=True)
    log_p = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    return -np.mean(log_p[np.arange(len(labels)), labels])


def multiclass_hinge(np: Any, scores: Any, labels: Any) -> Any:
    rows = np.arange(scores.shape[0])
    correct = scores[rows, labels][:, np.newaxis]
    margins = np.maximum(0, scores - correct + 1.0)
    margins[rows, labels] = 0
    return np.sum(margins) / scores.shape[0]


def kl_divergence(np: Any, p: Any, q: Any) -> Any:
    p = p / np.sum(p)
    q = q / np.sum(q)
    return np.sum(np.where(p > 0, p * np.log(p / q), 0.0))


def pinball(np: Any, prediction: Any, target: Any) -> Any:
    error = target - prediction
    return np.mean(np.maximum(0.9 * error, (0.9 - 1) * error))


def contrastive(np: Any, a: Any, b: Any) -> Any:
    a = a / np.sqrt(np.sum(np.square(a), axis=-1, keepdims=True))
    b = b / np.sqrt(np.sum(np.square(b), axis=-1, keepdims=True))
    similar = np.einsum("id,jd->ij", a, b) / 0.1
    return -np.trace(similar - np.logaddexp.reduce(similar, axis=1, keepdims=True)) / len(a)


# --- kernels, attention -------------------------------------------------------------------------


def rbf_kernel(np: Any, x: Any, y: Any, scale: Any) -> Any:
    squares = np.sum(x**2, 1)[:, None] + np.sum(y**2, 1)[None, :] - 2 * np.dot(x, y.T)
    return np.exp(-np.clip(squares, 0, None) / (2 * scale**2))


def matern(np: Any, x: Any, y: Any, scale: Any) -> Any:
    gaps = np.sqrt(np.sum((x[:, None, :] - y[None, :, :]) ** 2, axis=-1)) * np.sqrt(3.0) / scale
    return (1.0 + gaps) * np.exp(-gaps)


def periodic_kernel(np: Any, x: Any, y: Any, period: Any) -> Any:
    gaps = np.subtract.outer(np.ravel(x), np.ravel(y))
    return np.exp(-2 * np.sin(np.pi * np.abs(gaps) / period) ** 2)


def causal_attention(np: Any, q: Any, k: Any, v: Any) -> Any:
    scores = np.einsum("qd,kd->qk", q, k) / np.sqrt(q.shape[-1])
    mask = np.tril(np.ones(scores.shape, dtype=bool))
    scores = np.where(mask, scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.matmul(weights / weights.sum(axis=-1, keepdims=True), v)


def layer_norm(np: Any, x: Any, gain: Any, bias: Any) -> Any:
    centred = x - np.mean(x, axis=-1, keepdims=True)
    return centred / np.sqrt(np.var(x, axis=-1, keepdims=True) + 1e-5) * gain + bias


# --- filters ------------------------------------------------------------------------------------


def moving_average(np: Any, x: Any) -> Any:
    total = np.cumsum(np.concatenate([np.zeros(1), x]))
    return (total[3:] - total[:-3]) / 3


def exponential_smoothing(np: Any, x: Any, alpha: Any) -> Any:
    out = np.zeros_like(x)
    out[0] = x[0]
    for t in range(1, len(x)):
        out[t] = alpha * x[t] + (1 - alpha) * out[t - 1]
    return out


def fir_filter(np: Any, x: Any, taps: Any) -> Any:
    windows = np.lib.stride_tricks.sliding_window_view(x, taps.shape[0])
    return windows @ taps[::-1]


def total_variation(np: Any, image: Any) -> Any:
    return np.sum(np.abs(np.diff(image, axis=0))) + np.sum(np.abs(np.diff(image, axis=1)))


def sobel(np: Any, image: Any) -> Any:
    padded = np.pad(image, 1, mode="edge")
    right, left = padded[1:-1, 2:], padded[1:-1, :-2]
    below, above = padded[2:, 1:-1], padded[:-2, 1:-1]
    return np.hypot(right - left + 0.1, below - above + 0.1)


def bilinear(np: Any, image: Any, rows: Any, columns: Any) -> Any:
    i = np.clip(np.floor(rows), 0, image.shape[0] - 2).astype(int)
    j = np.clip(np.floor(columns), 0, image.shape[1] - 2).astype(int)
    u, v = rows - i, columns - j
    top = image[i, j] * (1 - v) + image[i, j + 1] * v
    bottom = image[i + 1, j] * (1 - v) + image[i + 1, j + 1] * v
    return top * (1 - u) + bottom * u


# --- differential equations ---------------------------------------------------------------------


def lorenz_rk4(np: Any, state: Any) -> Any:
    def slope(s: Any) -> Any:
        x, y, z = s
        return np.array([10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z])

    h = 0.01
    for _ in range(3):
        k1 = slope(state)
        k2 = slope(state + h / 2 * k1)
        k3 = slope(state + h / 2 * k2)
        k4 = slope(state + h * k3)
        state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return state


def heat_steps(np: Any, u: Any) -> Any:
    for _ in range(4):
        u = u + 0.1 * (np.roll(u, 1) + np.roll(u, -1) - 2 * u)
    return u


def stencil_in_place(np: Any, field: Any) -> Any:
    u = field * 1.0
    for _ in range(3):
        u[1:-1, 1:-1] += 0.2 * (
            u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2] - 4 * u[1:-1, 1:-1]
        )
    return u


def n_body_energy(np: Any, places: Any, masses: Any) -> Any:
    gaps = places[:, None] - places[None, :]
    squares = np.einsum("ijk,ijk->ij", gaps, gaps) + np.eye(len(masses))
    pairs = np.outer(masses, masses) / np.sqrt(squares)
    return -np.sum(np.triu(pairs, 1))


def lotka_volterra(np: Any, start: Any, rates: Any) -> Any:
    prey, hunters = start[0], start[1]
    path = []
    for _ in range(5):
        prey, hunters = (
            prey + 0.1 * prey * (rates[0] - rates[1] * hunters),
            hunters + 0.1 * hunters * (rates[2] * prey - rates[3]),
        )
        path.append(np.stack([prey, hunters]))
    return np.vstack(path)


def pendulum_energy(np: Any, angle: Any, speed: Any) -> Any:
    for _ in range(4):
        speed = speed - 0.1 * np.sin(angle)
        angle = np.remainder(angle + 0.1 * speed + np.pi, 2 * np.pi) - np.pi
    return 0.5 * np.square(speed) + 1 - np.cos(angle)


# --- statistics ---------------------------------------------------------------------------------


def moments(np: Any, x: Any) -> Any:
    z = (x - x.mean()) / x.std()
    return np.array([np.mean(z**3), np.mean(z**4) - 3.0])


def weighted_variance(np: Any, x: Any, weights: Any) -> Any:
    mean = np.average(x, weights=weights)
    return np.average((x - mean) ** 2, weights=weights)


def correlations(np: Any, x: Any) -> Any:
    return np.corrcoef(x)[np.triu_indices(x.shape[0], 1)]


def median_deviation(np: Any, x: Any) -> Any:
    return np.median(np.abs(x - np.median(x)))


def wasserstein(np: Any, x: Any, y: Any) -> Any:
    return np.mean(np.abs(np.sort(x) - np.sort(y)))


def soft_histogram(np: Any, x: Any) -> Any:
    centres = np.linspace(-2, 2, 5)
    weights = np.exp(-0.5 * ((np.expand_dims(x, 1) - centres) / 0.3) ** 2)
    return np.sum(weights / np.sum(weights, axis=1, keepdims=True), axis=0)


def hmm_log_likelihood(np: Any, start: Any, steps: Any, emissions: Any) -> Any:
    alpha = start + emissions[0]
    for t in range(1, emissions.shape[0]):
        alpha = np.logaddexp.reduce(alpha[:, None] + steps, axis=0) + emissions[t]
    return np.logaddexp.reduce(alpha)


def soft_dtw(np: Any, x: Any, y: Any) -> Any:
    n, m = len(x), len(y)
    cost = (x[:, None] - y[None, :]) ** 2
    table = np.full((n + 1, m + 1), 1e6)
    table[0, 0] = 0.0
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            nearest = np.stack([table[i - 1, j], table[i, j - 1], table[i - 1, j - 1]])
            table[i, j] = cost[i - 1, j - 1] - np.log(np.sum(np.exp(-nearest)))
    return table[n, m]


def rotated(np: Any, points: Any, angle: Any) -> Any:
    c, s = np.cos(angle), np.sin(angle)
    return points @ np.array([[c, -s], [s, c]]).T


def polar_area(np: Any, points: Any) -> Any:
    radius = np.hypot(points[:, 0], points[:, 1])
    angle = np.arctan2(points[:, 1], points[:, 0])
    order = np.argsort(angle)
    return np.trapezoid(0.5 * np.take(radius, order) ** 2, np.take(angle, order))


# --- inputs -------------------------------------------------------------------------------------

_rng = numpy.random.default_rng(0)
_n = _rng.standard_normal
_u = _rng.uniform

CALLS: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (huber, (_n(8), _n(8) * 2)),
    (log_cosh, (_n(8), _n(8))),
    (logistic_loss, (_n(3), _n((6, 3)), numpy.sign(_n(6)))),
    (softmax_cross_entropy, (_n((4, 3)), numpy.array([0, 2, 1, 1]))),
    (multiclass_hinge, (_n((4, 3)), numpy.array([0, 2, 1, 1]))),
    (kl_divergence, (_u(0.1, 1, 5), _u(0.1, 1, 5))),
    (pinball, (_n(8), _n(8))),
    (contrastive, (_n((4, 3)), _n((4, 3)))),
    (rbf_kernel, (_n((4, 2)), _n((3, 2)), numpy.array(0.7))),
    (matern, (_n((4, 2)), _n((3, 2)), numpy.array(0.7))),
    (periodic_kernel, (_n(4), _n(3), numpy.array(1.3))),
    (causal_attention, (_n((4, 3)), _n((4, 3)), _n((4, 2)))),
    (layer_norm, (_n((3, 5)), _n(5), _n(5))),
    (moving_average, (_n(9),)),
    (exponential_smoothing, (_n(6), numpy.array(0.3))),
    (fir_filter, (_n(9), _n(3))),
    (total_variation, (_n((4, 5)),)),
    (sobel, (_n((4, 5)),)),
    (bilinear, (_n((5, 6)), _u(0.1, 3.9, 7), _u(0.1, 4.9, 7))),
    (lorenz_rk4, (_n(3),)),
    (heat_steps, (_n(7),)),
    (stencil_in_place, (_n((5, 6)),)),
    (n_body_energy, (_n((4, 3)), _u(0.5, 2, 4))),
    (lotka_volterra, (_u(0.5, 2, 2), _u(0.5, 1, 4))),
    (pendulum_energy, (_n(4), _n(4))),
    (moments, (_n(9),)),
    (weighted_variance, (_n(6), _u(0.5, 2, 6))),
    (correlations, (_n((3, 8)),)),
    (median_deviation, (_n(7),)),
    (wasserstein, (_n(6), _n(6))),
    (soft_histogram, (_n(8),)),
    (hmm_log_likelihood, (_n(3), _n((3, 3)), _n((4, 3)))),
    (soft_dtw, (_n(4), _n(3))),
    (rotated, (_n((5, 2)), numpy.array(0.4))),
    (polar_area, (_n((6, 2)),)),
]
