"""`jit`: what it returns, notices and redoes, on a GPU and with a CPU that pretends to capture."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_cupy as tg
from graph_stand_in import StandInPool
from tinygrad_cupy import Tensor, backend, nn, tracing
from tinygrad_cupy.nn import optim, schedules
from tinygrad_cupy.recording import Recording


def values(x: Tensor | None) -> list[Any]:
    assert x is not None
    return list(x.numpy().ravel())


# --- training -------------------------------------------------------------------------------------


class Training(NamedTuple):
    """A net with everything that moves from step to step, and its step."""

    model: nn.Module
    optimizer: optim.Optimizer
    step: Callable[[Tensor, Tensor], Tensor]


def training(make: Callable[..., optim.Optimizer] = optim.Adam) -> Training:
    tg.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(4 * 9, 3),
    )
    optimizer = make(list(model.parameters()), lr=0.01)

    def step(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = model(x).cross_entropy(y)
        loss.backward()
        optimizer.step()
        return loss

    StandInPool.owners[:] = [model, optimizer]
    return Training(model, optimizer, step)


def batches(count: int, sizes: tuple[int, ...] = (6,)) -> list[tuple[Tensor, Tensor]]:
    rng = np.random.default_rng(5)
    device = backend.default_device()
    return [
        (
            Tensor(rng.random((n, 1, 8, 8), np.float32), device=device),
            Tensor(rng.integers(0, 3, n), device=device),
        )
        for n in [sizes[i % len(sizes)] for i in range(count)]
    ]


def trained(steps: int, sizes: tuple[int, ...], jitted: bool, make: Any) -> list[np.ndarray]:
    """The losses of a training, and everything that it left."""
    model, optimizer, step = training(make)
    if jitted:
        step = tg.jit(step)
    schedule = schedules.Cosine(0.02, steps, warmup=3)
    losses = []
    for i, (x, y) in enumerate(batches(steps, sizes)):
        optimizer.lr = schedule(i)
        losses.append(step(x, y).numpy())
    states = [*model.state_dict().values(), *optimizer.state_dict().values()]
    grads = [p.grad.numpy() for p in model.parameters() if p.grad is not None]
    return [*losses, *states, *grads]


def adamw(params: Any, lr: float) -> optim.Optimizer:
    return optim.AdamW(params, lr=lr, weight_decay=0.1)


def momentum(params: Any, lr: float) -> optim.Optimizer:
    return optim.SGD(params, lr=lr, momentum=0.9)


@pytest.mark.parametrize("make", [optim.Adam, adamw, momentum])
def test_captured_steps_equal_eager_ones_bit_for_bit(place: str, make: Any) -> None:
    eager, captured = (trained(60, (6, 6, 6, 4), jitted, make) for jitted in (False, True))
    assert len(eager) == len(captured)
    for one, other in zip(eager, captured, strict=True):
        np.testing.assert_array_equal(one, other)


def test_evaluation_is_captured_beside_training(place: str) -> None:
    model, _, _ = training()
    (x, _), *_ = batches(1)
    predict = tg.jit(lambda x: model(x))
    model.train()
    first = predict(x).numpy()
    predict(x)
    mean = model[1].running_mean  # type: ignore[index]
    assert any(first.ravel() != predict(x).numpy().ravel())  # dropout draws anew in each replay
    model.eval()
    frozen = mean.numpy()
    same = [predict(x).numpy() for _ in range(4)]
    for one in same[1:]:
        np.testing.assert_array_equal(one, same[0])
    np.testing.assert_array_equal(mean.numpy(), frozen)
    model.train()
    predict(x)
    assert any(mean.numpy() != frozen)


def test_dropout_starts_anew_with_a_seed(place: str) -> None:
    x = Tensor.ones(64)
    drop = tg.jit(lambda x: x.dropout(0.5))
    drop(x), drop(x)
    draws = []
    for seed in (3, 3, 4):
        tg.manual_seed(seed)
        draws.append([drop(x).numpy() for _ in range(2)])
    tg.manual_seed(3)
    eager = [x.dropout(0.5).numpy() for _ in range(2)]
    np.testing.assert_array_equal(draws[0], draws[1])
    np.testing.assert_array_equal(draws[0], eager)
    assert np.any(draws[0][0] != draws[2][0])
    assert np.any(draws[0][0] != draws[0][1])


# --- results --------------------------------------------------------------------------------------


def test_a_result_is_read_before_the_next_call(place: str) -> None:
    double = tg.jit(lambda x: x * 2)
    inputs = [Tensor([float(i)]) for i in range(5)]
    results = [double(x) for x in inputs[:2]]
    kept = double(inputs[2]).detach().clone()
    third = double(inputs[3])
    assert isinstance(third, Tensor)
    assert third.item() == 6
    last = double(inputs[4])
    with pytest.raises(RuntimeError) as caught:
        third.numpy()
    said = str(caught.value)
    assert "result of call 4 of <lambda>, and call 5 wrote over it" in said
    assert ".detach().clone()" in said
    assert ".item()" in said
    for use in (lambda: third + 1, lambda: third.shape, lambda: third[0], lambda: bool(third)):
        with pytest.raises(RuntimeError, match="wrote over it"):
            use()
    assert repr(third) == "Tensor(of call 4 of <lambda>, overwritten)"
    assert [x.item() for x in (results[0], kept, last)] == [0, 4, 8]


def test_views_of_a_result_age_with_it_and_copies_do_not(place: str) -> None:
    double = tg.jit(lambda x: x * 2)
    x = Tensor([[1.0, 2.0]])
    double(x), double(x)
    y = double(x)
    views = [y.detach(), y[0], y.reshape(2), y.T]
    copies = [y.clone(), Tensor(y), copy.copy(y), copy.deepcopy(y), pickle.loads(pickle.dumps(y))]
    assert [v.sum().item() for v in views] == [6] * 4
    double(x * 10)
    for view in views:
        with pytest.raises(RuntimeError, match="wrote over it"):
            view.numpy()
    assert [values(c) for c in copies] == [[2, 4]] * 5
    assert {type(c) for c in copies} == {Tensor}


def test_results_may_be_nested_and_hold_arguments_and_parameters(place: str) -> None:
    class Pair(NamedTuple):
        a: Any
        b: Any

    weight = Tensor([3.0], requires_grad=True)

    @tg.jit
    def function(x: Tensor, factor: float = 2.0) -> Any:
        y = x * weight
        return {"y": [y, y], "x": x, "pair": Pair(weight, None), "factor": factor}

    x = Tensor([5.0])
    for _ in range(4):
        result = function(x, factor=7.0)
        assert values(result["y"][0]) == [15]
        assert result["y"][0] is result["y"][1]
        assert not result["y"][0].requires_grad
        assert result["x"] is x
        assert result["pair"].a is weight
        assert result["pair"].b is None
        assert result["factor"] == 7


def test_a_result_may_be_an_argument_of_the_next_call(place: str) -> None:
    grow = tg.jit(lambda x: x * 2)
    x = Tensor([1.0])
    for _ in range(6):
        x = grow(x)
    assert x.item() == 64


def test_a_graph_that_used_a_result_notices_that_it_was_overwritten(place: str) -> None:
    double = tg.jit(lambda x: x * 2)
    x, w = Tensor([1.0]), Tensor([3.0], requires_grad=True)
    double(x), double(x)
    loss = double(x) * w
    double(x)
    with pytest.raises(RuntimeError, match="written in place"):
        loss.backward()


# --- gradients ------------------------------------------------------------------------------------


def test_gradients_of_a_replay_belong_to_it(place: str) -> None:
    w = Tensor([1.0, 2.0], requires_grad=True)

    @tg.jit
    def step(x: Tensor) -> None:
        w.grad = None
        (x * w).sum().backward()

    for i in range(3):
        step(Tensor([float(i), 1.0]))
    old = w.grad
    assert values(old) == [2, 1]
    step(Tensor([9.0, 1.0]))
    assert values(w.grad) == [9, 1]
    with pytest.raises(RuntimeError, match="wrote over it"):
        values(old)


def test_gradients_add_up_where_nobody_forgets_them(place: str) -> None:
    w = Tensor([1.0], requires_grad=True)
    step = tg.jit(lambda x: (x * w).sum().backward())
    total = 0
    for i in range(1, 8):
        if i == 5:
            w.grad = None
            total = 0
        step(Tensor([float(i)]))
        total += i
        assert values(w.grad) == [total]
    w.grad = Tensor([100.0])
    step(Tensor([1.0]))
    assert values(w.grad) == [101]


def test_an_update_apart_from_backward(place: str) -> None:
    w = Tensor([8.0], requires_grad=True)
    sgd = optim.SGD([w], lr=1.0)
    StandInPool.owners[:] = [_State(w)]

    @tg.jit
    def update() -> None:
        sgd.step()
        sgd.zero_grad()

    for i in range(6):
        (w * float(i)).sum().backward()
        update()
        assert w.grad is None
    assert w.item() == 8 - sum(range(6))


class _State:
    """A tensor that a captured function writes, for the stand-in to put back."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def state_dict(self) -> np.ndarray:
        return self.tensor.numpy()

    def load_state_dict(self, state: np.ndarray) -> None:
        self.tensor.assign_(state)


def test_the_gradient_of_an_argument(place: str) -> None:
    step = tg.jit(lambda x: (x * x).sum().backward())
    for i in range(4):
        x = Tensor([float(i)], requires_grad=True)
        step(x)
        assert values(x.grad) == [2 * i]
    step(x)
    assert values(x.grad) == [4 * i]


@pytest.mark.parametrize("how", ["adds up", "resets", "moves against it", "only resets", "doubles"])
def test_gradients_of_arguments_are_those_of_eager_calls(place: str, how: str) -> None:
    def function(x: Tensor) -> None:
        if how in ("resets", "only resets"):
            x.grad = None
        if how == "only resets":
            return
        (x * x).sum().backward()
        assert x.grad is not None
        if how == "moves against it":
            x.assign_(x - 0.125 * x.grad)
        if how == "doubles":
            x.grad.assign_(x.grad * 2)

    def run(function: Callable[[Tensor], None]) -> list[Any]:
        x, found = Tensor([1.0, 3.0], requires_grad=True), []
        for i in range(12):
            if i % 5 == 4:
                x.grad = None if i == 4 else Tensor([100.0, 200.0])
            function(x)
            found.append((values(x), None if x.grad is None else values(x.grad)))
        return found

    assert run(tg.jit(function)) == run(function)


def test_gradients_add_up_where_temporaries_lay_before(place: str) -> None:
    """What a replay adds to is read after much was computed in memory that is free again."""

    def run(jit: Callable[[Any], Any]) -> list[Any]:
        w, found = Tensor([1.0, 3.0], requires_grad=True), []
        add = jit(lambda x: (w * w * x).sum().backward())
        for i in range(6):
            add(Tensor([1.0 + i, 2.0]))
            found.append(values(w.grad))
        return found

    assert run(tg.jit) == run(lambda function: function)


def test_the_gradient_of_an_argument_that_nobody_touches_stays(place: str) -> None:
    double = tg.jit(lambda x: x.detach() * 2)
    x = Tensor([1.0], requires_grad=True)
    x.grad = grad = Tensor([5.0])
    for _ in range(4):
        double(x)
        assert x.grad is grad
    assert values(grad) == [5]


# --- what is noticed ------------------------------------------------------------------------------


def test_parameters_with_another_array_are_captured_anew(place: str) -> None:
    w = Tensor([2.0])
    scale = tg.jit(lambda x: x * w)
    x = Tensor([5.0])
    for _ in range(3):
        assert scale(x).item() == 10
    w.assign_(3.0)  # the same memory: the capture reads it
    assert scale(x).item() == 15
    w.replace_data(w.data * 2)
    for _ in range(3):
        assert scale(x).item() == 30


def test_a_tensor_put_in_the_place_of_another_is_noticed(place: str) -> None:
    layer = nn.Linear(1, 1, bias=False)
    apply = tg.jit(lambda x: layer(x))
    x = Tensor([[1.0]])
    for value in (2.0, 5.0):
        layer.weight = nn.Parameter([[value]])
        for _ in range(3):
            assert apply(x).item() == value


def test_an_unfrozen_parameter_is_noticed(place: str) -> None:
    a, b = Tensor([2.0], requires_grad=True), Tensor([3.0])

    @tg.jit
    def step() -> None:
        a.grad = b.grad = None
        (a * b).sum().backward()

    for _ in range(3):
        step()
    assert b.grad is None
    b.requires_grad_()
    for _ in range(3):
        step()
        assert values(b.grad) == [2]


def test_no_grad_and_dtypes_have_captures_of_their_own(place: str) -> None:
    w = Tensor([3.0], requires_grad=True)
    modes = []

    @tg.jit
    def scale(x: Tensor) -> Tensor:
        y = x * w
        modes.append(y.requires_grad)
        return y

    for dtype in ("float32", "float64"):
        x = Tensor([2.0], dtype=dtype)
        for _ in range(3):
            assert scale(x).dtype == dtype
            with tg.no_grad():
                assert scale(x).item() == 6
    assert {True, False} == set(modes)


def test_an_observed_number_is_noticed(place: str) -> None:
    class Scale:
        factor = 2.0

        def __call__(self, x: Tensor) -> Tensor:
            tracing.observe(self, "factor")
            return x * self.factor

    scale = Scale()
    function = tg.jit(lambda x: scale(x))
    for factor in (2.0, 3.0, 2.0):
        scale.factor = factor
        for _ in range(3):
            assert function(Tensor([1.0])).item() == factor


def test_a_written_argument_is_written_for_the_caller(place: str) -> None:
    @tg.jit
    def add_one(x: Tensor) -> None:
        x.assign_(x + 1)

    x = Tensor([1.0])
    for _ in range(4):
        before = x._version.count
        add_one(x)
        assert x._version.count > before
    assert x.item() == 5


def test_a_replay_bumps_what_it_writes(place: str) -> None:
    w = Tensor([1.0])
    y = Tensor([1.0], requires_grad=True)
    StandInPool.owners[:] = [_State(w)]

    @tg.jit
    def move(x: Tensor) -> None:
        w.assign_(w + x)

    x = Tensor([1.0])
    move(x), move(x), move(x)
    assert w.item() == 4
    loss = (y * w).sum()
    move(x)
    with pytest.raises(RuntimeError, match="written in place"):
        loss.backward()


# --- state ----------------------------------------------------------------------------------------


def test_a_signature_may_bring_an_optimizer_of_its_own(place: str) -> None:
    """As a generator and its discriminator in turns."""

    def played(jitted: bool) -> list[list[Any]]:
        weights = [Tensor([4.0, 2.0], requires_grad=True) for _ in range(2)]
        optimizers = [optim.Adam([w], lr=0.1) for w in weights]
        StandInPool.owners[:] = [*map(_State, weights), *optimizers]

        def step(x: Tensor, which: int) -> None:
            optimizers[which].zero_grad()
            (weights[0] * weights[1] * x).sum().backward()
            optimizers[which].step()

        function = tg.jit(step) if jitted else step
        for i in range(12):
            function(Tensor([float(i), 1.0]), i // 2 % 2)
        return [values(w) for w in weights]

    assert played(True) == played(False)


def test_an_optimizer_first_stepped_in_a_capture_is_refused(place: str) -> None:
    w = Tensor([1.0], requires_grad=True)
    adam = optim.Adam([w], lr=0.1)
    calls = []

    @tg.jit
    def step(x: Tensor) -> None:
        w.grad = None
        (x * w).sum().backward()
        calls.append(1)
        if len(calls) > 1:
            adam.step()

    x = Tensor([1.0])
    step(x)
    with pytest.raises(
        RuntimeError, match=rf"{__file__}:\d+: .* of Adam .* first made while .* outside of the"
    ):
        step(x)
    adam.step()
    StandInPool.owners[:] = [adam, _State(w)]
    for _ in range(3):
        step(x)
    assert adam.steps == [4]


def test_a_statistic_first_made_in_a_capture_is_refused(place: str) -> None:
    class Statistic:
        mean: Tensor | None = None
        wanted = False

        def __call__(self, x: Tensor) -> None:
            if self.mean is None and self.wanted:
                self.mean = Tensor.zeros(2)
            if self.mean is not None:
                self.mean.assign_(self.mean * 0.5 + x)  # written

    statistic = Statistic()
    function = tg.jit(lambda x: statistic(x))
    x = Tensor([1.0, 2.0])
    function(x)
    statistic.wanted = True
    with pytest.raises(RuntimeError) as caught:
        function(x)
    assert "a tensor of shape (2,) is made, written in place and kept" in str(caught.value)
    assert f"{__file__}:{_line('# written')}: " in str(caught.value)
    statistic.mean = Tensor.zeros(2)
    StandInPool.owners[:] = [_State(statistic.mean)]
    for _ in range(3):
        function(x)
    assert values(statistic.mean) == [1.75, 3.5]


def test_a_state_that_is_replaced_rather_than_written_is_refused(place: str) -> None:
    state = {"mean": Tensor.zeros(2)}

    @tg.jit
    def function(x: Tensor) -> Tensor:
        mean = state["mean"] * 0.5 + x  # replaced
        state["mean"] = mean
        return mean * mean

    x = Tensor([1.0, 2.0])
    function(x)
    with pytest.raises(RuntimeError) as caught:
        function(x)
    assert "a tensor of shape (2,) from outside is used and not there any more" in str(caught.value)
    assert ".assign_()" in str(caught.value)
    assert f"{__file__}:{_line('# replaced')}: " in str(caught.value)


def test_temporary_and_returned_tensors_may_be_written(place: str) -> None:
    w = Tensor([3.0])

    @tg.jit
    def function(x: Tensor) -> Tensor:
        y, z = x * 2, w.reshape(1, 1)
        z = z.reshape(1) + x
        z.assign_(z * 2)
        return y.assign_(y + z)

    for i in range(4):
        assert function(Tensor([float(i)])).item() == 2 * i + 2 * (3 + i)


def _line(text: str) -> int:
    """The line of this file that ends with ``text``."""
    with open(__file__, encoding="utf-8") as file:
        return next(i for i, line in enumerate(file, start=1) if line.rstrip().endswith(text))


# --- errors ---------------------------------------------------------------------------------------


def test_an_exception_leaves_a_usable_program(place: str) -> None:
    model, _, step = training()
    (x, y), *_ = batches(1)
    wanted: list[str] = []

    @tg.jit
    def risky(x: Tensor, y: Tensor) -> Tensor:
        loss = step(x, y)
        if wanted:
            raise KeyError(wanted.pop())
        return loss

    first = risky(x, y).numpy()
    before = [p.grad for p in model.parameters()]
    weights = [p.numpy() for p in model.parameters()]
    wanted.append("inside the capture")
    with pytest.raises(KeyError, match="inside the capture"):
        risky(x, y)
    assert all(p.grad is g for p, g in zip(model.parameters(), before, strict=True))
    for p, old in zip(model.parameters(), weights, strict=True):
        np.testing.assert_array_equal(p.numpy(), old)
    losses = [first, step(x, y).numpy(), *(risky(x, y).numpy() for _ in range(4))]
    _, _, fresh = training()
    np.testing.assert_array_equal(losses, [fresh(x, y).numpy() for _ in range(6)])


def test_what_cannot_be_an_argument_or_result(place: str) -> None:
    w = Tensor([1.0], requires_grad=True)
    identity = tg.jit(lambda x: x)
    with pytest.raises(TypeError, match=r"\[jit\] arguments of <lambda>: expected .* got set"):
        identity([{1}])
    with pytest.raises(RuntimeError, match=r"part of a graph.*\.detach\(\)"):
        identity(w * 2)
    with tg.no_grad():
        assert identity(w * 2).item() == 2
    with pytest.raises(TypeError, match=r"\[jit\] results of <lambda>: expected .* got set"):
        tg.jit(lambda x: {1, 2})(w)


def test_a_number_that_changes_in_each_call_is_warned_of(place: str) -> None:
    scale = tg.jit(lambda x, factor: x * factor)
    x = Tensor([1.0])
    for i in range(31):
        assert scale(x, i).item() == i
    with pytest.warns(UserWarning, match="32 calls of <lambda> ran eagerly"):
        scale(x, 31)
    scale(x, 32)


def test_errors_name_the_line() -> None:
    with (
        Recording("step", (), on_gpu=True),
        pytest.raises(
            RuntimeError, match=rf"\[jit\] {__file__}:\d+: values are read .* inside step"
        ),
    ):
        tracing.refuse_read()
    tracing.refuse_read()


# --- the decorator --------------------------------------------------------------------------------


def test_on_the_cpu_it_is_the_function_itself() -> None:
    @tg.jit
    def step(x: Tensor, scale: float = 2.0) -> float:
        """Doubles."""
        return float((x * scale).item())

    assert vars(step)["__name__"] == "step"
    assert step.__doc__ == "Doubles."
    assert [step(Tensor([float(i)])) for i in range(4)] == [0, 2, 4, 6]
    assert step(Tensor([1.0]), scale=5.0) == 5


def test_bad_uses_of_the_decorator() -> None:
    for steps in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match=r"\[jit\] expected steps .* got"):
            tg.jit(steps=steps)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"\[jit\] expected a function, got int"):
        tg.jit(3)  # type: ignore[call-overload]


def test_a_method_is_bound(place: str) -> None:
    class Scaler:
        def __init__(self, factor: float) -> None:
            self.factor = factor

        @tg.jit
        def scale(self, x: Tensor) -> Tensor:
            return x * self.factor

    two, three = Scaler(2.0), Scaler(3.0)
    for i in range(4):
        assert [s.scale(Tensor([float(i)])).item() for s in (two, three)] == [2 * i, 3 * i]


def test_a_jitted_function_inside_another(place: str) -> None:
    inner = tg.jit(lambda x: x + 1)
    outer = tg.jit(lambda x: inner(x) * 2)
    for i in range(4):
        assert outer(Tensor([float(i)])).item() == 2 * (i + 1)
    if place != "cpu":  # a launch of the stand-in calls the inner function by itself
        assert inner.calls == 0


def test_threads_capture_by_themselves(place: str) -> None:
    results: dict[int, list[float]] = {}

    def work(factor: int) -> None:
        scale = tg.jit(lambda x: x * factor)
        results[factor] = [scale(Tensor([float(i)], device=place)).item() for i in range(20)]

    threads = [threading.Thread(target=work, args=(k,)) for k in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {k: [k * i for i in range(20)] for k in (2, 3)}


def test_forgetting(place: str) -> None:
    double = tg.jit(lambda x: x * 2)
    x = Tensor([1.0])
    assert double.memory_bytes == 0
    for _ in range(3):
        y = double(x)
    assert double.memory_bytes > 0
    double.forget()
    assert double.memory_bytes == 0
    assert y.item() == 2
    assert [double(x).item() for _ in range(3)] == [2, 2, 2]


@pytest.mark.filterwarnings("ignore:.*ran eagerly")
def test_the_signatures_called_last_are_remembered(place: str) -> None:
    scale = tg.jit(lambda x, factor: x * factor)
    x = Tensor([1.0])

    def captures() -> set[int]:
        listed = scale._variants.values()
        return {id(one.captured) for variants in listed for one in variants if one.captured}

    scale(x, 2.0), scale(x, 2.0)
    first = captures()
    assert len(first) == 1
    for i in range(100):
        assert scale(x, i).item() == i
        assert scale(x, 2.0).item() == 2
    assert captures() == first
    assert len(scale._variants) == 32
    for i in range(200, 232):
        scale(x, i)
    assert not captures()


class Named:
    """An argument that is compared by what it is."""

    factor = 1.0


@pytest.mark.filterwarnings("ignore:.*ran eagerly")
def test_what_is_no_longer_remembered_is_not_kept(place: str) -> None:
    def call(named: Named) -> Any:
        return scale(x, named)

    scale = tg.jit(lambda x, named: x * named.factor)
    x = Tensor([1.0])
    named = Named()
    for _ in range(3):
        call(named)
    ((variant,),) = scale._variants.values()
    seen: list[Any] = [weakref.ref(named), weakref.ref(variant.captured)]
    del named, variant
    gc.disable()
    try:
        assert all(one() is not None for one in seen)
        for _ in range(32):
            call(Named())
        assert all(one() is None for one in seen)
        assert scale.memory_bytes == 0
    finally:
        gc.enable()


@pytest.mark.filterwarnings("ignore:.*ran eagerly")
def test_a_number_that_is_observed_and_changes_leaves_no_heap_of_variants(place: str) -> None:
    named = Named()

    @tg.jit
    def scale(x: Tensor) -> Tensor:
        tracing.observe(named, "factor")
        return x * named.factor

    for i in range(100):
        named.factor = float(i)
        assert scale(Tensor([1.0])).item() == i
    assert sum(map(len, scale._variants.values())) == 32


# --- several steps in one launch ------------------------------------------------------------------


def in_steps(steps: int, count: int) -> list[np.ndarray]:
    model, optimizer, step = training()
    many = tg.jit(step, steps=steps) if steps else step
    listed = batches(count)
    x, y = (tg.stack([one[i] for one in listed]) for i in (0, 1))
    losses = []
    for _ in range(3):
        if steps > 1:
            losses.append(many(x, y).numpy())
        else:
            losses.append(np.array([many(x[i], y[i]).item() for i in range(count)], np.float32))
    return [*losses, *model.state_dict().values(), *optimizer.state_dict().values()]


@pytest.mark.parametrize(("steps", "count"), [(2, 4), (3, 8), (8, 5)])
def test_steps_per_launch_equal_single_steps(place: str, steps: int, count: int) -> None:
    for one, other in zip(in_steps(0, count), in_steps(steps, count), strict=True):
        np.testing.assert_array_equal(one, other)


def test_stacked_results_last() -> None:
    @tg.jit(steps=2)
    def function(x: Tensor, factor: float) -> dict[str, Tensor]:
        return {"y": x * factor}

    x = Tensor(np.arange(6.0).reshape(3, 2))
    first, second = function(x, 2.0)["y"], function(x, 3.0)["y"]
    np.testing.assert_array_equal(first.numpy(), x.numpy() * 2)
    np.testing.assert_array_equal(second.numpy(), x.numpy() * 3)


def test_bad_arguments_of_steps(device: str) -> None:
    add = tg.jit(lambda x, y: x + y, steps=2)
    with pytest.raises(ValueError, match=r"same leading axis, got shapes \[\(3,\), \(4,\)\]"):
        add(Tensor.ones(3), Tensor.ones(4))
    with pytest.raises(ValueError, match="same leading axis"):
        add(Tensor(1.0), Tensor(2.0))
    with pytest.raises(ValueError, match="same leading axis"):
        add(1, 2)
    with pytest.raises(TypeError, match="expected it to return tensors, of every slice alike"):
        tg.jit(lambda x: x.data, steps=2)(Tensor.ones(3))


def test_an_argument_that_is_used_from_outside_too_is_refused(place: str) -> None:
    """A capture works on a copy of its arguments: what it wrote into one would be lost."""
    weight = Tensor([1.0, 2.0], requires_grad=True)

    @tg.jit
    def step(w: Tensor) -> Tensor:
        return (w * weight).sum()

    step(weight)
    with pytest.raises(RuntimeError, match="is an argument and is used from outside as well"):
        step(weight)
    assert tg.jit(lambda w: (w * 2).sum())(weight).item() == 6
