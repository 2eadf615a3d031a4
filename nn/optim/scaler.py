"""Loss scaling: gradients of float16 that do not vanish, by a factor that finds itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.backend.capture import first_made, keep
from tinygrad_cupy.nn import checks
from tinygrad_cupy.ops.promotion import single
from tinygrad_cupy.tensor import Tensor

from . import cuda as optim_cuda
from .checks import gradients_of, set_gradients
from .clip import scaled_by
from .optimizer import Optimizer

STATE = ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker")


class GradScaler:
    """Scales the loss up, so that float16 gradients do not vanish, and the gradients down again.

    A step whose gradients are not all finite is left out, and the scale is multiplied by
    `backoff_factor`; after `growth_interval` steps in a row that were taken, by `growth_factor`.
    With bfloat16, whose exponents are float32's, it is not needed. (Micikevicius et al., "Mixed
    precision training", 2018; as `torch.amp.GradScaler`.)

    On a GPU the scale, the count and the decision are in device memory: nothing waits for it, and
    all three calls may be inside a `tg.jit` function. An optimizer that a kernel does not step (an
    own `update`) is asked on the host. `enabled=False` leaves losses and gradients as they are.

    >>> model, scaler = nn.Linear(4, 3), tg.GradScaler()
    >>> optimizer = nn.optim.SGD(model.parameters(), lr=0.1)
    >>> with tg.autocast("fp16"):
    ...     loss = model(Tensor.rand(2, 4)).cross_entropy(Tensor([0, 2]))
    >>> scaler.scale(loss).backward()
    >>> scaler.step(optimizer)
    >>> scaler.update()
    >>> optimizer.steps, scaler.get_scale()
    ([1, 1], 65536.0)
    """

    def __init__(
        self,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self._init_scale = checks.positive(self, "init_scale", init_scale)
        self.growth_factor = checks.number(self, "growth_factor", growth_factor, least=1)
        self.backoff_factor = checks.number(self, "backoff_factor", backoff_factor, 0, 1)
        self.growth_interval = checks.integer(self, "growth_interval", growth_interval)
        self.enabled = enabled
        self._tracked = 0
        self._device: str | None = None
        self._scale: Any = None  # 0-d arrays on the device, for good: a captured step holds them
        self._count: Any = None
        self._found: WeakKeyDictionary[Optimizer, Any] = WeakKeyDictionary()
        # Of optimizers that were unscaled since the last update: whether they were stepped, too.
        self._stepped: WeakKeyDictionary[Optimizer, bool] = WeakKeyDictionary()

    def scale(self, loss: Tensor) -> Tensor:
        """``loss`` times the scale; float32 of a loss of 16 bits."""
        if not self.enabled:
            return loss
        self._begin(loss.device)
        wide = single(loss)
        scaled: Tensor = wide * wide._wrap(self._scale).astype(wide.dtype)
        return scaled

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients of an optimizer by the scale, before they are clipped, say.

        `step` does it otherwise. Each `.grad` is a new tensor afterwards. RuntimeError when it was
        done since the last `update`, or there are no gradients.
        """
        if not self.enabled:
            return
        if optimizer in self._stepped:
            raise RuntimeError(
                "[GradScaler] unscale_ was called for this optimizer since the last update()"
            )
        params, grads = gradients_of(optimizer, optimizer.params)
        if not grads:
            raise RuntimeError("[GradScaler] no parameter of this optimizer has a gradient")
        devices = sorted({backend.device_of(grad) for grad in grads})
        self._begin(devices[0])
        if devices != [self._device]:
            raise ValueError(
                f"[GradScaler] expected gradients on {self._device}, as the loss, got {devices}"
            )
        found = self._flag(optimizer)
        with backend.on_device_of(found):
            xp = backend.array_module(found)
            factor = 1 / self._scale.astype(np.float64)
            bad, scaled = _unscaled(xp, grads, factor)
            found[...] = xp.maximum(found, bad.astype(found.dtype))
        set_gradients(params, scaled)
        self._stepped[optimizer] = False

    def step(self, optimizer: Optimizer) -> None:
        """`optimizer.step()`, of unscaled gradients; left out where one of them is not finite.

        RuntimeError when it was done since the last `update`.
        """
        if not self.enabled:
            optimizer.step()
            return
        if self._stepped.get(optimizer):
            raise RuntimeError(
                "[GradScaler] step() was called for this optimizer since the last update()"
            )
        if optimizer not in self._stepped:
            self.unscale_(optimizer)
        optimizer.step_unless(self._found[optimizer])
        self._stepped[optimizer] = True

    def update(self, new_scale: float | None = None) -> None:
        """Move the scale by what was found since the last time, or to ``new_scale``.

        RuntimeError without a `step` before it.
        """
        if not self.enabled:
            return
        if self._scale is None or not self._stepped:
            raise RuntimeError("[GradScaler] update() before step(): nothing was unscaled")
        flags = list(self._found.values())
        with backend.on_device_of(self._scale), np.errstate(over="ignore"):
            xp = backend.array_module(self._scale)
            bad = flags[0] != 0
            for flag in flags[1:]:
                bad = bad | (flag != 0)
            count = self._count + 1
            full = count >= self.growth_interval
            grown = xp.where(full, self._scale * np.float32(self.growth_factor), self._scale)
            grown = xp.where(xp.isfinite(grown), grown, self._scale)
            shrunk = self._scale * np.float32(self.backoff_factor)
            if new_scale is None:
                self._scale[...] = xp.where(bad, shrunk, grown)
                self._count[...] = xp.where(bad | full, 0, count)
            else:
                self._scale[...] = checks.positive(self, "new_scale", new_scale)
            for flag in flags:
                flag[...] = 0
        self._stepped.clear()

    def is_enabled(self) -> bool:
        """Whether it scales at all."""
        return self.enabled

    def __getstate__(self) -> dict[str, Any]:
        return {"enabled": self.enabled, "state": self.state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(enabled=state["enabled"])  # type: ignore[misc]
        self.load_state_dict(state["state"])

    def get_scale(self) -> float:
        """The scale now; reading it waits for the GPU. 1 where it is not enabled."""
        if not self.enabled:
            return 1.0
        return self._init_scale if self._scale is None else float(backend.to_numpy(self._scale))

    def state_dict(self) -> dict[str, float | int]:
        """Everything a later step depends on, by PyTorch's names; {} where it is not enabled."""
        if not self.enabled:
            return {}
        if self._count is not None:
            self._tracked = int(backend.to_numpy(self._count))
        values = (self.growth_factor, self.backoff_factor, self.growth_interval, self._tracked)
        return dict(zip(STATE, (self.get_scale(), *values), strict=True))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where the scaler that gave ``state`` stood, ours or PyTorch's."""
        if not self.enabled:
            return
        missing = [name for name in STATE if name not in state]
        if missing:
            raise ValueError(f"[GradScaler] expected a state with {STATE}, {missing} missing")
        scale = checks.positive(self, "scale", float(state["scale"]))
        growth = checks.number(self, "growth_factor", float(state["growth_factor"]), least=1)
        backoff = checks.number(self, "backoff_factor", float(state["backoff_factor"]), 0, 1)
        interval = checks.integer(self, "growth_interval", int(state["growth_interval"]))
        tracked = checks.integer(self, "_growth_tracker", int(state["_growth_tracker"]), least=0)
        self.growth_factor, self.backoff_factor, self.growth_interval = growth, backoff, interval
        self._init_scale, self._tracked = scale, tracked
        if self._scale is not None:
            with backend.on_device_of(self._scale):
                self._scale[...], self._count[...] = scale, tracked

    def _begin(self, device: str) -> None:
        """Make what lasts, on the device of the first loss."""
        if self._device is None:
            first_made("the scale of a GradScaler")
            self._device = device
            self._scale = backend.full((), self._init_scale, np.dtype(np.float32), device)
            self._count = backend.full((), self._tracked, np.dtype(np.int64), device)
        elif self._device != device:
            raise ValueError(f"[GradScaler] expected a loss on {self._device}, got {device}")
        keep(self._scale, self._count)

    def _flag(self, optimizer: Optimizer) -> Any:
        """Where it is noted that a gradient of this optimizer is not finite."""
        if optimizer not in self._found:
            first_made("what a GradScaler notes of an optimizer")
            dtype, device = np.dtype(np.int64), self._device or "cpu"
            self._found[optimizer] = backend.full((), 0, dtype, device)
        keep(self._found[optimizer])
        return self._found[optimizer]


def _unscaled(xp: Any, grads: list[Any], factor: Any) -> tuple[Any, list[Any]]:
    """Whether a gradient is not finite, and all times ``factor``."""
    if xp is not np:
        return optim_cuda.unscale(grads, factor)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = [scaled_by(np, grad, factor) for grad in grads]
        return ~np.asarray(all(np.isfinite(grad).all() for grad in scaled)), scaled
