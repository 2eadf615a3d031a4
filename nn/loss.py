"""What all losses as layers have.

Each is the Tensor method of its name. `reduction` is "mean", "sum" or "none" (a loss for each
element or row). A weight is a Buffer: it is moved and saved with the loss.
"""

from __future__ import annotations

from typing import Any

from tinygrad_cupy.ops.losses import REDUCTIONS
from tinygrad_cupy.tensor import Tensor

from . import checks
from .module import Buffer, Module


class Loss(Module):
    """What all have: how the losses of elements are put together, and what shapes must be equal."""

    more_reductions: tuple[str, ...] = ()

    def __init__(self, reduction: str = "mean") -> None:
        choices = (*REDUCTIONS, *self.more_reductions)
        self.reduction = checks.choice(self, "reduction", reduction, choices)

    def _expect_one_shape(self, output: Tensor, *targets: Tensor) -> None:
        """Broadcasting (8, 1) against (8,) to (8, 8) is a classic silent mistake."""
        checks.input_tensor(self, output)
        for target in targets:
            checks.input_tensor(self, target)
            if output.shape != target.shape:
                raise ValueError(
                    f"[{type(self).__name__}] expected a target of shape {output.shape}, got "
                    f"{target.shape}"
                )

    def _shown(self) -> dict[str, Any]:
        return {"reduction": self.reduction}

    def extra_repr(self) -> str:
        return ", ".join([f"{name}={value!r}" for name, value in self._shown().items()])


def buffer_of(weight: Any) -> Buffer | None:
    """A weight as a Buffer, which is moved and saved with its loss; None stays None."""
    if weight is None or isinstance(weight, Buffer):
        return weight
    return Buffer(weight.detach() if isinstance(weight, Tensor) else weight)
