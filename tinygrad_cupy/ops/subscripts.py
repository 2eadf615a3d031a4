"""Equations of `einsum`: what they say, and in which order operands are multiplied.

A label is one letter of a string. The axes of an ellipsis get labels of their own, numbers from
`FIRST` on, counted from the last axis. An axis of one element is broadcast where its label has
another size elsewhere.
"""

from __future__ import annotations

import functools
import importlib
import operator
import string
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..kernels.einsum import Pair, pair

Shape = tuple[int, ...]
FIRST = 0x100  # of the labels of an ellipsis
LETTERS = string.ascii_uppercase + string.ascii_lowercase  # what NumPy's integer labels stand for
PLANS = 4096  # that are kept


class Subscripts(NamedTuple):
    """An equation on operands of known shapes: each axis's label, the result's and their sizes."""

    operands: tuple[str, ...]
    output: str
    sizes: dict[str, int]


class Unary(NamedTuple):
    """What becomes of an operand before it is multiplied; None where there is nothing to do.

    Axes of one label become their diagonal, those of one element that are broadcast against others
    go (``reshaped``), and those that nothing else has are ``summed``.
    """

    diagonal: tuple[str, str] | None  # labels before and after
    reshaped: Shape | None
    summed: Shape | None
    labels: str  # that are left


class Step(NamedTuple):
    """The product of two, each an operand or, counted on from these, the result of a step."""

    first: int
    second: int
    how: Pair


class Plan(NamedTuple):
    """How `einsum` gets to its result: ``permuted`` are the axes of the last one in its order."""

    operands: tuple[Unary, ...]
    steps: tuple[Step, ...]
    permuted: Shape | None

    @property
    def roundings(self) -> int:
        """How often numbers are rounded on the way."""
        return len(self.steps) + sum(one.summed is not None for one in self.operands)


# --- reading ------------------------------------------------------------------------------------


def equation_of(operands: Sequence[Any]) -> tuple[str, list[Any]]:
    """The equation and the operands, of either form: ``(equation, *xs)`` or ``(x, labels, …)``."""
    if operands and isinstance(operands[0], str):
        return operands[0], list(operands[1:])
    if len(operands) < 2:
        raise ValueError("[einsum] expected an equation and operands, or operands and their labels")
    given = list(operands)
    output = "" if len(given) % 2 == 0 else "->" + _letters(given.pop())
    terms = ",".join([_letters(labels) for labels in given[1::2]])
    return terms + output, given[::2]


def _letters(labels: Any) -> str:
    try:
        return "".join([_letter(label) for label in labels])
    except TypeError:
        raise TypeError(
            f"[einsum] expected an equation, or a list of integers and ellipses, got {labels!r}"
        ) from None


def _letter(label: Any) -> str:
    if label is Ellipsis:
        return "..."
    number = operator.index(label)
    if not 0 <= number < len(LETTERS):
        raise ValueError(f"[einsum] expected labels from 0 to {len(LETTERS) - 1}, got {number}")
    return LETTERS[number]


def read(equation: str, shapes: tuple[Shape, ...]) -> Subscripts:
    """What ``equation`` says of operands of these shapes, or ``ValueError``."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise ValueError(
            f"[einsum] expected {len(terms)} operands for {equation!r}, got {len(shapes)}"
        )
    labels = [
        _labels(equation, term, shape, i)
        for i, (term, shape) in enumerate(zip(terms, shapes, strict=True))
    ]
    missing = max(sum(ord(label) >= FIRST for label in one) for one in labels)
    ellipsis = _of_ellipsis(missing)
    if not arrow:
        every = "".join(labels)
        once = sorted(c for c in set(every) if every.count(c) == 1 and ord(c) < FIRST)
        output = ellipsis + "".join(once)
    else:
        output = _expanded(equation, right, missing)
    _check_output(equation, output, labels, ellipsis)
    return Subscripts(tuple(labels), output, _sizes(equation, labels, shapes))


def _of_ellipsis(count: int) -> str:
    return "".join([chr(FIRST + i) for i in reversed(range(count))])


def _expanded(equation: str, term: str, axes: int) -> str:
    """``term`` with labels for its ellipsis, which stands for so many axes."""
    before, dots, after = term.partition("...")
    for letter in before + after:
        if letter not in LETTERS:
            raise ValueError(
                f"[einsum] expected letters, one ellipsis '...' a term, ',' and '->' in "
                f"{equation!r}, got {letter!r}"
            )
    return before + (_of_ellipsis(axes) if dots else "") + after


def _labels(equation: str, term: str, shape: Shape, position: int) -> str:
    named = len(term.replace("...", "", 1))
    labels = _expanded(equation, term, max(len(shape) - named, 0))
    if len(labels) != len(shape):
        raise ValueError(
            f"[einsum] expected {named} axes {'or more ' * ('...' in term)}for {term!r} in "
            f"{equation!r}, got operand {position} of shape {shape}"
        )
    return labels


def _check_output(equation: str, output: str, labels: list[str], ellipsis: str) -> None:
    for label in output:
        if output.count(label) > 1:
            raise ValueError(f"[einsum] expected {label!r} once in the result of {equation!r}")
        if not any(label in one for one in labels):
            raise ValueError(
                f"[einsum] expected labels of operands in the result of {equation!r}, got {label!r}"
            )
    if not set(ellipsis) <= set(output):
        raise ValueError(
            f"[einsum] expected an ellipsis in the result of {equation!r}: operands have "
            f"{len(ellipsis)} axes without a label"
        )


def _sizes(equation: str, labels: list[str], shapes: tuple[Shape, ...]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for one, shape in zip(labels, shapes, strict=True):
        own: dict[str, int] = {}
        for label, n in zip(one, shape, strict=True):
            if own.setdefault(label, n) != n or (sizes.get(label, 1) != 1 != n != sizes[label]):
                raise ValueError(
                    f"[einsum] expected one size for {_name(label)} in {equation!r}, got shapes "
                    f"{' and '.join(map(str, shapes))}"
                )
            if sizes.get(label, 1) == 1:
                sizes[label] = n
    return sizes


def _name(label: str) -> str:
    return repr(label) if ord(label) < FIRST else "an axis of '...'"


# --- the order of products ----------------------------------------------------------------------


@functools.lru_cache(PLANS)
def planned(equation: str, shapes: tuple[Shape, ...], optimize: Any = True) -> Plan:
    """The plan for an equation and operands of these shapes.

    ``optimize`` is a path, tuples of positions, or what `_path` takes.
    """
    operands, output, sizes = read(equation, shapes)
    stretched = [
        "".join([c for c, n in zip(labels, shape, strict=True) if n == sizes[c]])
        for labels, shape in zip(operands, shapes, strict=True)
    ]
    unary = tuple([_unary(operands[i], stretched, i, output, sizes) for i in range(len(shapes))])
    labels = [one.labels for one in unary]
    path = optimize if isinstance(optimize, tuple) else _path(labels, output, sizes, optimize)
    steps, left = _steps(equation, path, labels, output, sizes)
    permuted = None if left == output else tuple([left.index(label) for label in output])
    return Plan(unary, steps, permuted)


def _unary(
    given: str, stretched: list[str], position: int, output: str, sizes: dict[str, int]
) -> Unary:
    """``stretched``: the labels of all operands along which they are not broadcast."""
    others = set(output).union(*stretched[:position], *stretched[position + 1 :])
    once = "".join(dict.fromkeys(given))
    kept = "".join(dict.fromkeys(stretched[position]))
    summed = tuple([i for i, c in enumerate(kept) if c not in others])
    return Unary(
        None if once == given else (given, once),
        None if kept == once else tuple([sizes[c] for c in kept]),
        summed or None,
        "".join([c for c in kept if c in others]),
    )


def _steps(
    equation: str,
    path: Sequence[Sequence[int]],
    labels: list[str],
    output: str,
    sizes: dict[str, int],
) -> tuple[tuple[Step, ...], str]:
    """The products of ``path``, and the labels of the last one."""
    known = dict(enumerate(labels))  # labels of operands, and of results behind them
    left = list(known)
    steps: list[Step] = []
    for positions in path:
        places = sorted({operator.index(i) for i in positions})
        if (
            not places
            or len(places) < len(positions)
            or not 0 <= places[0] <= places[-1] < len(left)
        ):
            raise ValueError(
                f"[einsum] expected distinct positions below {len(left)} in the path for "
                f"{equation!r}, got {positions}"
            )
        first, *others = [left[i] for i in places]
        left = [one for one in left if one not in (first, *others)]
        for i, second in enumerate(others):
            needed = set(output).union(*[known[one] for one in (*left, *others[i + 1 :])])
            a, b = known[first], known[second]
            last = not left and i + 1 == len(others)
            y = output if last else _product(a, b, needed)
            steps.append(Step(first, second, pair(a, b, y, sizes)))
            first = len(known)
            known[first] = y
        left.append(first)
    if len(left) != 1:
        raise ValueError(
            f"[einsum] expected a path for {equation!r} that leaves one result, got {list(path)}"
        )
    return tuple(steps), known[left[0]]


def _product(a: str, b: str, needed: set[str]) -> str:
    """The labels of a product, in the order in which it comes without moving elements about."""
    both, only_a, only_b = [c for c in a if c in b], set(a) - set(b), set(b) - set(a)
    parts = (*both, *[c for c in a if c in only_a], *[c for c in b if c in only_b])
    return "".join([c for c in parts if c in needed])


def _path(labels: list[str], output: str, sizes: dict[str, int], optimize: Any) -> Any:
    """An order of products: opt_einsum's where that is installed, else NumPy's."""
    if len(labels) <= 2:
        return (tuple(range(len(labels))),)
    names = {label: LETTERS[i] for i, label in enumerate(sizes) if i < len(LETTERS)}
    if len(names) < len(sizes):  # NumPy has no more letters
        return (tuple(range(len(labels))),)
    terms = ",".join(["".join([names[c] for c in one]) for one in labels])
    equation = f"{terms}->{''.join([names[c] for c in output])}"
    arrays = [np.broadcast_to(np.float32(0), [sizes[c] for c in one]) for one in labels]
    if optimize is True and (optimizer := _opt_einsum()) is not None:
        return optimizer.contract_path(equation, *arrays)[0]
    return np.einsum_path(equation, *arrays, optimize=optimize)[0][1:]


@functools.cache
def _opt_einsum() -> Any:
    try:
        return importlib.import_module("opt_einsum")
    except ImportError:
        return None
