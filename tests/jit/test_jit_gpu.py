"""`jit` on a GPU: what only a real capture shows."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
import tinygrad_cupy.numpy as tnp
from support.jit_runs import batches, trained, training
from tinygrad_cupy import Tensor, backend, random
from tinygrad_cupy.backend import blas, devices
from tinygrad_cupy.nn import models, optim

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _on_gpu() -> Iterator[None]:
    backend.set_default_device("cuda:0")
    yield
    backend.set_default_device("cpu")


def cupy() -> Any:
    return backend.import_cupy()


def line_of(error: BaseException, text: str) -> bool:
    """Whether the error names the line of this file that holds ``text``."""
    with open(__file__, encoding="utf-8") as file:
        numbers = [i for i, line in enumerate(file, start=1) if line.strip().endswith(text)]
    return any(f"{__file__}:{number}: " in str(error) for number in numbers)


@pytest.mark.slow
def test_500_captured_steps_equal_eager_ones() -> None:
    for one, other in zip(
        trained(500, (6, 6, 6, 4), False, optim.Adam),
        trained(500, (6, 6, 6, 4), True, optim.Adam),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("steps", [30, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("precision", blas.PRECISIONS)
@pytest.mark.parametrize("net", ["medium", "deep"])
def test_a_seed_trains_the_nets_to_the_same_bits(net: str, precision: str, steps: int) -> None:
    """Run after run, captured or not, in each precision."""
    tg.set_precision(precision)
    first, *others = (
        trained(steps, (32, 32, 32, 7), jitted, optim.Adam, lambda: models.build(net), side=28)
        for jitted in (False, False, True, True)
    )
    for other in others:
        for one, two in zip(first, other, strict=True):
            np.testing.assert_array_equal(one, two)


def read_item(x: Tensor) -> Any:
    return (x * 2).item()  # item


def read_numpy(x: Tensor) -> Any:
    return (x * 2).numpy()  # numpy


def read_truth(x: Tensor) -> Any:
    return 1 if x > 0 else 2  # truth


def read_float(x: Tensor) -> Any:
    return float(x)  # float


def read_list(x: Tensor) -> Any:
    return x.tolist()  # list


def read_repr(x: Tensor) -> Any:
    return str(x)  # repr


def move_to_cpu(x: Tensor) -> Any:
    return x.to("cpu")  # to cpu


@pytest.mark.parametrize(
    ("function", "mark"),
    [
        (read_item, "item"),
        (read_numpy, "numpy"),
        (read_truth, "truth"),
        (read_float, "float"),
        (read_list, "list"),
        (read_repr, "repr"),
        (move_to_cpu, "to cpu"),
    ],
)
def test_reading_on_the_host_names_the_line(function: Any, mark: str) -> None:
    with pytest.raises(RuntimeError, match="return the tensor from the function") as caught:
        tg.jit(function)(Tensor(1.0))
    assert line_of(caught.value, f"# {mark}")


def upload_large(x: Tensor) -> Any:
    return x + Tensor(np.ones((1 << 17, 2)), device="cuda").sum()  # a large array


def upload_tensor(x: Tensor) -> Any:
    return x + Tensor(np.ones(2, np.float32), device="cpu").to("cuda")  # a tensor


def compute_on_cpu(x: Tensor) -> Any:
    Tensor([1.0], device="cpu") * 2  # on the cpu
    return x


@pytest.mark.parametrize(
    ("function", "mark"),
    [
        (upload_large, "a large array"),
        (upload_tensor, "a tensor"),
        (compute_on_cpu, "on the cpu"),
    ],
)
def test_values_of_the_host_name_the_line(function: Any, mark: str) -> None:
    with pytest.raises(RuntimeError, match="pass it as an argument") as caught:
        tg.jit(function)(Tensor([1.0, 2.0]))
    assert line_of(caught.value, f"# {mark}")


@pytest.mark.parametrize(
    "values", [[1.0, 2.0], np.ones(2), [np.ones(1), np.ones(1)]], ids=["list", "array", "arrays"]
)
def test_an_upload_by_cupy_itself_is_noticed_in_the_capture(values: Any) -> None:
    def upload(x: Tensor) -> Tensor:
        return x + Tensor(cupy().asarray(values))  # raw

    function, x = tg.jit(upload), Tensor([1.0, 2.0])
    expected = function(x).tolist()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="pass it as an argument") as caught:
            function(x)
        assert line_of(caught.value, "# raw")
    assert cupy().asarray([1, 2]).get().tolist() == [1, 2]
    assert tg.jit(lambda x: x * 2)(x).tolist() == [2, 4]
    assert upload(x).tolist() == expected


def test_a_copy_never_writes_beyond_its_target() -> None:
    memory = cupy().zeros(8, np.float32)
    devices.copy(cupy().arange(4, dtype=np.float64), memory[:4])
    assert memory.tolist() == [0, 1, 2, 3, 0, 0, 0, 0]
    with pytest.raises(ValueError, match=r"(?i)shape|broadcast"):
        devices.copy(cupy().ones(6, np.float32), memory[:4])
    assert memory.tolist() == [0, 1, 2, 3, 0, 0, 0, 0]


def test_pinned_memory_stays_with_the_users_allocator() -> None:
    pool, sizes = cupy().get_default_pinned_memory_pool(), []

    def allocate(size: int) -> Any:
        sizes.append(size)
        return pool.malloc(size)

    cupy().cuda.set_pinned_memory_allocator(allocate)
    try:
        double, x = tg.jit(lambda x: x * 2), Tensor([1.0, 2.0])
        for _ in range(3):
            double(x)
        before = len(sizes)
        assert cupy().asarray([1, 2]).get().tolist() == [1, 2]
        assert len(sizes) == before + 1
    finally:
        cupy().cuda.set_pinned_memory_allocator(pool.malloc)


def test_what_cupy_refuses_names_the_line_and_leaves_a_usable_program() -> None:
    @tg.jit
    def reads(x: Tensor) -> Tensor:
        y = x * 2
        y.data.get()  # get
        return y

    x = Tensor([3.0])
    assert reads(x).item() == 6
    for _ in range(2):
        with pytest.raises(RuntimeError, match="reads cannot be captured") as caught:
            reads(x)
        assert line_of(caught.value, "# get")
        assert caught.value.__cause__ is not None
    double = tg.jit(lambda x: x * 2)
    assert [double(Tensor([float(i)])).item() for i in range(5)] == [0, 2, 4, 6, 8]
    eager, captured = (trained(8, (6,), jitted, optim.Adam) for jitted in (False, True))
    for one, other in zip(eager, captured, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_host_tensor_does_not_go_in() -> None:
    double = tg.jit(lambda x: x.to("cuda") * 2)
    found = [double(Tensor([value], device="cpu")).item() for value in (1.0, 2.0, 3.0)]
    assert found == [2, 4, 6]  # nothing is captured where all arguments are on the CPU
    with pytest.raises(ValueError, match=r"on one device, got cpu and cuda:0"):
        tg.jit(lambda x, y: x)(Tensor([1.0], device="cpu"), Tensor([1.0]))
    same = tg.jit(lambda x: x * 2)
    assert [same(Tensor([1.0], device="cpu")).item() for _ in range(3)] == [2, 2, 2]


def test_memory_is_flat_over_2000_replays() -> None:
    _, _, step = training()
    jitted = tg.jit(step)
    listed = batches(4, (6, 4))
    for x, y in listed * 2:
        jitted(x, y)
    gc.collect()

    def held() -> tuple[int, int, int]:
        pool = cupy().get_default_memory_pool()
        return jitted.memory_bytes, pool.total_bytes(), pool.used_bytes()

    before = held()
    for _ in range(500):
        for x, y in listed:
            jitted(x, y)
    assert held() == before


def test_results_outlive_the_function() -> None:
    double = tg.jit(lambda x: x * 2)
    x = Tensor.ones(1 << 20)
    for _ in range(3):
        y = double(x)
    del double
    gc.collect()
    others = [Tensor.full((1 << 20,), 7.0) for _ in range(4)]
    assert y.sum().item() == 2 << 20
    assert others[0].sum().item() == 7 << 20


def test_calls_keep_the_order_of_the_stream() -> None:
    """Inputs made, and results read, by eager work on the caller's stream."""
    grow = tg.jit(lambda x: (x * 2) @ x)
    x = Tensor(np.full((256, 256), 0.01, np.float32))
    expected = [((x * float(i)) * 2) @ (x * float(i)) for i in range(20)]
    for stream in (cupy().cuda.Stream.null, cupy().cuda.Stream(non_blocking=True)):
        cupy().cuda.Device().synchronize()
        with stream:
            found = [grow(x * float(i)) + 0 for i in range(20)]
            stream.synchronize()
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_replays_on_two_streams_follow_each_other() -> None:
    @tg.jit
    def power(x: Tensor) -> Tensor:
        y = x
        for _ in range(60):  # reads its argument for some 20 ms
            y = y @ x
        return y

    inputs = [Tensor(np.eye(2048, dtype=np.float32) * k) for k in (1, 2)]
    for x in inputs:
        power(x)
    streams = [cupy().cuda.Stream(non_blocking=True) for _ in range(2)]
    cupy().cuda.Device().synchronize()
    found = []
    for _ in range(4):
        for x, stream in zip(inputs, streams, strict=True):
            with stream:
                found.append(power(x) + 0)
    cupy().cuda.Device().synchronize()
    assert [one[7, 7].item() for one in found] == [1, 2.0**61] * 4
    assert [one.sum().item() for one in found] == [2048, 2.0**72] * 4


def test_a_result_is_not_overwritten_while_its_stream_still_reads_it() -> None:
    double = tg.jit(lambda x: x * 2)
    inputs = [Tensor.full((1 << 20,), float(k)) for k in range(4)]
    eye = busy = Tensor(np.eye(2048, dtype=np.float32))
    for x in inputs[:2]:
        double(x)
    streams = [cupy().cuda.Stream(non_blocking=True) for _ in range(2)]
    cupy().cuda.Device().synchronize()
    with streams[0]:
        result = double(inputs[2])
        for _ in range(60):
            busy = busy @ eye
        kept = result + 0
    with streams[1]:
        double(inputs[3])
    cupy().cuda.Device().synchronize()
    assert kept.sum().item() == 4 << 20


def test_random_numbers_first_drawn_in_a_capture_move_on() -> None:
    drawing: list[bool] = []

    @tg.jit
    def draw(x: Tensor) -> list[Tensor]:
        if not drawing:
            return [x, x]
        return [x.dropout(0.5), Tensor.rand(64, device="cuda:0")]

    x = Tensor.ones(64)
    random.generator.states.clear()  # as in a new process
    tg.manual_seed(3)
    draw(x)
    drawing.append(True)
    found = [[one.numpy() for one in draw(x)] for _ in range(3)]
    tg.manual_seed(3)
    for given in found:
        for one, other in zip(given, (x.dropout(0.5), Tensor.rand(64)), strict=True):
            np.testing.assert_array_equal(one, other.numpy())


def test_layouts_keep_their_captures() -> None:
    total = tg.jit(lambda x: x.sum(axis=1))
    x = Tensor(np.arange(12, dtype=np.float32).reshape(3, 4))
    for _ in range(3):
        assert total(x).numpy().tolist() == [6, 22, 38]
        assert total(x.T).numpy().tolist() == [12, 15, 18, 21]
        assert total(x[:, 1:3]).numpy().tolist() == [3, 11, 19]
        assert total(x[:0]).numpy().tolist() == []


def test_a_moved_model_is_captured_anew() -> None:
    model, _, _ = training()
    model.eval()
    predict = tg.jit(lambda x: model(x))
    (x, _), *_ = batches(1)
    expected = predict(x).numpy()
    for _ in range(3):
        predict(x)
    model.to("cpu").to("cuda")
    for _ in range(3):
        np.testing.assert_array_equal(predict(x).numpy(), expected)


def test_joining_and_indexing_can_be_captured() -> None:
    rows = Tensor([2, 0])

    @tg.jit
    def joined(x: Tensor) -> Tensor:
        return tg.concat([x, tg.stack([x[0] * 2, x[1]]), x[rows]], axis=0)

    x = Tensor(np.arange(3.0).reshape(3, 1), device="cuda:0")
    for i in range(4):
        found = joined(x + float(i)).numpy().ravel().tolist()
        assert found == [i, i + 1, i + 2, 2 * i, i + 1, i + 2, i]


def test_lists_of_the_host_stay_as_they_were_captured() -> None:
    """Nothing that was freed before they came is written again where they lie."""

    @tg.jit
    def chosen(x: Tensor) -> Tensor:
        y = x
        for _ in range(4):
            y = (y * 2).abs() / 2
        z = y[[3, 0, 0]] * [1.0, 2.0, 3.0] + y.take([1, 1, 2])
        _, written = tnp.atleast_1d(y, [1.0, 2.0, 3.0, 4.0])
        written += y  # in every replay from the list on
        return tg.concat([z, tnp.delete(y, [0, -1]), tnp.quantile(y, [0.0, 0.5, 1.0]), written])

    for start in range(5):
        x = Tensor(np.arange(start, start + 4.0), device="cuda:0")
        found = chosen(x).numpy() - start
        np.testing.assert_allclose(found[:3] - start * np.arange(1, 4), [4, 1, 2])
        np.testing.assert_allclose(found[3:], [1, 2, 0, 1.5, 3, 1, 3, 5, 7])


FORTRAN = np.asfortranarray(np.arange(6.0).reshape(2, 3))


def written(x: Tensor, y: Tensor) -> Tensor:
    z = x.clone()
    z[np.array([0, 1]), np.array([2, 0])] = [7.0, 8.0]
    return z


def summed(x: Tensor, y: Tensor) -> Tensor:
    total = Tensor(np.zeros(3), device="cuda:0")
    total += x.sum(axis=0)  # in every replay from zeros on
    return total


TAKING: dict[str, Any] = {
    "rows": lambda x, y: x[np.arange(len(y)), y],
    "written": written,
    "summed": summed,
    "delete": lambda x, y: tnp.delete(x, np.array([1]), 1),
    "take": lambda x, y: x.take(np.array([[1, 0]]), 1),
    "list": lambda x, y: x + Tensor([1.0, 2.0, 3.0]),
    "bfloat16": lambda x, y: x + Tensor(np.arange(3.0), dtype="bfloat16", device="cuda:0"),
    "nothing": lambda x, y: x[np.array([], int)],
}


@pytest.mark.parametrize("name", TAKING)
def test_small_arrays_of_the_host_are_part_of_a_capture(name: str) -> None:
    function = tg.jit(TAKING[name])
    for start in range(5):
        x = Tensor(np.arange(start, start + 6.0).reshape(2, 3), device="cuda:0")
        y = Tensor([start % 3, 1], device="cuda:0")
        np.testing.assert_array_equal(function(x, y).numpy(), TAKING[name](x, y).numpy())
    assert function._eager_calls == 1


def test_every_pool_and_norm_can_be_captured() -> None:
    values = np.random.default_rng(0).random((3, 4, 7, 6), np.float32)
    x, weight = Tensor(values, device="cuda:0"), Tensor.ones(4, 6)

    @tg.jit
    def function(x: Tensor) -> list[Tensor]:
        return [
            x.max_pool2d(3, 2, 1),
            x.avg_pool2d(2),
            x.adaptive_avg_pool2d((3, 5)),
            x.layer_norm((6,)),
            x.linear(weight).softmax(axis=-1),
            x.var(axis=(0, 2)),
            x.flip(1).permute(0, 2, 1, 3),
        ]

    eager = [one.numpy() for one in function(x)]
    for _ in range(3):
        for one, other in zip(function(x), eager, strict=True):
            np.testing.assert_array_equal(one.numpy(), other)
