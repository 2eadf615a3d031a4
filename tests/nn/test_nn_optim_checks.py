"""Optimizers and clipping: what they refuse before they write, and hyperparameters set later."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tinygrad_cupy as tg
from support.graph_stand_in import StandInPool
from support.optimizers import SETTINGS
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.nn import optim
from tinygrad_cupy.nn.optim import cuda, native, update


class Signs(optim.Optimizer):
    """An optimizer of a user."""

    slots = ("last",)

    def coefficients(self, step: int) -> tuple[float, ...]:
        return (self.lr / step,)

    def update(self, param: Any, grad: Any, state: Any, coefficients: Any) -> None:
        state["last"][...] = grad
        param -= coefficients[0] * (grad / abs(grad))


Make = Callable[[Any], optim.Optimizer]
MAKERS: dict[str, Make] = {
    "SGD": lambda params: optim.SGD(params, lr=1.0),
    "momentum": lambda params: optim.SGD(params, lr=1.0, momentum=0.9),
    "Adam": lambda params: optim.Adam(params, lr=1.0),
    "AdamW": lambda params: optim.AdamW(params, lr=1.0),
    "Signs": lambda params: Signs(params, lr=1.0),
}
everyone = pytest.mark.parametrize("name", MAKERS)


def raises(error: type[Exception], text: str) -> Any:
    return pytest.raises(error, match=re.escape(text))


def leaf(size: int, device: str, grad: Any = None) -> nn.Parameter:
    result = nn.Parameter(np.ones(size, np.float32), device=device)
    result._grad = Tensor(np.ones(size, np.float32) if grad is None else grad, device=device)
    return result


# Gradients of another kind ------------------------------------------------------------------------

WRONG = [
    (np.ones(6, np.float32), "shape (6,), dtype float32"),
    (np.ones(1, np.float32), "shape (1,), dtype float32"),
    (np.ones((), np.float32), "shape (), dtype float32"),
    (np.ones((1, 4), np.float32), "shape (1, 4), dtype float32"),
    (np.ones(4), "shape (4,), dtype float64"),
    (np.ones(4, np.float16), "shape (4,), dtype float16"),
    (np.ones(4, np.int64), "shape (4,), dtype int64"),
]


@everyone
@pytest.mark.parametrize(("grad", "got"), WRONG)
def test_a_gradient_of_another_kind_is_refused_before_anything_is_written(
    name: str, grad: np.ndarray, got: str, device: str
) -> None:
    good, bad = leaf(4, device), leaf(4, device, grad)
    optimizer = MAKERS[name]([good, bad])
    owner = type(optimizer).__name__
    with raises(
        ValueError,
        f"[{owner}] the gradient of parameter 1: expected shape (4,), dtype float32 on {device}, "
        f"as the parameter, got {got} on {device}",
    ):
        optimizer.step()
    assert good.tolist() == bad.tolist() == [1] * 4
    assert optimizer.steps == [0, 0]
    with raises(ValueError, "[clip_grad_norm] the gradient of parameter 1: expected shape (4,), d"):
        optim.clip_grad_norm([good, bad], 0.1)
    assert good.grad is not None
    assert good.grad.tolist() == [1] * 4


@everyone
def test_a_step_writes_nothing_behind_its_parameter(name: str) -> None:
    memory = np.zeros(64, np.float32)
    p = nn.Parameter(memory[:4])
    p.grad = Tensor(np.ones(4, np.float32))
    optimizer = MAKERS[name]([p])
    optimizer.step()
    for size in (2, 6):
        p.data = memory[:size]  # its gradient and moments stay behind
        with raises(ValueError, "the gradient of parameter 0: expected shape"):
            optimizer.step()
        p._grad = Tensor(np.ones(size, np.float32))
        if optimizer.slots:
            with raises(
                ValueError,
                f"{optimizer.slots[0]} of parameter 0: expected shape ({size},) and dtype float32, "
                "the parameter's, got (4,) and float32: a parameter that changes needs a new "
                "optimizer",
            ):
                optimizer.step()
    assert not memory[4:].any() or not optimizer.slots


@pytest.mark.parametrize("dtype", ["float32", "float64"])  # through C, and through NumPy
@pytest.mark.parametrize("size", [1, 6])
def test_an_inherited_update_refuses_other_sizes(size: int, dtype: str, device: str) -> None:
    p = nn.Parameter(np.ones(4, dtype), device=device)
    optimizer, grad = optim.SGD([p], lr=1.0), Tensor.ones(size, dtype=dtype, device=device)
    with raises(ValueError, f"[sgd] expected arrays of {size} elements, as grad, got 4"):
        optimizer.update(p.data, grad.data, {}, (1.0, 1.0))
    assert p.tolist() == [1] * 4


@pytest.mark.gpu
@everyone
def test_a_gradient_on_another_device_is_refused(name: str) -> None:
    p = nn.Parameter(np.ones(4, np.float32), device="cuda:0")
    p._grad = Tensor(np.ones(4, np.float32), device="cpu")
    with pytest.raises(ValueError, match=r"as the parameter, got .* on cpu"):
        MAKERS[name]([p]).step()
    with pytest.raises(ValueError, match=r"as the parameter, got .* on cpu"):
        optim.clip_grad_norm([p], 1.0)
    both = [leaf(4, "cpu"), leaf(4, "cuda:0")]
    with raises(ValueError, "expected all gradients on one device, got cpu and cuda:0"):
        optim.clip_grad_norm(both, 1.0)


def test_lists_of_parameters_that_cannot_be_meant() -> None:
    p = leaf(2, "cpu")
    with raises(ValueError, "[SGD] parameter 1 was computed from other tensors, and never gets a"):
        optim.SGD([p, p * 2])
    params = iter([p])
    optim.SGD(params)
    with raises(ValueError, "got none (an iterator gives its items once)"):
        optim.SGD(params)


# Hyperparameters set later ------------------------------------------------------------------------


@pytest.mark.parametrize("dampening", [0.0, 0.4])
def test_momentum_may_come_and_go(dampening: float, device: str) -> None:
    p = nn.Parameter(np.zeros(1), device=device)
    p.grad = Tensor(np.ones(1), device=device)
    optimizer = optim.SGD([p], lr=1.0)
    moved = []
    for momentum in (0.0, 0.5, 0.5, 0.0, 0.5):
        before = p.item()
        optimizer.momentum = momentum
        optimizer.dampening = dampening
        optimizer.step()
        moved.append(before - p.item())
        state = optimizer.state_dict()
        optimizer = optim.SGD([p], lr=0.1)
        optimizer.load_state_dict(state)
    gain = 1 - dampening
    second = 0.5 + gain
    # Without momentum the plain gradient, and the buffer waits.
    np.testing.assert_allclose(moved, [1, 1, second, 1, 0.5 * second + gain])
    assert optimizer.steps == [5]


def test_a_captured_step_follows_momentum(place: str) -> None:
    p, q = (nn.Parameter([1.0, 2.0]) for _ in range(2))
    captured, plain = optim.SGD([p], lr=0.1), optim.SGD([q], lr=0.1)

    def work(param: Tensor, optimizer: optim.Optimizer) -> Tensor:
        optimizer.zero_grad()
        loss = (param * param).sum()
        loss.backward()
        optimizer.step()
        return loss

    # The stand-in puts back what a capture changed: with momentum the state is there by then.
    step = tg.jit(lambda x: work(p, captured) + x)
    StandInPool.owners[:] = [captured, _Values(p)]
    x = Tensor([0.0])
    for momentum in (0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.9, 0.0, 0.5):
        captured.momentum = plain.momentum = momentum
        step(x)
        work(q, plain)
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-6)


class _Values:
    """A parameter's values, for the stand-in to put back."""

    def __init__(self, param: Tensor) -> None:
        self.param = param

    def state_dict(self) -> np.ndarray:
        return self.param.numpy()

    def load_state_dict(self, state: np.ndarray) -> None:
        self.param.assign_(state)


def test_all_of_adam_may_be_set_later(device: str, rng: np.random.Generator) -> None:
    values = {"lr": 0.3, "betas": (0.5, 0.7), "eps": 1e-2, "weight_decay": 0.1}
    start, grad = rng.standard_normal(5), rng.standard_normal(5)
    params = [nn.Parameter(start.copy(), device=device) for _ in range(2)]
    late, early = optim.Adam(params[:1]), optim.Adam(params[1:], **values)  # type: ignore[arg-type]
    for name, value in values.items():
        setattr(late, name, value)
    assert late.betas == (late.beta1, late.beta2) == (0.5, 0.7)
    for param, optimizer in zip(params, (late, early), strict=True):
        param.grad = Tensor(grad, device=device)
        optimizer.step()
    np.testing.assert_array_equal(params[0].numpy(), params[1].numpy())


NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "hyper", "value", "text"),
    [
        ("SGD", "lr", NAN, "[SGD] lr must be a number of at least 0, got nan"),
        ("Signs", "lr", "0.1", "[Signs] lr must be a number of at least 0, got '0.1'"),
        ("SGD", "lr", float("inf"), "[SGD] lr must be a number of at least 0, got inf"),
        ("SGD", "momentum", -0.1, "[SGD] momentum must be a number of at least 0, got -0.1"),
        ("SGD", "dampening", NAN, "[SGD] dampening must be a number of at least 0, got nan"),
        ("SGD", "weight_decay", None, "[SGD] weight_decay must be a number of at least 0, got No"),
        ("SGD", "nesterov", 1, "[SGD] nesterov must be a bool, got 1"),
        ("Adam", "beta1", 1.0, "[Adam] beta1 must be a number of at least 0 and below 1, got 1.0"),
        ("Adam", "betas", (0.9, 1), "[Adam] betas[1] must be a number of at least 0 and below 1, "),
        ("Adam", "betas", (0.9,), "[Adam] betas must be two numbers, got (0.9,)"),
        ("AdamW", "betas", 0.9, "[AdamW] betas must be two numbers, got 0.9"),
        ("AdamW", "beta2", -1, "[AdamW] beta2 must be a number of at least 0 and below 1, got -1"),
        ("Adam", "eps", -1e-8, "[Adam] eps must be a number of at least 0, got -1e-08"),
        ("AdamW", "weight_decay", NAN, "[AdamW] weight_decay must be a number of at least 0, got"),
    ],
)
def test_what_a_hyperparameter_cannot_be_is_refused_later_too(
    name: str, hyper: str, value: Any, text: str
) -> None:
    optimizer = MAKERS[name]([leaf(2, "cpu")])
    before = getattr(optimizer, hyper)
    with raises(ValueError, text):
        setattr(optimizer, hyper, value)
    assert getattr(optimizer, hyper) == before


def test_an_optimizer_needs_no_coefficients() -> None:
    class OfSigns(optim.Optimizer):
        def update(self, param: Any, grad: Any, state: Any, coefficients: Any) -> None:
            param -= self.lr * np.sign(grad)

    param = leaf(2, "cpu")
    param.assign_(1)
    param.grad = Tensor.full(2, 3.0, param.dtype, "cpu")
    OfSigns([param], lr=0.25).step()
    assert param.tolist() == [0.75, 0.75]
    with pytest.raises(NotImplementedError, match=r"^\[Optimizer\] defines no update\(\)$"):
        optim.Optimizer([param], lr=0.25).step()


def test_nesterov_and_dampening_exclude_each_other() -> None:
    optimizer = optim.SGD([leaf(2, "cpu")], momentum=0.9, nesterov=True)
    with raises(ValueError, "[SGD] nesterov needs a momentum above 0 and a dampening of 0, got mo"):
        optimizer.dampening = 0.1
    optimizer.nesterov = False
    optimizer.dampening = 0.1
    with raises(ValueError, "got momentum 0.9 and dampening 0.1"):
        optimizer.nesterov = True
    other = optim.SGD([leaf(2, "cpu")], momentum=0.9, nesterov=True)
    other.load_state_dict(optimizer.state_dict())
    assert (other.dampening, other.nesterov) == (0.1, False)


# Subclasses ---------------------------------------------------------------------------------------


def own_update(name: str) -> Make:
    """An optimizer whose update is the inherited one, of gradients times 2."""
    kind, options = SETTINGS[name]

    class Doubled(kind):  # type: ignore[misc, valid-type]
        def update(self, param: Any, grad: Any, state: Any, coefficients: Any) -> None:
            super().update(param, grad + grad, state, coefficients)

    return partial(Doubled, lr=0.1, **options)


def own_coefficients(name: str) -> Make:
    """An optimizer whose steps are half of the inherited ones."""
    kind, options = SETTINGS[name]

    class Halved(kind):  # type: ignore[misc, valid-type]
        def coefficients(self, step: int) -> tuple[float, ...]:
            size, *others = super().coefficients(step)
            return (size / 2, *others)

    return partial(Halved, lr=0.1, **options)


every_rule = pytest.mark.parametrize("name", SETTINGS)
own = pytest.mark.parametrize("own", [own_update, own_coefficients])
NARROW = [(np.dtype(np.float16), 11), (np.dtype(ml_dtypes.bfloat16), 8)]  # significant bits


def drawn(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Numbers that are the same in every dtype."""
    values = np.asarray(rng.standard_normal(shape))
    for narrow, _ in NARROW:
        values = values.astype(narrow)
    return values.astype(dtype)


def trained(make: Make, dtype: Any, device: str, steps: int = 3) -> list[np.ndarray]:
    """Parameters and state in float64, after steps along gradients that are the same every time."""
    rng = np.random.default_rng(0)
    shapes: list[tuple[int, ...]] = [(33, 65), (4, 3), (), (0,), (70_000,)]
    params = [nn.Parameter(drawn(rng, shape, dtype), device=device) for shape in shapes]
    params[1].data = params[1].data.T.copy().T
    optimizer = make(params)
    for _ in range(steps):
        for p in params:
            p.grad = Tensor(drawn(rng, p.shape, dtype), device=device)
        optimizer.step()
    assert all(p.dtype == dtype and p.device == device for p in params)
    state = optimizer.state_dict()
    slots = [state[key] for key in sorted(state) if "." in key]
    return [array.astype(np.float64) for array in (*(p.numpy() for p in params), *slots)]


@pytest.mark.one_in(5)
@every_rule
@own
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("float64", 1e-12)])
def test_a_subclass_inherits_the_rule(
    own: Any, name: str, dtype: str, bound: float, device: str
) -> None:
    found, expected = trained(own(name), dtype, device), trained(own(name), "float64", "cpu")
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=bound, atol=bound)


@pytest.mark.one_in(5)
@every_rule
@own
@pytest.mark.parametrize(("dtype", "bits"), NARROW, ids=["float16", "bfloat16"])
def test_what_a_subclass_inherits_rounds_16_bit_floats_once(
    own: Any, name: str, dtype: Any, bits: int, device: str
) -> None:
    """A step in float32 leaves them half a unit of the last place away at most."""
    found = trained(own(name), dtype, device, steps=1)
    expected = trained(own(name), "float32", "cpu", steps=1)
    for one, other in zip(found, expected, strict=True):
        bound = 1.01 * 2.0**-bits * np.abs(other) + 2.0**-24  # what float16 does not tell from 0
        assert (np.abs(one - other) <= bound).all()


@pytest.mark.one_in(4)
@every_rule
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_what_is_inherited_has_the_same_bits_in_blocks_and_as_a_whole(
    name: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a whole is how a GPU does it."""
    monkeypatch.setattr(native, "suits", lambda *arrays: False)
    in_blocks = trained(own_update(name), dtype, "cpu")
    monkeypatch.setattr(update, "is_cuda", lambda array: True)
    for one, other in zip(trained(own_update(name), dtype, "cpu"), in_blocks, strict=True):
        np.testing.assert_array_equal(one, other)


class Remembers(optim.Adam):
    """Adam with one slot more, between the others."""

    slots = ("exp_avg", "last", "exp_avg_sq")


def test_slots_of_its_own_move_no_other(device: str) -> None:
    kinds = Remembers, optim.Adam
    found, expected = (trained(partial(kind, lr=0.1), "float32", device) for kind in kinds)
    for one, other in zip(found[:5], expected[:5], strict=True):  # the parameters
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_what_has_a_rule_of_its_own_inherits_no_kernel() -> None:
    class Mixin:
        def update(self, *args: Any) -> None: ...

    class Mixed(Mixin, optim.Adam):
        pass

    class Further(Mixed):
        pass

    class Renamed(optim.AdamW):
        pass

    assert {kind.kernel for kind in (Remembers, Mixed, Further, Signs)} == {None}
    assert {kind.kernel for kind in (optim.Adam, optim.AdamW, Renamed)} == {"adam_step"}


@pytest.mark.gpu
@own
def test_a_rule_of_its_own_launches_no_kernel_of_the_inherited_one(
    own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = leaf(4, "cuda:0")
    optimizer = own("Adam")([p])
    monkeypatch.setattr(cuda._kernels, "launch", None)
    optimizer.step()
    assert optimizer.steps == [1]
    assert (p.numpy() != 1).all()


# States of another kind ---------------------------------------------------------------------------


def stepped(name: str) -> optim.Optimizer:
    optimizer = MAKERS[name]([leaf(2, "cpu")])
    optimizer.step()
    return optimizer


@everyone
def test_the_state_of_another_kind_is_refused(name: str) -> None:
    for other in MAKERS:
        optimizer = stepped(name)
        before = {key: array.copy() for key, array in optimizer.state_dict().items()}
        kinds = stepped(other).kind, optimizer.kind
        if kinds[0] == kinds[1]:
            optimizer.load_state_dict(stepped(other).state_dict())
            continue
        owner = type(optimizer).__name__
        with raises(
            ValueError, f"[{owner}] expected the state of {kinds[1]}, got that of {kinds[0]}"
        ):
            optimizer.load_state_dict(stepped(other).state_dict())
        assert {key: array.tolist() for key, array in optimizer.state_dict().items()} == {
            key: array.tolist() for key, array in before.items()
        }


def test_a_subclass_with_a_rule_of_its_own_has_a_kind_of_its_own() -> None:
    class Renamed(optim.Adam):
        pass

    class Other(optim.Adam):
        def update(self, *args: Any) -> None: ...

    assert (Renamed.kind, Other.kind, optim.AdamW.kind) == ("Adam", "Other", "AdamW")
    Renamed([leaf(2, "cpu")]).load_state_dict(stepped("Adam").state_dict())


@everyone
def test_states_of_before_kinds_are_loaded(name: str) -> None:
    state = stepped(name).state_dict()
    del state["kind"]
    optimizer = MAKERS[name]([leaf(2, "cpu")])
    optimizer.load_state_dict(state)
    assert optimizer.steps == [1]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"steps": [NAN]}, "[Adam] steps: expected whole numbers of at least 0, got [nan]"),
        ({"steps": [-1]}, "[Adam] steps: expected whole numbers of at least 0, got [-1]"),
        ({"steps": [0.5]}, "[Adam] steps: expected whole numbers of at least 0, got [0.5]"),
        ({"steps": ["1"]}, "[Adam] steps: expected whole numbers of at least 0, got ['1']"),
        ({"steps": [float("inf")]}, "[Adam] steps: expected counts below 2**53, got [inf]"),
        ({"steps": [1, 1]}, "[Adam] expected the state of 1 parameters, got 2"),
        ({"lr": NAN}, "[Adam] lr must be a number of at least 0, got nan"),
        ({"beta1": 1.5}, "[Adam] beta1 must be a number of at least 0 and below 1, got 1.5"),
        ({"eps": [1.0, 2.0]}, "[Adam] eps: expected one number, got (2,)"),
        ({"eps": "small"}, "[Adam] eps: expected one number, got an object of type str"),
        ({"kind": "Adam?"}, "[Adam] expected the state of Adam, got that of 'Adam?'"),
        ({"0.exp_avg": np.zeros(3)}, "[Adam] 0.exp_avg: expected shape (2,), got (3,)"),
        ({"0.exp_avg": "x"}, "[Adam] 0.exp_avg: expected shape (2,), got an object of type str"),
        ({"0.exp_avg_sq": None}, "[Adam] 0.exp_avg_sq: expected shape (2,), got an object of typ"),
        ({"1.exp_avg": np.zeros(2)}, "missing nothing; unexpected 1.exp_avg"),
    ],
)
def test_a_damaged_state_is_refused_whole(change: dict[str, Any], text: str) -> None:
    optimizer = stepped("Adam")
    before = {key: array.tolist() for key, array in optimizer.state_dict().items()}
    state = stepped("Adam").state_dict() | {"lr": np.array(0.5)} | change
    with raises(ValueError, text):
        optimizer.load_state_dict(state)
    assert {key: array.tolist() for key, array in optimizer.state_dict().items()} == before


@pytest.mark.parametrize("state", [None, "adam.npz", [1, 2]])
def test_a_state_must_be_a_mapping(state: Any) -> None:
    with raises(TypeError, f"[Adam] expected a state_dict, a mapping, got {type(state).__name__}"):
        stepped("Adam").load_state_dict(state)


# Clipping -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "value", "returned"),
    [
        ("float32", 1e30, "float32"),
        ("float32", 1e-30, "float32"),
        ("float16", 1e4, "float32"),
        ("float16", 6e-5, "float32"),
        ("float64", 1e3, "float64"),
    ],
)
def test_the_norm_of_large_and_small_gradients(
    dtype: str, value: float, returned: str, device: str
) -> None:
    p = nn.Parameter(np.ones(400, dtype), device=device)
    p.grad = Tensor(np.full(400, value, dtype), device=device)
    given = float(np.asarray(value, dtype))
    norm = optim.clip_grad_norm([p], 1.0)
    assert norm.dtype == returned
    assert norm.item() == pytest.approx(20 * given, rel=1e-6)
    expected = min(given, 1 / 20)
    np.testing.assert_allclose(p.grad.numpy().astype(np.float64), expected, rtol=2e-3)
    assert p.grad.dtype == dtype


@pytest.mark.parametrize("value", [1e200, 1e-200])
def test_norms_of_float64_whose_squares_leave_its_range(value: float) -> None:
    p = nn.Parameter(np.ones(4), device="cpu")
    p.grad = Tensor(np.full(4, value))
    assert optim.clip_grad_norm([p], 1.0).item() == pytest.approx(2 * value, rel=1e-12)
    np.testing.assert_allclose(p.grad.numpy(), min(value, 0.5), rtol=1e-12)


def test_gradients_that_are_not_finite_are_clipped_as_said(device: str) -> None:
    def clipped(value: float) -> tuple[float, list[float]]:
        p = nn.Parameter(np.ones(2, np.float32), device=device)
        p.grad = Tensor(np.array([value, 1.0], np.float32), device=device)
        norm = optim.clip_grad_norm([p], 1.0).item()
        return norm, p.grad.tolist()

    norm, grad = clipped(NAN)
    assert np.isnan([norm, *grad]).all()
    norm, grad = clipped(float("inf"))
    assert (norm, grad[1]) == (float("inf"), 0)
    assert np.isnan(grad[0])


# 16-bit floats ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SGD", "momentum", "Adam", "AdamW"])
def test_half_precision_is_computed_in_float32(name: str, device: str) -> None:
    rng = np.random.default_rng(3)
    start, grad = rng.standard_normal(50).astype("float16"), rng.standard_normal(50)
    grad[:5] = 0  # of which eps, too small for float16, must make no NaN
    params = [nn.Parameter(start.astype(dtype), device=device) for dtype in ("float16", "float32")]
    for p in params:
        p.grad = Tensor(grad.astype("float16").astype(p.dtype), device=device)
        MAKERS[name]([p]).step()
    assert params[0].dtype == "float16"
    np.testing.assert_allclose(params[0].numpy(), params[1].numpy(), rtol=2e-3, atol=2e-3)
