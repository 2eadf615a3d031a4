"""Random numbers: literal vectors, the same words everywhere, and streams that do not meet."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, random
from tinygrad_cupy.backend import to_numpy
from tinygrad_cupy.backend.gpu import GpuProperties

# The first words by (seed, stream), written down from np.random.Philox(key, counter=0).
WORDS = {
    (0, 0): [
        *(0x2F4BA6408E4D89B, 0x3DD62B0B9CA8C5B2, 0x1C8667A55D902E79, 0x907D7A052FD5B4DC),
        *(0x809BF322883987C3, 0x471128B9E807F7DD),
    ],
    (0, 1): [
        *(0xD037F8C3F9A1D176, 0xC057419B4C210765, 0xABF13115117B0065, 0x7BAE035DEA6EA5C0),
        *(0xB487AC82E7DDD46F, 0x45E81EDBA7C59426),
    ],
    (0, 2): [
        *(0xD07EB80C9FFC0C00, 0x708EEBD5FE6D0226, 0x4CBA73AB470CA202, 0x9C9364D3C6393130),
        *(0xD1D7D2229E719DD3, 0xA7387957FD4A0A56),
    ],
    (1, 0): [
        *(0x4DB6A27B756282DF, 0xD944FA03BABE0E2F, 0x27F872E577060D32, 0x7F697696A0482A2),
        *(0xE677FE4BBD0452EC, 0xD543DBA56D1E799),
    ],
    (2**64 - 1, 2): [
        *(0x779326F7CBDF3F79, 0xA60D723B97E5DBE6, 0x4B1088B31A114E2A, 0x5BC46FB30DA406A3),
        *(0xEF40F4D63A0F1073, 0x4694B8ED812D19CF),
    ],
}
MASK = 2**64 - 1


def philox(counter: int, key: tuple[int, int]) -> list[int]:
    """One block of Philox4x64-10 as Salmon et al. 2011 write it."""
    c = [counter >> 64 * i & MASK for i in range(4)]
    k0, k1 = key
    for _ in range(10):
        high0, low0 = divmod(c[0] * 0xD2E7470EE14C6C93, 2**64)
        high1, low1 = divmod(c[2] * 0xCA5A826395121157, 2**64)
        c = [high1 ^ c[1] ^ k0, low1, high0 ^ c[3] ^ k1, low0]
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
    return c


def blocks(seed: int, stream: int, start: int, count: int) -> list[int]:
    """``count`` words behind ``start`` blocks; the first block is that of counter + 1."""
    numbers = range(start + 1, start + 1 + -(-count // 4))
    return [w for n in numbers for w in philox(n, (seed, stream))][:count]


@pytest.mark.parametrize(("seed", "stream"), WORDS)
def test_words_are_the_literal_ones(seed: int, stream: int, device: str) -> None:
    tg.manual_seed(seed)
    found = to_numpy(random.words(6, stream, device))
    assert found.dtype == np.uint64
    assert found.tolist() == WORDS[seed, stream]
    assert blocks(seed, stream, 0, 6) == WORDS[seed, stream]


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 1000])
def test_a_draw_takes_whole_blocks(count: int, device: str) -> None:
    tg.manual_seed(7)
    first = to_numpy(random.words(count, 0, device)).tolist()
    second = to_numpy(random.words(3, 0, device)).tolist()
    assert first == blocks(7, 0, 0, count)
    assert second == blocks(7, 0, -(-count // 4), 3)


def test_a_seed_repeats_and_another_differs(device: str) -> None:
    def draw(seed: int) -> list[float]:
        tg.manual_seed(seed)
        return list(to_numpy(random.uniform((5,), 0, device)).tolist())

    assert draw(3) == draw(3) != draw(4)


def test_streams_do_not_shift_each_other(device: str) -> None:
    tg.manual_seed(0)
    for stream in (random.STREAM_SHUFFLES, random.STREAM_DROPOUT):
        random.words(100, stream, device)
    assert to_numpy(random.words(6, random.STREAM_WEIGHTS, device)).tolist() == WORDS[0, 0]


def test_who_draws_from_which_stream(device: str) -> None:
    assert (random.STREAM_WEIGHTS, random.STREAM_SHUFFLES, random.STREAM_DROPOUT) == (0, 1, 2)
    cases: list[tuple[Callable[[], Any], tuple[int, int, int]]] = [
        (lambda: Tensor.rand(4), (1, 0, 0)),
        (lambda: Tensor.randn(4), (2, 0, 0)),
        (lambda: random.permutation(4, device), (0, 1, 0)),
        (lambda: Tensor.ones(4).dropout(0.5), (0, 0, 1)),
        (lambda: Tensor.ones(4).dropout(0.5, training=False), (0, 0, 0)),
        (lambda: Tensor.ones(4).dropout(0.0), (0, 0, 0)),
    ]
    for draw, expected in cases:
        tg.manual_seed(0)
        draw()
        counters = random.get_state()["counters"]
        assert tuple(counters.get((stream, device), 0) for stream in range(3)) == expected


def test_a_uniform_number_is_24_bits_of_its_word(device: str) -> None:
    tg.manual_seed(0)
    found = random.uniform((2, 3), 0, device)
    assert found.dtype == np.float32
    expected = [(w >> 40) / 2**24 for w in WORDS[0, 0]]
    assert to_numpy(found).ravel().tolist() == expected  # bit for bit
    assert to_numpy(found).shape == (2, 3)


def test_uniform_numbers_reach_0_and_stay_below_1() -> None:
    numbers = np.array([0, MASK, 1 << 40], np.uint64) >> np.uint64(40)
    scaled = numbers.astype(np.float32) * np.float32(2**-24)
    assert scaled.tolist() == [0.0, 1 - 2**-24, 2**-24]


def test_uniform_moments(device: str) -> None:
    u = to_numpy(random.uniform((100_000,), 0, device)).astype(np.float64)
    assert 0 <= u.min() < 1e-3
    assert 1 - 1e-3 < u.max() < 1
    assert abs(u.mean() - 0.5) < 0.005  # 5 standard errors
    assert abs(u.var() - 1 / 12) < 0.002


def test_normal_numbers_are_box_muller_of_the_words(device: str) -> None:
    tg.manual_seed(0)
    u = [(w >> 40) / 2**24 for w in blocks(0, 0, 0, 6)]
    expected = [
        math.sqrt(-2 * math.log(1 - a)) * math.cos(2 * math.pi * b)
        for a, b in zip(u[:3], u[3:], strict=True)
    ]
    found = random.normal((3,), 0, device)
    assert found.dtype == np.float32
    np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-5, atol=1e-6)


def test_normal_moments(device: str) -> None:
    x = to_numpy(random.normal((200_000,), 0, device)).astype(np.float64)
    assert abs(x.mean()) < 0.012  # 5 standard errors, as below
    assert abs(x.var() - 1) < 0.016
    assert abs((x**3).mean()) < 0.045
    assert abs((x**4).mean() - 3) < 0.12
    assert abs((np.abs(x) < 1).mean() - 0.682689) < 0.0055


def test_a_permutation_is_a_stable_argsort_of_words(device: str) -> None:
    tg.manual_seed(0)
    order = random.permutation(10, device)
    assert order.dtype == np.int64
    assert to_numpy(order).tolist() == [5, 3, 7, 8, 2, 4, 1, 0, 6, 9]  # written down once
    tg.manual_seed(0)
    words = blocks(0, 1, 0, 10)
    assert to_numpy(random.permutation(10, device)).tolist() == sorted(
        range(10), key=words.__getitem__
    )


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_a_permutation_holds_every_number_once(count: int, device: str) -> None:
    assert sorted(to_numpy(random.permutation(count, device)).tolist()) == list(range(count))


def test_state_is_saved_and_restored(device: str) -> None:
    tg.manual_seed(5)
    random.words(10, 0, device)
    random.permutation(3, device)
    state = random.get_state()
    assert state == {"seed": 5, "counters": {(0, device): 3, (1, device): 1}}

    def draw() -> list[list[int]]:
        return [to_numpy(random.words(5, stream, device)).tolist() for stream in range(3)]

    expected = draw()
    tg.manual_seed(99)
    random.words(7, 2, device)
    random.set_state(state)
    assert draw() == expected
    assert state["counters"] == {(0, device): 3, (1, device): 1}  # the state is a copy


def test_seeds_of_64_bits() -> None:
    tg.manual_seed(2**64 - 1)
    tg.manual_seed(int(np.uint64(7)))
    for seed in (-1, 2**64, 1.5, "0"):
        with pytest.raises(ValueError, match=r"^\[manual_seed\]") as raised:
            tg.manual_seed(seed)  # type: ignore[arg-type]
        assert str(raised.value) == (
            f"[manual_seed] expected a whole number from 0 to 2**64 - 1, got {seed!r}"
        )


@pytest.mark.gpu
def test_gpu_and_cpu_draw_the_same() -> None:
    for count in (1, 4, 1001):
        tg.manual_seed(11)
        pairs = [
            (random.words(count, s, "cpu"), random.words(count, s, "cuda:0")) for s in range(3)
        ]
        pairs += [(random.permutation(count, "cpu"), random.permutation(count, "cuda:0"))]
        pairs += [(random.uniform((count,), 0, "cpu"), random.uniform((count,), 0, "cuda:0"))]
        for cpu, gpu in pairs:
            np.testing.assert_array_equal(cpu, to_numpy(gpu))
        normals = random.normal((count,), 0, "cpu"), random.normal((count,), 0, "cuda:0")
        np.testing.assert_allclose(normals[0], to_numpy(normals[1]), rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
def test_gpu_and_cpu_draw_the_same_where_blocks_walk(rng: np.random.Generator) -> None:
    count = 1_500_003
    x = rng.standard_normal(count).astype(np.float32)
    results = []
    for device in ("cpu", "cuda:0"):
        tg.manual_seed(11)
        words = to_numpy(random.words(count, random.STREAM_DROPOUT, device))
        dropped = Tensor(x, device=device).dropout(0.3).numpy()
        results.append((words, dropped, random.get_state()["counters"][2, device]))
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


# --- dropout ------------------------------------------------------------------------------------


def kept(x: Tensor) -> list[bool]:
    return [bool(value != 0) for value in x.numpy().ravel()]


@pytest.mark.parametrize("p", [0.25, 0.5, 0.75])
def test_dropout_keeps_where_u_is_at_least_p(p: float, device: str) -> None:
    tg.manual_seed(0)
    y = Tensor.ones(6, device=device).dropout(p)
    u = [(w >> 40) / 2**24 for w in WORDS[0, 2]]
    assert kept(y) == [v >= p for v in u]
    assert set(y.tolist()) <= {0.0, np.float32(1 / (1 - p))}


def test_dropout_keeps_the_boundary(device: str) -> None:
    tg.manual_seed(0)
    u = (WORDS[0, 2][1] >> 40) / 2**24  # exactly the second number drawn
    assert kept(Tensor.ones(2, device=device).dropout(u)) == [True, True]
    tg.manual_seed(0)
    assert kept(Tensor.ones(2, device=device).dropout(u + 2**-24)) == [True, False]


def test_the_mask_is_in_logical_order_whatever_the_memory(device: str) -> None:
    plain = Tensor.ones(2, 3, 4, 5, device=device)
    behind = Tensor(Tensor.ones(2, 4, 5, 3, device=device).data.transpose(0, 3, 1, 2))
    masks = []
    for x in (plain, behind, behind.reshape(2, 3, 20)):
        tg.manual_seed(0)
        masks.append(kept(x.dropout(0.5)))
    expected = [w >> 63 == 1 for w in blocks(0, 2, 0, 120)]  # u ≥ ½: the highest bit
    assert masks == [expected] * 3


def test_dropout_of_everything_and_of_nothing(device: str) -> None:
    x = Tensor.ones(5, device=device, requires_grad=True)
    assert x.dropout(1.0).tolist() == [0.0] * 5
    assert x.dropout(0.0) is x
    assert x.dropout(0.9, training=False) is x
    assert tg.grad(x.dropout(1.0).sum(), x).tolist() == [0.0] * 5


def test_dropout_keeps_the_mean(device: str) -> None:
    y = Tensor.ones(100_000, device=device).dropout(0.3).numpy()
    assert abs(y.mean() - 1) < 0.011  # 5 standard errors
    assert abs((y == 0).mean() - 0.3) < 0.0075


def test_dropout_of_a_number_and_of_integers(device: str) -> None:
    assert Tensor(2.0, device=device).dropout(0.5).shape == ()
    y = Tensor([3, 3, 3, 3], device=device).dropout(0.25)
    assert y.dtype == np.float32
    assert set(y.tolist()) <= {0.0, 4.0}


def test_the_gradient_uses_the_same_mask(device: str) -> None:
    x = Tensor.ones(50, device=device, requires_grad=True)
    y = x.dropout(0.5)
    assert tg.grad(y.sum(), x).tolist() == y.tolist()


IMAGES = [
    *((1, 1, 2, 2), (7, 3, 6, 2), (129, 17, 4, 5), (3, 64, 3, 3), (9, 64, 12, 12)),
    *((1100, 8, 14, 14), (1, 3, 800, 700)),  # blocks go from image to image, from tile to tile
]


def test_walking_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than run at once, and none without work."""
    gpu = GpuProperties(processors=10, shared=0, tensor_cores=True, wgmma=True)
    monkeypatch.setattr(random, "properties_of", lambda x: gpu)
    assert [random.walking(np.empty(n)) for n in (0, 1, 1024, 1025, 10**6)] == [1, 1, 1, 2, 60]
    cases = {
        (3, 1, 2, 2): (3, 1),
        (128, 64, 12, 12): (6, 9),  # images have 9 tiles of 1024 elements
        (2, 3, 800, 700): (1, 60),
    }
    for shape, expected in cases.items():
        assert random.walking_images(np.empty(shape)) == expected


@pytest.mark.gpu
@pytest.mark.parametrize("shape", IMAGES, ids=str)
@pytest.mark.parametrize("p", [0.25, 1.0])
def test_dropout_of_images_stored_channels_last(
    rng: np.random.Generator, shape: tuple[int, ...], p: float
) -> None:
    """Forward and gradient, to order 2, as on the CPU, whatever the memory layout."""
    values = rng.standard_normal((4, *shape)).astype(np.float32)
    results = []
    for device in ("cpu", "cuda:0"):
        tg.manual_seed(5)
        x, g, h = (Tensor(v, device=device) for v in values[:3])
        last = (0, 2, 3, 1)
        x = Tensor(x.permute(*last).clone().permute(0, 3, 1, 2).data, requires_grad=True)
        assert x.data.transpose(last).flags.c_contiguous
        g.requires_grad_()
        y = x.dropout(p)
        (dx,) = tg.grad([y], [x], [g], create_graph=True)
        (dg,) = tg.grad([dx], [g], [h])
        results.append([t.numpy() for t in (y, dx, dg)])
        assert x.dropout(p).shape == shape  # the next draw: the counter has moved as far
        results[-1].append(to_numpy(random.words(5, random.STREAM_DROPOUT, device)))
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
