"""What both sides of the bridge share: memory, counts of writes, streams."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.both_sides import ours, theirs
from support.peers import import_torch
from tinygrad_cupy import Tensor, backend
from tinygrad_cupy.interop import from_torch, to_torch

torch = import_torch()
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int64", "bool"])
def test_memory_is_shared(dtype: str, torch_device: str) -> None:
    x = Tensor.ones(4, dtype=dtype, device=torch_device)
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
    values = torch.ones(3, dtype=seen[0].dtype, device=torch_device)
    to_torch(lambda t: back.append(t) or t * t)(values)  # type: ignore[func-returns-value]
    back[0].assign_(0)
    assert values.tolist() == [0, 0, 0]


def test_memory_that_pytorch_cannot_have_is_copied() -> None:
    square = from_torch(lambda t: t * t)
    assert square(Tensor(np.arange(3.0)[::-1])).tolist() == [4.0, 1.0, 0.0]
    fixed = np.arange(3.0)
    fixed.flags.writeable = False
    assert square(Tensor(fixed)).tolist() == [0.0, 1.0, 4.0]


def test_gradients_are_memory_of_their_own(torch_device: str) -> None:
    """PyTorch adds to a gradient in place, users to ours."""
    a, b = (torch.ones(3, device=torch_device, requires_grad=True) for _ in range(2))
    seed = torch.ones(3, device=torch_device)
    add = to_torch(lambda a, b: a + b)
    for _ in range(3):
        add(a, b).backward(seed)
    assert [a.grad.tolist(), b.grad.tolist(), seed.tolist()] == [[3.0] * 3, [3.0] * 3, [1.0] * 3]
    p, q = (Tensor.ones(3, device=torch_device, requires_grad=True) for _ in range(2))
    start = Tensor.ones(3, device=torch_device)
    (found, other) = tg.grad(from_torch(lambda a, b: a + b)(p, q), [p, q], start)
    found.assign_(7.0)
    assert [other.tolist(), start.tolist()] == [[1.0] * 3, [1.0] * 3]


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


def test_a_result_that_was_written_is_noticed_where_it_is_read(torch_device: str) -> None:
    x = theirs(torch_device, 3)
    y = to_torch(lambda t: t.exp())(x)
    y.mul_(2)
    with pytest.raises(RuntimeError, match=r"^\[Exp\] .* was written in place"):
        y.sum().backward()
    y = to_torch(lambda t: t * 3)(x)
    y.mul_(2)
    y.sum().backward()
    assert x.grad.tolist() == [6.0] * 3
    z = ours(torch_device, 3)
    w = from_torch(torch.exp)(z)
    with tg.no_grad():
        w += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        w.sum().backward()
    w = from_torch(lambda t: t * 3)(z)
    with tg.no_grad():
        w += 1
    w.sum().backward()
    assert z.grad is not None
    assert z.grad.tolist() == [3.0] * 3


def test_views_are_views_on_the_other_side(torch_device: str) -> None:
    x = theirs(torch_device, 2, 3).detach()
    y = to_torch(lambda t: t.T[1:])(x)
    y.fill_(7)
    assert x.tolist()[0][1:] == [7.0, 7.0]
    assert x._version == 1
    inner = theirs(torch_device, 4) * 1
    with pytest.raises(RuntimeError, match="is a view and is being modified inplace"):
        to_torch(lambda t: t.reshape(2, 2))(inner).add_(1)
    z = ours(torch_device, 4)
    w = z * 1
    square = w * w
    with tg.no_grad():
        rest = from_torch(lambda t: t[1:])(w)
        rest += 1
    with pytest.raises(RuntimeError, match="was written in place"):
        square.sum().backward()


def test_writes_into_arguments_are_noticed_by_their_owner(torch_device: str) -> None:
    x = theirs(torch_device, 3)
    inner = x * 1
    square = inner * inner
    with torch.no_grad():
        to_torch(lambda t: t.assign_(0))(inner)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        square.sum().backward()
    z = ours(torch_device, 3)
    inside = z * 1
    power = inside * inside
    with tg.no_grad():
        from_torch(lambda t: t.zero_())(inside)
    with pytest.raises(RuntimeError, match="was written in place"):
        power.sum().backward()


def test_what_backward_used_is_let_go(torch_device: str) -> None:
    kept: list[Any] = []

    def fn(t: Tensor) -> Tensor:
        inner = t.exp()
        kept.append(weakref.ref(inner._node))
        return inner.sin()

    x = theirs(torch_device, 3)
    y = to_torch(fn)(x).sum()
    y.backward(retain_graph=True)
    assert kept[0]() is not None
    y.backward()
    assert kept[0]() is None
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.backward()
    z = ours(torch_device, 3)
    w = from_torch(lambda t: kept.append(weakref.ref(t)) or t.sin())(z)  # type: ignore[func-returns-value]
    assert kept[1]() is not None
    w.sum().backward()
    assert kept[1]() is None


@pytest.mark.gpu
def test_each_works_on_the_stream_of_its_caller() -> None:
    torch_device = "cuda:0"
    cupy = backend.import_cupy()
    seen: list[int] = []

    def ours_of(t: Tensor) -> Tensor:
        seen.append(cupy.cuda.get_current_stream().ptr)
        return t * 2

    def theirs_of(t: Any) -> Any:
        seen.append(torch.cuda.current_stream().cuda_stream)
        return t * 2

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        to_torch(ours_of)(theirs(torch_device, 3)).sum().backward()
        from_torch(theirs_of)(ours(torch_device, 3)).sum().backward()  # CuPy is on its own
        assert torch.cuda.current_stream() == side
    assert seen == [side.cuda_stream, cupy.cuda.get_current_stream().ptr]
    seen.clear()
    with cupy.cuda.Stream() as other:
        from_torch(theirs_of)(ours(torch_device, 3)).sum().backward()
        to_torch(ours_of)(theirs(torch_device, 3)).sum().backward()
        assert cupy.cuda.get_current_stream() == other
    assert seen == [other.ptr, torch.cuda.current_stream().cuda_stream]


@pytest.mark.gpu
def test_devices_may_not_be_mixed() -> None:
    device = torch_device = "cuda:0"
    with pytest.raises(ValueError, match=r"^\[Theirs\] expected all inputs on one device"):
        from_torch(torch.add)(ours("cpu", 3), ours(device, 3))
    with pytest.raises(ValueError, match="expected all inputs on one device"):
        to_torch(lambda a, b: a + b)(theirs("cpu", 3), theirs(torch_device, 3))
