"""Several tensors whose gradients are dealt with in one step.

A node of the graph has one output. For several, one node, `Joint`, stands below the `Deliver` of
each: on the way back these lay the gradients down with it, and it, which comes after all of them,
hands them to a rule. Between them goes a number that says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..backend import Array
from .op import Op
from .views import set_apart

Rule = Callable[[list[Any]], Sequence[Any]]


def joined(
    inputs: Sequence[Any], outputs: Sequence[Any], rule: Rule, watched: Sequence[Any] = ()
) -> list[Any]:
    """The ``outputs``, which no graph has, as results of the ``inputs``.

    On the way back ``rule`` gets their gradients, None where there is none, and gives those of the
    inputs, in tensor operations. ``watched`` may not be written until then.
    """
    joint = Joint(rule, len(outputs))
    token = joint.watch(*watched)(*inputs)
    made = [Deliver(joint, k)(y, token) for k, y in enumerate(outputs)]
    for one in made:
        set_apart(one)  # its place in the graph is not that of y, whose memory it may share
    return made


class Joint(Op):
    """Below all `Deliver`s; its output says nothing."""

    constants = ("rule", "gradients")

    def __init__(self, rule: Rule, count: int) -> None:
        self.rule = rule
        self.gradients: list[Any] = [None] * count

    def forward(self, *inputs: Array) -> Array:
        return self.xp.zeros((), inputs[0].dtype)

    def backward(self, grad: Any) -> tuple[Any, ...]:
        gradients, self.gradients = self.gradients, [None] * len(self.gradients)
        return tuple(self.rule(gradients))


class Deliver(Op):
    """One output; on the way back its gradient is laid down."""

    view = True
    constants = ("joint",)

    def __init__(self, joint: Joint, number: int) -> None:
        self.joint, self.number = joint, number

    def forward(self, y: Array, token: Array) -> Array:
        return y

    def backward(self, grad: Any) -> tuple[None, Any]:
        self.joint.gradients[self.number] = grad
        return None, grad._wrap(self.xp.zeros((), self.inputs[1][1]))  # type: ignore[index]
