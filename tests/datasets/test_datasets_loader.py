"""DataLoader: what a batch holds, in which order, on which device."""

import re

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, backend, random
from tinygrad_cupy.datasets import ArrayDataset, DataError, DataLoader


def sample(count: int = 10, channels: int = 1) -> ArrayDataset:
    """Image i is filled with the value i, and its label is i."""
    images = np.repeat(np.arange(count, dtype=np.uint8), channels * 6)
    classes = tuple(f"class {i}" for i in range(count))
    return ArrayDataset(images.reshape(count, channels, 2, 3), np.arange(count), classes, "sample")


def order(loader: DataLoader) -> list[int]:
    return [int(label) for _, y in loader for label in y.numpy()]


def test_batches_hold_scaled_images_and_labels(device: str, rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (7, 3, 4, 5)).astype(np.uint8)
    labels = rng.integers(0, 4, 7)
    data = ArrayDataset(images, labels, tuple("abcd"), "random")
    loader = DataLoader(data, batch_size=3, device=device)
    batches = list(loader)
    assert [x.shape for x, _ in batches] == [(3, 3, 4, 5), (3, 3, 4, 5), (1, 3, 4, 5)]
    for x, y in batches:
        assert (str(x.dtype), str(y.dtype)) == ("float32", "int64")
        assert x.device == y.device == loader.device == backend.normalize_device(device)
        assert not x.requires_grad
        assert not y.requires_grad
    expected = np.array([value / 255 for value in images.ravel().tolist()], np.float32)
    seen = np.concatenate([x.numpy() for x, _ in batches])
    np.testing.assert_array_equal(seen, expected.reshape(images.shape))
    np.testing.assert_array_equal(np.concatenate([y.numpy() for _, y in batches]), labels)


def test_all_byte_values_are_scaled_as_ieee_division_does(device: str) -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    data = ArrayDataset(images, np.zeros(1, np.int64), ("a",), "bytes")
    ((x, _),) = DataLoader(data, batch_size=1, device=device)
    expected = np.array([value / 255 for value in range(256)], np.float32)
    np.testing.assert_array_equal(x.numpy().ravel(), expected)
    assert (x.numpy().min(), x.numpy().max()) == (0.0, 1.0)


def test_images_follow_their_labels_through_a_shuffle(device: str) -> None:
    for x, y in DataLoader(sample(), batch_size=4, shuffle=True, device=device):
        values = np.round(x.numpy() * 255).astype(np.int64)
        np.testing.assert_array_equal(
            values, np.broadcast_to(y.numpy()[:, None, None, None], x.shape)
        )


def test_without_shuffle_the_order_is_the_data_s(device: str) -> None:
    loader = DataLoader(sample(), batch_size=4, device=device)
    assert order(loader) == order(loader) == list(range(10))


def test_a_shuffle_without_a_seed_is_the_global_stream(device: str) -> None:
    tg.manual_seed(3)
    expected = [backend.to_numpy(random.permutation(10, device)).tolist() for _ in range(2)]
    assert expected[0] != expected[1]
    tg.manual_seed(3)
    loader = DataLoader(sample(), batch_size=4, shuffle=True, device=device)
    assert [order(loader), order(loader)] == expected


def test_a_shuffle_with_a_seed_is_its_own(device: str) -> None:
    tg.manual_seed(3)
    before = random.get_state()
    loader = DataLoader(sample(), batch_size=4, shuffle=True, device=device, seed=7)
    assert [order(loader), order(loader)] == EPOCHS_OF_SEED_7
    again = DataLoader(sample(), batch_size=3, shuffle=True, device=device, seed=7)
    assert [order(again), order(again)] == EPOCHS_OF_SEED_7
    assert str(random.get_state()) == str(before)


# From a plain Python Philox4x64-10, not from NumPy's.
EPOCHS_OF_SEED_7 = [[2, 8, 9, 4, 3, 0, 6, 7, 1, 5], [8, 6, 7, 2, 9, 0, 4, 1, 3, 5]]


@pytest.mark.gpu
def test_shuffles_are_the_same_on_cpu_and_gpu() -> None:
    orders = []
    for device in ("cpu", "cuda:0"):
        tg.manual_seed(5)
        loader = DataLoader(sample(100), batch_size=32, shuffle=True, device=device)
        orders.append([order(loader), order(loader)])
    assert orders[0] == orders[1]


@pytest.mark.parametrize(
    ("batch_size", "drop_last", "sizes"),
    [
        (4, False, [4, 4, 2]),
        (4, True, [4, 4]),
        (5, False, [5, 5]),
        (5, True, [5, 5]),
        (10, True, [10]),
        (1, False, [1] * 10),
    ],
)
def test_batch_sizes(batch_size: int, drop_last: bool, sizes: list[int]) -> None:
    loader = DataLoader(sample(), batch_size, drop_last=drop_last)
    assert [len(y) for _, y in loader] == sizes
    assert len(loader) == len(sizes)


def test_two_iterations_at_once_do_not_disturb_each_other() -> None:
    loader = DataLoader(sample(), batch_size=2, shuffle=True, seed=7)
    pairs = list(zip(loader, loader, strict=True))
    assert [int(i) for (_, y), _ in pairs for i in y.numpy()] == EPOCHS_OF_SEED_7[0]
    assert [int(i) for _, (_, y) in pairs for i in y.numpy()] == EPOCHS_OF_SEED_7[1]


def test_rows_and_batches_are_what_an_iteration_gives(device: str) -> None:
    def loader() -> DataLoader:
        return DataLoader(sample(), batch_size=4, shuffle=True, device=device, seed=7)

    one, other, third = loader(), loader(), loader()
    for _ in range(2):
        for (x, y), rows in zip(one, other.rows(), strict=True):
            assert (str(rows.dtype), rows.device) == ("int64", other.device)
            for given in (rows, rows.data, rows.astype("int32")):
                gathered = other.batch(given)
                np.testing.assert_array_equal(gathered[0].numpy(), x.numpy())
                np.testing.assert_array_equal(gathered[1].numpy(), y.numpy())
    assert [third.order().tolist() for _ in range(2)] == EPOCHS_OF_SEED_7


@pytest.mark.parametrize("shape", [(1, 2, 3), (3, 5, 7), (1, 28, 28), (4, 1, 1)])
def test_a_batch_of_any_rows(device: str, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (50, *shape)).astype(np.uint8)
    labels = rng.integers(0, 9, 50)
    loader = DataLoader(
        ArrayDataset(images, labels, tuple("abcdefghi"), "random"), 7, device=device
    )
    for count in (0, 1, 300):
        rows = rng.integers(0, 50, count)
        x, y = loader.batch(Tensor(rows, device=device))
        np.testing.assert_array_equal(x.numpy(), images[rows] / np.float32(255))
        np.testing.assert_array_equal(y.numpy(), labels[rows])


@pytest.mark.parametrize(
    ("rows", "got"),
    [
        (np.zeros((2, 1), np.int64), "int64 (2, 1) on cpu"),
        (np.zeros(2, np.float32), "float32 (2,) on cpu"),
        ([0, 1], "<class 'list'>"),
    ],
)
def test_rows_that_are_none(rows: object, got: str) -> None:
    text = f"[DataLoader] expected rows as integers (B,) on cpu, got {got}"
    with pytest.raises(DataError, match=re.escape(text)):
        DataLoader(sample(), batch_size=4).batch(rows)


@pytest.mark.parametrize(
    ("rows", "row", "position"),
    [
        (np.array([0, 9, -1]), -1, 2),
        (np.array([3, 10, -1], np.int32), 10, 1),
        (np.array([2**64 - 1], np.uint64), 2**64 - 1, 0),
    ],
)
def test_rows_outside_of_the_data_are_an_error(rows: np.ndarray, row: int, position: int) -> None:
    text = (
        f"[DataLoader] expected rows from 0 to 9, the samples of sample, got {row} at position "
        f"{position}"
    )
    with pytest.raises(DataError, match=re.escape(text)):
        DataLoader(sample(), batch_size=4).batch(rows)


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(1, 2, 3), (1, 4, 4)])
def test_rows_outside_of_the_data_are_not_read_on_a_gpu(shape: tuple[int, ...]) -> None:
    images = np.arange(10, dtype=np.uint8).repeat(np.prod(shape)).reshape(10, *shape)
    data = ArrayDataset(images, np.arange(10), tuple("abcdefghij"), "sample")
    loader = DataLoader(data, batch_size=4, device="cuda:0")
    rows = np.array([9, -1, 0, 10, 2**62, -(2**63), 5])
    x, y = loader.batch(Tensor(rows, device="cuda:0"))
    there = np.array([True, False, True, False, False, False, True])
    np.testing.assert_array_equal(x.numpy()[there], images[rows[there]] / np.float32(255))
    assert np.isnan(x.numpy()[~there]).all()
    assert y.tolist() == [9, -1, 0, -1, -1, -1, 5]


def test_a_batch_belongs_to_its_user() -> None:
    loader = DataLoader(sample(), batch_size=10)
    for x, y in loader:
        x.data[...] = 9
        y.data[...] = 9
    assert order(loader) == list(range(10))


def test_read_only_and_strided_data() -> None:
    images = np.zeros((8, 1, 6, 6), np.uint8)[:, :, ::2, ::2]
    images.setflags(write=False)
    data = ArrayDataset(images, np.zeros(8, np.int64), ("a",), "strided")
    assert next(iter(DataLoader(data, batch_size=8)))[0].shape == (8, 1, 3, 3)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "8"])
def test_a_batch_size_below_1_is_an_error(batch_size: object) -> None:
    text = f"[DataLoader] expected batch_size as a whole number of at least 1, got {batch_size!r}"
    with pytest.raises(DataError, match=re.escape(text)):
        DataLoader(sample(), batch_size)  # type: ignore[arg-type]


def test_a_batch_larger_than_the_data_is_all_of_it() -> None:
    (batch,) = DataLoader(sample(), batch_size=11)
    assert batch[0].shape[0] == 10


def test_dropping_the_only_batch_is_an_error() -> None:
    text = (
        "[DataLoader] expected a batch_size of at most 10, the number of samples of sample, with "
        "drop_last, which would leave no batch, got 11"
    )
    with pytest.raises(DataError, match=re.escape(text)):
        DataLoader(sample(), batch_size=11, drop_last=True)
    text = "of at most 4, the number of rows of the sampler, with drop_last"
    with pytest.raises(DataError, match=re.escape(text)):
        DataLoader(sample(), batch_size=5, drop_last=True, sampler=[3, 1, 4, 1])
    assert len(DataLoader(sample(), batch_size=10, drop_last=True)) == 1


def test_a_dataset_without_samples_is_an_error() -> None:
    text = "[DataLoader] expected a sample or more in list"
    with pytest.raises(DataError, match=re.escape(text)):
        DataLoader([], batch_size=2)


def test_a_seed_beyond_64_bits_is_an_error() -> None:
    text = "[DataLoader] expected a seed from 0 to 2**64 - 1, got -1"
    with pytest.raises(DataError, match=re.escape(text)):
        DataLoader(sample(), batch_size=2, shuffle=True, seed=-1)


def test_the_default_device_is_taken() -> None:
    assert DataLoader(sample(), batch_size=2).device == "cpu"
