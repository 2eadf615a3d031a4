"""Hooks on gradients and on modules, against PyTorch's."""

from __future__ import annotations

import copy
import dataclasses
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.peers import import_torch
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.autograd.backward import _may_be_absorbed
from tinygrad_cupy.autograd.hooks import leaves
from tinygrad_cupy.nn.hooks import modules

torch = import_torch()


def leaf(*values: float) -> Tensor:
    return Tensor(list(values), dtype="float64", requires_grad=True)


def test_a_hook_sees_the_whole_gradient_and_may_replace_it(device: str) -> None:
    x = Tensor([1.0, 2.0], device=device, requires_grad=True)
    seen: list[Any] = []
    y = x * 3
    y.register_hook(lambda g: seen.append(g.tolist()))
    y.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: seen.append(g.tolist()))
    (y + y * 2).sum().backward()
    assert seen == [[3.0, 3.0], [90.0, 90.0]]
    assert x.grad is not None
    assert x.grad.tolist() == [90.0, 90.0]
    assert tg.grad((x * 2).sum(), x).tolist() == [2.0, 2.0]
    assert seen[2:] == [[2.0, 2.0]]


def test_a_handle_removes_its_hook_alone() -> None:
    x = leaf(1.0)
    seen: list[str] = []

    def hook(grad: Tensor) -> None:
        seen.append("hook")

    first, _ = x.register_hook(hook), x.register_hook(hook)
    (x * 2).backward()
    first.remove()
    first.remove()
    (x * 2).backward()
    with x.register_hook(lambda g: seen.append("inside")):
        (x * 2).backward()
    (x * 2).backward()
    assert seen == ["hook"] * 3 + ["hook", "inside"] + ["hook"]


def test_what_a_hook_does_is_differentiated(device: str) -> None:
    x = Tensor(np.array([2.0]), device=device, requires_grad=True)
    y = x * x
    y.register_hook(lambda g: g * x)
    (first,) = tg.grad([y.sum()], [x], create_graph=True)
    assert first.tolist() == [8.0]  # 2 x² for x · 2 x
    assert tg.grad(first.sum(), x).tolist() == [8.0]  # 4 x


def test_a_gradient_that_does_not_fit_is_refused() -> None:
    x = leaf(1.0, 2.0)

    def shorter(grad: Tensor) -> Tensor:
        return grad[:1]

    with x.register_hook(shorter), pytest.raises(ValueError, match=r"expected shorter to return"):
        x.sum().backward()
    with x.register_hook(lambda g: 3), pytest.raises(TypeError, match="tensor or None, got int"):
        x.sum().backward()
    with pytest.raises(RuntimeError, match=r"^\[register_hook\] .* does not require a gradient"):
        Tensor([1.0]).register_hook(shorter)
    with pytest.raises(TypeError, match="expected a function, got int"):
        x.register_hook(3)  # type: ignore[arg-type]
    assert x.grad is None


def hooked_leaf() -> Any:
    x = leaf(1.0)
    x.register_hook(lambda g: g * x)
    return x


def hooked_module() -> Any:
    layer = nn.Linear(2, 2)
    layer.register_forward_hook(lambda *_: layer.eval() and None)
    return layer


@pytest.mark.parametrize("make", [hooked_leaf, hooked_module])
def test_a_hook_that_holds_its_owner_keeps_it_no_longer_than_a_cycle(
    make: Callable[[], Any],
) -> None:
    gone = weakref.ref(make())
    gc.collect()
    assert gone() is None


def test_a_leaf_without_closures_around_it_goes_at_once() -> None:
    x = leaf(1.0)
    handle = x.register_hook(lambda g: None)
    gone = weakref.ref(x)
    del x
    assert gone() is None
    handle.remove()


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_hooks_of_a_leaf_are_no_part_of_a_copy(copied: Callable[[Any], Any]) -> None:
    x, seen = leaf(1.0), []
    x.register_hook(lambda g: seen.append(g.item()))
    copied(x).sum().backward()
    assert seen == []
    x.sum().backward()
    assert seen == [1.0]


def test_the_gradient_that_a_hook_keeps_or_gives_is_not_the_memory_of_grad() -> None:
    """Clipping in place would write into it: into the weights, where a hook returns them."""
    x = leaf(1.0, 2.0)
    kept: list[Tensor] = []
    x.register_hook(lambda g: kept.append(g))
    x.register_hook(lambda g: x)
    x.sum().backward()
    assert x.grad is not None
    assert not x.grad.requires_grad
    assert not tg.grad(x.sum(), x).requires_grad
    for other in (kept[0], x):
        assert not np.shares_memory(x.grad.numpy(), other.data)


@pytest.mark.parametrize("place", ["leaf", "result"])
def test_a_hook_may_not_write_into_what_it_is_handed(place: str) -> None:
    """Others may have the same memory: the other term of a sum, here."""
    x, other = leaf(1.0), leaf(1.0)
    y = x + other
    (x if place == "leaf" else y).register_hook(lambda g: g.assign_(3.0))
    with pytest.raises(RuntimeError, match=r"^\[assign_\] a hook may not write into what it is"):
        y.backward()


def test_a_hook_that_was_removed_hinders_nobody() -> None:
    """A batch norm behind the ReLU may do its part again."""
    x = leaf(1.0)
    y = x * 2
    with y.register_hook(lambda g: None):
        assert not _may_be_absorbed(y._node, None)
    assert _may_be_absorbed(y._node, None)


def test_a_hooked_result_is_masked_by_nobody_else(device: str) -> None:
    """Behind the convolution with ReLU the batch norm may do the ReLU's part; not here."""
    tg.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.BatchNorm2d(4))
    net.to(device)
    x = Tensor(np.random.default_rng(0).standard_normal((5, 1, 8, 8)), "float32", device)
    seen: list[np.ndarray] = []
    conv, norm = net[0], net[2]
    y = conv(x, relu=True)
    y.register_hook(lambda g: seen.append(g.numpy()))
    (norm(y) * norm(y)).sum().backward()
    assert (seen[0][y.numpy() == 0] != 0).any()


# --- modules ------------------------------------------------------------------------------------


def both(hook_ours: Any, hook_theirs: Any) -> tuple[list[Any], list[Any]]:
    """A net of each, with the same weights, hooks on the second layer; what they have seen."""
    tg.manual_seed(1)
    ours = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    values = np.random.default_rng(0).standard_normal((5, 3)).astype("float32")
    found, expected = hook_ours(ours[1]), hook_theirs(theirs[1])
    x, t = Tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    y, u = ours(x), theirs(t)
    (y * y).sum().backward()
    (u * u).sum().backward()
    assert x.grad is not None
    found.append(x.grad.numpy())
    expected.append(t.grad.numpy())
    return found, expected


def same(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def to_arrays(values: Any) -> list[np.ndarray]:
    values = values if isinstance(values, tuple) else (values,)
    return [v.numpy() if isinstance(v, Tensor) else v.detach().numpy() for v in values]


def test_forward_hooks_as_in_pytorch() -> None:
    def attach(module: Any) -> list[Any]:
        seen: list[Any] = []

        def before(_: Any, args: Any) -> Any:
            seen.extend(to_arrays(args))
            return args[0] * 2

        def after(_: Any, args: Any, output: Any) -> Any:
            seen.extend(to_arrays(args) + to_arrays(output))
            return output + 1

        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)
        return seen

    same(*both(attach, attach))


def test_backward_hooks_as_in_pytorch() -> None:
    def attach(module: Any) -> list[Any]:
        seen: list[Any] = []

        def before(_: Any, by_output: Any) -> Any:
            seen.extend(to_arrays(by_output))
            return (by_output[0] * 3,)

        def after(_: Any, by_input: Any, by_output: Any) -> Any:
            seen.extend(to_arrays(by_input) + to_arrays(by_output))
            return (by_input[0] * 0.5,)

        module.register_full_backward_pre_hook(before)
        module.register_full_backward_hook(after)
        return seen

    same(*both(attach, attach))


@pytest.mark.parametrize("ours", [True, False])
def test_gradients_have_the_places_of_arguments_and_results(ours: bool) -> None:
    base: Any = nn.Module if ours else torch.nn.Module
    make: Any = Tensor if ours else torch.tensor

    class Both(base):  # type: ignore[misc]
        def forward(self, factor: float, a: Any, b: Any) -> Any:
            return a * factor, a + b

    seen: list[Any] = []

    def values(gradients: Any) -> list[Any]:
        return [None if g is None else g.tolist() for g in gradients]

    def after(_: Any, by_input: Any, by_output: Any) -> Any:
        seen.append((values(by_input), values(by_output)))
        return None, by_input[1] * 3, by_input[2]

    module = Both()
    module.register_full_backward_hook(after)
    a, b = make([1.0], requires_grad=True), make([2.0], requires_grad=True)
    first, _ = module(5.0, a, b)
    first.sum().backward()
    _, second = module(5.0, a, b)
    second.sum().backward()
    assert seen[0][1] == [[1.0], None]
    assert seen[1] == ([None, [1.0], [1.0]], [None, [1.0]])
    assert a.grad.tolist() == [5.0 * 3 + 3.0]


def test_a_layer_with_a_hook_is_not_fused() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2))
    x = Tensor.rand(1, 1, 8, 8)
    plain = net(x).numpy()
    shapes: list[tuple[int, ...]] = []
    with net[1].register_forward_hook(lambda m, a, y: shapes.append(y.shape)):
        np.testing.assert_allclose(net(x).numpy(), plain, rtol=1e-6)
    net(x)
    assert shapes == [(1, 2, 6, 6)]


def test_hooks_are_no_part_of_a_copy() -> None:
    layer = nn.Linear(2, 2)
    seen: list[int] = []
    layer.register_forward_hook(lambda *_: seen.append(1))
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        other(Tensor.ones(1, 2))
    assert seen == []
    assert list(layer.state_dict()) == ["weight", "bias"]
    layer(Tensor.ones(1, 2))
    assert seen == [1]
    del layer
    gc.collect()


@pytest.fixture(params=[False, True], ids=["no hook before", "hooks before"])
def hooked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a leaf and a module ever had a hook in this process."""
    monkeypatch.setattr(leaves, "hooked", request.param)
    monkeypatch.setattr(modules, "hooked", request.param)


def test_a_captured_call_notices_new_hooks(place: str, hooked: None) -> None:
    layer = nn.Linear(2, 2)
    layer.to(place)
    step = tg.jit(lambda x: layer(x))
    x = Tensor.ones(1, 2, device=place)
    first = [step(x).tolist() for _ in range(3)][-1]
    with layer.register_forward_hook(lambda m, a, y: y * 2):
        doubled = [step(x).tolist() for _ in range(3)][-1]
    assert doubled == [[2 * v for v in first[0]]]
    assert [step(x).tolist() for _ in range(3)][-1] == first


@pytest.mark.parametrize("kind", ["forward_pre", "forward", "full_backward_pre", "full_backward"])
def test_a_hook_may_remove_itself(kind: str) -> None:
    layer = nn.Linear(2, 2)
    register = getattr(layer, f"register_{kind}_hook")
    seen: list[str] = []

    def once(*_: Any) -> None:
        seen.append("once")
        handle.remove()

    handle = register(once)
    register(lambda *_: seen.append("always"))
    for _ in range(2):
        layer(Tensor.ones(1, 2, requires_grad=True)).sum().backward()
    assert seen == ["once", "always", "always"]


def test_modules_that_have_no_hash_are_called_beside_those_with_hooks() -> None:
    @dataclasses.dataclass
    class Scale(nn.Module):
        factor: float

        def forward(self, x: Tensor) -> Tensor:
            return x * self.factor

    one, equal = Scale(2.0), Scale(2.0)
    with one.register_forward_hook(lambda *_: Tensor.zeros(1)):
        assert equal(Tensor.ones(1)).tolist() == [2.0]
        assert one(Tensor.ones(1)).tolist() == [0.0]


def test_a_captured_pass_notices_new_hooks_on_leaves(place: str, hooked: None) -> None:
    weight = Tensor([1.0, 2.0], device=place, requires_grad=True)
    x = Tensor([3.0, 4.0], device=place, requires_grad=True)
    step = tg.jit(lambda x: tg.grad((weight * x).sum(), [weight, x]))

    def found() -> list[Any]:
        return [[g.tolist() for g in step(x)] for _ in range(3)][-1]

    assert found() == [[3.0, 4.0], [1.0, 2.0]]
    with weight.register_hook(lambda g: g * 2):
        assert found() == [[6.0, 8.0], [1.0, 2.0]]
    assert found() == [[3.0, 4.0], [1.0, 2.0]]


def test_a_captured_pass_does_not_depend_on_the_leaves_among_its_arguments(place: str) -> None:
    """Another comes each time, and the last one is gone."""
    step = tg.jit(lambda x: tg.grad((x * x).sum(), x))
    for value in range(1, 5):
        x = Tensor([float(value)], device=place, requires_grad=True)
        assert step(x).tolist() == [2.0 * value]
    (variants,) = step._variants.values()
    assert [one.captured is not None for one in variants] == [True]


def test_a_hook_that_only_looks_changes_nothing_of_what_was_chosen() -> None:
    for dtype in ("float64", "complex128"):
        z: Any = Tensor(np.array([0.0, 4.0], dtype), requires_grad=True)
        root = z.sqrt()
        seen: list[Any] = []
        root.register_hook(lambda grad, seen=seen: seen.append(grad.numpy()))
        root.where((z != 0).data, 0).real.sum().backward()
        np.testing.assert_array_equal(seen[0], [0, 1])
        np.testing.assert_array_equal(z.grad.numpy(), [0, 0.25])  # of √ at 0 it would be NaN
