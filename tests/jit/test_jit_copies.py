"""Weights in 16 bits that a captured step keeps: read and written in it, and right at each call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.backend import generated
from tinygrad_cupy.backend.capture import narrowed, rewrites
from tinygrad_cupy.backend.dtypes import resolve_dtype
from tinygrad_cupy.jit.recording import Recording
from tinygrad_cupy.nn import optim

BF16 = resolve_dtype("bfloat16")


def captured(known: Any) -> Recording:
    """A capture on a CPU, as far as copies go."""
    like: Any = lambda array, dtype=None: np.empty_like(array, dtype)  # noqa: E731
    return Recording("f", (), False, like, (), known)


def stepped(weight: Tensor) -> Any:
    """What an optimizer does once its kernel is to write a weight."""
    weight.bump_version()
    return rewrites(weight)


def known_of(weight: Tensor, then: Callable[[], Any] = lambda: None) -> Any:
    """What an eager run finds that steps a weight."""
    eager = Recording("f", (), False)
    eager.run(lambda: (stepped(weight), then()))
    return eager.copies.found()


def weight_of(*shape: int) -> Tensor:
    return nn.Parameter(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def test_a_copy_is_read_and_written_in_the_run_and_cast_where_others_wrote() -> None:
    weight, x = weight_of(3, 2), Tensor.ones(4, 3)
    run, seen = captured(known_of(weight)), []

    def step() -> None:
        for _ in range(2):  # as in several steps of one launch
            with tg.autocast("bf16"):
                x @ weight
                found = narrowed(weight, BF16)
                assert narrowed(weight, resolve_dtype("float16")) is None
            assert stepped(weight) is found.array
            seen.append(found)

    run.run(step)
    assert seen[0] is seen[1]
    (copy,) = run.copies.made.values()
    copy.settle()

    def is_right() -> bool:
        return bool(copy.array.tobytes() == weight.numpy().astype(BF16).tobytes())

    copy.array[...] = 77
    copy.refresh()  # before the first replay
    assert is_right()
    weight.data[...] += 1  # as the kernel
    copy.array[...] = weight.data.astype(BF16)
    weight.bump_version()
    copy.replayed()
    copy.array[...] = 77
    copy.refresh()
    assert (copy.array == 77).all()  # nobody wrote: it is taken for right
    weight.assign_(np.full((3, 2), 1.1, np.float32))
    copy.refresh()
    assert is_right()


def test_new_memory_that_was_written_as_often_is_not_taken_for_the_old() -> None:
    weight = weight_of(3)
    run = captured(known_of(weight))
    run.run(lambda: (narrowed(weight, BF16), stepped(weight)))
    (copy,) = run.copies.made.values()
    copy.settle()
    copy.replayed()
    count = weight._version.count
    weight.replace_data(np.full(3, 1.1, np.float32))
    while weight._version.count < count:
        weight.bump_version()
    assert weight._version.count == count
    copy.array[...] = 77
    copy.refresh()
    assert copy.array.tobytes() == weight.numpy().astype(BF16).tobytes()


@pytest.mark.parametrize("when", ["eagerly", "in the capture", "never stepped"])
def test_what_somebody_else_writes_last_has_no_copy_from_call_to_call(when: str) -> None:
    weight = weight_of(3)

    def write() -> None:
        weight.assign_(np.zeros(3, np.float32))

    known = {} if when == "never stepped" else known_of(weight, write if when == "eagerly" else int)
    run, found = captured(known), []

    def step() -> None:
        found.append(narrowed(weight, BF16))
        stepped(weight)
        found.append(narrowed(weight, BF16))
        write()
        found.append(narrowed(weight, BF16))

    run.run(step)
    if when != "in the capture":
        assert found == [None, None, None]
        return
    assert found[0] is found[1] is not None
    assert found[2] is None
    (copy,) = run.copies.made.values()
    copy.settle()
    copy.refresh()
    copy.replayed()
    copy.array[...] = 77
    copy.refresh()  # the replay ended with a write of another's
    assert copy.array.tobytes() == weight.numpy().astype(BF16).tobytes()


def test_a_weight_that_was_written_before_it_is_read_has_none() -> None:
    weight = weight_of(3)
    run = captured(known_of(weight))
    assert run.run(lambda: (stepped(weight), narrowed(weight, BF16))) == (None, None)


def test_a_backward_that_reads_a_copy_after_the_step_raises() -> None:
    weight, x = weight_of(3, 2), Tensor.ones(4, 3, requires_grad=True)
    run = captured(known_of(weight))

    def step() -> None:
        with tg.autocast("bf16"):
            loss = (x @ weight).sum()
        stepped(weight)
        loss.backward()

    with pytest.raises(RuntimeError, match="written in place"):
        run.run(step)


# --- on a GPU -------------------------------------------------------------------------------------

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda params: optim.SGD(params, lr=0.01),
    "momentum": lambda params: optim.SGD(params, lr=0.01, momentum=0.9),
    "Adam": lambda params: optim.Adam(params, lr=1e-3),
    "AdamW": lambda params: optim.AdamW(params, lr=1e-3, weight_decay=0.1),
    "RMSprop": lambda params: optim.RMSprop(params, lr=1e-4),  # its kernel writes no copies
}


def here(values: np.ndarray) -> Tensor:
    return Tensor(values, device=tg.default_device())


def net() -> nn.Sequential:
    tg.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU6(), nn.Conv2d(16, 32, 3, stride=2),
        nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 9, 5),
    )  # fmt: skip


def trained(make: Any, precision: str, jit: bool) -> list[Any]:
    """Losses and weights of 24 steps, in between which others write the weights."""
    tg.set_default_device("cuda:0")
    try:
        model: Any = net()
        optimizer = make(list(model.parameters()))
        scaler = tg.GradScaler(enabled=precision == "fp16", growth_interval=5)

        def step(x: Tensor, y: Tensor) -> Tensor:
            with tg.autocast(precision):
                loss: Tensor = model(x).cross_entropy(y)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            return loss

        call: Any = tg.jit(step) if jit else step
        rng, losses = np.random.default_rng(0), []
        for i in range(24):
            x = here(rng.standard_normal((8 if i % 7 else 4, 3, 9, 9)).astype(np.float32))
            losses.append(call(x, here(rng.integers(0, 5, len(x)))).numpy())
            if i == 9:
                model[0].weight.assign_(model[0].weight.detach() * 0.5)
            if i == 12:
                state = model.state_dict()
                model.load_state_dict(state | {"7.weight": state["7.weight"] * 1.1})
            if i == 15:
                with tg.no_grad():
                    weight = model[-1].weight
                    weight += 0.01
            if i == 18:  # another's step
                optim.SGD(model[3].parameters(), lr=0.1).step()
        return [*losses, *model.state_dict().values()]
    finally:
        tg.set_default_device("cpu")


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_captured_steps_have_the_bits_of_eager_ones(name: str, precision: str) -> None:
    runs = [trained(OPTIMIZERS[name], precision, jit) for jit in (False, True)]
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["momentum", "AdamW", "RMSprop"])
def test_a_captured_step_casts_no_weight_that_its_kernel_writes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    casts: list[tuple[int, ...]] = []
    plain = generated.Compiled.launch

    def launch(compiled: Any, arrays: Any, shape: Any, *form: Any) -> None:
        program = compiled.program
        results = [program.dtype_of(n) for n in program.results]
        if [x.name for x in program.inputs] == ["float32"] and BF16 in results:
            casts.append(shape)
        plain(compiled, arrays, shape, *form)

    monkeypatch.setattr(generated.Compiled, "launch", launch)
    tg.set_default_device("cuda:0")
    try:
        model = net()
        optimizer = OPTIMIZERS[name](list(model.parameters()))

        @tg.jit
        def step(x: Tensor, y: Tensor) -> Tensor:
            with tg.autocast("bf16"):
                loss: Tensor = model(x).cross_entropy(y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        x, y = here(np.ones((8, 3, 9, 9), np.float32)), here(np.zeros(8, np.int64))
        step(x, y)
        casts.clear()
        step(x, y)
        weights = [p.shape for p in model.parameters()]
        of_weights = [shape for shape in casts if shape in weights]
        assert bool(of_weights) == (name == "RMSprop")
        assert (8, 3, 9, 9) in casts
    finally:
        tg.set_default_device("cpu")


@pytest.mark.gpu
def test_several_steps_of_a_launch_and_a_net_that_is_only_read() -> None:
    tg.set_default_device("cuda:0")
    try:
        found = []
        for jit in (False, True):
            model = net()
            adam = OPTIMIZERS["Adam"](list(model.parameters()))

            def step(x: Tensor, y: Tensor, model: Any = model, adam: Any = adam) -> Tensor:
                with tg.autocast("bf16"):
                    loss: Tensor = model(x).cross_entropy(y)
                adam.zero_grad()
                loss.backward()
                adam.step()
                return loss

            def predict(x: Tensor, model: Any = model) -> Any:
                with tg.autocast("bf16"), tg.no_grad():
                    return model(x)

            rng = np.random.default_rng(0)
            xs = here(rng.standard_normal((6, 8, 3, 9, 9)).astype(np.float32))
            ys = here(rng.integers(0, 5, (6, 8)))
            several: Any = tg.jit(steps=3)(step) if jit else None
            read: Any = tg.jit(predict) if jit else predict
            for _ in range(4):
                if several is None:
                    losses = [step(x, y).numpy() for x, y in zip(xs, ys, strict=True)]
                else:
                    losses = list(several(xs, ys).numpy())
                found.append([np.array(losses), read(xs[0]).numpy()])
        for one, other in zip(found[:4], found[4:], strict=True):
            for a, b in zip(one, other, strict=True):
                np.testing.assert_array_equal(a, b)
    finally:
        tg.set_default_device("cpu")
