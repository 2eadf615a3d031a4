"""Augmentation: the same pictures for a seed, each its own, and what NumPy makes of the words."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import scipy.special

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, nn, random
from tinygrad_cupy.nn import augment

LAYERS = [
    augment.RandomHorizontalFlip(),
    augment.RandomVerticalFlip(),
    augment.RandomCrop(6, 2),
    augment.RandomCrop((5, 9), (0, 1), fill=0.5),
    augment.RandomCrop(8, 3, padding_mode="reflect"),
    augment.RandomAffine(30, 0.2, (0.7, 1.3), 10),
    augment.RandomAffine((-180, 180), mode="nearest", padding_mode="border"),
    augment.ColorJitter(0.4, 0.4, 0.4, 0.2),
    augment.Cutout(3, p=0.7),
]
SEED = 11


def pictures(count: int = 16, channels: int = 3, device: str | None = None) -> Tensor:
    values = np.random.default_rng(0).random((count, channels, 8, 9), np.float32)
    return Tensor(values, device=device)


def floats(count: int) -> np.ndarray:
    """The first numbers of the stream of augmentation, from NumPy's Philox."""
    words = np.random.Philox(key=SEED + (4 << 64)).random_raw(count)
    return (words >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)


def changed(layer: Any, x: Tensor) -> np.ndarray:
    tg.manual_seed(SEED)
    return layer(x).numpy()  # type: ignore[no-any-return]


def test_the_stream_is_number_4() -> None:
    assert random.STREAM_AUGMENT == 4
    assert len(set(random.STREAMS)) == len(random.STREAMS) == 5


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_a_seed_gives_the_same_pictures_and_each_its_own(layer: Any, device: str) -> None:
    x = pictures(64, device=device)
    x = Tensor(np.broadcast_to(x.numpy()[:1], x.shape).copy(), device=device)
    first = changed(layer, x)
    np.testing.assert_array_equal(first, changed(layer, x))
    assert not np.array_equal(first, layer(x).numpy())
    assert len({picture.tobytes() for picture in first}) > 1
    assert layer(x.astype("float16")).dtype == np.float16
    assert (first.min() >= 0, first.max() <= 1) == (True, True)


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_in_evaluation_nothing_changes_and_nothing_is_drawn(layer: Any) -> None:
    x = pictures()
    tg.manual_seed(SEED)
    layer.eval()
    try:
        assert layer(x) is x
    finally:
        layer.train()
    assert random.STREAM_AUGMENT not in random.generator.counters


@pytest.mark.gpu
@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_pictures_are_the_same_on_cpu_and_gpu(layer: Any) -> None:
    one, other = (changed(layer, pictures(device=device)) for device in ("cpu", "cuda"))
    if isinstance(layer, augment.RandomAffine | augment.ColorJitter):
        different = np.abs(one - other) > 1e-4
        assert different.mean() < 0.01  # a nearest pixel may be another
    else:
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_captured_as_eager(layer: Any, place: str) -> None:
    x = pictures(device=tg.default_device())
    step = tg.jit(lambda x: layer(x) * 1)
    tg.manual_seed(SEED)
    expected = [layer(x).numpy() for _ in range(4)]
    tg.manual_seed(SEED)
    for one in expected:
        np.testing.assert_array_equal(step(x).numpy(), one)


def test_flips() -> None:
    x, flip = pictures(), floats(16) < np.float32(0.5)
    expected = np.where(flip[:, None, None, None], x.numpy()[..., ::-1], x.numpy())
    np.testing.assert_array_equal(changed(augment.RandomHorizontalFlip(), x), expected)
    flip = floats(16) < np.float32(0.2)
    expected = np.where(flip[:, None, None, None], x.numpy()[..., ::-1, :], x.numpy())
    np.testing.assert_array_equal(changed(augment.RandomVerticalFlip(0.2), x), expected)
    np.testing.assert_array_equal(changed(augment.RandomHorizontalFlip(0.0), x), x.numpy())


@pytest.mark.parametrize(
    ("size", "padding", "options"),
    [
        (8, 4, {}),
        ((5, 9), (0, 1), {"fill": 0.25}),
        ((3, 2), 0, {}),
        (8, (2, 5), {"padding_mode": "edge"}),
        ((8, 9), 4, {"padding_mode": "reflect"}),
        (30, 21, {"padding_mode": "reflect"}),  # mirrored more than once
        ((8, 9), 4, {"padding_mode": "symmetric"}),
        (30, 21, {"padding_mode": "symmetric"}),
    ],
)
def test_crops(size: Any, padding: Any, options: Any) -> None:
    x = pictures()
    height, width = size if isinstance(size, tuple) else (size, size)
    down, across = padding if isinstance(padding, tuple) else (padding, padding)
    around: Any = {"mode": options.get("padding_mode", "constant")}
    if "fill" in options:
        around["constant_values"] = options["fill"]
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (down,) * 2, (across,) * 2), **around)
    u = floats(32).reshape(2, 16)
    tops = (u[0] * (padded.shape[2] - height + 1)).astype(int)
    lefts = (u[1] * (padded.shape[3] - width + 1)).astype(int)
    expected = np.stack(
        [p[:, t : t + height, s : s + width] for p, t, s in zip(padded, tops, lefts, strict=True)]
    )
    found = changed(augment.RandomCrop(size, padding, **options), x)
    np.testing.assert_array_equal(found, expected)


def test_a_row_of_one_pixel_is_reflected_in_itself() -> None:
    x = Tensor(np.full((3, 1, 1, 4), 0.5, np.float32))
    found = changed(augment.RandomCrop((5, 4), (4, 0), padding_mode="reflect"), x)
    np.testing.assert_array_equal(found, 0.5)


def test_matrices_against_their_product() -> None:
    layer = augment.RandomAffine(25, (0.1, 0.3), (0.6, 1.7), 12)
    x = pictures()
    tg.manual_seed(SEED)
    found = layer.matrices(x).numpy()
    u = floats(80).reshape(5, 16).astype(np.float64)
    for i in range(16):
        a, k = np.radians(u[0, i] * 50 - 25), np.tan(np.radians(u[1, i] * 24 - 12))
        turn = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
        matrix = turn @ np.array([[1, k], [0, 1]]) * (0.6 + 1.1 * u[2, i])
        moved = np.array([(u[3, i] * 0.2 - 0.1) * 9, (u[4, i] * 0.6 - 0.3) * 8])  # pixels
        half = np.diag([4.5, 4.0])
        inverse = np.linalg.inv(matrix)
        linear = np.linalg.inv(half) @ inverse @ half
        shift = -np.linalg.inv(half) @ inverse @ moved
        np.testing.assert_allclose(found[i], np.column_stack([linear, shift]), atol=2e-6)


def test_affine_turns_clockwise() -> None:
    x = Tensor(np.random.default_rng(1).random((2, 1, 7, 7), np.float32))
    found = changed(augment.RandomAffine((90, 90)), x)
    np.testing.assert_allclose(found, np.rot90(x.numpy(), -1, axes=(2, 3)), atol=1e-5)
    np.testing.assert_allclose(changed(augment.RandomAffine(0), x), x.numpy(), atol=1e-5)


def gray(x: np.ndarray) -> np.ndarray:
    return np.tensordot(x, [0.299, 0.587, 0.114], (1, 0))[:, None] if x.shape[1] == 3 else x


@pytest.mark.parametrize("channels", [1, 3])
def test_brightness_contrast_and_saturation(channels: int) -> None:
    layer = augment.ColorJitter(0.5, (0.5, 2), 0.7)
    x = pictures(channels=channels)
    u = floats(64).reshape(4, 16)[:, :, None, None, None].astype(np.float64)
    expected = np.clip(x.numpy() * (0.5 + u[0]), 0, 1)
    middle = gray(expected).mean(axis=(1, 2, 3), keepdims=True)
    expected = np.clip(middle + (expected - middle) * (0.5 + 1.5 * u[1]), 0, 1)
    if channels == 3:
        g = gray(expected)
        expected = np.clip(g + (expected - g) * (0.3 + 1.4 * u[2]), 0, 1)
    np.testing.assert_allclose(changed(layer, x), expected, atol=2e-6)


def test_hue_turns_colours_about_grey() -> None:
    soft = Tensor(pictures().numpy() * 0.1 + 0.45)  # nothing is clipped
    np.testing.assert_allclose(changed(augment.ColorJitter(), soft), soft.numpy(), atol=1e-6)
    third = changed(augment.ColorJitter(hue=(1 / 3, 1 / 3)), soft)
    np.testing.assert_allclose(gray(third), gray(soft.numpy()), atol=1e-6)
    assert np.abs(third - soft.numpy()).max() > 0.02
    tensor, layer = soft, augment.ColorJitter(hue=(1 / 3, 1 / 3))
    for _ in range(3):
        tensor = layer(tensor)
    np.testing.assert_allclose(tensor.numpy(), soft.numpy(), atol=1e-5)
    flat = Tensor(np.full((2, 3, 2, 2), 0.4, np.float32))
    np.testing.assert_allclose(changed(layer, flat), 0.4, atol=1e-6)


def test_cutout() -> None:
    x = Tensor(np.ones((16, 2, 8, 9), np.float32))
    found = changed(augment.Cutout((3, 4), p=0.5, fill=0.25), x)
    u = floats(48).reshape(3, 16)
    for picture, a, b, p in zip(found, *u, strict=True):
        expected = np.ones((2, 8, 9))
        if p < 0.5:
            top, left = int(a * np.float32(8)) - 1, int(b * np.float32(9)) - 2
            expected[:, max(top, 0) : top + 3, max(left, 0) : left + 4] = 0.25
        np.testing.assert_array_equal(picture, expected)


def test_mixup(device: str) -> None:
    x, y = pictures(device=device), Tensor(np.arange(16) % 5, device=device)
    tg.manual_seed(SEED)
    mixed, soft = augment.MixUp(0.3, classes=5)(x, y)
    words = np.random.Philox(key=SEED + (4 << 64)).random_raw(32)
    share = scipy.special.betaincinv(0.3, 0.3, (words[:16] >> np.uint64(11)) * 2.0**-53)
    share = np.maximum(share, 1 - share)
    other = np.argsort(words[16:], kind="stable")
    part = share[:, None, None, None]
    expected = x.numpy() * part + x.numpy()[other] * (1 - part)
    np.testing.assert_allclose(mixed.numpy(), expected, atol=1e-6)
    hot = np.eye(5)[y.numpy()]
    expected = hot * share[:, None] + hot[other] * (1 - share[:, None])
    np.testing.assert_allclose(soft.numpy(), expected, atol=1e-6)
    assert (mixed.dtype, soft.dtype) == (np.float32, np.float32)
    values = Tensor(np.arange(16, dtype=np.float32)[:, None], device=device)
    tg.manual_seed(SEED)
    _, target = augment.MixUp(0.3)(x, values)
    expected = np.arange(16) * share + other * (1 - share)
    np.testing.assert_allclose(target.numpy()[:, 0], expected, rtol=1e-5)
    layer = augment.MixUp(1.0).eval()
    assert layer(x, y) == (x, y)


def test_mixup_of_labels_that_are_no_class_where_nobody_looks(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment, "host_values", lambda tensor: None)  # as on a GPU
    y = Tensor([0, 1, 2, -100, 3, 0], device=device)
    tg.manual_seed(SEED)
    _, soft = augment.MixUp(0.3, classes=3)(pictures(6, device=device), y)
    tg.manual_seed(SEED)
    _, other = augment.MixUp(0.3)._draw(pictures(6, device=device))
    rows = np.isnan(soft.numpy())
    bad = np.array([False, False, False, True, True, False])
    np.testing.assert_array_equal(rows.all(axis=1), bad | bad[other.numpy()])
    np.testing.assert_array_equal(rows.any(axis=1), rows.all(axis=1))


def test_layers_and_pairs_in_one_sequential(place: str) -> None:
    layers = nn.Sequential(augment.RandomHorizontalFlip(), augment.MixUp(1.0, 5))
    x = pictures(device=tg.default_device())
    y = Tensor(np.arange(16) % 5, device=x.device)
    step = tg.jit(lambda x, y: augment.apply(layers, x, y))
    tg.manual_seed(SEED)
    expected = [augment.apply(layers, x, y) for _ in range(3)]
    tg.manual_seed(SEED)
    for a, b in expected:
        mixed, soft = step(x, y)
        np.testing.assert_array_equal(mixed.numpy(), a.numpy())
        np.testing.assert_array_equal(soft.numpy(), b.numpy())
    assert augment.apply(lambda x, y: (y, x), 1, 2) == (2, 1)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: augment.RandomHorizontalFlip(1.5), "p must be a number from 0 to 1, got 1.5"),
        (lambda: augment.RandomCrop(0), "size must be an integer of at least 1"),
        (lambda: augment.RandomCrop(4, -1), "padding must be an integer of at least 0"),
        (
            lambda: augment.RandomCrop(4, 1, padding_mode="wrap"),
            "padding_mode must be one of constant, edge, reflect, symmetric, got 'wrap'",
        ),
        (lambda: augment.RandomAffine(-3), "degrees must be a number of at least 0 or (low, high)"),
        (lambda: augment.RandomAffine(scale=(0, 1)), "scale must be above 0, got (0, 1)"),
        (lambda: augment.RandomAffine(mode="cubic"), "mode must be one of bilinear, nearest"),
        (lambda: augment.ColorJitter(hue=0.6), "hue must lie within ±0.5, got 0.6"),
        (lambda: augment.ColorJitter((-1, 1)), "brightness must be factors of at least 0"),
        (lambda: augment.MixUp(0), "alpha must be a number above 0, got 0"),
        (
            lambda: augment.RandomCrop(4, 1, 0.5, "reflect"),
            "[RandomCrop] fill must be 0 with padding_mode='reflect', which pads by pixels of the "
            "picture, got 0.5",
        ),
        (
            lambda: augment.RandomCrop(4, 4)(Tensor.zeros(2, 3, 0, 4)),
            "[RandomCrop] expected pictures with pixels, got shape (2, 3, 0, 4)",
        ),
        (lambda: augment.RandomCrop(20)(pictures()), "pictures of (20, 20) or more with their"),
        (lambda: augment.Cutout(2)(Tensor(np.ones((2, 3)))), "an input of shape (N, C, H, W)"),
        (
            lambda: augment.Cutout(2)(Tensor(np.ones((2, 3, 4, 4), np.uint8))),
            "[Cutout] expected floats in [0, 1], got uint8",
        ),
        (lambda: augment.ColorJitter(1)(pictures(channels=2)), "expected 1 or 3 channels, got 2"),
        (
            lambda: augment.MixUp()(pictures(2), Tensor([0, 1])),
            "[MixUp] expected classes=, their number, for class numbers (N,), got None and int64",
        ),
        (
            lambda: augment.MixUp(classes=3)(pictures(2), Tensor([2, 3])),
            "[MixUp] expected classes from 0 to 2, got 3 at position 1",
        ),
        (
            lambda: augment.MixUp(classes=3)(pictures(2), Tensor([-100, 0])),
            "[MixUp] expected classes from 0 to 2, got -100 at position 0",
        ),
        (lambda: augment.MixUp()(pictures(2), Tensor([0.0])), "[MixUp] expected floats x (N, ...)"),
    ],
)
def test_what_does_not_fit(make: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(text)):
        make()
