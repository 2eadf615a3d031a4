"""The bridge to PyTorch: gradients both ways, to the second order, on the same memory."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.peers import import_torch
from tinygrad_cupy import Tensor
from tinygrad_cupy.interop import from_torch, to_torch

torch = import_torch()
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


@pytest.fixture
def place(device: str) -> str:
    """The device as PyTorch calls it."""
    if device != "cpu" and not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU")
    return device


def theirs(place: str, *shape: int) -> Any:
    values = np.random.default_rng(len(shape)).standard_normal(shape)
    return torch.tensor(values, device=place, requires_grad=True)


def ours(device: str, *shape: int) -> Tensor:
    values = np.random.default_rng(len(shape)).standard_normal(shape)
    return Tensor(values, device=device, requires_grad=True)


def _eval_norm(x: Tensor) -> Tensor:
    three = Tensor(np.array([0.5, 1.5, 2.0]), device=x.device)
    return x.batch_norm(three, three, three, three, training=False)


TO_TORCH: dict[str, tuple[Any, list[tuple[int, ...]]]] = {
    "elementwise": (lambda x: (x.sin() * x.exp()).softplus(), [(3, 4)]),
    "matmul": (lambda a, b: (a @ b).tanh(), [(3, 4), (4, 2)]),
    "convolution": (lambda x, w: x.conv2d(w, padding=1), [(2, 3, 5, 4), (2, 3, 3, 3)]),
    "batch norm in eval mode": (_eval_norm, [(2, 3, 4)]),
    "several results": (lambda x: (x * x, {"sum": x.sum()}), [(4,)]),
}


@pytest.mark.parametrize("name", TO_TORCH)
def test_gradients_of_ours_in_pytorch(name: str, place: str) -> None:
    fn, shapes = TO_TORCH[name]
    bridged = to_torch(fn)

    def flat(*tensors: Any) -> Any:
        found = bridged(*tensors)
        return (found[0], found[1]["sum"]) if isinstance(found, tuple) else found

    inputs = tuple(theirs(place, *shape) for shape in shapes)
    assert torch.autograd.gradcheck(flat, inputs)
    assert torch.autograd.gradgradcheck(flat, inputs)


FROM_TORCH: dict[str, tuple[Any, list[tuple[int, ...]]]] = {
    "function": (lambda x: torch.nn.functional.silu(x) * x, [(3, 4)]),
    "of two": (lambda a, b: torch.einsum("ij,kj->ik", a, b), [(3, 4), (2, 4)]),
}


@pytest.mark.parametrize("name", ["function", "of two"])
def test_gradients_of_theirs_here(name: str, place: str) -> None:
    fn, shapes = FROM_TORCH[name]
    assert tg.gradcheck(from_torch(fn), [ours(place, *shape) for shape in shapes])


def test_gradients_of_a_module_and_of_its_parameters(place: str) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.GELU()).double().to(place)
    x = ours(place, 5, 4)
    assert tg.gradcheck(from_torch(module), [x])
    values = torch.tensor(x.numpy(), device=place, requires_grad=True)
    module.zero_grad()
    module(values).square().sum().backward()
    expected = [values.grad, *[p.grad.clone() for p in module.parameters()]]
    module.zero_grad()
    y = from_torch(module)(x)
    (y * y).sum().backward()
    assert x.grad is not None
    found = [x.grad.numpy(), *[p.grad.cpu().numpy() for p in module.parameters()]]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b.cpu().numpy(), rtol=1e-12)
    module.zero_grad()
    from_torch(module)(x.detach()).sum().backward()  # the weights alone want gradients
    assert module[0].weight.grad is not None


def test_several_results_of_theirs(place: str) -> None:
    two = from_torch(lambda x: (x.sin(), [x.cos(), x.argmax()]))
    x = ours(place, 4)
    first, (second, third) = two(x)
    assert third.dtype == np.int64
    assert not third.requires_grad
    (gradient,) = tg.grad([first.sum(), second.sum()], [x])
    np.testing.assert_allclose(gradient.numpy(), np.cos(x.numpy()) - np.sin(x.numpy()))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int64", "bool"])
def test_memory_is_shared(dtype: str, place: str) -> None:
    x = Tensor.ones(4, dtype=dtype, device=place)
    seen: list[Any] = []

    def rest(t: Any) -> Any:
        seen.append(t)
        return t[1:]

    y = from_torch(rest)(x)
    assert str(seen[0].dtype) == f"torch.{dtype}"
    assert (y.dtype, y.device) == (x.dtype, x.device)
    y.assign_(0)
    assert x.tolist() == [1, 0, 0, 0]
    back: list[Tensor] = []
    values = torch.ones(3, dtype=seen[0].dtype, device=place)
    to_torch(lambda t: back.append(t) or t * t)(values)  # type: ignore[func-returns-value]
    back[0].assign_(0)
    assert values.tolist() == [0, 0, 0]


def test_memory_that_pytorch_cannot_have_is_copied() -> None:
    square = from_torch(lambda t: t * t)
    assert square(Tensor(np.arange(3.0)[::-1])).tolist() == [4.0, 1.0, 0.0]
    fixed = np.arange(3.0)
    fixed.flags.writeable = False
    assert square(Tensor(fixed)).tolist() == [0.0, 1.0, 4.0]


def test_neither_side_records_without_need(place: str) -> None:
    x = theirs(place, 3)
    double = to_torch(lambda t: t * 2)
    with torch.no_grad():
        assert not double(x).requires_grad
    assert not double(x.detach()).requires_grad
    y = ours(place, 3)
    with tg.no_grad():
        assert not from_torch(torch.sin)(y).requires_grad
    assert not from_torch(torch.sin)(y.detach()).requires_grad


def test_a_tensor_that_was_written_is_noticed() -> None:
    x = theirs("cpu", 3)
    inner = x * 1
    y = to_torch(lambda t: t * t)(inner)
    inner.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    z = ours("cpu", 3)
    inside = z * 1
    w = from_torch(lambda t: t * t)(inside)
    with tg.no_grad():
        inside += 1
    with pytest.raises(RuntimeError, match=r"^\[Theirs\] .* was written in place"):
        w.sum().backward()


def test_transforms_of_theirs(place: str) -> None:
    x = ours(place, 3, 2).detach()
    sine = from_torch(torch.sin)
    _, tangent = tg.jvp(sine, (x,), (x,))
    np.testing.assert_allclose(tangent.numpy(), np.cos(x.numpy()) * x.numpy(), rtol=1e-12)
    with pytest.warns(UserWarning, match="one element of the batch after the other"):
        each = tg.vmap(tg.grad(lambda x: sine(x).sum()))(x)
    np.testing.assert_allclose(each.numpy(), np.cos(x.numpy()), rtol=1e-12)
    with pytest.raises(RuntimeError, match=r"^\[from_torch\] .* returns one tensor that .*, got 2"):
        tg.jvp(from_torch(lambda t: (t, t)), (x,), (x,))


@pytest.mark.gpu
def test_a_capture_refuses_it() -> None:
    step = tg.jit(lambda x: from_torch(torch.sin)(x))
    with pytest.raises(RuntimeError, match=r"\[jit\] .* a function of PyTorch is called"):
        step(ours("cuda:0", 3).detach())


def test_errors_say_what_was_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match=r"^\[to_torch\] expected a function, got int"):
        to_torch(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^\[from_torch\] expected a function, got int"):
        from_torch(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^\[to_torch\] expected tensors as results, got ndarray"):
        to_torch(lambda x: x.numpy())(torch.ones(2))
    with pytest.raises(TypeError, match=r"^\[from_torch\] expected the function to return a ten"):
        from_torch(lambda t: 3)(Tensor([1.0]))
    with pytest.raises(TypeError, match=r"^\[from_torch\] expected at least one tensor"):
        from_torch(lambda t: t)(3)
    with pytest.raises(TypeError, match=r"^\[interop\] expected a strided tensor"):
        to_torch(lambda x: x)(torch.ones(2, 2).to_sparse())
    tg.interop._torch.cache_clear()
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(RuntimeError, match=r"^\[interop\] the bridge needs PyTorch, .* install to"):
        from_torch(lambda t: t)(Tensor([1.0]))
    monkeypatch.undo()
    tg.interop._torch.cache_clear()
