"""CIFAR and Fashion-MNIST: small files in their places, downloads, and what is refused."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.idx_files import idx_bytes, isolate
from tinygrad_cupy import datasets
from tinygrad_cupy.datasets import DataError, DownloadError, cifar, fashion, sources, tar

NOWHERE = ("http://127.0.0.1:9/",)


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)
    monkeypatch.setattr(cifar, "MIRRORS", NOWHERE)
    monkeypatch.setattr(fashion, "MIRRORS", NOWHERE)


def serving(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> list[str]:
    """Have `fetch` find these files on its mirrors; the names that it is asked for."""
    asked: list[str] = []

    def fetch(checks: dict[str, Callable[..., Any]], folder: Path, *rest: object) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, check in checks.items():
            asked.append(name)
            check(files[name], folder / name)
            (folder / name).write_bytes(files[name])

    monkeypatch.setattr(sources, "fetch", fetch)
    return asked


def packed(files: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


# --- CIFAR --------------------------------------------------------------------------------------


def small_cifar(monkeypatch: pytest.MonkeyPatch, kind: str) -> dict[str, bytes]:
    """The .bin files of a CIFAR with few records, made to be the published one."""
    form = cifar.CIFAR10 if kind == "cifar10" else cifar.CIFAR100
    each = (20, 10) if kind == "cifar10" else (200, 100)
    rng = np.random.default_rng(0)
    files = {}
    for name, count in [*((name, each[0]) for name in form.train), (form.test, each[1])]:
        labels = np.arange(count)[:, None] % (10 if kind == "cifar10" else 100)
        if kind == "cifar100":
            labels = np.concatenate([labels % 20, labels], axis=1)
        pixels = rng.integers(0, 256, (count, 3072))
        files[name] = np.concatenate([labels, pixels], axis=1).astype(np.uint8).tobytes()
    archive = packed({f"{form.folder}/{name}": content for name, content in files.items()})
    md5 = hashlib.md5(archive).hexdigest()
    monkeypatch.setattr(cifar, kind.upper(), dataclasses.replace(form, records=each, md5=md5))
    return files | {form.archive: archive}


def read(kind: str, *arguments: Any, **options: Any) -> Any:
    return getattr(datasets, kind)(*arguments, **options)


@pytest.mark.parametrize("kind", ["cifar10", "cifar100"])
@pytest.mark.parametrize("place", ["archive", "folder", "flat"])
def test_cifar_in_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, place: str
) -> None:
    files = small_cifar(monkeypatch, kind)
    form = getattr(cifar, kind.upper())
    folder = tmp_path / "data" / (form.folder if place == "folder" else "")
    folder.mkdir(parents=True)
    for name, content in files.items():
        if (name == form.archive) == (place == "archive"):
            (folder / name).write_bytes(content)
    train, test = read(kind, tmp_path / "data")
    record = form.label_bytes + 3072
    first = np.frombuffer(files[form.train[-1]][-record:], np.uint8)
    assert train.images.shape == (100 if kind == "cifar10" else 200, 3, 32, 32)
    np.testing.assert_array_equal(train.images[-1].ravel(), first[form.label_bytes :])
    assert train.labels[-1] == first[form.label_bytes - 1]
    assert (train.name, len(train.classes)) == (kind, 10 if kind == "cifar10" else 100)
    assert len(test) == len(files[form.test]) // record
    if kind == "cifar100":
        coarse, _ = read(kind, tmp_path / "data", superclasses=True)
        assert coarse.labels[-1] == first[0]
        assert len(coarse.classes) == 20
    monkeypatch.setenv("TINYGRAD_CUPY_DATA", str(tmp_path / "data"))
    np.testing.assert_array_equal(read(kind)[0].images, train.images)
    (tmp_path / "all").mkdir()
    (tmp_path / "data").rename(tmp_path / "all" / kind)
    monkeypatch.setenv("TINYGRAD_CUPY_DATA", str(tmp_path / "all"))
    np.testing.assert_array_equal(read(kind)[0].images, train.images)


def test_cifar_is_downloaded_once_and_again_when_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = small_cifar(monkeypatch, "cifar10")
    asked = serving(monkeypatch, files)
    first = datasets.cifar10()
    cached = tmp_path / "cache" / "tinygrad_cupy" / "cifar10" / "cifar-10-binary.tar.gz"
    assert cached.read_bytes() == files["cifar-10-binary.tar.gz"]
    datasets.cifar10(download=False)
    datasets.cifar10()
    assert len(asked) == 1
    cached.write_bytes(b"damaged")
    with pytest.raises(DataError, match="expected md5"):
        datasets.cifar10(download=False)
    np.testing.assert_array_equal(datasets.cifar10()[1].images, first[1].images)
    assert len(asked) == 2


def test_where_there_is_no_cifar(tmp_path: Path) -> None:
    text = "[cifar10] expected cifar-10-binary.tar.gz or its .bin files in"
    with pytest.raises(DataError, match=re.escape(text)):
        datasets.cifar10(tmp_path)
    with pytest.raises(DataError, match=re.escape(text)):
        datasets.cifar10(download=False)
    with pytest.raises(DownloadError, match=r"no mirror can be reached.*name it as data_dir"):
        datasets.cifar10()


def test_cifar_with_records_missing_or_labels_astray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = small_cifar(monkeypatch, "cifar10")
    for name in (*cifar.CIFAR10.train, cifar.CIFAR10.test):
        (tmp_path / name).write_bytes(files[name])
    (tmp_path / "test_batch.bin").write_bytes(files["test_batch.bin"][:-1])
    with pytest.raises(DataError, match=r"test_batch.bin\] expected 30730 bytes, got 30729"):
        datasets.cifar10(tmp_path)
    (tmp_path / "test_batch.bin").write_bytes(files["test_batch.bin"] + b"x")
    with pytest.raises(DataError, match=r"test_batch.bin\] cannot be read: expected at most"):
        datasets.cifar10(tmp_path)
    for label in (b"\1", b"\xff"):
        (tmp_path / "test_batch.bin").write_bytes(label + files["test_batch.bin"][1:])
        with pytest.raises(DataError, match="expected 1 samples of each of 10 classes, got 0 of"):
            datasets.cifar10(tmp_path)


# --- archives -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"../a": b"1234"}, "expected a in it, missing: a"),
        ({"/a": b"1234"}, "missing: a"),
        ({"a": link("a", "/etc/passwd")}, "expected a once, as a file of 4 bytes"),
        ({"a": b"12345"}, "expected a once, as a file of 4 bytes"),
        ({"a": b"1234", "./a": b"1234"}, "expected a once, as a file of 4 bytes"),
        ({f"{i}": b"" for i in range(1001)}, "expected at most 1000 files in it"),
    ],
)
def test_archives_that_are_refused(files: Any, text: str) -> None:
    with pytest.raises(DataError, match=re.escape(text)):
        tar.read_members(packed(files), {"a": 4}, Path("x.tar.gz"))


def test_an_archive_that_unpacks_to_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar, "MOST_BYTES", 1 << 20)
    bomb = packed({"b": bytes(1 << 21), "a": b"1234"})
    with pytest.raises(DataError, match=r"expected at most 1,048,576 bytes unpacked"):
        tar.read_members(bomb, {"a": 4}, Path("x.tar.gz"))


@pytest.mark.parametrize("damage", [b"", b"no gzip", "short", "flipped"])
def test_a_damaged_archive(damage: Any) -> None:
    good = packed({"a": b"1234" * 1000})
    content = {"short": good[:-20], "flipped": good[:-6] + b"\xff" + good[-5:]}.get(damage, damage)
    with pytest.raises(DataError, match=r"x.tar.gz\] expected an intact .tar.gz, got a corrupt"):
        tar.read_members(content, {"a": 4000}, Path("x.tar.gz"))


def test_other_files_in_an_archive_do_not_matter(tmp_path: Path) -> None:
    files: dict[str, Any] = {
        "b": b"1",
        "up": link("up", ".."),
        "up/c": b"2",
        "./a": b"1234",
    }
    assert tar.read_members(packed(files), {"a": 4}, tmp_path / "x") == {"a": b"1234"}
    assert list(tmp_path.iterdir()) == []


# --- Fashion-MNIST ------------------------------------------------------------------------------


@pytest.fixture
def clothes(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Its four files, gzipped, with few pictures, made to be the published ones."""
    monkeypatch.setattr(fashion, "COUNTS", {"train": 20, "t10k": 10})
    rng, files = np.random.default_rng(1), {}
    for prefix, count in fashion.COUNTS.items():
        images = rng.integers(0, 256, (count, 28, 28))
        files[f"{prefix}-images-idx3-ubyte.gz"] = gzip.compress(idx_bytes(images))
        files[f"{prefix}-labels-idx1-ubyte.gz"] = gzip.compress(idx_bytes(np.arange(count) % 10))
    md5 = {name[:-3]: hashlib.md5(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(fashion, "MD5", md5)
    return files


def test_fashion_mnist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clothes: dict[str, bytes]
) -> None:
    asked = serving(monkeypatch, clothes)
    train, test = datasets.fashion_mnist()
    assert (train.images.shape, len(test), train.classes[9]) == ((20, 1, 28, 28), 10, "Ankle boot")
    assert sorted(asked) == sorted(clothes)
    again = datasets.fashion_mnist(tmp_path / "cache" / "tinygrad_cupy" / "fashion_mnist")
    np.testing.assert_array_equal(again[0].images, train.images)
    plain = tmp_path / "fashion_mnist"
    plain.mkdir()
    for name, content in clothes.items():
        (plain / name[:-3]).write_bytes(gzip.decompress(content))
    monkeypatch.setenv("TINYGRAD_CUPY_DATA", str(tmp_path))
    np.testing.assert_array_equal(datasets.fashion_mnist()[1].images, test.images)
    monkeypatch.setenv("TINYGRAD_CUPY_DATA", str(plain))  # may as well be MNIST's
    assert len(datasets.fashion_mnist()[0]) == 20
    path = plain / "t10k-labels-idx1-ubyte"
    path.write_bytes(idx_bytes(np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 8])))
    with pytest.raises(DataError, match=r"expected 1 samples of each of 10 classes, got 2 of cl"):
        datasets.fashion_mnist(plain)
    path.write_bytes(idx_bytes(np.arange(9)))
    with pytest.raises(DataError, match=r"expected an array \(10,\), got \(9,\)"):
        datasets.fashion_mnist(plain)
    (plain / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"other"))
    with pytest.raises(DataError, match=r"idx1-ubyte.gz\] expected md5 .*, as published, got"):
        datasets.fashion_mnist(plain)
    with pytest.raises(DataError, match=r"\[fashion_mnist\] expected its four IDX files"):
        datasets.fashion_mnist(tmp_path)


# --- formulas -----------------------------------------------------------------------------------


def test_a_spiral() -> None:
    data = datasets.spiral(100, 3, noise=0.0)
    assert data.labels.tolist() == [i % 3 for i in range(100)]
    for i in (0, 50, 99):
        x, c = data[i]
        r = (i // 3 + 1) / (34 if c == 0 else 33)
        assert np.hypot(*x) == pytest.approx(r, rel=1e-6)
        turn = np.exp(1j * (4 * r + 2 * np.pi * c / 3))
        assert complex(*x) == pytest.approx(r * turn, abs=1e-6)
    noisy = [datasets.spiral(seed=seed).inputs for seed in (0, 0, 1)]
    assert (np.array_equal(*noisy[:2]), np.array_equal(*noisy[1:])) == (True, False)
    with pytest.raises(DataError, match=r"\[spiral\] expected a class or more"):
        datasets.spiral(2, 3)


def test_a_sine() -> None:
    data = datasets.sine(1000, noise=0.5, seed=3)
    rest = data.targets - np.sin(np.pi * data.inputs)
    assert (data.inputs[0], data.inputs[-1]) == (-1, 1)
    assert rest.std() == pytest.approx(0.5, rel=0.1)
    assert abs(rest.mean()) < 0.05
    with pytest.raises(DataError, match=r"\[sine\] expected a count of at least 1, got 0"):
        datasets.sine(0)
