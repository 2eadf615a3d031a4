"""The problems of `benchmarks.science`: a loss of its first argument, in each library's words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor

HEAT_STEPS = 200
COMPONENTS, DIMENSIONS = 8, 4  # of the mixture

Loss = Callable[..., Any]


class Problem(NamedTuple):
    """A loss of arrays; the gradient is by the first.

    ``torch`` is given what compiles a function (or leaves it as it is), and gives the loss; ``jax``
    gives the loss, importing JAX. Libraries may differ by ``tolerance``, relatively.
    """

    name: str
    size: str
    arrays: list[np.ndarray]
    ours: Loss
    torch: Callable[[Callable[[Loss], Loss]], Loss]
    jax: Callable[[], Loss]
    tolerance: float


def chosen(device: str, scale: float = 1.0) -> Iterator[Problem]:
    """All of them, of the sizes that suit the device."""
    on_gpu = device != "cpu"
    yield gaussian_process(int(scale * (8000 if on_gpu else 1000)))
    yield phase_retrieval(int(scale * (2048 if on_gpu else 256)))
    yield heat_equation(int(scale * (1024 if on_gpu else 256)))
    yield mixture(int(scale * (1e6 if on_gpu else 1e5)))


def gaussian_process(n: int) -> Problem:
    """-log p(y) of n points in the plane by a length for each axis, the amplitude and the noise."""
    rng = np.random.default_rng(0)
    theta = np.array([0.0, -1.0, -1.2, -2.0])
    x = rng.uniform(-1, 1, (n, 2))
    y = np.sin(5 * x[:, 0]) * np.cos(4 * x[:, 1]) + 0.1 * rng.standard_normal(n)

    def ours(theta: Tensor, x: Tensor, y: Tensor, eye: Tensor) -> Any:
        z = x / np.exp(theta[1:3])
        square = (z**2).sum(1)
        gaps = square[:, None] + square - 2 * z @ z.T
        k = np.exp(2 * theta[0] - gaps / 2) + np.exp(2 * theta[3]) * eye
        factor = np.linalg.cholesky(k)
        white = tg.linalg.solve_triangular(factor, y, lower=True)
        return (white**2).sum() / 2 + np.log(factor.diagonal()).sum()

    def torch(compiled: Callable[[Loss], Loss]) -> Loss:
        import torch

        def loss(theta: Any, x: Any, y: Any, eye: Any) -> Any:
            z = x / theta[1:3].exp()
            square = (z**2).sum(1)
            gaps = square[:, None] + square - 2 * z @ z.T
            k = (2 * theta[0] - gaps / 2).exp() + (2 * theta[3]).exp() * eye
            factor = torch.linalg.cholesky(k)
            white = torch.linalg.solve_triangular(factor, y[:, None], upper=False)
            return (white**2).sum() / 2 + factor.diagonal().log().sum()

        return compiled(loss)

    def jax() -> Loss:
        import jax
        from jax import numpy as jnp

        def loss(theta: Any, x: Any, y: Any, eye: Any) -> Any:
            z = x / jnp.exp(theta[1:3])
            square = (z**2).sum(1)
            gaps = square[:, None] + square - 2 * z @ z.T
            k = jnp.exp(2 * theta[0] - gaps / 2) + jnp.exp(2 * theta[3]) * eye
            factor = jnp.linalg.cholesky(k)
            white = jax.scipy.linalg.solve_triangular(factor, y, lower=True)
            return (white**2).sum() / 2 + jnp.log(jnp.diagonal(factor)).sum()

        return loss

    arrays = [theta, x, y, np.eye(n)]
    return Problem("Gaussian process", f"{n:,} points", arrays, ours, torch, jax, 1e-6)


def phase_retrieval(n: int) -> Problem:
    """How far the amplitudes of a picture's spectrum (n × n) are from those that were measured."""
    rng = np.random.default_rng(0)
    x = rng.random((n, n), np.float32)
    seen = abs(np.fft.rfft2(rng.random((n, n), np.float32))).astype(np.float32)

    def ours(x: Tensor, seen: Tensor) -> Any:
        return ((abs(np.fft.rfft2(x)) - seen) ** 2).mean()

    def torch(compiled: Callable[[Loss], Loss]) -> Loss:
        import torch

        return compiled(lambda x, seen: ((torch.fft.rfft2(x).abs() - seen) ** 2).mean())

    def jax() -> Loss:
        from jax import numpy as jnp

        return lambda x, seen: ((abs(jnp.fft.rfft2(x)) - seen) ** 2).mean()

    return Problem("phase retrieval", f"{n}²", [x, seen], ours, torch, jax, 1e-4)


def heat_equation(n: int) -> Problem:
    """The misfit of what 200 steps of u += 0.2 c ∇²u make of u (n × n), by the conductivity c."""
    rng = np.random.default_rng(0)
    c, u, target = (rng.random((n, n), np.float32) for _ in range(3))

    def ours(c: Tensor, u: Tensor, target: Tensor) -> Any:
        for _ in range(HEAT_STEPS):
            near = np.roll(u, 1, 0) + np.roll(u, -1, 0) + np.roll(u, 1, 1) + np.roll(u, -1, 1)
            u = u + 0.2 * c * (near - 4 * u)
        return ((u - target) ** 2).mean()

    def torch(compiled: Callable[[Loss], Loss]) -> Loss:
        import torch

        @compiled  # a step: to compile a loop of 200 takes minutes
        def step(c: Any, u: Any) -> Any:
            near = u.roll(1, 0) + u.roll(-1, 0) + u.roll(1, 1) + u.roll(-1, 1)
            return u + 0.2 * c * (near - 4 * u)

        def loss(c: Any, u: Any, target: Any) -> Any:
            for _ in range(HEAT_STEPS):
                u = step(c, u)
            return torch.square(u - target).mean()

        return loss

    def jax() -> Loss:
        from jax import lax
        from jax import numpy as jnp

        def loss(c: Any, u: Any, target: Any) -> Any:
            def step(u: Any, _: None) -> tuple[Any, None]:
                near = jnp.roll(u, 1, 0) + jnp.roll(u, -1, 0)
                near = near + jnp.roll(u, 1, 1) + jnp.roll(u, -1, 1)
                return u + 0.2 * c * (near - 4 * u), None

            u, _ = lax.scan(step, u, None, HEAT_STEPS)
            return ((u - target) ** 2).mean()

        return loss

    size = f"{n}², {HEAT_STEPS} steps"
    return Problem("heat equation", size, [c, u, target], ours, torch, jax, 1e-4)


def mixture(n: int) -> Problem:
    """-log p of n points by the means, widths and weights of 8 normal densities in 4 dimensions."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, DIMENSIONS), np.float32)
    theta = 0.3 * rng.standard_normal((COMPONENTS, 2 * DIMENSIONS + 1), np.float32)
    D = DIMENSIONS

    def ours(theta: Tensor, x: Tensor) -> Any:
        mean, width, weight = theta[:, :D], theta[:, D : 2 * D], theta[:, 2 * D]
        z = (x[:, None] - mean) * np.exp(-width)  # (N, components, dimensions)
        each = weight.log_softmax() - (z**2).sum(2) / 2 - width.sum(1)
        return -tg.special.logsumexp(each, axis=1).mean()

    def torch(compiled: Callable[[Loss], Loss]) -> Loss:
        def loss(theta: Any, x: Any) -> Any:
            mean, width, weight = theta[:, :D], theta[:, D : 2 * D], theta[:, 2 * D]
            z = (x[:, None] - mean) * (-width).exp()
            each = weight.log_softmax(0) - (z**2).sum(2) / 2 - width.sum(1)
            return -each.logsumexp(1).mean()

        return compiled(loss)

    def jax() -> Loss:
        import jax
        from jax import numpy as jnp

        def loss(theta: Any, x: Any) -> Any:
            mean, width, weight = theta[:, :D], theta[:, D : 2 * D], theta[:, 2 * D]
            z = (x[:, None] - mean) * jnp.exp(-width)
            each = jax.nn.log_softmax(weight) - (z**2).sum(2) / 2 - width.sum(1)
            return -jax.scipy.special.logsumexp(each, axis=1).mean()

        return loss

    return Problem("mixture", f"{n:,} points", [theta, x], ours, torch, jax, 1e-4)
