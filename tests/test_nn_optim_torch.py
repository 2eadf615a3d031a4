"""Optimizers, clipping and schedules against PyTorch's, step for step."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peers import import_torch
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.nn import optim, schedules

torch = import_torch()

SHAPES = [(3, 4), (5,), (), (2, 3, 2, 2)]
STEPS = 20
RATE = st.floats(1e-4, 0.3)
DECAY = st.sampled_from([0.0, 0.01, 0.3])


def compare(ours: Any, theirs: Any, options: dict[str, Any], seed: int, device: str) -> None:
    """Random gradients for 20 steps, some missing, the learning rate changed half-way."""
    rng = np.random.default_rng(seed)
    start = [rng.standard_normal(shape) for shape in SHAPES]
    params = [nn.Parameter(array, device=device) for array in start]
    torch_params = [torch.nn.Parameter(torch.tensor(array)) for array in start]
    optimizer, torch_optimizer = ours(params, **options), theirs(torch_params, **options)
    for step in range(STEPS):
        if step == STEPS // 2:
            optimizer.lr = torch_optimizer.param_groups[0]["lr"] = options["lr"] / 3
        for param, torch_param in zip(params, torch_params, strict=True):
            grad = rng.standard_normal(param.shape) * 10.0 ** rng.integers(-4, 2)
            skipped = rng.random() < 0.1
            param.grad = None if skipped else Tensor(np.asarray(grad), device=device)
            torch_param.grad = None if skipped else torch.tensor(grad)
        optimizer.step()
        torch_optimizer.step()
        for param, torch_param in zip(params, torch_params, strict=True):
            expected = torch_param.detach().numpy()
            np.testing.assert_allclose(param.numpy(), expected, rtol=1e-9, atol=1e-11)


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
    if nesterov:
        momentum, dampening = momentum or 0.9, 0.0
    options = {"lr": lr, "momentum": momentum, "dampening": dampening}
    options |= {"weight_decay": decay, "nesterov": nesterov}
    compare(optim.SGD, torch.optim.SGD, options, seed, device)


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
    compare(getattr(optim, name), getattr(torch.optim, name), options, seed, device)


def test_adam_without_memory_forgets_large_gradients(device: str) -> None:
    """Of an average that keeps nothing, nothing of the gradient before may be left."""
    options: dict[str, Any] = {"lr": 0.25, "betas": (0.0, 0.0), "eps": 1e-8, "weight_decay": 0.0}
    compare(optim.Adam, torch.optim.Adam, options, 227, device)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_defaults(name: str) -> None:
    ours = getattr(optim, name)([Tensor([1.0])])
    theirs = getattr(torch.optim, name)([torch.ones(1)]).defaults
    expected = {key: theirs[key] for key in ours.hyperparameters if key in theirs}
    assert {key: getattr(ours, key) for key in expected} == expected
    if name != "SGD":
        assert (ours.beta1, ours.beta2) == theirs["betas"]


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
