"""Optimizers, clipping and schedules against PyTorch's, step for step."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.peers import import_torch
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.nn import optim, schedules

torch = import_torch()

SHAPES = [(3, 4), (5,), (), (2, 3, 2, 2)]
STEPS = 20
RATE = st.floats(1e-4, 0.3)
DECAY = st.sampled_from([0.0, 0.01, 0.3])


class Both:
    """An optimizer of ours and the one of PyTorch, of parameters that begin alike."""

    def __init__(self, name: str, start: list[Any], device: str, **options: Any) -> None:
        self.params = [nn.Parameter(np.array(values), device=device) for values in start]
        self.torch_params = [torch.nn.Parameter(torch.tensor(values)) for values in start]
        self.ours = getattr(optim, name)(self.params, **options)
        self.theirs = getattr(torch.optim, name)(self.torch_params, **options)

    def set(self, name: str, value: Any) -> None:
        """Change a hyperparameter."""
        setattr(self.ours, name, value)
        self.theirs.param_groups[0][name] = value

    def step(self, grads: list[Any]) -> None:
        """One step; None for a parameter without a gradient."""
        for param, torch_param, grad in zip(self.params, self.torch_params, grads, strict=True):
            param.grad = None if grad is None else Tensor(np.array(grad), device=param.device)
            torch_param.grad = None if grad is None else torch.tensor(grad)
        self.ours.step()
        self.theirs.step()

    def expect_same(self, relative: float) -> None:
        for param, torch_param in zip(self.params, self.torch_params, strict=True):
            expected = torch_param.detach().numpy()
            np.testing.assert_allclose(param.numpy(), expected, rtol=relative, atol=relative / 100)


@given(RATE, st.floats(0, 0.95), st.floats(0, 1), DECAY, st.booleans(), st.integers(0, 1000))
def test_sgd(
    device: str,
    lr: float,
    momentum: float,
    dampening: float,
    decay: float,
    nesterov: bool,
    seed: int,
) -> None:
    """Random gradients for 20 steps, some missing, the learning rate changed half-way."""
    if nesterov:
        momentum, dampening = momentum or 0.9, 0.0
    options = {"lr": lr, "momentum": momentum, "dampening": dampening}
    options |= {"weight_decay": decay, "nesterov": nesterov}
    rng = np.random.default_rng(seed)
    both = Both("SGD", [rng.standard_normal(shape) for shape in SHAPES], device, **options)
    for step in range(STEPS):
        if step == STEPS // 2:
            both.set("lr", lr / 3)
        grads = [rng.standard_normal(shape) * 10.0 ** rng.integers(-4, 2) for shape in SHAPES]
        both.step([None if rng.random() < 0.1 else grad for grad in grads])
        both.expect_same(1e-9)


Changes = dict[int, dict[str, Any]]


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({}, {3: {"momentum": 0.9}}),
        ({}, {3: {"momentum": 0.9, "dampening": 0.4}, 6: {"momentum": 0.0}, 8: {"momentum": 0.5}}),
        ({"momentum": 0.9, "dampening": 0.1}, {2: {"momentum": 0.0}, 5: {"momentum": 0.8}}),
        ({"momentum": 0.9}, {3: {"nesterov": True}, 4: {"momentum": 0.0}, 6: {"momentum": 0.7}}),
        ({}, {5: {"momentum": 0.9, "dampening": 0.4, "weight_decay": 0.3}}),
    ],
)
def test_what_is_set_later_is_followed(
    options: dict[str, Any], changes: Changes, device: str, rng: np.random.Generator
) -> None:
    """Some gradients missing; saved and loaded on the way, also between a change and its step."""
    start = [rng.standard_normal(shape) for shape in SHAPES]
    both = Both("SGD", start, device, lr=0.1, **options)
    for step in range(12):
        for name, value in changes.get(step, {}).items():
            both.set(name, value)
        if step in (5, 9):
            state = both.ours.state_dict()
            both.ours = optim.SGD(both.params)
            both.ours.load_state_dict(state)
        grads = [rng.standard_normal(shape) for shape in SHAPES]
        both.step([None if rng.random() < 0.3 else grad for grad in grads])
        both.expect_same(1e-10)


def test_momentum_begins_where_a_parameter_was_first_stepped_without(
    device: str, rng: np.random.Generator
) -> None:
    """The second has no gradient until momentum is off, and a state is loaded at every place."""
    for loaded_at in range(5):
        start = [rng.standard_normal(3) for _ in range(2)]
        both = Both("SGD", start, device, lr=0.1, momentum=0.9, dampening=0.4)
        for step, momentum in enumerate((0.9, 0.0, 0.0, 0.7, 0.7)):
            both.set("momentum", momentum)
            if step == loaded_at:
                both.ours.load_state_dict(both.ours.state_dict())
            both.step([rng.standard_normal(3), rng.standard_normal(3) if step else None])
        both.expect_same(1e-10)


# Adam divides by sqrt(v). Where v forgets faster than m (beta1 > sqrt(beta2), as random betas often
# do), a large m over a small v makes steps of a thousand times the learning rate, a gradient that
# cancels against the decay becomes the divisor, and a rounding of 1e-16 grows within 20 steps to
# 1e-9 and beyond: at lr 0.293, betas (0.75, 1e-5), eps 1e-8 and decay 0.3, seed 290 leaves ours
# further from the exact result than PyTorch's, seed 694 PyTorch's further than ours. No fixed
# distance between the two holds there, and neither is at fault. What holds everywhere: an optimizer
# whose operations are rounded stays about where rounded operations lead the exact recurrence.

EPSILON = float(np.finfo(np.float64).eps)
RUNS = 8


def exact_adam(
    start: np.ndarray,
    grads: np.ndarray,
    rates: list[float],
    options: dict[str, Any],
    decoupled: bool,
    rounding: np.random.Generator | None = None,
    lost: float = 0.0,
) -> np.ndarray:
    """Adam's recurrence in extended precision: (steps, RUNS, n), every run the same.

    ``grads`` is (steps, n), NaN where a step is skipped. With ``rounding``, each operation is off
    by up to one unit of float64, in every run by another, and beta1 by ``lost``.
    """
    wide = np.longdouble

    def off(x: Any, by: float = EPSILON) -> Any:
        if rounding is None:
            return x
        return x * (1 + by * rounding.uniform(-1, 1, (RUNS, len(start))).astype(wide))

    one, two = map(wide, options["betas"])
    eps, decay = wide(options["eps"]), wide(options["weight_decay"])
    p = np.tile(start.astype(wide), (RUNS, 1))
    m, v, t = np.zeros_like(p), np.zeros_like(p), np.zeros(len(start), int)
    result = []
    for grad, lr in zip(grads.astype(wide), map(wide, rates), strict=True):
        stepped = ~np.isnan(grad)
        t = t + stepped
        before, g = (p, m, v), np.where(stepped, grad, 0)
        if decoupled:
            p = off(p * off(1 - off(lr * decay)))
        else:
            g = off(g + off(decay * p))
        m = off(off(one * m) + off(off(1 - one) * g)) + (off(m, lost) - m)
        v = off(off(two * v) + off(off(1 - two) * off(g * g)))
        corrections = [off(1 - off(beta ** np.maximum(t, 1))) for beta in (one, two)]
        divisor = off(off(np.sqrt(off(v / corrections[1]))) + eps)
        p = off(p - off(off(lr * off(m / corrections[0])) / divisor))
        p, m, v = (np.where(stepped, *pair) for pair in zip((p, m, v), before, strict=True))
        result.append(p)
    return np.array(result)


def adam_steps(
    name: str, start: np.ndarray, grads: np.ndarray, rates: list[float], options: Any, device: str
) -> tuple[np.ndarray, np.ndarray]:
    """Ours and PyTorch's parameters after each step, (steps, n)."""
    ends = np.cumsum([int(np.prod(shape)) for shape in SHAPES])[:-1]

    def split(flat: np.ndarray) -> list[np.ndarray]:
        return [part.reshape(s) for part, s in zip(np.split(flat, ends), SHAPES, strict=True)]

    both = Both(name, split(start), device, **options)
    ours, theirs = [], []
    for row, lr in zip(grads, rates, strict=True):
        both.set("lr", lr)
        both.step([None if np.isnan(grad).any() else grad for grad in split(row)])
        ours.append(np.concatenate([p.numpy().ravel() for p in both.params]))
        theirs.append(np.concatenate([p.detach().numpy().ravel() for p in both.torch_params]))
    return np.array(ours), np.array(theirs)


def check_adam(name: str, options: dict[str, Any], seed: int, device: str) -> None:
    """Random gradients for 20 steps, some missing, the learning rate changed half-way."""
    rng = np.random.default_rng(seed)
    start = np.concatenate([rng.standard_normal(shape).ravel() for shape in SHAPES])
    rates = [options["lr"] / (1 if step < STEPS // 2 else 3) for step in range(STEPS)]
    grads = np.concatenate(
        [
            rng.standard_normal((STEPS, int(np.prod(shape))))
            * 10.0 ** rng.integers(-4, 2, (STEPS, 1))
            * np.where(rng.random((STEPS, 1)) < 0.1, np.nan, 1.0)
            for shape in SHAPES
        ],
        axis=1,
    )
    arguments = (start, grads, rates, options, name == "AdamW")
    exact = exact_adam(*arguments)[:, 0]
    both = adam_steps(name, start, grads, rates, options, device)
    # PyTorch keeps 1 - (1 - beta1) of m.
    for who, found, lost in zip(("ours", "PyTorch's"), both, (0.0, EPSILON), strict=True):
        rounded = exact_adam(*arguments, np.random.default_rng(0), lost)
        spread = np.abs(rounded - exact[:, None]).max(axis=1)
        # 16 times the widest of 8 runs: all 8 are that narrow by chance once in 1e10 elements.
        bound = 16 * spread + 16 * EPSILON * np.abs(exact)
        excess = np.abs(found - exact) / bound
        assert excess.max() <= 1, (who, np.unravel_index(excess.argmax(), excess.shape), options)
        if options["betas"] == (0.9, 0.999):  # where no rounding grows the bound is a narrow one
            assert (bound <= 1e-12 * (np.abs(exact) + 1)).all()


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
@given(
    RATE,
    st.tuples(st.floats(0, 0.99), st.floats(0, 0.9999)),
    st.sampled_from([1e-8, 1e-3]),
    DECAY,
    st.integers(0, 1000),
)
def test_adam(
    device: str,
    name: str,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    decay: float,
    seed: int,
) -> None:
    options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": decay}
    check_adam(name, options, seed, device)


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_adam_at_its_usual_betas(device: str, name: str) -> None:
    options = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.3}
    check_adam(name, options, 1, device)


@pytest.mark.parametrize("seed", [290, 694])
def test_adam_whose_steps_multiply_roundings(device: str, seed: int) -> None:
    options = {"lr": 0.293, "betas": (0.75, 1e-5), "eps": 1e-8, "weight_decay": 0.3}
    check_adam("Adam", options, seed, device)


def test_adam_without_memory_forgets_large_gradients(device: str) -> None:
    """Of an average that keeps nothing, nothing of the gradient before may be left."""
    options: dict[str, Any] = {"lr": 0.25, "betas": (0.0, 0.0), "eps": 1e-8, "weight_decay": 0.0}
    check_adam("Adam", options, 227, device)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_defaults(name: str) -> None:
    ours = getattr(optim, name)([Tensor([1.0])])
    theirs = getattr(torch.optim, name)([torch.ones(1)]).defaults
    expected = {key: theirs[key] for key in ours.hyperparameters if key in theirs}
    assert {key: getattr(ours, key) for key in expected} == expected
    if name != "SGD":
        assert (ours.beta1, ours.beta2) == theirs["betas"]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_a_net_trains_alike_in_float32(name: str, device: str, rng: np.random.Generator) -> None:
    ours = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)).to(device)
    theirs = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    ours.load_state_dict(theirs.state_dict())
    options = {"lr": 0.02, "weight_decay": 0.01} | ({"momentum": 0.9} if name == "SGD" else {})
    optimizer = getattr(optim, name)(ours.parameters(), **options)
    torch_optimizer = getattr(torch.optim, name)(theirs.parameters(), **options)
    x, labels = rng.standard_normal((32, 6)).astype(np.float32), rng.integers(0, 3, 32)
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch_optimizer.zero_grad()
        loss = nn.CrossEntropyLoss(0.1)(
            ours(Tensor(x, device=device)), Tensor(labels, device=device)
        )
        torch_loss = torch.nn.CrossEntropyLoss(label_smoothing=0.1)(
            theirs(torch.tensor(x)), torch.tensor(labels)
        )
        assert loss.item() == pytest.approx(torch_loss.item(), rel=1e-4)
        loss.backward()
        torch_loss.backward()
        norm = optim.clip_grad_norm(ours.parameters(), 0.3)
        torch_norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.3)
        assert norm.item() == pytest.approx(torch_norm.item(), rel=1e-3)
        optimizer.step()
        torch_optimizer.step()
    for name_, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name_], value.numpy(), rtol=1e-3, atol=1e-4)


# Schedules ---------------------------------------------------------------------------------------


def rates(build: Any, steps: int) -> list[float]:
    """The learning rate that a scheduler of PyTorch gives each step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = build(optimizer)
    result = []
    for step in range(steps):
        result.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step + 1 < steps:
            scheduler.step()
    return result


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True}),
        ("Adam", {"weight_decay": 0.1}),
        ("AdamW", {}),
    ],
)
def test_both_parts_of_complex_parameters_are_stepped(
    device: str, dtype: str, name: str, options: dict[str, Any], rng: np.random.Generator
) -> None:
    """Each with moments of its own; also of a number, and of what lies in another order."""

    def draw() -> list[Any]:
        return [
            (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
            for shape in [(3, 4), (), (2, 3)]
        ]

    both = Both(name, draw(), device, lr=0.1, **options)
    both.params[2].data = both.params[2].data.T.copy().T
    for _ in range(5):
        both.step(draw())
    both.expect_same(1e-5 if dtype == "complex64" else 1e-12)
    saved = both.ours.state_dict()
    again = getattr(optim, name)(both.params, lr=0.1, **options)
    again.load_state_dict(saved)
    for key, value in again.state_dict().items():
        np.testing.assert_array_equal(value, saved[key])


def test_gradients_of_complex_numbers_are_clipped(device: str, rng: np.random.Generator) -> None:
    parts = rng.standard_normal((2, 5))
    grads = [(parts[0] + 1j * parts[1]).astype("complex64"), parts[0].astype("float32")]
    params = [nn.Parameter(grad, device=device) for grad in grads]
    theirs = [torch.nn.Parameter(torch.tensor(grad)) for grad in grads]
    for param, other, grad in zip(params, theirs, grads, strict=True):
        param.grad, other.grad = Tensor(grad, device=device), torch.tensor(grad)
    norm = optim.clip_grad_norm(params, 0.5)
    np.testing.assert_allclose(norm.numpy(), torch.nn.utils.clip_grad_norm_(theirs, 0.5), 1e-6)
    for param, other in zip(params, theirs, strict=True):
        found: Any = param.grad
        np.testing.assert_allclose(found.numpy(), other.grad.numpy(), rtol=1e-5)


def test_cosine_is_cosine_annealing() -> None:
    theirs = rates(
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=50, eta_min=0.01), 51
    )
    schedule = schedules.Cosine(0.1, 50, final_lr=0.01)
    np.testing.assert_allclose([schedule(step) for step in range(51)], theirs, rtol=1e-9)


@pytest.mark.parametrize("anneal", ["cos", "linear"])
@pytest.mark.parametrize(("steps", "rise"), [(100, 0.3), (37, 0.21), (10, 0.5)])
def test_one_cycle_is_one_cycle_lr(anneal: str, steps: int, rise: float) -> None:
    theirs = rates(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(
            o, 0.4, total_steps=steps, pct_start=rise, anneal_strategy=anneal, div_factor=10,
            final_div_factor=100, cycle_momentum=False,
        ),
        steps,
    )  # fmt: skip
    schedule = schedules.OneCycle(0.4, steps, rise, 10, 100, anneal)
    np.testing.assert_allclose([schedule(step) for step in range(steps)], theirs, rtol=1e-9)
