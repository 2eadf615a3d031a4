"""`tinygrad_cupy.numpy.random`: distributions, seeds, and gradients by the parameters."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy
import pytest

import tinygrad_cupy as tg
import tinygrad_cupy.numpy as np
from tinygrad_cupy import Tensor

COUNT = 20_000
Draw = Callable[[Any, Any], Any]
Law = Callable[[Any], Any]  # of scipy.stats, which is slow to import

CONTINUOUS: dict[str, tuple[Draw, Law]] = {
    "random": (lambda r, n: r.random(n), lambda s: s.uniform()),
    "uniform": (lambda r, n: r.uniform(-1, 3, n), lambda s: s.uniform(-1, 4)),
    "standard_normal": (lambda r, n: r.standard_normal(n), lambda s: s.norm()),
    "normal": (lambda r, n: r.normal(2, 3, n), lambda s: s.norm(2, 3)),
    "lognormal": (lambda r, n: r.lognormal(0.5, 0.4, n), lambda s: s.lognorm(0.4, 0, 1.6487212707)),
    "exponential": (lambda r, n: r.exponential(2, n), lambda s: s.expon(scale=2)),
    "standard_exponential": (lambda r, n: r.standard_exponential(n), lambda s: s.expon()),
    "laplace": (lambda r, n: r.laplace(1, 2, n), lambda s: s.laplace(1, 2)),
    "logistic": (lambda r, n: r.logistic(1, 2, n), lambda s: s.logistic(1, 2)),
    "gumbel": (lambda r, n: r.gumbel(1, 2, n), lambda s: s.gumbel_r(1, 2)),
    "rayleigh": (lambda r, n: r.rayleigh(2, n), lambda s: s.rayleigh(scale=2)),
    "weibull": (lambda r, n: r.weibull(1.5, n), lambda s: s.weibull_min(1.5)),
    "standard_gamma": (lambda r, n: r.standard_gamma(0.3, n), lambda s: s.gamma(0.3)),
    "gamma": (lambda r, n: r.gamma(7, 2, n), lambda s: s.gamma(7, scale=2)),
    "chisquare": (lambda r, n: r.chisquare(3, n), lambda s: s.chi2(3)),
    "beta": (lambda r, n: r.beta(2, 0.5, n), lambda s: s.beta(2, 0.5)),
    "standard_t": (lambda r, n: r.standard_t(5, n), lambda s: s.t(5)),
}
COUNTS: dict[str, tuple[Draw, Law]] = {
    "poisson": (lambda r, n: r.poisson(2.5, n), lambda s: s.poisson(2.5)),
    "poisson, many": (lambda r, n: r.poisson(4000, n), lambda s: s.poisson(4000)),
    "poisson, none": (lambda r, n: r.poisson(0, n), lambda s: s.poisson(0)),
    "binomial": (lambda r, n: r.binomial(10, 0.3, n), lambda s: s.binom(10, 0.3)),
    "binomial, sure": (lambda r, n: r.binomial(4, 1.0, n), lambda s: s.binom(4, 1.0)),
    "geometric": (lambda r, n: r.geometric(0.2, n), lambda s: s.geom(0.2)),
    "bernoulli": (lambda r, n: r.bernoulli(0.2, n), lambda s: s.bernoulli(0.2)),
    "integers": (lambda r, n: r.integers(-2, 4, n), lambda s: s.randint(-2, 4)),
    "randint": (lambda r, n: r.randint(6, size=n), lambda s: s.randint(0, 6)),
}


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name", CONTINUOUS)
def test_draws_follow_their_distribution(name: str, device: str) -> None:
    import scipy.stats

    tg.set_default_device(device)
    draw, expected_of = CONTINUOUS[name]
    found = draw(np.random.default_rng(11), COUNT)
    assert found.dtype == numpy.float64
    assert found.device == device
    assert scipy.stats.kstest(found.numpy(), expected_of(scipy.stats).cdf).pvalue > 1e-4


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", COUNTS)
def test_counts_follow_their_distribution(name: str, device: str) -> None:
    import scipy.stats

    tg.set_default_device(device)
    draw, expected_of = COUNTS[name]
    found = draw(np.random.default_rng(12), COUNT)
    assert found.dtype == numpy.int64
    values, expected = found.numpy(), expected_of(scipy.stats)
    for k in numpy.unique(numpy.quantile(values, [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]).astype(int)):
        p = expected.cdf(k)
        error = 5 * numpy.sqrt(p * (1 - p) / COUNT) + 1e-9
        assert abs((values <= k).mean() - p) <= error, k


def test_a_seed_gives_the_same_draws_and_the_words_are_philoxs(device: str) -> None:
    tg.set_default_device(device)
    one, two = np.random.default_rng(5), np.random.default_rng(5)
    assert (one.random(4).numpy() == two.random(4).numpy()).all()
    assert not (one.random(4).numpy() == np.random.default_rng(6).random(4).numpy()).any()
    key = 5 + (tg.random.STREAM_DRAWS << 64)
    words = numpy.random.Philox(key=key, counter=0).random_raw(3)
    expected = (words >> numpy.uint64(11)) * 2.0**-53
    assert (np.random.default_rng(5).random(3).numpy() == expected).all()
    tg.manual_seed(5)
    assert (np.random.rand(3).numpy() == expected).all()
    np.random.seed(5)
    assert (np.random.random(3).numpy() == expected).all()


def test_draws_do_not_shift_weights_shuffles_and_dropout() -> None:
    tg.manual_seed(1)
    expected = Tensor.randn(3).numpy()
    tg.manual_seed(1)
    np.random.normal(size=100)
    assert (Tensor.randn(3).numpy() == expected).all()


SLOPES: dict[str, tuple[Callable[..., Any], tuple[float, ...]]] = {
    "normal": (lambda r, a, b: r.normal(a, b, 5), (1.0, 2.0)),
    "uniform": (lambda r, a, b: r.uniform(a, b, 5), (1.0, 2.0)),
    "lognormal": (lambda r, a, b: r.lognormal(a, b, 5), (0.1, 0.5)),
    "exponential": (lambda r, a: r.exponential(a, 5), (2.0,)),
    "laplace": (lambda r, a, b: r.laplace(a, b, 5), (1.0, 2.0)),
    "logistic": (lambda r, a, b: r.logistic(a, b, 5), (1.0, 2.0)),
    "gumbel": (lambda r, a, b: r.gumbel(a, b, 5), (1.0, 2.0)),
    "rayleigh": (lambda r, a: r.rayleigh(a, 5), (2.0,)),
    "weibull": (lambda r, a: r.weibull(a, 5), (1.5,)),
    "gamma": (lambda r, a, b: r.gamma(a, b, 5), (0.7, 2.0)),
    "gamma of a large shape": (lambda r, a, b: r.gamma(a, b, 5), (80.0, 2.0)),
    "beta": (lambda r, a, b: r.beta(a, b, 5), (2.0, 0.7)),
    "chisquare": (lambda r, a: r.chisquare(a, 5), (3.0,)),
    "standard_t": (lambda r, a: r.standard_t(a, 5), (5.0,)),
    "dirichlet": (lambda r, a, b: r.dirichlet(tg.stack([a, b, a]), 2), (1.5, 0.4)),
}


@pytest.mark.parametrize("name", SLOPES)
def test_gradients_by_the_parameters(name: str, device: str) -> None:
    draw, values = SLOPES[name]
    inputs = [Tensor(v, dtype="float64", device=device, requires_grad=True) for v in values]
    assert tg.gradcheck(lambda *xs: draw(np.random.default_rng(3), *xs), inputs, order=1)


def test_a_second_derivative_by_the_shape_of_gamma_raises() -> None:
    a = Tensor(2.0, requires_grad=True)
    (first,) = tg.grad([np.random.gamma(a)], [a], create_graph=True)
    with pytest.raises(RuntimeError, match=r"\[gamma\] a draw has a first derivative"):
        first.backward()


def test_draws_are_of_the_parameters_dtype_class_and_device(device: str) -> None:
    mean = Tensor([0.0, 1.0], device=device)
    drawn = np.random.normal(mean, 2)
    assert (type(drawn), drawn.dtype, drawn.device) == (Tensor, numpy.float32, device)
    assert drawn.shape == (2,)
    assert np.random.normal(mean, 2, (3, 2)).shape == (3, 2)
    assert np.random.exponential(Tensor([1, 2])).dtype == numpy.float32


def test_orders_and_choices(device: str) -> None:
    tg.set_default_device(device)
    rng = np.random.default_rng(0)
    assert sorted(rng.permutation(7).tolist()) == list(range(7))
    x = np.array([[1.0, 2], [3, 4], [5, 6]], requires_grad=True)
    moved = rng.permutation(x)
    assert sorted(moved.tolist()) == [[1, 2], [3, 4], [5, 6]]
    (moved * np.array([[1.0], [2], [3]])).sum().backward()
    assert x.grad is not None
    assert sorted(x.grad.tolist()) == [[1, 1], [2, 2], [3, 3]]
    y = np.arange(5)
    rng.shuffle(y)
    assert sorted(y.tolist()) == list(range(5))
    assert sorted(rng.choice(5, 5, replace=False).tolist()) == list(range(5))
    assert set(rng.choice(4, 200, p=[0, 0.5, 0.5, 0]).tolist()) == {1, 2}
    assert set(rng.choice(4, 2, replace=False, p=[0, 0.5, 0.5, 0]).tolist()) == {1, 2}
    assert rng.choice(np.array([2.5]), (2, 3)).tolist() == [[2.5] * 3] * 2
    share = (rng.choice(2, 20_000, p=[0.3, 0.7]).numpy()).mean()
    assert abs(share - 0.7) < 0.02


def test_each_element_of_a_batch_draws_as_a_loop_would() -> None:
    means = Tensor([0.0, 10.0, 20.0], dtype="float64")
    tg.manual_seed(4)
    together = tg.vmap(lambda m: np.random.normal(m, 1.0, 2))(means)
    tg.manual_seed(4)
    loop = [np.random.normal(m, 1.0, 2).tolist() for m in means.split(3)]
    assert together.tolist() == loop


def test_a_checkpoint_draws_the_same_again() -> None:
    rng = np.random.default_rng(9)
    x = Tensor([1.0, 2.0], requires_grad=True)

    def noisy(x: Tensor) -> Any:
        return x * rng.normal(size=2) * np.random.normal(size=2)

    tg.manual_seed(0)
    y = tg.checkpoint(noisy, x)
    y.sum().backward()
    assert x.grad is not None
    numpy.testing.assert_allclose(x.grad.numpy() * x.numpy(), y.numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: np.random.integers(3, 3), "[integers] expected low < high, got 3 and 3"),
        (lambda: np.random.choice(3, 4, replace=False), "[choice] cannot take 4 of 3 elements"),
        (lambda: np.random.choice(3, p=[1.0]), "[choice] expected p of shape (3,), got (1,)"),
        (lambda: np.random.default_rng(-1), "[default_rng] expected a whole number from 0"),
        (lambda: np.random.normal(np.zeros(3), 1, 2), "[random] parameters of shape (3,)"),
        (lambda: np.random.integers(300, dtype=numpy.uint8), "[integers] 0 to 299 are beyond"),
    ],
)
def test_errors(call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        call()
