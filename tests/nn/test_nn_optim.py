"""Optimizers: formulas by hand, what is skipped, state, errors, clipping."""

import re
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tinygrad_cupy import Tensor, backend, nn
from tinygrad_cupy.nn import optim
from tinygrad_cupy.nn.optim import cuda
from tinygrad_cupy.nn.optim.update import BLOCK

MAKERS: dict[str, Callable[[list[Tensor]], optim.Optimizer]] = {
    "SGD": lambda params: optim.SGD(params, lr=0.1, weight_decay=0.01),
    "momentum": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True),
    "Adam": lambda params: optim.Adam(params, lr=0.1, weight_decay=0.01),
    "AdamW": lambda params: optim.AdamW(params, lr=0.1, weight_decay=0.1),
}


def parameter(values: Any, grad: Any = None, device: str = "cpu") -> nn.Parameter:
    result = nn.Parameter(np.array(values), device=device)
    result.grad = None if grad is None else Tensor(np.array(grad), device=device)
    return result


def test_plain_sgd_by_hand(device: str) -> None:
    p = parameter([1.0, 2.0], [0.5, -1.0], device)
    optim.SGD([p], lr=0.1, weight_decay=0.5).step()
    np.testing.assert_allclose(p.numpy(), [1 - 0.1 * (0.5 + 0.5), 2 - 0.1 * (-1 + 1)])


def test_momentum_by_hand(device: str) -> None:
    p = parameter([0.0], [1.0], device)
    optimizer = optim.SGD([p], lr=1.0, momentum=0.5, dampening=0.25)
    optimizer.step()  # buffer 1, the first gradient as it is
    optimizer.step()  # buffer 0.5 * 1 + 0.75 * 1
    np.testing.assert_allclose(p.numpy(), [-1 - 1.25])


def test_first_adam_step_is_the_learning_rate_against_the_sign(device: str) -> None:
    p = parameter([1.0, 1.0, 1.0], [1e-3, -50.0, 7.0], device)
    optim.Adam([p], lr=0.1).step()
    np.testing.assert_allclose(p.numpy(), [0.9, 1.1, 0.9], rtol=1e-5)


def test_adamw_decays_apart_from_the_gradient(device: str) -> None:
    p = parameter([2.0], [0.0], device)
    optim.AdamW([p], lr=0.1, weight_decay=0.5).step()
    np.testing.assert_allclose(p.numpy(), [2 * (1 - 0.1 * 0.5)])


@pytest.mark.parametrize("name", MAKERS)
def test_parameters_are_written_in_place_and_the_write_is_noticed(name: str, device: str) -> None:
    p = parameter(np.ones(3, np.float32), device=device)
    array, loss = p.data, (p * p).sum()
    p.grad = Tensor.ones(3, device=device)
    MAKERS[name]([p]).step()
    assert p.data is array
    assert not (p.numpy() == 1).any()
    with pytest.raises(RuntimeError, match="in place"):
        loss.backward()


@pytest.mark.parametrize("name", MAKERS)
def test_without_a_gradient_or_frozen_nothing_moves(name: str) -> None:
    waiting, frozen = parameter([1.0]), parameter([1.0], [1.0])
    moving = parameter([1.0], [1.0])
    frozen.requires_grad = False
    optimizer = MAKERS[name]([waiting, frozen, moving])
    optimizer.step()
    assert waiting.item() == frozen.item() == 1
    assert moving.item() != 1
    # A step that was skipped does not count: the first real one is a first step.
    waiting.grad = Tensor(np.array([1.0]))
    optimizer.step()
    assert optimizer.steps == [1, 0, 2]
    optimizer.zero_grad()
    assert waiting.grad is moving.grad is frozen.grad is None


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("order", ["C", "F", "grad F", "strided"])
def test_every_memory_layout_gives_the_same_update(
    name: str, order: str, rng: np.random.Generator
) -> None:
    shape = (40, BLOCK // 15)  # three blocks, the last one short
    values, grad = rng.standard_normal(shape), rng.standard_normal(shape)
    expected, other = parameter(values, grad), parameter(values, grad)
    if order == "strided":
        other.data = np.repeat(values, 2, axis=1)[:, ::2]
    else:
        other.data = np.array(values, order="F" if order == "F" else "C")
        other.grad = Tensor(np.array(grad, order="C" if order == "C" else "F"))
    # One short row at a time: never more than a block, so another way through the code.
    rows = [parameter(row, row_grad) for row, row_grad in zip(values, grad, strict=True)]
    for params in ([expected], [other], rows):
        optimizer = MAKERS[name](list(params))
        for _ in range(3):
            optimizer.step()
    np.testing.assert_array_equal(other.numpy(), expected.numpy())
    np.testing.assert_array_equal(np.stack([row.numpy() for row in rows]), expected.numpy())


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_parameter_keeps_its_dtype(name: str, dtype: Any, device: str) -> None:
    p = parameter(np.ones((), dtype), np.ones((), dtype), device)
    optimizer = MAKERS[name]([p])
    optimizer.lr = np.float64(0.5)  # as a schedule computed with NumPy gives it
    optimizer.step()
    assert p.dtype == dtype
    assert p.shape == ()
    assert p.item() != 1


# State -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
def test_a_restored_optimizer_continues_exactly(
    name: str, device: str, rng: np.random.Generator
) -> None:
    start = rng.standard_normal((4, 3)).astype(np.float32)
    grads = rng.standard_normal((6, 4, 3)).astype(np.float32)
    p, idle = parameter(start, device=device), parameter([1.0], device=device)
    optimizer = MAKERS[name]([p, idle])
    for position, grad in enumerate(grads):
        if position == 3:
            optimizer.lr = 0.07
            saved, middle = optimizer.state_dict(), p.numpy()
        p.grad = Tensor(grad, device=device)
        optimizer.step()
    q = parameter(middle, device=device)
    other = MAKERS[name]([q, parameter([1.0], device=device)])
    other.load_state_dict(saved)
    again = other.state_dict()
    assert saved.keys() == again.keys()
    for key, value in saved.items():
        np.testing.assert_array_equal(value, again[key])
    for grad in grads[3:]:
        q.grad = Tensor(grad, device=device)
        other.step()
    np.testing.assert_array_equal(p.numpy(), q.numpy())


def test_saved_state_does_not_share_memory() -> None:
    p = parameter([1.0], [1.0])
    optimizer = optim.Adam([p])
    optimizer.step()
    saved = optimizer.state_dict()
    before = saved["0.exp_avg"].copy()
    other = optim.Adam([p])
    other.load_state_dict(saved)
    other.step()
    optimizer.step()
    np.testing.assert_array_equal(saved["0.exp_avg"], before)


def test_state_that_does_not_fit_is_named_and_changes_nothing() -> None:
    def stepped(*shapes: tuple[int, ...]) -> optim.Adam:
        params = [parameter(np.ones(shape), np.ones(shape)) for shape in shapes]
        optimizer = optim.Adam(params)
        optimizer.step()
        return optimizer

    optimizer = stepped((2,))
    before = optimizer.state_dict()
    momentum = optim.SGD([parameter([1.0], [1.0])], momentum=0.9)
    momentum.step()
    for state, text in [
        (stepped((2,), (2,)).state_dict(), "[Adam] expected the state of 1 parameters, got 2"),
        ({}, "[Adam] expected the state of 1 parameters, got 0"),
        (stepped((3,)).state_dict(), "[Adam] 0.exp_avg: expected shape (2,), got (3,)"),
        (momentum.state_dict(), "[Adam] expected the state of Adam, got that of SGD"),
        (
            {key: x for key, x in momentum.state_dict().items() if key != "kind"},
            "[Adam] the state does not fit: missing 0.exp_avg, 0.exp_avg_sq, beta1, beta2, eps; "
            "unexpected 0.momentum_buffer, dampening, momentum, nesterov",
        ),
    ]:
        with pytest.raises(ValueError, match=re.escape(text)):
            optimizer.load_state_dict(state)
        for key, value in optimizer.state_dict().items():
            np.testing.assert_array_equal(value, before[key])


# Errors ------------------------------------------------------------------------------------------

WEIGHT = parameter([1.0])


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (lambda: optim.Adam([]), ValueError, "[Adam] expected at least one parameter, got none"),
        (
            lambda: optim.Adam([WEIGHT], lr=0),
            ValueError,
            "[Adam] lr must be a number above 0, got 0",
        ),
        (
            lambda: optim.SGD([WEIGHT], lr=-1.0),
            ValueError,
            "[SGD] lr must be a number above 0, got -1.0",
        ),
        (
            lambda: optim.SGD([WEIGHT], lr=float("nan")),
            ValueError,
            "[SGD] lr must be a number above 0, got nan",
        ),
        (
            lambda: optim.AdamW([WEIGHT], betas=(0.9, 1.0)),
            ValueError,
            "[AdamW] betas[1] must be a number of at least 0 and below 1, got 1.0",
        ),
        (
            lambda: optim.Adam([WEIGHT], weight_decay=-0.1),
            ValueError,
            "[Adam] weight_decay must be a number of at least 0, got -0.1",
        ),
        (
            lambda: optim.SGD([WEIGHT], nesterov=True),
            ValueError,
            "[SGD] nesterov needs a momentum above 0 and a dampening of 0, got momentum 0.0 and "
            "dampening 0.0",
        ),
        (
            lambda: optim.Adam([WEIGHT, parameter([2.0]), WEIGHT]),
            ValueError,
            "[Adam] parameter 2 was given before, at position 0",
        ),
        (
            lambda: optim.Adam(WEIGHT),
            TypeError,
            "[Adam] expected an iterable of Tensors, got one Tensor: pass [tensor]",
        ),
        (
            lambda: optim.Adam([("weight", WEIGHT)]),  # type: ignore[arg-type]
            TypeError,
            "[Adam] expected Tensors, got tuple at position 0",
        ),
        (
            lambda: optim.clip_grad_norm([WEIGHT], 0),
            ValueError,
            "[clip_grad_norm] max_norm must be a number above 0, got 0",
        ),
    ],
)
def test_wrong_arguments_are_named(
    build: Callable[[], Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=re.escape(text)):
        build()


def test_a_learning_rate_below_zero_is_refused_later_too() -> None:
    optimizer = optim.Adam([parameter([1.0])])
    optimizer.lr = 0.0
    with pytest.raises(ValueError, match=r"\[Adam\] lr must be a number of at least 0, got -1"):
        optimizer.lr = -1
    assert repr(optimizer) == (
        "Adam(1 parameters, lr=0.0, beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0.0)"
    )


# Clipping ----------------------------------------------------------------------------------------


def test_clipping_scales_all_gradients_by_one_factor(device: str) -> None:
    params = [
        parameter(np.zeros(2, np.float32), np.array([3, 0], np.float32), device),
        parameter(np.zeros(1, np.float32), device=device),
        parameter(np.zeros((1, 1), np.float32), np.array([[4]], np.float32), device),
    ]
    norm = optim.clip_grad_norm(iter(params), 1.0)
    assert isinstance(norm, Tensor)
    assert norm.device == device
    assert norm.item() == pytest.approx(5)
    grads = [p.grad.numpy() for p in params if p.grad is not None]
    np.testing.assert_allclose(grads[0], [0.6, 0], rtol=1e-5)
    np.testing.assert_allclose(grads[1], [[0.8]], rtol=1e-5)
    assert grads[0].dtype == np.float32
    assert optim.clip_grad_norm(params, 10.0).item() == pytest.approx(1)
    np.testing.assert_array_equal(params[0].grad.numpy(), grads[0])  # type: ignore[union-attr]


def test_clipping_without_gradients_gives_zero() -> None:
    assert optim.clip_grad_norm([parameter([1.0])], 1.0).item() == 0


def test_momentum_that_comes_with_a_state_is_used() -> None:
    param, other = (Tensor([1.0], requires_grad=True) for _ in range(2))
    optimizer = optim.SGD([param], lr=0.1)
    optimizer.load_state_dict(optim.SGD([other], lr=0.1, momentum=0.5).state_dict())
    for _ in range(2):
        param.grad = Tensor([1.0])
        optimizer.step()
    assert param.item() == pytest.approx(1 - 0.1 - 0.1 * 1.5)


@pytest.mark.parametrize("count", [0, 1, 16, 17, 80, 81, 96, 97, 250])
def test_kernels_are_prepared_for_every_launch_of_a_step(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays: list[Any] = [
        SimpleNamespace(
            dtype=np.dtype(kind), size=5, data=SimpleNamespace(ptr=512), device=nullcontext()
        )
        for kind in ("float32", "float64")
        for _ in range(count)
    ]
    prepared: set[tuple[str, ...]] = set()
    monkeypatch.setattr(backend, "is_cuda", lambda array: True)
    monkeypatch.setattr(cuda._kernels, "prepare", prepared.add)
    cuda.prepare(arrays)
    launched = {
        cuda._defines(kind, capacity)
        for kind in {array.dtype for array in arrays}
        for capacity, *_ in cuda._tables([cuda.Row((array,)) for array in arrays[:count]])
    }
    assert prepared == launched
