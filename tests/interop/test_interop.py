"""The bridge to PyTorch: gradients both ways, to the second order, on the same memory."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support import graph_stand_in
from support.both_sides import ours, theirs
from support.peers import import_torch
from tinygrad_cupy import Tensor
from tinygrad_cupy.interop import from_torch, to_torch
from tinygrad_cupy.interop.exchange import import_torch as import_torch_of_ours

torch = import_torch()
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


def _eval_norm(x: Tensor) -> Tensor:
    three = Tensor(np.array([0.5, 1.5, 2.0]), device=x.device)
    return x.batch_norm(three, three, three, three, training=False)


TO_TORCH: dict[str, tuple[Any, list[tuple[int, ...]]]] = {
    "elementwise": (lambda x: (x.sin() * x.exp()).softplus(), [(3, 4)]),
    "matmul": (lambda a, b: (a @ b).tanh(), [(3, 4), (4, 2)]),
    "convolution": (lambda x, w: x.conv2d(w, padding=1), [(1, 2, 3, 4), (2, 2, 3, 3)]),
    "batch norm in eval mode": (_eval_norm, [(2, 3, 4)]),
    "several results": (lambda x: (x * x, {"sum": x.sum()}), [(4,)]),
}


@pytest.mark.parametrize("name", TO_TORCH)
def test_gradients_of_ours_in_pytorch(name: str, torch_device: str) -> None:
    fn, shapes = TO_TORCH[name]
    bridged = to_torch(fn)

    def flat(*tensors: Any) -> Any:
        found = bridged(*tensors)
        return (found[0], found[1]["sum"]) if isinstance(found, tuple) else found

    inputs = tuple(theirs(torch_device, *shape) for shape in shapes)
    assert torch.autograd.gradcheck(flat, inputs)
    assert torch.autograd.gradgradcheck(flat, inputs)


@pytest.mark.parametrize("wanted", [True, False])
def test_a_function_runs_once_and_draws_one_mask_for_all_orders(
    wanted: bool, torch_device: str
) -> None:
    runs: list[Any] = []

    def noisy(x: Tensor) -> Tensor:
        runs.append(x)
        return x.dropout(0.5) * x

    x = theirs(torch_device, 40)
    y = to_torch(noisy)(x)
    mask = (y / x**2).detach()
    (first,) = torch.autograd.grad(y.sum(), x, create_graph=wanted)
    torch.testing.assert_close(first, 2 * mask * x)
    if wanted:
        (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
        torch.testing.assert_close(second, 2 * mask)
    z = ours(torch_device, 40)
    module = torch.nn.Dropout()
    w = from_torch(lambda t: runs.append(t) or module(t) * t)(z)  # type: ignore[func-returns-value]
    kept = w.numpy() / z.numpy() ** 2
    first = tg.grad(w.sum(), z, create_graph=wanted)
    np.testing.assert_allclose(first.numpy(), 2 * kept * z.numpy())
    if wanted:
        np.testing.assert_allclose(tg.grad(first.sum(), z).numpy(), 2 * kept)
    assert len(runs) == 2


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_any_order(order: int, torch_device: str) -> None:
    x, z = theirs(torch_device, 3), ours(torch_device, 3)
    values = z.numpy()
    y: Any = to_torch(lambda x: x.exp() * x)(x)
    w: Any = from_torch(lambda x: x.exp() * x)(z)
    for _ in range(order):
        (y,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        w = tg.grad(w.sum(), z, create_graph=True)
    expected = np.exp(values) * (values + order)
    np.testing.assert_allclose(y.detach().cpu().numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(w.numpy(), expected, rtol=1e-12)


def test_each_inside_the_other(torch_device: str) -> None:
    there_and_back = from_torch(to_torch(lambda a, b: (a @ b).sin()))
    assert tg.gradcheck(there_and_back, [ours(torch_device, 2, 3), ours(torch_device, 3, 2)])
    back_and_there = to_torch(from_torch(lambda a, b: (a @ b).sin()))
    inputs = theirs(torch_device, 2, 3), theirs(torch_device, 3, 2)
    assert torch.autograd.gradcheck(back_and_there, inputs)
    assert torch.autograd.gradgradcheck(back_and_there, inputs)


FROM_TORCH: dict[str, tuple[Any, list[tuple[int, ...]]]] = {
    "function": (lambda x: torch.nn.functional.silu(x) * x, [(3, 4)]),
    "of two": (lambda a, b: torch.einsum("ij,kj->ik", a, b), [(3, 4), (2, 4)]),
    "convolution": (lambda x, w: torch.nn.functional.conv1d(x, w), [(2, 3, 5), (2, 3, 3)]),
    "several results": (lambda a, b: (a * b, [a.sin(), b.argmax()]), [(4,), (4,)]),
    "one is not used": (lambda a, b: (a.exp(), 3 * a), [(3,), (2,)]),
}


@pytest.mark.parametrize("name", FROM_TORCH)
def test_gradients_of_theirs_here(name: str, torch_device: str) -> None:
    fn, shapes = FROM_TORCH[name]
    bridged = from_torch(fn)

    def flat(*tensors: Tensor) -> list[Tensor]:
        found = bridged(*tensors)
        first, rest = found if isinstance(found, tuple) else (found, [])
        return [first, *(rest[:1] if isinstance(rest, list) else [rest])]

    assert tg.gradcheck(flat, [ours(torch_device, *shape) for shape in shapes])


def test_results_that_depend_on_nothing_want_no_gradient(torch_device: str) -> None:
    x = ours(torch_device, 3)
    assert not from_torch(torch.argmax)(x).requires_grad
    assert not from_torch(lambda t: t.detach() * 2)(x).requires_grad
    t = theirs(torch_device, 3)
    assert not to_torch(lambda x: x.argmax())(t).requires_grad
    assert not to_torch(lambda x: x.detach() * 2)(t).requires_grad


def test_gradients_of_a_module_and_of_its_parameters(torch_device: str) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.GELU()).double().to(torch_device)
    x = ours(torch_device, 5, 4)
    assert tg.gradcheck(from_torch(module), [x])
    values = torch.tensor(x.numpy(), device=torch_device, requires_grad=True)
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


def test_only_backward_fills_the_gradients_of_a_module(torch_device: str) -> None:
    torch.manual_seed(0)
    module = torch.nn.Linear(4, 3).double().to(torch_device)
    x, values = ours(torch_device, 5, 4), theirs(torch_device, 5, 4)
    y = from_torch(module)(x)
    tg.grad((y * y).sum(), x, retain_graph=True)
    first = tg.grad((y * y).sum(), x, create_graph=True)
    assert [p.grad for p in module.parameters()] == [None, None]
    loss = (y * y).sum() + (first * first).sum()  # a penalty for steep slopes
    loss.backward()
    found = module.weight.grad.clone()
    module.zero_grad()
    out = module(values)
    (slope,) = torch.autograd.grad((out * out).sum(), values, create_graph=True)
    ((out * out).sum() + (slope * slope).sum()).backward()
    torch.testing.assert_close(found, module.weight.grad)
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), values.grad.cpu().numpy(), rtol=1e-12)
    expected = module.weight.grad.clone()
    module.zero_grad()
    z = ours(torch_device, 5, 4)
    y = from_torch(module)(z)
    (y * y).sum().backward(create_graph=True)
    assert not module.weight.grad.requires_grad
    assert z.grad is not None
    (z.grad * z.grad).sum().backward()
    torch.testing.assert_close(module.weight.grad, expected)
    z.grad = None


def test_a_checkpoint_fills_them_too(torch_device: str) -> None:
    module = torch.nn.Linear(4, 3).double().to(torch_device)
    x = ours(torch_device, 5, 4)
    tg.checkpoint(from_torch(module), x).sum().backward()
    np.testing.assert_allclose(module.bias.grad.cpu().numpy(), [5.0, 5.0, 5.0])


def test_several_results_of_theirs(torch_device: str) -> None:
    two = from_torch(lambda x: (x.sin(), [x.cos(), x.argmax()]))
    x = ours(torch_device, 4)
    first, (second, third) = two(x)
    assert third.dtype == np.int64
    assert not third.requires_grad
    (gradient,) = tg.grad([first.sum(), second.sum()], [x])
    np.testing.assert_allclose(gradient.numpy(), np.cos(x.numpy()) - np.sin(x.numpy()))


def test_arguments_of_every_kind(torch_device: str) -> None:
    def ours_of(x: Tensor, scale: Any, *, table: dict[str, Any], mode: Any) -> dict[str, Any]:
        assert isinstance(scale, np.ndarray)
        assert mode == {"twice"}
        mask, picks = table["mask"], table["picks"]
        return {"y": tg.where(mask, x * float(scale[0]), 0.0)[picks], "name": "x"}

    x = theirs(torch_device, 3)
    mask = torch.tensor([True, False, True], device=torch_device)
    table = {"mask": mask, "picks": torch.tensor([2, 0], device=torch_device)}
    found = to_torch(ours_of)(x, np.array([2.0]), table=table, mode={"twice"})
    assert found["name"] == "x"
    found["y"].sum().backward()
    assert x.grad.tolist() == [2.0, 0.0, 2.0]

    def theirs_of(t: Any, other: Any, *, keep: Any) -> Any:
        return torch.where(keep, t * other, 0.0), None

    z = ours(torch_device, 3)
    keep = Tensor(np.array([True, False, True]), device=torch_device)
    other = Tensor(np.full(3, 2.0), device=torch_device).data
    y, nothing = from_torch(theirs_of)(z, other, keep=keep)
    assert nothing is None
    y.sum().backward()
    assert z.grad is not None
    assert z.grad.tolist() == [2.0, 0.0, 2.0]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_gradients_keep_the_dtype(dtype: str, torch_device: str) -> None:
    x = torch.ones(3, dtype=getattr(torch, dtype), device=torch_device, requires_grad=True)
    to_torch(lambda x: x * 3)(x).sum().backward()
    assert x.grad.dtype == x.dtype
    assert x.grad.tolist() == [3, 3, 3]
    z = Tensor.ones(3, dtype=dtype, device=torch_device, requires_grad=True)
    from_torch(lambda x: x * 3)(z).sum().backward()
    assert z.grad is not None
    assert z.grad.dtype == z.dtype
    assert z.grad.tolist() == [3, 3, 3]


def test_neither_side_records_without_need(torch_device: str) -> None:
    x = theirs(torch_device, 3)
    double = to_torch(lambda t: t * 2)
    with torch.no_grad():
        assert not double(x).requires_grad
    assert not double(x.detach()).requires_grad
    y = ours(torch_device, 3)
    with tg.no_grad():
        assert not from_torch(torch.sin)(y).requires_grad
    assert not from_torch(torch.sin)(y.detach()).requires_grad


def test_an_exception_inside_leaves_both_sides_as_they_were(torch_device: str) -> None:
    def fail(_: Any) -> Any:
        raise KeyError("inside")

    for bridged, x in (
        (to_torch(fail), theirs(torch_device, 3)),
        (from_torch(fail), ours(torch_device, 3)),
    ):
        with pytest.raises(KeyError, match="inside"):
            bridged(x)
    assert torch.is_grad_enabled()
    assert tg.is_grad_enabled()
    assert to_torch(lambda t: t * 2)(theirs(torch_device, 3)).requires_grad


def test_pytorch_checkpoints_a_function_of_ours(torch_device: str) -> None:
    x = theirs(torch_device, 3)
    exp = to_torch(lambda t: t.exp())
    torch.utils.checkpoint.checkpoint(
        lambda x: exp(x).sin(), x, use_reentrant=False
    ).sum().backward()
    values = x.detach()
    torch.testing.assert_close(x.grad, values.exp().cos() * values.exp())


def test_transforms_of_theirs(torch_device: str) -> None:
    x = ours(torch_device, 3, 2).detach()
    sine = from_torch(torch.sin)
    _, tangent = tg.jvp(sine, (x,), (x,))
    np.testing.assert_allclose(tangent.numpy(), np.cos(x.numpy()) * x.numpy(), rtol=1e-12)
    with pytest.warns(UserWarning, match="one element of the batch after the other"):
        each = tg.vmap(tg.grad(lambda x: sine(x).sum()))(x)
    np.testing.assert_allclose(each.numpy(), np.cos(x.numpy()), rtol=1e-12)
    two = from_torch(lambda t: {"sine": t.sin(), "rest": (t.argmax(), t.detach() * 2)})
    values, tangents = tg.jvp(two, (x,), (x,))
    np.testing.assert_allclose(tangents["sine"].numpy(), np.cos(x.numpy()) * x.numpy(), rtol=1e-12)
    assert values["rest"][0].item() == x.numpy().argmax()
    assert not tangents["rest"][1].numpy().any()
    picked = tg.vmap(two)(x)["rest"][0]  # and has said so above
    assert picked.tolist() == x.numpy().argmax(1).tolist()


@pytest.mark.parametrize(
    ("inside", "text"),
    [
        (lambda x: from_torch(torch.sin)(x), "a function of PyTorch is called"),
        (lambda x: to_torch(lambda t: t)(torch.ones(3)), "a tensor of PyTorch is used"),
    ],
)
def test_a_capture_refuses_it(
    inside: Any, text: str, torch_device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch_device == "cpu":
        graph_stand_in.install(monkeypatch)
    with pytest.raises(RuntimeError, match=rf"^\[jit\] .* {text}"):
        tg.jit(inside)(ours(torch_device, 3).detach())


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
    with pytest.raises(
        TypeError, match=r"^\[interop\] expected a tensor on the CPU or on CUDA, got"
    ):
        to_torch(lambda x: x)(torch.ones(2, device="meta"))
    import_torch_of_ours.cache_clear()
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(RuntimeError, match=r"^\[interop\] the bridge needs PyTorch, .* install to"):
        from_torch(lambda t: t)(Tensor([1.0]))
    monkeypatch.undo()
    import_torch_of_ours.cache_clear()


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_numbers_cross_with_their_gradients(dtype: str) -> None:
    rng = np.random.default_rng(0)
    values = (rng.standard_normal((2, 3)) + 1j * rng.standard_normal((2, 3))).astype(dtype)

    def f(z: Any) -> Any:
        return abs(z * z.conj() * (1 + 2j) + z**3).sum()

    theirs = torch.tensor(values, requires_grad=True)
    f(theirs).backward()
    through = torch.tensor(values, requires_grad=True)
    tg.interop.to_torch(f)(through.conj()).backward()  # a view that PyTorch conjugates later
    mirrored = torch.tensor(values.conj(), requires_grad=True)
    f(mirrored).backward()
    near = 1e-4 if dtype == "complex64" else 1e-10
    torch.testing.assert_close(through.grad, mirrored.grad.conj(), rtol=near, atol=near)
    ours = Tensor(values, requires_grad=True)
    tg.interop.from_torch(f)(ours).backward()
    assert ours.grad is not None
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=near, atol=near)
