"""MNIST's IDX files: read right, and every damage named."""

import gzip
import os
import re
from pathlib import Path

import numpy as np
import pytest

from support.idx_files import expect_files, idx_bytes, isolate, small_mnist, write_gzipped
from tinygrad_cupy import datasets
from tinygrad_cupy.datasets import DataError, idx, mnist_files
from tinygrad_cupy.datasets.idx import read_idx

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


def error_of(path: Path, axes: int = 3) -> str:
    with pytest.raises(DataError) as caught:
        read_idx(path, axes)
    text = str(caught.value)
    assert text.startswith(f"[{path}] ")
    return text.removeprefix(f"[{path}] ")


@pytest.mark.parametrize("packed", [False, True])
def test_reads_plain_and_gzipped_files_whatever_their_name(
    tmp_path: Path, rng: np.random.Generator, packed: bool
) -> None:
    values = rng.integers(0, 256, (4, 5, 6)).astype(np.uint8)
    content = idx_bytes(values)
    path = tmp_path / "any.name"
    path.write_bytes(gzip.compress(content) if packed else content)
    np.testing.assert_array_equal(read_idx(path, 3), values)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert error_of(tmp_path / "none") == "cannot be read: No such file or directory"


def test_truncated_data(tmp_path: Path) -> None:
    path = tmp_path / "short"
    path.write_bytes(idx_bytes(np.zeros((2, 3, 4)))[:-1])
    assert error_of(path) == "expected 24 bytes of data for shape (2, 3, 4), got 23"


def test_data_beyond_the_shape(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(idx_bytes(np.zeros((2, 3, 4))) + b"xy")
    assert error_of(path) == "expected 24 bytes of data for shape (2, 3, 4), got 26"


def test_a_shape_beyond_64_bits(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    path.write_bytes(b"\0\0\x08\x03" + b"\xff" * 12)
    assert "for shape (4294967295, 4294967295, 4294967295), got 0" in error_of(path)


def test_truncated_header(tmp_path: Path) -> None:
    path = tmp_path / "stub"
    path.write_bytes(b"\0\0\x08\x03\0")
    assert error_of(path) == "expected an IDX header of 16 bytes, got a file of 5 bytes"


def test_labels_under_the_name_of_images(tmp_path: Path) -> None:
    path = tmp_path / "mislabelled"
    path.write_bytes(idx_bytes(np.zeros(100)))
    assert error_of(path) == (
        "expected the IDX magic number 0x00000803 (uint8, 3 axes), got 0x00000801"
    )
    path.write_bytes(idx_bytes(np.zeros((2, 3, 4))))
    assert error_of(path, axes=1) == (
        "expected the IDX magic number 0x00000801 (uint8, 1 axis), got 0x00000803"
    )


def test_a_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "page"
    path.write_bytes(b"<!doctype html><title>404</title>")
    assert "expected the IDX magic number 0x00000803 (uint8, 3 axes), got 0x3c21646f" in (
        error_of(path)
    )


@pytest.mark.parametrize("damage", ["truncated", "flipped", "trailer", "header"])
def test_corrupt_gzip(tmp_path: Path, rng: np.random.Generator, damage: str) -> None:
    packed = bytearray(gzip.compress(idx_bytes(rng.integers(0, 256, (9, 8, 7)))))
    if damage == "truncated":
        packed = packed[:-20]
    elif damage == "flipped":
        packed[len(packed) // 2] ^= 0xFF
    elif damage == "trailer":
        packed[-6] ^= 0xFF
    else:
        packed[2] = 99
    path = tmp_path / "damaged.gz"
    path.write_bytes(packed)
    assert error_of(path).startswith("expected an intact gzip file, got a corrupt one (")


def test_what_is_much_larger_than_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "MAX_BYTES", 1000)
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(1001)))
    assert error_of(path) == "expected at most 1,000 bytes decompressed, got more"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros((9, 8, 7)))))
    assert read_idx(path, 3).shape == (9, 8, 7)
    path.write_bytes(bytes(1001))
    assert error_of(path) == "cannot be read: expected at most 1,000 bytes, got 1,001"


def test_members_of_a_gzip_file_are_one_after_another(tmp_path: Path) -> None:
    path, content = tmp_path / "two.gz", idx_bytes(np.arange(24).reshape(2, 3, 4))
    path.write_bytes(gzip.compress(content[:20]) + gzip.compress(content[20:]))
    np.testing.assert_array_equal(read_idx(path, 3), np.arange(24).reshape(2, 3, 4))
    path.write_bytes(path.read_bytes() + b"and more")
    assert error_of(path).startswith("expected an intact gzip file, got a corrupt one (")


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert error_of(tmp_path / "pipe") == "cannot be read: expected a regular file, got a FIFO"


def test_another_checksum(tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_bytes(idx_bytes(np.array([1, 2, 3])))
    # printf '\x00\x00\x08\x01\x00\x00\x00\x03\x01\x02\x03' | sha256sum
    found = "398a8a7fbd9531f1d9aa2ae368533e137cb53c202c3665f25affcf1ca88844ab"
    text = f"[{path}] expected sha256 {'0' * 64} of the decompressed file, got {found}"
    with pytest.raises(DataError, match=re.escape(text)):
        read_idx(path, 1, "0" * 64)
    np.testing.assert_array_equal(read_idx(path, 1, found), [1, 2, 3])


def test_mnist_from_a_folder(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = small_mnist(rng)
    expect_files(monkeypatch, files)
    folder = write_gzipped(tmp_path / "data", files)
    (folder / f"{TRAIN_LABELS}.gz").unlink()
    (folder / TRAIN_LABELS).write_bytes(files[TRAIN_LABELS])
    train, test = datasets.mnist(folder)
    assert (train.images.shape, test.images.shape) == ((12, 1, 28, 28), (5, 1, 28, 28))
    assert (str(train.images.dtype), str(train.labels.dtype)) == ("uint8", "int64")
    assert train.images.tobytes() == files[TRAIN_IMAGES][16:]
    assert train.labels.astype(np.uint8).tobytes() == files[TRAIN_LABELS][8:]
    assert train.classes == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    assert (train.name, test.name) == ("mnist", "mnist")


def test_missing_files_are_named_with_their_folder(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = small_mnist(rng)
    expect_files(monkeypatch, files)
    folder = write_gzipped(tmp_path / "data", files)
    (folder / f"{TRAIN_LABELS}.gz").unlink()
    (folder / "t10k-images-idx3-ubyte.gz").unlink()
    text = (
        f"[mnist] expected four IDX files (.gz or plain) in {folder}, "
        "missing: train-labels-idx1-ubyte, t10k-images-idx3-ubyte"
    )
    with pytest.raises(DataError, match=re.escape(text)):
        datasets.mnist(folder)


def test_counts_that_disagree(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = small_mnist(rng) | {TRAIN_LABELS: idx_bytes(np.zeros(11))}
    expect_files(monkeypatch, files)
    folder = write_gzipped(tmp_path / "data", files)
    text = (
        f"[{folder / TRAIN_LABELS}.gz] expected 12 labels, one per image of {TRAIN_IMAGES}.gz, "
        "got 11"
    )
    with pytest.raises(DataError, match=re.escape(text)):
        datasets.mnist(folder)


def test_the_environment_is_asked_before_the_cache(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = small_mnist(rng)
    expect_files(monkeypatch, files)
    assert datasets.find_mnist() is None
    cache = write_gzipped(tmp_path / "cache" / "tinygrad_cupy" / "mnist", files)
    assert datasets.find_mnist() == cache
    named = write_gzipped(tmp_path / "named", files)
    monkeypatch.setenv("TINYGRAD_CUPY_DATA", str(named))
    assert datasets.find_mnist() == named
    given = write_gzipped(tmp_path / "given", files)
    assert datasets.find_mnist(given) == given
    (named / f"{TRAIN_IMAGES}.gz").unlink()
    assert datasets.find_mnist() == cache
    assert len(datasets.mnist(download=False)[0]) == 12


def test_nothing_found_and_no_download_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYGRAD_CUPY_DATA", str(tmp_path / "named"))
    cache = tmp_path / "cache" / "tinygrad_cupy" / "mnist"
    text = f"[mnist] expected its four files in {tmp_path / 'named'} or {cache}, got none there"
    with pytest.raises(DataError, match=re.escape(text)):
        datasets.mnist(download=False)


def test_a_damaged_file_in_a_named_folder_is_not_replaced(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = small_mnist(rng)
    expect_files(monkeypatch, files)
    folder = write_gzipped(tmp_path / "data", files)
    (folder / f"{TRAIN_IMAGES}.gz").write_bytes(b"\x1f\x8bnonsense")
    monkeypatch.setenv("TINYGRAD_CUPY_DATA", str(folder))
    text = f"[{folder / TRAIN_IMAGES}.gz] expected an intact gzip file, got a corrupt one"
    with pytest.raises(DataError, match=re.escape(text)):
        datasets.mnist()


def test_the_real_mnist(mnist_dir: Path) -> None:
    train, test = datasets.mnist(mnist_dir)
    assert (train.images.shape, test.images.shape) == ((60_000, 1, 28, 28), (10_000, 1, 28, 28))
    np.testing.assert_array_equal(train.labels[:10], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4])
    np.testing.assert_array_equal(test.labels[:10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9])
    np.testing.assert_array_equal(
        np.bincount(test.labels), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    )
    # The published mean of MNIST's training pixels.
    assert train.images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)


def test_the_cache_of_each_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert datasets.cache_dir() == tmp_path / "cache" / "tinygrad_cupy"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    for platform, folder in (
        ("linux", "/home/me/.cache/tinygrad_cupy"),
        ("darwin", "/home/me/Library/Caches/tinygrad_cupy"),
        ("win32", "/home/me/AppData/Local/tinygrad_cupy"),
    ):
        monkeypatch.delenv("LOCALAPPDATA", raising=False)
        monkeypatch.setattr("sys.platform", platform)
        assert datasets.cache_dir().as_posix() == folder
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert datasets.cache_dir().as_posix() == "/local/tinygrad_cupy"
    assert mnist_files.mnist_cache().as_posix() == "/local/tinygrad_cupy/mnist"
