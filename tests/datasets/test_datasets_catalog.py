"""load(): which dataset a name gives, and the reason it tells."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest

from support.idx_files import expect_files, isolate, small_mnist, write_gzipped
from tinygrad_cupy import datasets
from tinygrad_cupy.datasets import DataError, DownloadError, catalog, mnist_files
from tinygrad_cupy.datasets.catalog import FallbackWarning


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


@pytest.fixture
def files(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Four small files that count as MNIST."""
    content = small_mnist(rng)
    expect_files(monkeypatch, content)
    return content


def test_auto_takes_mnist_from_the_data_folder(tmp_path: Path, files: dict[str, bytes]) -> None:
    folder = write_gzipped(tmp_path / "data", files)
    train, test, reason = datasets.load("auto", folder)
    assert (train.name, len(train), len(test)) == ("mnist", 12, 5)
    assert reason == f"MNIST, because its files are in {folder}."


def test_auto_takes_mnist_from_the_cache(tmp_path: Path, files: dict[str, bytes]) -> None:
    cache = write_gzipped(tmp_path / "cache" / "tinygrad_cupy" / "mnist", files)
    assert datasets.load("auto")[2] == f"MNIST, because its files are in {cache}."
    empty = tmp_path / "empty"
    assert datasets.load("auto", empty)[2] == f"MNIST, because its files are in {cache}."


def test_auto_downloads_mnist(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = write_gzipped(tmp_path / "served", files)

    def fetch(checks: object, folder: Path, mirrors: object) -> None:
        served.rename(folder)

    cache = tmp_path / "cache" / "tinygrad_cupy" / "mnist"
    cache.parent.mkdir(parents=True)
    monkeypatch.setattr(mnist_files, "fetch", fetch)
    train, _, reason = datasets.load("auto")
    assert train.name == "mnist"
    assert reason == f"MNIST, because it could be downloaded to {cache}."


def test_auto_falls_back_to_the_digits(tmp_path: Path) -> None:
    train, test, reason = datasets.load("auto", tmp_path / "empty")
    assert (train.name, test.name) == ("digits", "digits")
    cache = tmp_path / "cache" / "tinygrad_cupy" / "mnist"
    assert reason.startswith(
        f"The embedded digits, because no intact MNIST is in {tmp_path / 'empty'} or {cache} "
        "and it cannot be downloaded: [train-images-idx3-ubyte.gz] no mirror can be reached "
        "(127.0.0.1:9: "
    )
    assert reason.endswith(").")


def test_auto_falls_back_from_a_damaged_cache(tmp_path: Path, files: dict[str, bytes]) -> None:
    cache = write_gzipped(tmp_path / "cache" / "tinygrad_cupy" / "mnist", files)
    (cache / "t10k-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    with pytest.warns(FallbackWarning, match=r"^\[dataset\] this is not MNIST but 1,797 small"):
        train, _, reason = datasets.load("auto")
    assert train.name == "digits"
    assert "it cannot be downloaded: [t10k-labels-idx1-ubyte.gz] no mirror can be reached" in reason


def test_auto_warns_where_more_than_the_network_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise DownloadError("[f] no mirror served it intact (host: HTTP 404 Not Found)")

    monkeypatch.setattr(mnist_files, "fetch", fail)
    text = re.escape("[f] no mirror served it intact (host: HTTP 404 Not Found)")
    with pytest.warns(FallbackWarning, match=text) as caught:
        _, _, reason = datasets.load("auto")
    assert caught[0].filename == __file__
    assert reason.startswith("The embedded digits, because no intact MNIST is in ")
    assert reason.endswith("(host: HTTP 404 Not Found).")


def test_auto_does_not_pass_over_a_damaged_file_of_yours(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    folder = write_gzipped(tmp_path / "data", files)
    path = folder / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(b"something else"))
    with pytest.raises(DataError, match=re.escape(f"[{path}] expected the IDX magic number")):
        datasets.load("auto", folder)


def test_mnist_is_strict(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(DownloadError, match="no mirror can be reached"):
        datasets.load("mnist")
    with pytest.raises(DataError, match=r"\[mnist\] expected four IDX files"):
        datasets.load("mnist", tmp_path)
    folder = write_gzipped(tmp_path / "data", files)
    assert datasets.load("mnist", str(folder))[2] == "MNIST, as asked."


def test_digits_are_digits(tmp_path: Path, files: dict[str, bytes]) -> None:
    write_gzipped(tmp_path / "cache" / "tinygrad_cupy" / "mnist", files)
    train, _, reason = datasets.load("digits")
    assert (train.name, reason) == ("digits", "The embedded digits, as asked.")


def test_a_folder_of_pictures(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.zeros((2, 1, 28, 28), np.uint8)
    pair = datasets.ArrayDataset(images, np.array([0, 1]), ("a", "b"), "x")
    datasets.write_png_folders(pair, pair, tmp_path / "mnist")
    train, _, reason = datasets.load(str(tmp_path / "mnist"))
    assert train.classes == ("a", "b")
    assert reason == f"The class folders in {tmp_path / 'mnist'}, as asked."
    monkeypatch.chdir(tmp_path)
    assert datasets.load(Path("mnist"))[0].classes == ("a", "b")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("mnits", "; did you mean 'mnist'?"),
        ("MNIST", "; did you mean 'mnist'?"),
        ("digit", "; did you mean 'digits'?"),
        ("cifar", "; did you mean 'cifar10'?"),
        ("imagenet-22k", ""),
    ],
)
def test_an_unknown_name_is_an_error_with_a_near_match(name: str, hint: str) -> None:
    names = "auto, mnist, digits, cifar10, cifar100, fashion_mnist"
    text = f"[dataset] expected {names} or a folder that exists, got '{name}'{hint}"
    with pytest.raises(DataError, match=re.escape(text) + "$"):
        datasets.load(name)


def test_a_path_that_is_no_folder(tmp_path: Path) -> None:
    text = f"[{tmp_path / 'x'}] expected a folder with train and test in it, there is none"
    with pytest.raises(DataError, match=re.escape(text)):
        datasets.load(tmp_path / "x")


def test_published_sets_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = datasets.spiral(), datasets.sine()
    monkeypatch.setitem(catalog.PUBLISHED, "cifar10", lambda data_dir: pair)
    assert datasets.load("cifar10", tmp_path) == (*pair, "cifar10, as asked.")
    for name in ("cifar100", "fashion_mnist"):
        with pytest.raises(DataError, match=rf"\[{name}\] expected"):
            datasets.load(name, tmp_path)
