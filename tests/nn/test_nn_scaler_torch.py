"""`GradScaler` and `autocast` beside PyTorch's."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.peers import import_torch
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.nn import optim

torch = import_torch()


def test_scales_and_steps_are_pytorchs() -> None:
    rng = np.random.default_rng(0)
    start = rng.standard_normal(5)
    x, y = Tensor(start, requires_grad=True), torch.tensor(start, requires_grad=True)
    ours, theirs = optim.Adam([x], 0.1), torch.optim.Adam([y], 0.1)
    how = {"growth_factor": 4.0, "backoff_factor": 0.25, "growth_interval": 3}
    scaler = tg.GradScaler(64.0, **how)  # type: ignore[arg-type]
    other = torch.amp.GradScaler("cpu", 64.0, **how)
    for step in range(40):
        factor = math.inf if rng.random() < 0.2 else float(rng.standard_normal())
        ours.zero_grad()
        scaler.scale((x * x * factor).sum()).backward()
        scaler.step(ours)
        scaler.update()
        theirs.zero_grad()
        other.scale((y * y * factor).sum()).backward()
        other.step(theirs)
        other.update()
        assert scaler.get_scale() == other.get_scale(), step
        np.testing.assert_allclose(x.numpy(), y.detach().numpy(), rtol=1e-9)
    assert scaler.state_dict() == other.state_dict()
    scaler.load_state_dict(other.state_dict())
    other.load_state_dict(scaler.state_dict())


def test_a_step_in_bfloat16_is_near_to_pytorchs() -> None:
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 5))
    twin = torch.nn.Sequential(torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 5))
    twin.load_state_dict({k: torch.from_numpy(v) for k, v in model.state_dict().items()})
    rng = np.random.default_rng(0)
    x = rng.standard_normal((32, 20)).astype(np.float32)
    labels = rng.integers(0, 5, 32)
    with tg.autocast("bf16"):
        loss = model(Tensor(x)).cross_entropy(Tensor(labels))
    with torch.autocast("cpu", torch.bfloat16):
        scores = twin(torch.from_numpy(x))
    expected = torch.nn.functional.cross_entropy(scores.float(), torch.from_numpy(labels))
    assert loss.item() == pytest.approx(expected.item(), rel=2e-3)
    loss.backward()
    expected.backward()
    for one, two in zip(model.parameters(), twin.parameters(), strict=True):
        assert one.grad is not None
        assert two.grad is not None
        scale = float(two.grad.abs().max())
        np.testing.assert_allclose(one.grad.numpy(), two.grad.numpy(), atol=0.02 * scale)
