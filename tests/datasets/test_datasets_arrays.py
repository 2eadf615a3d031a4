"""ArrayDataset of arrays of any kind: what a sample is, and what stays on the disk."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_cupy import Tensor
from tinygrad_cupy.datasets import ArrayDataset, DataError, DataLoader
from tinygrad_cupy.datasets.mapped import Rows, is_mapped, mapping_of


def table(count: int = 10) -> ArrayDataset:
    x = np.arange(count * 3, dtype=np.float64).reshape(count, 3)
    return ArrayDataset(x, x[:, :1].astype(np.float32))


def several(count: int = 6) -> ArrayDataset:
    parts = (np.arange(count), {"mask": np.arange(count * 2).reshape(count, 2) % 2 == 0})
    return ArrayDataset(parts, {"a": np.arange(count) * 0.5, "b": np.arange(count)}, name="several")


def test_samples_slices_and_choices() -> None:
    data = table()
    x, y = data[-1]
    assert (x.tolist(), y.tolist(), y.dtype) == ([27, 28, 29], [27], np.float32)
    assert [len(part) for part in (data[2:5], data[::3], data[[7, 1]])] == [3, 4, 2]
    assert np.shares_memory(data[2:5].inputs, data.inputs)
    assert data[[7, 1]].targets.ravel().tolist() == [21, 3]
    assert len(data[np.arange(10) > 6]) == 3
    assert len(list(data)) == 10
    with pytest.raises(IndexError, match=r"\[data\] there are 10 samples, got index 10"):
        data[10]
    with pytest.raises(DataError, match="expected at least one sample, got none"):
        data[5:5]


def test_inputs_may_be_nested_and_targets_absent() -> None:
    (number, rest), targets = several()[2]
    assert (int(number), rest["mask"].tolist(), targets) == (2, [True, False], {"a": 1.0, "b": 2})
    data = ArrayDataset({"x": [[1.0], [2.0]]})
    assert data[1]["x"].dtype == np.float32
    assert data[:1].inputs["x"].shape == (1, 1)
    with pytest.raises(DataError, match=r"\[data\] has no images: there is dict"):
        _ = data.images
    assert isinstance(ArrayDataset(Tensor(np.ones((3, 2))))[0], np.ndarray)


def test_splits_keep_inputs_together() -> None:
    rest, part = several().split(0.5, seed=1)
    for half in (rest, part):
        np.testing.assert_array_equal(half.inputs[0], half.targets["b"])
    labels = ArrayDataset(np.arange(8), np.array([0, 5] * 4, np.int32))
    assert sorted(labels.split(0.25, 0, stratify=True)[1].targets.tolist()) == [0, 5]


@pytest.fixture
def mapped(tmp_path: Path) -> ArrayDataset:
    np.save(tmp_path / "x.npy", np.arange(60, dtype=np.float32).reshape(20, 3))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    return ArrayDataset(x, np.arange(20), name="on disk")


def test_a_memory_map_is_never_read_as_a_whole(mapped: ArrayDataset) -> None:
    for data in (mapped, mapped[5:], mapped[::-2], mapped.take([3, -1, 4]), *mapped.split(0.3, 0)):
        assert is_mapped(data.inputs)
        np.testing.assert_array_equal(np.asarray(data.inputs)[:, 0], 3 * data.targets)
    part = mapped.take([3, -1, 4])
    assert isinstance(part.inputs, Rows)
    assert part[1][0].tolist() == [57, 58, 59]
    assert part.take([2, 0]).gather(np.array([1]))[0].tolist() == [[9, 10, 11]]
    loader = DataLoader(mapped, 8, shuffle=True, seed=0)
    assert not loader.resident
    for x, y in loader:
        np.testing.assert_array_equal(x.numpy()[:, 0], 3 * y.numpy())


def test_a_memory_map_is_sent_by_its_name(mapped: ArrayDataset) -> None:
    wide = ArrayDataset((mapped.inputs[::-1, 1:], mapped.take([1, 5, 0]).inputs[[0] * 20]), None)
    for data in (mapped, mapped[3:9], mapped.take([8, 2])):
        again = pickle.loads(pickle.dumps(data))
        assert is_mapped(again.inputs)
        np.testing.assert_array_equal(np.asarray(again.inputs), np.asarray(data.inputs))
    again = pickle.loads(pickle.dumps(wide))
    np.testing.assert_array_equal(again.inputs[0], wide.inputs[0])
    assert mapping_of(again.inputs[0]) is not None
    assert len(pickle.dumps(mapped[3:9])) < 1000


def test_a_map_that_is_copied_on_write_is_sent_as_it_is(mapped: ArrayDataset) -> None:
    x = np.load(mapped.inputs.filename, mmap_mode="c")
    x[0] = -1
    again = pickle.loads(pickle.dumps(ArrayDataset(x)))
    assert again.inputs[0].tolist() == [-1, -1, -1]


# --- in a loader --------------------------------------------------------------------------------


@pytest.mark.parametrize("resident", [True, False])
def test_a_loader_keeps_dtypes(device: str, resident: bool) -> None:
    y: Any
    for dtype in (np.int32, np.int64, np.float32, np.float64, np.bool_):
        data = ArrayDataset(np.ones((5, 2), np.float32), np.arange(5).astype(dtype))
        x, y = next(iter(DataLoader(data, 4, device=device, resident=resident)))
        assert (x.dtype, y.dtype, x.device) == (np.float32, dtype, y.device)
        assert y.tolist() == np.arange(4).astype(dtype).tolist()


@pytest.mark.parametrize("resident", [True, False])
def test_a_loader_of_several_inputs(device: str, resident: bool) -> None:
    loader = DataLoader(several(), 4, device=device, resident=resident)
    (number, rest), targets = list(loader)[1]
    assert (number.tolist(), targets["a"].tolist(), targets["b"].tolist()) == (
        [4, 5],
        [2.0, 2.5],
        [4, 5],
    )
    assert rest["mask"].shape == (2, 2)
    assert DataLoader(ArrayDataset(np.ones((4, 2))), 4, device=device)
    (alone,) = DataLoader(ArrayDataset(np.ones((4, 2))), 4, device=device, resident=resident)
    assert alone.shape == (4, 2)


@pytest.mark.parametrize("resident", [True, False])
def test_pictures_are_scaled_wherever_they_lie(device: str, resident: bool) -> None:
    images = np.arange(2 * 12, dtype=np.uint8).reshape(2, 3, 2, 2)
    pair = ArrayDataset({"image": images, "bytes": images[:, :, 0, 0]}, np.zeros((2, 1)))
    ((x, _),) = DataLoader(pair, 2, device=device, resident=resident)
    np.testing.assert_array_equal(x["image"].numpy(), images / np.float32(255))
    assert x["bytes"].dtype == np.uint8
    regression = ArrayDataset(images, np.array([0.5, 1.5], np.float32))
    ((x, y),) = DataLoader(regression, 2, device=device, resident=resident)
    np.testing.assert_array_equal(x.numpy(), images / np.float32(255))
    assert y.tolist() == [0.5, 1.5]


def test_what_cannot_be_resident_is_said() -> None:
    with pytest.raises(DataError, match=r"\[DataLoader\] resident=True needs an ArrayDataset"):
        DataLoader(table(), 2, resident=True, collate=list)
    with pytest.raises(DataError, match=r"\[DataLoader\] batch\(rows\) needs resident data"):
        DataLoader(table(), 2, resident=False).batch(np.array([1]))
