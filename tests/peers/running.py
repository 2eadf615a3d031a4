"""A sample of PyTorch's test records, done by both."""

from __future__ import annotations

import functools
import inspect
import random
import sys
import warnings
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np

import tinygrad_cupy as tg
from peers.opinfo import TABLE, Counterpart, in_numpy
from peers.translations import NotOurs
from support.peers import import_torch
from tinygrad_cupy import Tensor

torch = import_torch()

SEED = 1234  # PyTorch's, before each sample

# Where and how PyTorch keeps a result.
_STORAGE = ("device", "layout", "memory_format", "pin_memory", "requires_grad")


class Wrong(AssertionError):
    """Ours differs."""


@functools.cache
def records() -> dict[str, Any]:
    """PyTorch's records by name, or "name.variant"."""
    with warnings.catch_warnings(), mock.patch.object(sys, "argv", [""]):
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db
    torch.backends.__allow_nonbracketed_mutation_flag = True  # which the import forbade
    names = [f"{o.name}.{o.variant_test_name}".rstrip(".") for o in op_db]
    return dict(zip(names, op_db, strict=True))


def counterpart(name: str) -> Counterpart | None:
    """What the table says of a record."""
    return TABLE.get(name) or TABLE.get(records()[name].name)


def entries(name: str) -> list[str]:
    """The records that an entry of the table is of: its own, or those without an entry."""
    return [r for r, o in records().items() if name == r or (name == o.name and r not in TABLE)]


def samples(name: str) -> list[Any]:
    """The samples of a record in float64, or in int64 where it does not take that.

    Those of `OpInfo.sample_inputs`, which looks through the stack and seeds every device's
    generator for each: several times as long as the samples take.
    """
    record = records()[name]
    kinds = [k for k in (torch.float64, torch.int64) if record.supports_dtype(k, "cpu")]
    if not kinds:
        return []
    wanted = record.supports_autograd and kinds[0] == torch.float64
    made = iter(record.sample_inputs_func(record, "cpu", kinds[0], requires_grad=wanted))
    found: list[Any] = []
    while True:
        torch.default_generator.manual_seed(SEED)
        random.seed(SEED)
        np.random.seed(SEED)  # noqa: NPY002  PyTorch's draw from it
        if (sample := next(made, None)) is None:
            return found
        found.append(sample)


# --- there and back -----------------------------------------------------------------------------


class Translated:
    """A sample's arguments as ours."""

    def __init__(self, sample: Any) -> None:
        self.leaves: list[tuple[Any, Tensor]] = []  # PyTorch's and ours, which want gradients
        self.seen: dict[int, Tensor] = {}
        self.arguments = [self._ours(x) for x in (sample.input, *sample.args)]
        self.options = {k: self._ours(v) for k, v in sample.kwargs.items() if k not in _STORAGE}

    def _ours(self, x: Any) -> Any:
        if isinstance(x, torch.Tensor):
            if id(x) not in self.seen:
                self.seen[id(x)] = self._tensor(x)
            return self.seen[id(x)]
        if isinstance(x, torch.dtype):
            return str(x).removeprefix("torch.")
        if isinstance(x, list | tuple):
            parts = [self._ours(part) for part in x]
            return parts if isinstance(x, list) else tuple(parts)
        return x

    def _tensor(self, x: Any) -> Tensor:
        if x.layout != torch.strided or x.is_complex():
            raise NotOurs("sparse and complex tensors")
        made = Tensor(x.detach().numpy().copy(order="K"), requires_grad=x.requires_grad)
        if x.requires_grad:
            self.leaves.append((x, made))
        return made


def leaves(result: Any) -> Iterator[Any]:
    """The tensors and numbers in lists and tuples."""
    if isinstance(result, list | tuple):
        for part in result:
            yield from leaves(part)
    else:
        yield result


def _array(x: Any) -> Any:
    """The values, as NumPy's."""
    if isinstance(x, torch.Tensor):
        return (x.float() if x.dtype == torch.bfloat16 else x).numpy(force=True)
    if isinstance(x, Tensor):
        x = x.detach()
        return (x.astype("float32") if str(x.dtype) == "bfloat16" else x).numpy()
    return np.asarray(x)


def _plain(x: Any) -> Any:
    """Arguments with NumPy's arrays for tensors."""
    if isinstance(x, list | tuple):
        return type(x)(_plain(part) for part in x)
    return _array(x).copy() if isinstance(x, Tensor) else x


# --- comparing ----------------------------------------------------------------------------------


def expect_close(what: str, found: Any, expected: Any, values: bool = True) -> None:
    """Equal shapes; kinds of dtypes, float64 for float64, and values equal to rounding."""
    ours, theirs = _array(found), _array(expected)
    if ours.shape != theirs.shape:
        raise Wrong(f"{what}: shape {ours.shape}, expected {theirs.shape}")
    if not values:
        return
    if ours.dtype.kind != theirs.dtype.kind or (theirs.dtype == np.float64 != ours.dtype):
        raise Wrong(f"{what}: dtype {ours.dtype}, expected {theirs.dtype}")
    finite = np.abs(theirs[np.isfinite(theirs)])
    scale = max(1.0, float(finite.max(initial=0)))
    rtol = 0 if theirs.dtype.kind != "f" else 1e-9 if theirs.dtype == np.float64 else 1e-5
    if not np.allclose(ours, theirs, rtol, rtol / 10 * scale, equal_nan=True):
        raise Wrong(f"{what}: values {ours.ravel()[:5]}, expected {theirs.ravel()[:5]}")


def expect_same(found: Any, expected: Any, values: bool = True) -> None:
    """The same results."""
    ours, theirs = list(leaves(found)), list(leaves(expected))
    if len(ours) != len(theirs):
        raise Wrong(f"{len(ours)} results, expected {len(theirs)}")
    for a, b in zip(ours, theirs, strict=True):
        expect_close("result", a, b, values)


class Run:
    """A sample, done by both."""

    def __init__(self, name: str, sample: Any) -> None:
        self.record, self.sample, self.given = records()[name], sample, Translated(sample)
        entry = counterpart(name)
        assert entry is not None
        self.entry, self.functions = entry, entry.functions() or []

    def check(self) -> None:
        """Raises `Wrong`, or `NotOurs` for what ours does not take or NumPy decides otherwise."""
        self._expect_arguments()
        found = self._ours()
        call = self.record.op(self.sample.input, *self.sample.args, **self.sample.kwargs)
        expected = call if self.entry.theirs is None else self.entry.theirs(call)
        try:
            expect_same(found, expected, not self.entry.drawn)
        except Wrong:
            self._expect_unlike_numpy(found)
            raise
        if not self.entry.drawn:
            self._compare_gradients(list(leaves(found)), list(leaves(expected)))

    def _expect_arguments(self) -> None:
        given, signature = self.given, inspect.signature(self.entry.call)
        try:
            signature.bind(*self.functions, *given.arguments, **given.options)
        except TypeError as error:
            raise NotOurs(f"arguments: {error}") from None

    def _ours(self) -> Any:
        try:
            return self.entry.call(*self.functions, *self.given.arguments, **self.given.options)
        except NotOurs:
            raise
        except Exception as error:
            try:
                numpys = self._numpys()
            except Exception as theirs:
                raise NotOurs(f"NumPy raises {type(theirs).__name__}: {theirs}") from theirs
            if numpys is None and "of 0 axes" in str(error):
                raise NotOurs("a 0-d tensor has no axes") from error
            if "no operation of tensors does it" in str(error):
                raise NotOurs(f"not there: {error}") from error
            raise Wrong(f"raises {type(error).__name__}: {error}") from error

    def _numpys(self) -> Any:
        """NumPy's result, None where it has no such function."""
        functions = [in_numpy(name) for name in self.entry.names.split()]
        if None in functions:
            return None
        options = {k: _plain(v) for k, v in self.given.options.items()}
        return self.entry.call(*functions, *map(_plain, self.given.arguments), **options)

    def _expect_unlike_numpy(self, found: Any) -> None:
        """Raises `NotOurs` where it is NumPy that differs from PyTorch, and ours does as NumPy."""
        try:
            expect_same(found, self._numpys())
        except Exception:
            return
        raise NotOurs("NumPy's result is another than PyTorch's")

    def _compare_gradients(self, found: Any, expected: Any) -> None:
        """Of the outputs that PyTorch differentiates, times fixed random numbers."""
        both = zip(found, expected, strict=True)
        pairs = [(a, b) for a, b in both if getattr(b, "requires_grad", False)]
        if not pairs or not self.given.leaves:
            return
        theirs, ours = zip(*self.given.leaves, strict=True)
        rng = np.random.default_rng(0)
        weights = [np.asarray(rng.standard_normal(b.shape)) for _, b in pairs]
        outputs = [b for _, b in pairs]
        cotangents = [
            torch.from_numpy(w).to(b.dtype) for w, b in zip(weights, outputs, strict=True)
        ]
        by_theirs = torch.autograd.grad(outputs, theirs, cotangents, allow_unused=True)
        recorded = [(a, w) for (a, _), w in zip(pairs, weights, strict=True) if a.requires_grad]
        outputs = [a for a, _ in recorded]
        cotangents = [Tensor(w).astype(a.dtype) for a, w in recorded]
        by_ours = [None] * len(ours)
        try:
            if recorded:
                by_ours = tg.grad(outputs, list(ours), cotangents, allow_unused=True)
        except Exception as error:
            raise Wrong(f"the gradient raises {type(error).__name__}: {error}") from error
        for x, a, b in zip(ours, by_ours, by_theirs, strict=True):
            zeros = np.zeros(x.shape)
            expect_close("gradient", zeros if a is None else a, zeros if b is None else b)
