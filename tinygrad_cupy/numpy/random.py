"""Random numbers as `numpy.random` has them, with gradients by their parameters.

Draws come from a counter-based generator (see `tinygrad_cupy.random`): a seed gives the same words
on the CPU and on a GPU. The functions draw from the generator of `tinygrad_cupy.manual_seed`, from
a stream of its own; `default_rng(seed)` makes another. Draws are float64 where no parameter is a
tensor, else of the parameters' dtype, on their device.

A draw is a function of uniform or normal numbers and of its parameters, and is differentiated as
such (reparameterised). Counts (``poisson``, ``integers`` and the like) have no gradient.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import random as streams
from ..autograd import TensorBase
from ..autograd.batching import as_batched
from ..backend import array_module, default_device, device_of, expect_memory
from ..backend.capture import active
from ..ops.draws import Count, GammaQuantile
from ..ops.promotion import as_float
from ..random import counts
from .arrays import first_tensor, ndarray, tensor, tensors
from .creation import arange

__all__ = [
    *("Generator", "bernoulli", "beta", "binomial", "chisquare", "choice", "default_rng"),
    *("dirichlet", "exponential", "gamma", "geometric", "gumbel", "integers", "laplace"),
    *("logistic", "lognormal", "normal", "permutation", "poisson", "rand", "randint", "randn"),
    *("random", "random_sample", "rayleigh", "seed", "shuffle", "standard_exponential"),
    *("standard_gamma", "standard_normal", "standard_t", "uniform", "weibull"),
]

STREAM = streams.STREAM_DRAWS
Size = int | tuple[int, ...] | None


class Generator:
    """What draws: `default_rng` makes one, and the functions of this module are one's methods.

    ``size`` is a shape; where it is None, that which the parameters broadcast to.
    """

    def __init__(self, source: streams.Generator) -> None:
        self._source = source

    # --- uniform and normal numbers, and what is made of them ------------------------------------

    def random(self, size: Size = None, dtype: Any = None, out: Any = None) -> Any:
        """Uniform in [0, 1)."""
        found = self._noise("uniform", size, (), dtype)
        if out is None:
            return found
        out[...] = found
        return out

    random_sample = random

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Size = None) -> Any:
        """Uniform in [low, high)."""
        low, high, u = self._drawn("uniform", size, low, high)
        return low + (high - low) * u

    def standard_normal(self, size: Size = None, dtype: Any = None) -> Any:
        """Normal, of mean 0 and standard deviation 1."""
        return self._noise("normal", size, (), dtype)

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Size = None) -> Any:
        """Normal, of mean ``loc`` and standard deviation ``scale``."""
        loc, scale, z = self._drawn("normal", size, loc, scale)
        return loc + scale * z

    def lognormal(self, mean: Any = 0.0, sigma: Any = 1.0, size: Size = None) -> Any:
        """exp of a normal number of mean ``mean`` and standard deviation ``sigma``."""
        return self.normal(mean, sigma, size).exp()

    def exponential(self, scale: Any = 1.0, size: Size = None) -> Any:
        """Exponential, of mean ``scale``: -scale · log(1 - u)."""
        scale, u = self._drawn("uniform", size, scale)
        return -scale * (1 - u).log()

    def standard_exponential(self, size: Size = None) -> Any:
        """Exponential, of mean 1."""
        return self.exponential(1.0, size)

    def laplace(self, loc: Any = 0.0, scale: Any = 1.0, size: Size = None) -> Any:
        """Laplace, of mean ``loc`` and decay ``scale``."""
        loc, scale, u = self._drawn("uniform", size, loc, scale)
        centred = u - 0.5
        return loc - scale * centred.sign() * (1 - centred.abs() * 2).log()

    def logistic(self, loc: Any = 0.0, scale: Any = 1.0, size: Size = None) -> Any:
        """Logistic: loc + scale · log(u / (1 - u))."""
        loc, scale, u = self._drawn("uniform", size, loc, scale)
        u = u.maximum(2.0**-53)
        return loc + scale * (u.log() - (1 - u).log())

    def gumbel(self, loc: Any = 0.0, scale: Any = 1.0, size: Size = None) -> Any:
        """Gumbel: loc - scale · log(-log(1 - u))."""
        loc, scale, u = self._drawn("uniform", size, loc, scale)
        return loc - scale * (-(1 - u.maximum(2.0**-53)).log()).log()

    def rayleigh(self, scale: Any = 1.0, size: Size = None) -> Any:
        """Rayleigh: scale · √(-2 log(1 - u))."""
        scale, u = self._drawn("uniform", size, scale)
        return scale * (-2 * (1 - u.maximum(2.0**-53)).log()).sqrt()

    def weibull(self, a: Any, size: Size = None) -> Any:
        """Weibull of shape ``a`` and scale 1: (-log(1 - u)) to the power 1 / a."""
        a, u = self._drawn("uniform", size, a)
        return (-(1 - u.maximum(2.0**-53)).log()) ** (1 / a)

    # --- of the gamma distribution ---------------------------------------------------------------

    def standard_gamma(self, shape: Any, size: Size = None) -> Any:
        """Gamma of scale 1; its gradient by ``shape`` is of first order."""
        shape, u = self._drawn("uniform", size, shape, double=True)
        return GammaQuantile()(shape, u.maximum(2.0**-54))

    def gamma(self, shape: Any, scale: Any = 1.0, size: Size = None) -> Any:
        """Gamma of mean shape · scale; its gradient by ``shape`` is of first order."""
        shape, scale, u = self._drawn("uniform", size, shape, scale, double=True)
        return GammaQuantile()(shape, u.maximum(2.0**-54)) * scale

    def chisquare(self, df: Any, size: Size = None) -> Any:
        """χ² of ``df`` degrees of freedom."""
        (df,) = map(as_float, tensors(df))
        return self.standard_gamma(df / 2, size) * 2

    def beta(self, a: Any, b: Any, size: Size = None) -> Any:
        """Beta, of two gamma numbers: x / (x + y)."""
        a, b = map(as_float, tensors(a, b))
        size = np.broadcast_shapes(a.shape, b.shape) if size is None else size
        x, y = self.standard_gamma(a, size), self.standard_gamma(b, size)
        return x / (x + y)

    def dirichlet(self, alpha: Any, size: Size = None) -> Any:
        """Dirichlet: gamma numbers of shapes ``alpha`` (…, K) that add up to 1."""
        alpha = as_float(tensor(alpha))
        lead = _sizes(size) if size is not None else ()
        x = self.standard_gamma(alpha, (*lead, *alpha.shape))
        return x / x.sum(-1, keepdims=True)

    def standard_t(self, df: Any, size: Size = None) -> Any:
        """Student's t of ``df`` degrees of freedom."""
        df = as_float(tensor(df))
        size = df.shape if size is None else size
        return self._noise("normal", size, (df,), None) / (self.chisquare(df, size) / df).sqrt()

    # --- counts, without gradients ---------------------------------------------------------------

    def integers(
        self, low: Any, high: Any = None, size: Size = None, dtype: Any = np.int64,
        endpoint: bool = False,
    ) -> Any:  # fmt: skip
        """Whole numbers from ``low`` (0 where one is given) up to but for ``high``."""
        low, high = (0, low) if high is None else (low, high)
        most = int(high) + bool(endpoint)
        if most <= int(low):
            raise ValueError(f"[integers] expected low < high, got {low} and {high}")
        if not (np.iinfo(dtype).min <= int(low) and most - 1 <= np.iinfo(dtype).max):
            raise ValueError(f"[integers] {low} to {most - 1} are beyond what {dtype} holds")
        span, first = np.uint64(most - int(low)), np.int64(low)

        def draw(shape: tuple[int, ...], device: str) -> Any:
            raw = streams.words_of(shape, STREAM, device, self._source)
            return ((raw % span).astype(np.int64) + first).astype(dtype)

        return self._made(draw, _sizes(size), ndarray, default_device())

    def randint(self, low: Any, high: Any = None, size: Size = None, dtype: Any = np.int64) -> Any:
        """Whole numbers from ``low`` up to but for ``high``."""
        return self.integers(low, high, size, dtype)

    def bernoulli(self, p: Any = 0.5, size: Size = None) -> Any:
        """1 with probability ``p``, else 0."""
        p, u = self._drawn("uniform", size, p, double=True)
        return (u < p.detach()).astype(np.int64)

    def poisson(self, lam: Any = 1.0, size: Size = None) -> Any:
        """Counts of rate ``lam``."""
        return self._count(counts.poisson, size, lam)

    def binomial(self, n: Any, p: Any, size: Size = None) -> Any:
        """Successes of ``n`` trials with probability ``p``."""
        return self._count(counts.binomial, size, n, p)

    def geometric(self, p: Any, size: Size = None) -> Any:
        """Trials up to the first success."""
        return self._count(counts.geometric, size, p)

    # --- orders ----------------------------------------------------------------------------------

    def permutation(self, x: Any, axis: int = 0) -> Any:
        """A random order of 0 … x - 1, or of what lies along ``axis`` of an array."""
        if isinstance(x, int | np.integer):
            return self._order(int(x), default_device())
        x = tensor(x)
        order = self._order(x.shape[axis], device_of(x.data))
        return x[(*[slice(None)] * (axis % x.ndim), order)]

    def shuffle(self, x: Any, axis: int = 0) -> None:
        """Bring what lies along ``axis`` of the tensor ``x`` into a random order, in place."""
        x[...] = self.permutation(x.clone(), axis)

    def choice(
        self, a: Any, size: Size = None, replace: bool = True, p: Any = None, axis: int = 0
    ) -> Any:
        """Elements of 0 … a - 1, or along ``axis`` of an array, with probabilities ``p``.

        Without replacement, by keys that are sorted (Efraimidis & Spirakis 2006).
        """
        whole = isinstance(a, int | np.integer)
        values = arange(int(a)) if whole else tensor(a)
        place = device_of(values.data)
        length, sizes = values.shape[axis], _sizes(size)
        count = math.prod(sizes)
        if length == 0 or (not replace and count > length):
            raise ValueError(f"[choice] cannot take {count} of {length} elements")
        if p is None and replace:
            u = self._noise("uniform", count, (values.astype(np.float64),), None)
            picked = (u * length).astype(np.int64)
        elif p is None:
            picked = self._order(length, place)[:count]
        else:
            picked = self._weighted(p, length, count, replace, place)
        return values[(*[slice(None)] * (axis % values.ndim), picked.reshape(*sizes))]

    def _weighted(self, p: Any, length: int, count: int, replace: bool, place: str) -> Any:
        weights = tensor(p).detach().astype(np.float64).to(place)
        if weights.shape != (length,):
            raise ValueError(
                f"[choice] expected p of shape ({length},), got {tuple(weights.shape)}"
            )

        def draw(shape: tuple[int, ...], device: str) -> Any:
            with streams.along(0 if replace else None):  # a key for each element is no batch
                u = streams.uniform_double(shape, STREAM, device, self._source)
            w = weights.data
            if replace:
                edges = w.cumsum()
                return edges.searchsorted(u * edges[-1], side="right").clip(0, length - 1)
            xp, likely = array_module(u), w > 0
            keys = xp.where(likely, -xp.log1p(-u) / xp.where(likely, w, 1), math.inf)
            return keys.argsort(kind="stable")[:count]

        return self._made(draw, (count if replace else length,), type(weights), place)

    # --- how -------------------------------------------------------------------------------------

    def _order(self, count: int, device: str) -> Any:
        def draw(shape: tuple[int, ...], device: str) -> Any:
            return streams.permutation(shape[0], device, STREAM, self._source)

        return self._made(draw, (count,), ndarray, device)

    def _drawn(self, kind: str, size: Size, *parameters: Any, double: bool = False) -> list[Any]:
        """The parameters as tensors of floats, and the numbers that the draw is made of."""
        found = [as_float(x) for x in tensors(*parameters)]
        shape = np.broadcast_shapes(*[x.shape for x in found]) if size is None else _sizes(size)
        for x in found:
            if x.ndim > len(shape) or any(
                n not in (1, m) for n, m in zip(x.shape[::-1], shape[::-1], strict=False)
            ):
                raise ValueError(
                    f"[random] parameters of shape {x.shape} do not broadcast to size {shape}"
                )
        pairs = zip(found, parameters, strict=True)
        like = [x for x, given in pairs if isinstance(given, TensorBase)] or found
        return [*found, self._noise(kind, shape, like, np.float64 if double else None)]

    def _noise(self, kind: str, size: Size, like: Any, dtype: Any) -> Any:
        """Uniform or normal numbers, of the dtype, class and device of the tensors ``like``."""
        first = first_tensor(like)
        chosen = np.dtype(dtype or (np.float64 if first is None else first.dtype))
        draw = getattr(streams, kind if chosen.itemsize < 8 else f"{kind}_double")

        def one(shape: tuple[int, ...], device: str) -> Any:
            return draw(shape, STREAM, device, self._source).astype(chosen, copy=False)

        device = default_device() if first is None else device_of(first.data)
        return self._made(one, _sizes(size), ndarray if first is None else first._plain, device)

    def _count(self, quantile: Callable[..., Any], size: Size, *parameters: Any) -> Any:
        found = self._drawn("uniform", size, *parameters, double=True)
        *given, u = [x.detach().astype(np.float64) for x in found]
        return Count(quantile)(u, *given)

    def _made(self, draw: Any, shape: tuple[int, ...], kind: Any, device: str) -> Any:
        """A tensor of what ``draw(shape, device)`` gives; inside of `vmap` each element its own."""
        expect_memory("random", shape, 16, device != "cpu")

        def one(shape: tuple[int, ...]) -> Any:
            return kind._wrap(draw(shape, device))

        return one(shape) if active.level is None else as_batched(one, shape)


def _sizes(size: Size) -> tuple[int, ...]:
    if size is None:
        return ()
    return (int(size),) if isinstance(size, int | np.integer) else tuple(map(int, size))


def default_rng(seed: int | None = None) -> Generator:
    """A `Generator` of its own; from the system's entropy where no seed is given."""
    if isinstance(seed, Generator):
        return seed
    chosen = secrets.randbits(64) if seed is None else streams.checked_seed("default_rng", seed)
    return Generator(streams.Generator(chosen))


_global = Generator(streams.generator)

seed = streams.manual_seed


def rand(*sizes: int) -> Any:
    """Uniform in [0, 1), of shape ``sizes``."""
    return _global.random(sizes)


def randn(*sizes: int) -> Any:
    """Standard normal, of shape ``sizes``."""
    return _global.standard_normal(sizes)


bernoulli, beta, binomial, chisquare = (
    *(_global.bernoulli, _global.beta, _global.binomial, _global.chisquare),
)
choice, dirichlet, exponential, gamma = (
    *(_global.choice, _global.dirichlet, _global.exponential, _global.gamma),
)
geometric, gumbel, integers, laplace = (
    *(_global.geometric, _global.gumbel, _global.integers, _global.laplace),
)
logistic, lognormal, normal, permutation = (
    *(_global.logistic, _global.lognormal, _global.normal, _global.permutation),
)
poisson, randint, random, random_sample = (
    *(_global.poisson, _global.randint, _global.random, _global.random_sample),
)
rayleigh, shuffle, standard_exponential = (
    *(_global.rayleigh, _global.shuffle, _global.standard_exponential),
)
standard_gamma, standard_normal, standard_t, uniform, weibull = (
    *(_global.standard_gamma, _global.standard_normal, _global.standard_t, _global.uniform),
    _global.weibull,
)
