"""Every optimizer against PyTorch's: 20 steps in float64, parameter groups, states both ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from support.peers import import_torch
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.nn import optim

torch = import_torch()

SHAPES = [(3, 4), (5,), (), (2, 3, 2, 2)]
STEPS = 20

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "SGD": [
        {"maximize": True},
        {"momentum": 0.9, "weight_decay": 0.1, "maximize": True},
    ],
    "Adam": [{"amsgrad": True}, {"amsgrad": True, "weight_decay": 0.1, "maximize": True}],
    "AdamW": [{"amsgrad": True}, {"maximize": True}],
    "RMSprop": [
        {},
        {"momentum": 0.9, "weight_decay": 0.01},
        {"centered": True},
        {"momentum": 0.9, "centered": True, "maximize": True},
    ],
    "Adagrad": [
        {},
        {"lr_decay": 0.1, "weight_decay": 0.01, "initial_accumulator_value": 0.1},
    ],
    "Adadelta": [{}, {"lr": 0.5, "weight_decay": 0.1, "maximize": True}],
    "Adamax": [{}, {"weight_decay": 0.1, "maximize": True}],
    "NAdam": [
        {},
        {"weight_decay": 0.1, "momentum_decay": 0.1},
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
        {"momentum_decay": 0.0, "maximize": True},
    ],
    "RAdam": [
        {},
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True},
        {"betas": (0.5, 0.5)},
        {"betas": (0.9, 0.7)},
    ],
}
CASES = [(name, options) for name, listed in OPTIONS.items() for options in listed]
cases = pytest.mark.parametrize(("name", "options"), CASES)


@pytest.fixture(autouse=True)
def _doubles() -> Iterator[None]:
    """PyTorch keeps numbers such as NAdam's product in its default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def pairs(shapes: list[Any], device: str = "cpu", dtype: str = "float64") -> tuple[Any, Any]:
    """Parameters of ours and of PyTorch's, alike."""
    rng = np.random.default_rng(0)
    start = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    ours = [nn.Parameter(np.array(values), device=device) for values in start]
    return ours, [torch.nn.Parameter(torch.tensor(values)) for values in start]


def train(ours: Any, theirs: Any, params: Any, others: Any, steps: int, seed: int = 1) -> None:
    """Both along the same gradients."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        for param, other in zip(params, others, strict=True):
            grad = np.asarray(rng.standard_normal(param.shape)).astype(param.dtype)
            param.grad = Tensor(grad, device=param.device)
            other.grad = torch.tensor(grad)
        ours.step()
        theirs.step()


def expect_same(params: Any, others: Any, relative: float = 1e-9) -> None:
    for param, other in zip(params, others, strict=True):
        np.testing.assert_allclose(param.numpy(), other.detach().numpy(), rtol=relative, atol=1e-14)


@cases
def test_steps(name: str, options: dict[str, Any], device: str) -> None:
    params, others = pairs(SHAPES, device)
    ours, theirs = getattr(optim, name)(params, **options), None
    theirs = getattr(torch.optim, name)(others, **options)
    train(ours, theirs, params, others, STEPS)
    expect_same(params, others)


@cases
def test_steps_in_float32(name: str, options: dict[str, Any], device: str) -> None:
    """Through C on the CPU, and through the kernels of a GPU."""
    params, others = pairs(SHAPES, device, "float32")
    ours = getattr(optim, name)(params, **options)
    train(ours, getattr(torch.optim, name)(others, **options), params, others, STEPS)
    expect_same(params, others, 2e-5)


@pytest.mark.parametrize("name", OPTIONS)
def test_defaults(name: str) -> None:
    ours = getattr(optim, name)([Tensor([1.0])])
    theirs = getattr(torch.optim, name)([torch.ones(1)]).defaults
    names = [key for key in (*ours.hyperparameters, *ours.flags) if key in theirs]
    assert {key: getattr(ours, key) for key in names} == {key: theirs[key] for key in names}
    if "betas" in theirs:
        assert ours.betas == theirs["betas"]


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "options",
    [{}, {"lr": 0.05, "adjust_lr_fn": "match_rms_adamw", "nesterov": False}, {"ns_steps": 3}],
)
def test_muon(options: dict[str, Any], device: str) -> None:
    """PyTorch iterates in bfloat16."""
    params, others = pairs([(3, 4), (8, 5), (4, 4), (3, 4)], device)
    ours, theirs = optim.Muon(params, **options), torch.optim.Muon(others, **options)
    train(ours, theirs, params, others, STEPS)
    for param, other in zip(params, others, strict=True):
        expected = other.detach().numpy()
        distance = np.linalg.norm(param.numpy() - expected) / np.linalg.norm(expected)
        assert distance < 1e-2


# L-BFGS ------------------------------------------------------------------------------------------


def rosenbrock(x: Any) -> Any:
    return (100 * (x[1:] - x[:-1] * x[:-1]) ** 2 + (1 - x[:-1]) ** 2).sum()


class Search:
    """The same problem for an LBFGS of ours and PyTorch's."""

    def __init__(self, device: str, **options: Any) -> None:
        self.params, self.others = pairs([(6,)], device)
        self.ours = optim.LBFGS(self.params, **options)
        self.theirs = torch.optim.LBFGS(self.others, **options)

    def step(self) -> None:
        def closure(optimizer: Any, param: Any) -> Any:
            optimizer.zero_grad()
            loss = rosenbrock(param)
            loss.backward()
            return loss

        ours = self.ours.step(lambda: closure(self.ours, self.params[0]))
        theirs = self.theirs.step(lambda: closure(self.theirs, self.others[0]))
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)

    def expect_same(self) -> None:
        expect_same(self.params, self.others)
        state = self.theirs.state[self.others[0]]
        assert self.ours.iterations == state["n_iter"]
        assert self.ours.evaluations == state["func_evals"]


@pytest.mark.parametrize(
    "options",
    [
        {"line_search_fn": "strong_wolfe"},
        {"line_search_fn": "strong_wolfe", "history_size": 3, "max_iter": 5, "lr": 0.5},
        {"line_search_fn": "strong_wolfe", "max_iter": 1},
        {"line_search_fn": "strong_wolfe", "max_eval": 3},
        {"lr": 0.01},
        {"lr": 0.01, "history_size": 2, "max_iter": 4},
    ],
)
def test_lbfgs(options: dict[str, Any], device: str) -> None:
    """20 iterations: in Rosenbrock's valley each multiplies a rounding by about 2."""
    search = Search(device, **options)
    for _ in range(STEPS // options.get("max_iter", STEPS)):
        search.step()
    search.expect_same()


def test_lbfgs_reaches_the_minimum(device: str) -> None:
    search = Search(device, line_search_fn="strong_wolfe")
    for _ in range(5):
        search.step()
    np.testing.assert_allclose(search.params[0].numpy(), 1, rtol=1e-4)
    expect_same(search.params, search.others, 1e-6)


def test_lbfgs_exchanges_states(device: str) -> None:
    search = Search(device, line_search_fn="strong_wolfe", max_iter=3, history_size=5)
    for _ in range(3):
        search.step()
    ours = optim.LBFGS(search.params)
    ours.load_state_dict(search.theirs.state_dict())
    theirs = torch.optim.LBFGS(search.others)
    theirs.load_state_dict(search.ours.torch_state_dict())
    search.ours, search.theirs = ours, theirs
    for _ in range(3):
        search.step()
    search.expect_same()


# Groups and states -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIONS)
def test_groups(name: str, device: str) -> None:
    """Hyperparameters of their own, set later, and a group that is added."""
    params, others = pairs([*SHAPES, (7,)], device)
    own: dict[str, Any] = {"lr": 0.05, "weight_decay": 0.2}
    if name in ("Adamax", "NAdam", "RAdam", "Adam", "AdamW"):
        own["betas"] = (0.8, 0.9)
    if name == "SGD":
        own["momentum"] = 0.7

    def groups(listed: Any) -> Any:
        return [{"params": listed[:2]}, {"params": listed[2:4], **own}]

    ours = getattr(optim, name)(groups(params), lr=0.02)
    theirs = getattr(torch.optim, name)(groups(others), lr=0.02)
    train(ours, theirs, params[:4], others[:4], 4)
    for both in (ours, theirs):
        both.param_groups[1]["weight_decay"] = 0.1
        both.param_groups[0]["lr"] *= 0.5
        members = params if both is ours else others
        both.add_param_group({"params": members[4:], "lr": 0.3})
    if name == "Adagrad":  # to whose groups that are added PyTorch 2.11 gives no state
        theirs.state.setdefault(others[4], {"sum": torch.zeros(7), "step": torch.tensor(0.0)})
    train(ours, theirs, params, others, 4, seed=2)
    expect_same(params, others)
    for one, other in zip(ours.param_groups, theirs.param_groups, strict=True):
        assert one["lr"] == pytest.approx(other["lr"])
        assert one["weight_decay"] == other["weight_decay"]


@cases
def test_states_go_both_ways(name: str, options: dict[str, Any], device: str) -> None:
    params, others = pairs(SHAPES, device)
    groups = [{"params": params[:3]}, {"params": params[3:], "lr": 0.3}]
    torch_groups = [{"params": others[:3]}, {"params": others[3:], "lr": 0.3}]
    ours = getattr(optim, name)(groups, **options)
    theirs = getattr(torch.optim, name)(torch_groups, **options)
    train(ours, theirs, params, others, 3)
    again = getattr(optim, name)([{"params": params[:3]}, {"params": params[3:]}])
    again.load_state_dict(theirs.state_dict())
    torch_groups = [{"params": others[:3]}, {"params": others[3:]}]
    torch_again = getattr(torch.optim, name)(torch_groups)
    torch_again.load_state_dict(ours.torch_state_dict())
    if name != "SGD":  # of which PyTorch counts no steps
        assert again.steps == ours.steps == [3] * 4
    train(again, torch_again, params, others, 3, seed=2)
    expect_same(params, others)


def test_muon_exchanges_states() -> None:
    params, others = pairs([(3, 4)])
    ours, theirs = optim.Muon(params, nesterov=False), torch.optim.Muon(others, nesterov=False)
    train(ours, theirs, params, others, 2)
    again = optim.Muon(params)
    again.load_state_dict(theirs.state_dict())
    assert not again.nesterov
    found, expected = again.state[0]["momentum_buffer"], ours.state[0]["momentum_buffer"]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    torch.optim.Muon(others).load_state_dict(ours.torch_state_dict())
    with pytest.raises(ValueError, match="expected a state of ns_steps 3, got one of 5"):
        optim.Muon(params, ns_steps=3).load_state_dict(theirs.state_dict())


def test_states_of_another_optimizer_are_refused() -> None:
    params, others = pairs(SHAPES)
    theirs = torch.optim.AdamW(others)
    with pytest.raises(ValueError, match="decoupled_weight_decay False, got one of True"):
        optim.Adam(params).load_state_dict(theirs.state_dict())
    with pytest.raises(ValueError, match="missing alpha"):
        optim.RMSprop(params).load_state_dict(theirs.state_dict())


# Clipping ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.5, float("inf")])
@pytest.mark.parametrize("max_norm", [0.5, 1e3])
def test_clipping_by_norms(norm_type: float, max_norm: float, device: str) -> None:
    params, others = pairs(SHAPES, device)
    for param, other in zip(params[1:], others[1:], strict=True):
        param.grad = Tensor(param.numpy() * 2, device=device)
        other.grad = other.detach() * 2
    norm = optim.clip_grad_norm_(params, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(others, max_norm, norm_type)
    assert norm.item() == pytest.approx(expected.item(), rel=1e-12)
    for param, other in zip(params[1:], others[1:], strict=True):
        np.testing.assert_allclose(param.grad.numpy(), other.grad.numpy(), rtol=1e-12)


def test_clipping_by_value(device: str) -> None:
    params, others = pairs(SHAPES, device)
    for param, other in zip(params[1:], others[1:], strict=True):
        param.grad = Tensor(param.numpy() * 2, device=device)
        other.grad = other.detach() * 2
    optim.clip_grad_value_(params, 0.3)
    torch.nn.utils.clip_grad_value_(others, 0.3)
    for param, other in zip(params[1:], others[1:], strict=True):
        np.testing.assert_array_equal(param.grad.numpy(), other.grad.numpy())


# Averages ----------------------------------------------------------------------------------------


def nets(device: str) -> tuple[Any, Any]:
    ours = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    theirs = torch.nn.Sequential(
        *(torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6)),
        *(torch.nn.ReLU(), torch.nn.Linear(6, 2)),
    ).float()
    ours.load_state_dict(theirs.state_dict())
    return ours.to(device), theirs


@pytest.mark.parametrize("decay", [0.0, 0.9])
@pytest.mark.parametrize("use_buffers", [False, True])
def test_averaged_weights(decay: float, use_buffers: bool, device: str) -> None:
    swa = torch.optim.swa_utils
    ours, theirs = nets(device)
    average = {"multi_avg_fn": swa.get_ema_multi_avg_fn(decay)} if decay else {}
    expected = swa.AveragedModel(theirs, use_buffers=use_buffers, **average)
    averaged = optim.AveragedModel(ours, decay, use_buffers)
    rng = np.random.default_rng(0)
    batches = [rng.standard_normal((8, 4)).astype(np.float32) for _ in range(3)]
    for step in range(5):
        for param, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            values = rng.standard_normal(param.shape).astype(np.float32)
            param.assign_(values)
            other.data.copy_(torch.tensor(values))
        ours(Tensor(batches[step % 3], device=device))
        theirs(torch.tensor(batches[step % 3]))
        averaged.update_parameters(ours)
        expected.update_parameters(theirs)
    state, torch_state = averaged.state_dict(), expected.state_dict()
    assert state.keys() == torch_state.keys()
    for name, value in torch_state.items():
        if use_buffers and name.endswith("num_batches_tracked"):
            continue  # PyTorch averages counts, and rounds them
        np.testing.assert_allclose(state[name], value.numpy(), rtol=1e-5, atol=1e-6)
    averaged.load_state_dict(expected.state_dict())
    optim.update_bn([Tensor(batch, device=device) for batch in batches], averaged)
    swa.update_bn([torch.tensor(batch) for batch in batches], expected)
    for name, value in expected.state_dict().items():
        np.testing.assert_allclose(averaged.state_dict()[name], value, rtol=1e-4, atol=1e-5)
    x = batches[0]
    found = averaged.eval()(Tensor(x, device=device)).numpy()
    np.testing.assert_allclose(
        found, expected.eval()(torch.tensor(x)).detach().numpy(), rtol=1e-4, atol=1e-5
    )
    averaged.update_parameters(ours)  # goes on from what update_bn wrote
    expected.update_parameters(theirs)
    state = averaged.state_dict()
    for name, value in expected.state_dict().items():
        if not (use_buffers and name.endswith("num_batches_tracked")):
            np.testing.assert_allclose(state[name], value, rtol=1e-4, atol=1e-5)
