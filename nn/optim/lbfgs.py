"""L-BFGS: a quasi-Newton method for losses without noise, which decides on the host."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.autograd.mode import enable_grad
from tinygrad_cupy.backend import Array, array_module, on_device_of
from tinygrad_cupy.backend.capture import active
from tinygrad_cupy.backend.ranks import ranks
from tinygrad_cupy.nn import checks
from tinygrad_cupy.nn.state import describe, host_array

from .checks import check_grad
from .groups import Parameters
from .line_search import Point, strong_wolfe
from .optimizer import Optimizer
from .torch_state import is_from_torch

Closure = Callable[[], Any]

CURVED = 1e-10  # of y . s: less says nothing of the curvature
VECTORS = ("d", "prev_flat_grad")
NUMBERS = ("t", "H_diag", "prev_loss")
HISTORY = ("old_dirs", "old_stps", "ro")


class LBFGS(Optimizer):
    """L-BFGS (Nocedal, "Updating quasi-Newton matrices with limited storage", 1980).

    One `step` makes up to `max_iter` iterations x += t d, with d the gradient times minus an
    estimate of the inverse Hessian from the last `history_size` pairs of a step and what it changed
    in the gradient. t is `lr` (at the very first iteration at most lr / |gradient|_1), or with
    line_search_fn="strong_wolfe" what meets the strong Wolfe conditions (c1 = 1e-4, c2 = 0.9),
    searched from there (Nocedal and Wright, "Numerical optimization", algorithms 3.5 and 3.6).
    A step ends when no entry of the gradient is above `tolerance_grad`, when neither the loss nor
    any parameter changes by `tolerance_change`, or after `max_eval` (1.25 `max_iter` by default)
    evaluations of the closure. It returns the first one's loss.

    The parameters are of one real dtype, float32 or float64, on one device, and of one group. The
    direction and the search are computed there, but decided on the host: `step` waits for the GPU,
    and `tg.jit` refuses it. `zero_grad` and the forward and backward pass of the closure may be
    captured.

    >>> p = nn.Parameter([3.0, -2.0])
    >>> optimizer = nn.optim.LBFGS([p], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = ((p - Tensor([1.0, 2.0])) ** 2).sum()
    ...     loss.backward()
    ...     return loss
    >>> loss = optimizer.step(closure)
    >>> p.detach().round(3)
    Tensor([1., 2.])
    """

    hyperparameters = (
        *("lr", "max_iter", "max_eval", "tolerance_grad", "tolerance_change", "history_size"),
    )
    flags = ()
    kind = "LBFGS"
    slots = ()

    def __init__(
        self,
        params: Parameters,
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        super().__init__(params, lr)
        if line_search_fn is not None:
            checks.choice(self, "line_search_fn", line_search_fn, ("strong_wolfe",))
        self.line_search_fn = line_search_fn
        self.max_iter = max_iter
        self.max_eval = max_iter * 5 // 4 if max_eval is None else max_eval
        self.tolerance_grad, self.tolerance_change = tolerance_grad, tolerance_change
        self.history_size = history_size
        self._forget()

    def _forget(self) -> None:
        self.iterations = self.evaluations = 0  # of all steps together
        self._direction: Array | None = None
        self._grad: Array | None = None  # at the last iteration's start
        self._t, self._scale, self._loss = 0.0, 1.0, 0.0
        self._changes_of_grad: list[Array] = []
        self._steps: list[Array] = []
        self._inverses: list[float] = []  # 1 / (y . s) of each pair

    def _check_params(self, first: int) -> None:
        super()._check_params(first)
        if first:
            raise ValueError("[LBFGS] expected one parameter group, got another")
        kinds = sorted({f"{param.dtype} on {param.device}" for param in self.params})
        if len(kinds) > 1 or self.params[0].dtype not in (np.float32, np.float64):
            raise ValueError(
                "[LBFGS] expected parameters of float32 or of float64 on one device, got "
                f"{', '.join(kinds)}"
            )

    def _append(self, group: Mapping[str, Any], lr: float) -> None:
        if self._groups:
            raise ValueError("[LBFGS] expected one parameter group, got several")
        super()._append(group, lr)

    def check(self, name: str, value: Any) -> Any:
        if name in ("max_iter", "max_eval", "history_size"):
            whole = int(value) if isinstance(value, float) and value.is_integer() else value
            return checks.integer(self, name, whole)
        return checks.number(self, name, value, least=0)

    # --- vectors of all parameters --------------------------------------------------------------

    def _flat_grad(self) -> Array:
        """The gradients in one vector; 0 where there is none."""
        xp = array_module(self.params[0].data)
        parts = []
        for position, param in enumerate(self.params):
            data = param.data
            if param.grad is None or not param.requires_grad:
                parts.append(xp.zeros(data.size, data.dtype))
                continue
            check_grad(self, position, data, param.grad.data)
            parts.append(param.grad.data.reshape(-1))
        return xp.concatenate(parts)

    def _flat_params(self) -> Array:
        xp = array_module(self.params[0].data)
        return xp.concatenate([param.data.reshape(-1) for param in self.params])

    def _put(self, vector: Array) -> None:
        """Write all parameters."""
        first = 0
        for param in self.params:
            size = param.data.size
            if param.requires_grad:
                param.data[...] = vector[first : first + size].reshape(param.shape)
                param.bump_version()
            first += size

    # --- a step ---------------------------------------------------------------------------------

    def step(self, closure: Closure | None = None) -> Any:
        """Up to `max_iter` iterations; `closure()` computes loss and gradients, and is called
        several times. Returns the loss of the first call. ValueError without a closure."""
        if active.run is not None:
            active.run.refuse(
                "LBFGS decides on the host how far to go, which a replay would not",
                "call step() outside of the function; what the closure computes may be captured",
            )
        if closure is None:
            raise ValueError("[LBFGS] expected a closure that computes the loss and its gradients")
        with on_device_of(self.params[0].data):
            return self._step(closure)

    def _evaluate(self, closure: Closure) -> tuple[Any, float, Array]:
        """What the closure returns, that as a number, and the gradient."""
        with enable_grad():
            loss = closure()
        self.evaluations += 1
        value = float(loss.item() if hasattr(loss, "item") else loss)
        if ranks.parallel:  # all decide by the loss of the whole batch
            ranks.before_reading(self.params)
            value = ranks.whole_loss(value)
        return loss, value, self._flat_grad()

    def _step(self, closure: Closure) -> Any:
        first_loss, loss, grad = self._evaluate(closure)
        evaluations = 1
        if _largest(grad) <= self.tolerance_grad:
            return first_loss
        for count in range(1, self.max_iter + 1):
            self.iterations += 1
            direction = self._next_direction(grad)
            self._direction, self._grad, self._loss = direction, grad, loss
            slope = _dot(grad, direction)
            self._t = self.lr
            if self.iterations == 1:
                self._t *= min(1.0, 1.0 / float(abs(grad).sum()))
            if slope > -self.tolerance_change:
                break
            before = evaluations
            last = count == self.max_iter
            if self.line_search_fn is None:
                self._put(self._flat_params() + self._t * direction)
                if not last:  # what nobody reads is not computed
                    _, loss, grad = self._evaluate(closure)
                    evaluations += 1
            else:
                here = Point(0.0, loss, grad, slope)
                found, used = self._search(closure, here, direction, self.max_eval - before)
                self._t, loss, grad = found.t, found.loss, found.grad
                evaluations += used
            if (
                last
                or evaluations >= self.max_eval
                or _largest(grad) <= self.tolerance_grad
                or _largest(direction * self._t) <= self.tolerance_change
                or abs(loss - self._loss) < self.tolerance_change
            ):
                break
        return first_loss

    def _search(
        self, closure: Closure, here: Point, direction: Array, most: int
    ) -> tuple[Point, int]:
        """A point along the direction, where the parameters are left, and how many were tried."""
        start = self._flat_params()

        def at(t: float) -> Point:
            self._put(start + t * direction)
            _, loss, grad = self._evaluate(closure)
            return Point(t, loss, grad, _dot(grad, direction))

        found, used = strong_wolfe(
            at, here, self._t, _largest(direction), most, self.tolerance_change_of_search
        )
        self._put(start + found.t * direction)
        return found, used

    tolerance_change_of_search = 1e-9  # as in PyTorch, whatever tolerance_change is

    def _next_direction(self, grad: Array) -> Array:
        """Minus the estimated inverse Hessian times the gradient (algorithm 7.4 of Nocedal and
        Wright), with the last iteration's pair remembered."""
        if self._direction is None or self._grad is None:
            return -grad
        change, step = grad - self._grad, self._direction * self._t
        product = _dot(change, step)
        if product > CURVED:
            if len(self._steps) == self.history_size:
                for listed in (self._changes_of_grad, self._steps, self._inverses):
                    listed.pop(0)
            self._changes_of_grad.append(change)
            self._steps.append(step)
            self._inverses.append(1.0 / product)
            self._scale = product / _dot(change, change)
        pairs = list(zip(self._changes_of_grad, self._steps, self._inverses, strict=True))
        result, shares = -grad, []
        for change, step, inverse in reversed(pairs):
            share = _dot(step, result) * inverse
            result = result - share * change
            shares.append(share)
        result = self._scale * result
        for (change, step, inverse), share in zip(pairs, reversed(shares), strict=True):
            result = result + (share - _dot(change, result) * inverse) * step
        return result

    # --- saving and loading ---------------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray]:
        """Host copies of everything that a later step depends on but the parameters.

        The hyperparameters and "line_search_fn" ("" for none), and of the iterations so far
        "n_iter", "func_evals", and under PyTorch's names "d", "t", "prev_flat_grad", "prev_loss",
        "H_diag", and "old_dirs" and "old_stps" (K, n) with "ro" (K,).
        """
        result = {name: np.asarray(getattr(self, name)) for name in self.hyperparameters}
        result["kind"] = np.frombuffer(self.kind.encode(), np.uint8).copy()
        search = (self.line_search_fn or "").encode()
        result["line_search_fn"] = np.frombuffer(search, np.uint8).copy()
        result["n_iter"], result["func_evals"] = (
            np.asarray(count) for count in (self.iterations, self.evaluations)
        )
        if self._direction is not None:
            result |= {name: _on_host(x) for name, x in self._history().items()}
        return result

    def _history(self) -> dict[str, Any]:
        return {
            "d": self._direction,
            "prev_flat_grad": self._grad,
            "t": self._t,
            "H_diag": self._scale,
            "prev_loss": self._loss,
            "old_dirs": self._changes_of_grad,
            "old_stps": self._steps,
            "ro": self._inverses,
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue where the optimizer that gave `saved`, of this library or PyTorch, stood.

        ValueError, and nothing is changed, for a state of other parameters or a damaged one.
        """
        if is_from_torch(saved):
            saved = self._flattened(saved)
        if not isinstance(saved, Mapping):
            raise TypeError(f"[LBFGS] expected a state_dict, a mapping, got {type(saved).__name__}")
        codes = host_array(saved.get("kind", np.frombuffer(b"LBFGS", np.uint8)))
        if codes is None or codes.astype(np.uint8).tobytes() != b"LBFGS":
            raise ValueError("[LBFGS] expected the state of LBFGS, got that of another")
        names = (*self.hyperparameters, "n_iter", "func_evals")
        numbers = {name: self._number(saved, name) for name in names}
        values = {name: self.check(name, numbers[name]) for name in self.hyperparameters}
        search = host_array(saved.get("line_search_fn", np.empty(0, np.uint8)))
        said = b"" if search is None else search.astype(np.uint8).tobytes()
        history = self._read_history(saved) if "d" in saved else None
        for name, value in values.items():
            setattr(self, name, value)
        self.line_search_fn = said.decode("ascii", "replace") or None
        self._forget()
        self.iterations, self.evaluations = int(numbers["n_iter"]), int(numbers["func_evals"])
        if history is not None:
            self._direction, self._grad = history["d"], history["prev_flat_grad"]
            self._t, self._scale, self._loss = (history[name] for name in NUMBERS)
            self._changes_of_grad, self._steps, self._inverses = (history[n] for n in HISTORY)

    def _read_history(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        size = sum(param.data.size for param in self.params)
        found: dict[str, Any] = {name: self._number(saved, name) for name in NUMBERS}
        found |= {name: self._vectors(saved, name, (size,)) for name in VECTORS}
        inverses = host_array(saved.get("ro"))
        count = 0 if inverses is None else inverses.size
        found["ro"] = [] if inverses is None else inverses.astype(float).ravel().tolist()
        for name in ("old_dirs", "old_stps"):
            found[name] = list(self._vectors(saved, name, (count, size))) if count else []
        return found

    def _number(self, saved: Mapping[str, Any], name: str) -> Any:
        array = host_array(saved[name]) if name in saved else None
        if array is None or array.size != 1:
            raise ValueError(f"[LBFGS] {name}: expected one number, got {_said(saved, name)}")
        return array.item()

    def _vectors(self, saved: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> Array:
        array = host_array(saved[name]) if name in saved else None
        if array is None or array.shape != shape:
            raise ValueError(f"[LBFGS] {name}: expected shape {shape}, got {_said(saved, name)}")
        first = self.params[0]
        return backend.to_device(np.array(array, first.dtype, order="C"), first.device)

    def _flattened(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        """A state of PyTorch in the form of this library."""
        if len(saved["param_groups"]) != 1:
            raise ValueError("[LBFGS] expected one parameter group, got several")
        (group,) = saved["param_groups"]
        flat: dict[str, Any] = {name: group[name] for name in self.hyperparameters if name in group}
        search = (group.get("line_search_fn") or "").encode()
        flat["line_search_fn"] = np.frombuffer(search, np.uint8)
        state = saved["state"].get(0, {"n_iter": 0, "func_evals": 0})
        for name in ("n_iter", "func_evals", *VECTORS, *NUMBERS):
            if state.get(name) is not None:
                flat[name] = state[name]
        for name in HISTORY if "d" in flat else ():
            flat[name] = [host_array(x) for x in state[name]]
        return flat

    def torch_state_dict(self) -> dict[str, Any]:
        """The state as PyTorch's LBFGS loads it; needs PyTorch."""
        import torch  # only where it is asked for

        def theirs(value: Any) -> Any:
            if isinstance(value, list):
                return [theirs(one) for one in value]
            if value is None or isinstance(value, int | float):
                return value
            return torch.from_numpy(_on_host(value))

        group: dict[str, Any] = {name: getattr(self, name) for name in self.hyperparameters}
        group |= {"line_search_fn": self.line_search_fn, "params": [*range(len(self.params))]}
        state: dict[str, Any] = {"n_iter": self.iterations, "func_evals": self.evaluations}
        if self._direction is not None:
            state |= {name: theirs(value) for name, value in self._history().items()}
            dtype = state["d"].dtype
            state["ro"] = [torch.tensor(value, dtype=dtype) for value in self._inverses]
        return {"state": {0: state} if self.evaluations else {}, "param_groups": [group]}


def _said(saved: Mapping[str, Any], name: str) -> str:
    return describe(saved[name]) if name in saved else "nothing"


def _on_host(value: Any) -> np.ndarray:
    """A vector, a number or a list of them."""
    if isinstance(value, list):
        return np.array([_on_host(one) for one in value])
    return np.array(backend.to_numpy(value) if hasattr(value, "dtype") else value)


def _dot(one: Array, other: Array) -> float:
    return float(one @ other)


def _largest(vector: Array) -> float:
    largest = float(abs(vector).max()) if vector.size else 0.0
    return math.inf if math.isnan(largest) else largest
