"""Random little programs of views, writes and reads: values and gradients of both orders.

What they are held to is PyTorch's gradient of the same program without any write in place: a memory
is a vector that each write replaces by another, and a tensor the numbers of its elements in one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_cupy as tg
from records.indexing import draw_key
from support.examples import examples
from support.peers import import_torch
from support.sampling import Draw
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import to_device, to_numpy
from tinygrad_cupy.ops.inplace import add_at

UPDATES: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
}
OURS: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a.__iadd__(b),
    "-": lambda a, b: a.__isub__(b),
    "*": lambda a, b: a.__imul__(b),
    "/": lambda a, b: a.__itruediv__(b),
}
SHAPES = [(4,), (2, 3), (3, 2), (2, 2, 2), (1, 4), ()]


class Memory:
    """A vector of PyTorch's, replaced at each write."""

    def __init__(self, vector: Any) -> None:
        self.vector = vector
        self.kept: list[np.ndarray] = []  # elements that a graph has saved
        self.spoiled = False  # whether one of them was written since


class Twin:
    """A tensor of ours, and which elements of which memory it is."""

    def __init__(self, ours: Tensor, memory: Memory, numbers: np.ndarray) -> None:
        self.ours, self.memory, self.numbers = ours, memory, np.asarray(numbers)

    @property
    def torch(self) -> Any:
        flat = import_torch().as_tensor(self.numbers.ravel())
        return self.memory.vector[flat].reshape(self.numbers.shape)


class Program:
    """A program that runs in both; draws what comes next."""

    def __init__(self, draw: Draw, device: str) -> None:
        self.draw, self.device, self.torch = draw, device, import_torch()
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        values = [self.rng.uniform(0.5, 1.5, shape) for shape in SHAPES]
        self.leaves = [Tensor(to_device(x, device), requires_grad=True) for x in values]
        self.theirs = [self.torch.tensor(x, requires_grad=True) for x in values]
        self.tensors: list[Twin] = []
        self.memories: list[Memory] = []
        self.ours_total: Any = 0.0
        self.torch_total: Any = 0.0
        self.new()

    def choose(self, several: Sequence[Any]) -> Any:
        return several[self.draw(st.integers(0, len(several) - 1))]

    # --- what a program does --------------------------------------------------------------------

    def new(self) -> None:
        """A tensor that wants no gradient yet, or one that was computed."""
        shape = self.choose([s for s in SHAPES if s])
        which = SHAPES.index(shape)
        kind = self.draw(st.sampled_from(["plain", "fortran", "computed"]))
        values = self.rng.uniform(0.5, 1.5, shape)
        if kind == "fortran":
            values = np.asfortranarray(values)
        ours: Any = Tensor(to_device(values, self.device))
        theirs = self.torch.tensor(values)
        if kind == "computed":
            ours, theirs = ours * self.leaves[which], theirs * self.theirs[which]
        self.add(ours, theirs.reshape(-1), shape)

    def add(self, ours: Tensor, vector: Any, shape: tuple[int, ...]) -> None:
        """A tensor with memory of its own."""
        self.memories.append(Memory(vector))
        self.tensors.append(Twin(ours, self.memories[-1], np.arange(len(vector)).reshape(shape)))

    def view(self) -> None:
        """A view of a tensor, or a copy where NumPy's reshape makes one."""
        x = self.choose(self.tensors)
        shape = x.numbers.shape
        kind = self.draw(st.sampled_from(["slice", "transpose", "reshape", "flip", "copy"]))
        if kind == "slice":
            key = self.draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
            call: Any = lambda a: a[key]  # noqa: E731
        elif kind == "transpose":
            order = self.draw(st.permutations(range(len(shape))))
            call = lambda a: a.transpose(*order)  # noqa: E731
        elif kind == "flip":
            key = (slice(None, None, -1),) * len(shape)
            call = lambda a: a[key]  # noqa: E731
        elif kind == "reshape":
            size = x.numbers.size
            wanted = self.choose(
                [(size,), (1, size), (size, 1)] + [(2, size // 2)] * (not size % 2)
            )
            call = lambda a: a.reshape(wanted)  # noqa: E731
        else:
            call = lambda a: a[[0]] if a.shape and a.shape[0] else a.reshape(a.shape)  # noqa: E731
        ours, numbers = call(x.ours), np.asarray(call(x.numbers))
        if ours._version is x.ours._version:
            self.tensors.append(Twin(ours, x.memory, numbers))
        elif numbers.size:
            vector = x.memory.vector[self.torch.as_tensor(numbers.ravel())]
            self.add(ours, vector, numbers.shape)

    def value(self, shape: tuple[int, ...], sign: str = "", memory: Any = None) -> tuple[Any, Any]:
        """Something that broadcasts to a shape, in both.

        A graph keeps what is multiplied with: that is a tensor of ``memory``, or nobody's. And none
        is divided by, for it may be 0.
        """
        kinds = ["number", "leaf", "constant"] + ["tensor"] * (sign != "/")
        kind = self.draw(st.sampled_from(kinds))
        if kind == "tensor":
            fitting = [x for x in self.tensors if _fits(x.numbers.shape, shape)]
            if fitting:
                x = self.choose(fitting)
                if (sign != "*" or memory is x.memory) and self.draw(st.booleans()):
                    return x.ours, x.torch
                return x.ours * 0.5, x.torch * 0.5
        if kind == "leaf":
            i = self.choose([i for i, s in enumerate(SHAPES) if _fits(s, shape)])
            return self.leaves[i] * 0.75, self.theirs[i] * 0.75
        if kind == "constant":
            values = self.rng.uniform(0.5, 1.5, shape)
            return Tensor(to_device(values, self.device)), self.torch.tensor(values)
        number = float(self.rng.uniform(0.5, 1.5))
        return number, number

    def assign(self) -> None:
        """x[key] = value"""
        x = self.choose(self.tensors)
        key = self.draw_key(x)
        ours, theirs = self.value(x.numbers[key].shape)
        x.ours[self.ours_key(key)] = ours
        numbers = np.asarray(x.numbers[key])
        is_there = any(  # a view assigned to where it is: nothing is written
            t.ours is ours and t.memory is x.memory and np.array_equal(t.numbers, numbers)
            for t in self.tensors
        )
        self.written(x, key, theirs, spoils=not is_there)

    def add_at(self) -> None:
        """np.add.at(x, key, value)"""
        x = self.choose(self.tensors)
        key = self.draw_key(x)
        ours, theirs = self.value(x.numbers[key].shape)
        add_at(x.ours, self.ours_key(key), ours)
        numbers = np.asarray(x.numbers[key])
        values = self.torch.as_tensor(theirs, dtype=self.torch.float64).broadcast_to(numbers.shape)
        self.spoil(x.memory, numbers)
        x.memory.vector = x.memory.vector.index_put(
            (self.torch.as_tensor(numbers.ravel()),), values.reshape(-1), accumulate=True
        )

    def update(self) -> None:
        """x += value, or x[key] += value"""
        x = self.choose(self.tensors)
        sign = self.choose("+-*/")
        if self.draw(st.booleans()):
            ours, theirs = self.value(x.numbers.shape, sign, x.memory)
            expected = UPDATES[sign](x.torch, theirs)
            assert OURS[sign](x.ours, ours) is x.ours
            self.written(x, ..., expected)
            return
        key = self.draw_key(x)
        ours, theirs = self.value(x.numbers[key].shape, sign)
        part = x.torch.reshape(-1)[self.torch.as_tensor(self.places(x, key).ravel())]
        expected = UPDATES[sign](part.reshape(x.numbers[key].shape), theirs)
        chosen = self.ours_key(key)
        x.ours[chosen] = OURS[sign](x.ours[chosen], ours)
        self.written(x, key, expected)

    def read(self) -> None:
        """Something of a tensor goes into the result, whose graph may save it."""
        x = self.choose(self.tensors)
        if self.draw(st.booleans()):
            ours, theirs = (x.ours * 1.5).sin(), (x.torch * 1.5).sin()
        else:
            ours, theirs = x.ours.sin(), x.torch.sin()
            if x.ours.requires_grad:
                x.memory.kept.append(x.numbers)
        weight = float(self.rng.uniform(0.5, 1.5))
        self.ours_total = self.ours_total + ours.sum() * weight
        self.torch_total = self.torch_total + theirs.sum() * weight

    def forget(self) -> None:
        """The tensor is dropped; its views, or its base, go on."""
        if len(self.tensors) > 1:
            self.tensors.remove(self.choose(self.tensors))

    # --- in both --------------------------------------------------------------------------------

    def draw_key(self, x: Twin) -> Any:
        key = draw_key(self.draw, x.numbers.shape)
        return key if isinstance(key, tuple) else (key,)

    def ours_key(self, key: Any) -> Any:
        as_tensors = self.draw(st.booleans())
        return tuple(
            Tensor(to_device(k, self.device)) if isinstance(k, np.ndarray) and as_tensors else k
            for k in key
        )

    def places(self, x: Twin, key: Any) -> np.ndarray:
        return np.asarray(np.arange(x.numbers.size).reshape(x.numbers.shape)[key])

    def written(self, x: Twin, key: Any, value: Any, spoils: bool = True) -> None:
        numbers = np.asarray(x.numbers[key])
        if spoils:
            self.spoil(x.memory, numbers)
        values = self.torch.as_tensor(value, dtype=self.torch.float64)
        while values.ndim > numbers.ndim:
            values = values[0]
        values = values.broadcast_to(numbers.shape).reshape(-1)
        last = {int(number): i for i, number in enumerate(numbers.ravel())}
        where, which = (self.torch.as_tensor(list(part), dtype=self.torch.int64) for part in
                        (last.keys(), last.values()))  # fmt: skip
        x.memory.vector = x.memory.vector.index_put((where,), values[which])

    def spoil(self, memory: Memory, numbers: np.ndarray) -> None:
        if any(np.isin(kept, numbers).any() for kept in memory.kept):
            memory.spoiled = True

    def check(self) -> None:
        for x in self.tensors:
            np.testing.assert_allclose(to_numpy(x.ours.data), x.torch.detach().numpy(), rtol=1e-12)


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, wanted) == wanted
    except ValueError:
        return False


def gradients_agree(program: Program) -> None:
    ours, theirs = program.ours_total, program.torch_total
    if not isinstance(ours, Tensor) or not ours.requires_grad:
        return
    first = tg.grad(ours, program.leaves, create_graph=True, allow_unused=True)
    expected = program.torch.autograd.grad(
        theirs, program.theirs, create_graph=True, allow_unused=True
    )
    total: Any = 0.0
    torch_total: Any = 0.0
    for a, b in zip(first, expected, strict=True):
        if a is None or b is None:
            for one in (a, b):
                assert one is None or not np.any(one.numpy() if one is a else one.detach().numpy())
            continue
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-12)
        total, torch_total = total + (a * a).sum(), torch_total + (b * b).sum()
    plain = tg.grad(ours, program.leaves, retain_graph=True, allow_unused=True)
    for a, b in zip(first, plain, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-12, atol=1e-14)
    if not isinstance(total, Tensor) or not total.requires_grad:
        return
    second = tg.grad(total, program.leaves, allow_unused=True)
    expected = program.torch.autograd.grad(torch_total, program.theirs, allow_unused=True)
    for a, b in zip(second, expected, strict=True):
        if a is not None and b is not None:
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-8, atol=1e-10)


STEPS = ("new", "view", "view", "view", "assign", "assign", "update", "update", "add_at", "read",
         "read", "forget")  # fmt: skip


@examples(40)
@hypothesis.given(data=st.data())
def test_a_random_program(device: str, data: st.DataObject) -> None:
    program = Program(data.draw, device)
    for _ in range(data.draw(st.integers(3, 14))):
        getattr(program, data.draw(st.sampled_from(STEPS)))()
    program.read()
    program.check()
    if any(memory.spoiled for memory in program.memories):
        with pytest.raises(RuntimeError, match=r"^\[Sin\] .* was written .*, at .*\.py:\d+$"):
            tg.grad(program.ours_total, program.leaves, allow_unused=True)
    else:
        gradients_agree(program)
