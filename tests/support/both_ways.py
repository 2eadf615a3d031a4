"""A module of ours beside the same of PyTorch: values, gradients, training, state_dicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.nn import optim

Call = Callable[..., Any]


def in_dtype(module: nn.Module, dtype: Any) -> nn.Module:
    """The module, its floating-point parameters and buffers in another dtype."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.dtype.kind == "f":
            tensor.replace_data(tensor.data.astype(dtype))
    return module


def same_state(torch: Any, ours: nn.Module, theirs: Any, dtype: Any = np.float64) -> None:
    """Both in one dtype and with the same random state, loaded either way: names, shapes, order."""
    in_dtype(ours, dtype)
    theirs.to(getattr(torch, np.dtype(dtype).name))
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for parameter in theirs.parameters():  # biases that start at 0 would hide a mix-up
            noise = rng.standard_normal(tuple(parameter.shape)) * 0.1
            parameter += torch.tensor(noise, dtype=parameter.dtype)
    ours.load_state_dict(theirs.state_dict())
    state = ours.state_dict()
    assert list(state) == list(theirs.state_dict())
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})


def relative(ours: Any, theirs: Any) -> float:
    """The largest difference over the largest value."""
    expected = theirs.detach().numpy()
    found = ours.numpy()
    assert found.shape == expected.shape
    scale = np.abs(expected).max(initial=0) or 1.0
    return float(np.abs(found - expected).max(initial=0) / scale)


def flat(outputs: Any) -> list[Any]:
    """The tensors in nested tuples, without None."""
    if isinstance(outputs, tuple | list):
        return [x for each in outputs for x in flat(each)]
    return [] if outputs is None else [outputs]


def expect_same_passes(
    torch: Any, ours: Any, theirs: Any, arrays: Sequence[np.ndarray], limit: float
) -> None:
    """Values, and gradients by inputs and parameters, agree to a relative error."""
    ours_in = [Tensor(a, requires_grad=True) for a in arrays]
    theirs_in = [torch.tensor(a, requires_grad=True) for a in arrays]
    found, expected = flat(ours(*ours_in)), flat(theirs(*theirs_in))
    assert len(found) == len(expected)
    rng = np.random.default_rng(1)
    total: Any = 0
    total_theirs: Any = 0
    for y, z in zip(found, expected, strict=True):
        assert relative(y, z) < limit
        seed = rng.standard_normal(y.shape).astype(y.dtype)
        total = total + (y * Tensor(seed)).sum()
        total_theirs = total_theirs + (z * torch.tensor(seed)).sum()
    total.backward()
    total_theirs.backward()
    for x, z in zip(ours_in, theirs_in, strict=True):
        assert relative(x.grad, z.grad) < limit


def expect_same_gradients(ours: nn.Module, theirs: Any, limit: float) -> None:
    """What the last backward pass left at the parameters."""
    grads = {name: p.grad for name, p in ours.named_parameters()}
    for name, parameter in theirs.named_parameters():
        grad = grads.pop(name)
        if parameter.grad is None:
            assert grad is None
        else:
            assert relative(grad, parameter.grad) < limit, name
    assert not grads


def expect_same_training(
    torch: Any,
    ours: nn.Module,
    theirs: Any,
    losses: tuple[Call, Call],
    name: str,
    limit: float = 1e-9,
    **options: Any,
) -> None:
    """20 steps of an optimizer leave the same weights."""
    first: Any = getattr(optim, name)(list(ours.parameters()), **options)
    second = getattr(torch.optim, name)(theirs.parameters(), **options)
    for step in range(20):
        for optimizer, loss in ((first, losses[0]), (second, losses[1])):
            optimizer.zero_grad()
            loss(step).backward()
            optimizer.step()
    state = ours.state_dict()
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(state[key], value.numpy(), rtol=limit, atol=limit * 0.1)
