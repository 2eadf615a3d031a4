"""The rule of an elementwise optimizer, written once: NumPy, C and CUDA compute the same lines.

    rule = Rule(
        names=("lr", "beta1", "beta2", "weight_decay"),
        slots=("exp_avg",),
        derive='''
            keep = 1 - lr * weight_decay
            rest1 = 1 - beta1
            rest2 = 1 - beta2
        ''',
        update='''
            p -= ...
        ''',
    )

Each line is ``name = expression`` of names, numbers, ``+ - * /``, comparisons and the functions of
`FUNCTIONS`, which is Python and C at once. ``derive`` makes, once per step and in double, what does
not depend on the element, of the hyperparameters and of ``t``, the step counted from 1. ``update``
moves ``p``, an element of the parameter, and its slots, named as they are, along ``g``, the
gradient, in the parameter's dtype (16-bit floats in float32).

Small differences such as 1 - beta belong into ``derive``: float32 would lose half of their digits.
"""

from __future__ import annotations

import ast
import ctypes
import math
import textwrap
from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any

import numpy as np

from tinygrad_cupy.backend import Array, array_module
from tinygrad_cupy.backend.c_source import CSource

from . import native
from .cuda import Launch, step_source
from .update import write

SLOTS = ("SLOT_A", "SLOT_B", "SLOT_C")


class Rule(Launch):
    """How an elementwise optimizer moves one element; on a GPU one launch moves all.

    `names` are the hyperparameters that it reads, `slots` its state, up to three arrays. A
    `partial` one is part of a step: it does not count it.

    >>> rule = nn.optim.Rule(
    ...     names=("lr", "momentum"),
    ...     slots=("velocity",),
    ...     derive="rate = lr / t",
    ...     update="velocity = momentum * velocity + g; p -= rate * velocity",
    ... )
    >>> rule.numbers, rule.slots
    (('lr', 'momentum', 'rate'), ('velocity',))
    """

    def __init__(
        self,
        names: tuple[str, ...],
        slots: tuple[str, ...],
        derive: str,
        update: str,
        partial: bool = False,
    ) -> None:
        if len(slots) > len(SLOTS):
            raise ValueError(f"[Rule] expected at most {len(SLOTS)} slots, got {len(slots)}")
        self.names, self.slots = names, slots
        derived, self._derive, derive_in_c = _parsed(derive or "unused_number = 0")
        known = ("p", "g", *slots)
        assigned, self._update, update_in_c = _parsed(update)
        self.numbers = (*names, *derived)
        _check(names, derived, known, assigned, self._derive, self._update)
        local = [name for name in assigned if name not in known] or ["unused"]
        self._local = tuple(local)
        steps = (f"LOCALS={','.join(local)}", f"UPDATE={update_in_c}")
        given = [f"{place}={slot}" for place, slot in zip(SLOTS, slots, strict=False)]
        arrays = max(4, 2 + len(slots))
        source = step_source(
            "rule.cu",
            arrays=arrays,
            defines=(
                *(f"NAMES={','.join(names)}", f"DERIVED={','.join(derived)}"),
                *(f"DERIVE={derive_in_c}", f"SLOT_COUNT={len(slots)}", *given, *steps),
                *["PARTIAL"] * partial,
            ),
        )
        super().__init__(source, "rule_step", names, arrays)
        self._file = CSource(__file__, "rule.c", defines=(*self._in_c(), *steps))
        fields = [(name, ctypes.c_float) for name in self.numbers]
        self._struct: Any = type("Numbers", (ctypes.Structure,), {"_fields_": fields})

    def _in_c(self) -> tuple[str, ...]:
        """What rule.c is given of the names."""
        slots = self.slots
        return (
            f"MEMBERS={','.join(self.numbers)}",
            f"UNPACKED={','.join(f'{name}=numbers_->{name}' for name in self.numbers)}",
            f"STATE={''.join(f',float *restrict {slot}_' for slot in slots)}",
            "READ=" + (f"float {','.join(f'{s}={s}_[i_]' for s in slots)}" if slots else ""),
            "WRITE=" + ";".join(f"{slot}_[i_]={slot}" for slot in slots),
            f"COUNT={2 + len(slots)}",
        )

    def coefficients(self, values: Mapping[str, float], step: int) -> tuple[float, ...]:
        """The numbers of one update, in the order of `numbers`; the step is counted from 1."""
        scope: dict[str, Any] = {**_ON_HOST, **values, "t": step}
        exec(self._derive, scope)
        return tuple([float(scope[name]) for name in self.numbers])

    def update(
        self, coefficients: tuple[float, ...], grad: Array, param: Array, *slots: Array
    ) -> None:
        """Write one parameter and its slots in place."""
        numbers = dict(zip(self.numbers, coefficients, strict=True))

        def plain(grad: Array, param: Array, *slots: Array) -> None:
            arrays = {"p": param, **dict(zip(self.slots, slots, strict=True))}
            scope = {**_on_arrays(array_module(param)), **numbers, **arrays, "g": grad}
            exec(self._update, scope)
            for name, array in arrays.items():
                if scope[name] is not array:
                    array[...] = scope[name]

        def in_c(grad: Array, *written: Array) -> bool:
            if not native.suits(*written) or self._file.library is None:
                return False
            native.run(self._file, "rule", self._struct(*coefficients), grad, *written)
            return True

        write("rule", in_c, plain, grad, param, *slots)


def _parsed(lines: str) -> tuple[list[str], CodeType, str]:
    """What is assigned, in order and once each; the lines as Python and as C."""
    tree = ast.parse(textwrap.dedent(lines))
    assigned: list[str] = []
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target: ast.expr = statement.targets[0]
        elif isinstance(statement, ast.AugAssign):
            target = statement.target
        else:
            raise ValueError(f"[Rule] expected name = expression, got {ast.unparse(statement)}")
        if not isinstance(target, ast.Name):
            raise ValueError(f"[Rule] expected a name, got {ast.unparse(target)}")
        assigned.append(target.id)
        if any(map(_is_not_c, ast.walk(statement))):
            raise ValueError(f"[Rule] this is not C as well: {ast.unparse(statement)}")
    text = ";".join(ast.unparse(statement) for statement in tree.body).replace(" ", "")
    if "--" in text or "++" in text:
        raise ValueError(f"[Rule] two signs in a row: {text}")
    return list(dict.fromkeys(assigned)), compile(tree, "<rule>", "exec"), text


_NOT_C = (ast.IfExp, ast.BoolOp, ast.Not, ast.Pow, ast.FloorDiv, ast.Attribute, ast.Subscript)


def _is_not_c(node: ast.AST) -> bool:
    if isinstance(node, ast.Compare):
        return len(node.ops) > 1
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):  # of integers
        return isinstance(node.left, ast.Constant) and isinstance(node.right, ast.Constant)
    return isinstance(node, _NOT_C)


def _check(
    names: tuple[str, ...],
    derived: list[str],
    known: tuple[str, ...],
    assigned: list[str],
    derive: CodeType,
    update: CodeType,
) -> None:
    """Every name must be one thing, and known where it is read."""
    everything = [*names, *derived, *known, "t"]
    twice = sorted({name for name in everything if everything.count(name) > 1})
    if twice:
        raise ValueError(f"[Rule] these names mean two things: {', '.join(twice)}")
    if "g" in assigned and "g" not in update.co_names:
        raise ValueError("[Rule] g is assigned and never read")
    for code, allowed in (
        (derive, {*names, *derived, "t"}),
        (update, {*everything, *assigned}),
    ):
        unknown = sorted(set(code.co_names) - allowed - set(FUNCTIONS))
        if unknown:
            raise ValueError(f"[Rule] unknown names: {', '.join(unknown)}")
    written = sorted(set(assigned) & {*names, *derived})
    if written:
        raise ValueError(f"[Rule] update cannot assign {', '.join(written)}: same for all elements")


def product_of_momenta(beta: float, log_decay: float, t: float) -> float:
    """The product over i up to t of beta (1 - decay^i / 2), by the series of the logarithm."""
    total = 0.0
    for k in range(1, 61):
        terms = math.expm1(k * t * log_decay) / math.expm1(k * log_decay) if log_decay else t
        total -= 0.5**k / k * math.exp(k * log_decay) * terms
    return float(beta**t * math.exp(total))


def _sign(x: float) -> float:
    return math.copysign(1.0, x) if x else x


_ON_HOST: dict[str, Callable[..., Any]] = {
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "absolute": abs,
    "sign": _sign,
    "maximum": max,
    "where": lambda condition, yes, no: yes if condition else no,
    "power": lambda base, exponent: base**exponent,  # a whole one
    "product_of_momenta": product_of_momenta,
}
FUNCTIONS = tuple(_ON_HOST)  # those of derive; update has sqrt, absolute, sign, maximum and where


def _on_arrays(xp: Any) -> dict[str, Callable[..., Any]]:
    def where(condition: Any, yes: Any, no: Any) -> Any:
        if isinstance(condition, bool | float | np.bool_):
            return yes if condition else no
        return xp.where(condition, yes, no)

    functions = {name: getattr(xp, name) for name in ("sqrt", "absolute", "sign", "maximum")}
    return {**functions, "where": where}
