"""Fashion-MNIST: 60,000 + 10,000 grey pictures of clothes, 28 x 28, in the form of MNIST.

Xiao, Rasul and Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
algorithms" (2017), https://github.com/zalandoresearch/fashion-mnist, MIT license.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from .dataset import ArrayDataset, DataError
from .idx import MAX_BYTES, decompress, parse_idx
from .sources import Pair, Source, check_balance, check_md5, is_file, read

NAME = "fashion_mnist"
MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
)
CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
MD5 = {  # of the gzipped files, as their makers publish it
    "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
}
COUNTS = {"train": 60_000, "t10k": 10_000}
SIDE = 28


def fashion_mnist(data_dir: str | Path | None = None, download: bool = True) -> Pair:
    """Fashion-MNIST as (train, test): 60,000 and 10,000 pictures, uint8 (N, 1, 28, 28).

    With `data_dir`, its four IDX files (gzipped or plain) must be in it. Without, they are taken
    from the folder fashion_mnist in $TINYGRAD_CUPY_DATA (its files have the names of MNIST's), else
    from the cache, else downloaded into the cache (30 MB), where a corrupt file is fetched again.

    Raises DataError when files are missing or damaged, and DownloadError (a DataError) when no
    mirror can be reached or none serves the files intact.

    >>> train, test = datasets.fashion_mnist()  # 30 MB the first time  # doctest: +SKIP
    >>> datasets.fashion_mnist("no_such_folder")
    Traceback (most recent call last):
        ...
    tinygrad_cupy.datasets.dataset.DataError: [fashion_mnist] expected its four IDX files ...
    """
    return Source(
        NAME,
        "its four IDX files (.gz or plain)",
        {f"{name}.gz": partial(_content, name) for name in MD5},
        MIRRORS,
        MAX_BYTES,
        lambda folder: all(_path(folder, name) is not None for name in MD5),
        _read,
        shared=False,
    ).load(data_dir, download)


def _path(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / f"{name}.gz", folder / name) if is_file(p)), None)


def _content(name: str, stored: bytes, path: Path) -> bytes:
    """What a file holds; a gzipped one must be the one that was published."""
    if path.suffix == ".gz":
        check_md5(stored, MD5[name], path)
    return decompress(stored, path)


def _read(folder: Path) -> Pair:
    train, test = (_read_part(folder, prefix) for prefix in COUNTS)
    return train, test


def _read_part(folder: Path, prefix: str) -> ArrayDataset:
    count, arrays = COUNTS[prefix], []
    for kind, shape in (("images-idx3", (count, SIDE, SIDE)), ("labels-idx1", (count,))):
        name = f"{prefix}-{kind}-ubyte"
        path = _path(folder, name)
        assert path is not None
        array = parse_idx(_content(name, read(path, MAX_BYTES), path), len(shape), path)
        if array.shape != shape:
            raise DataError(f"[{path}] expected an array {shape}, got {array.shape}")
        arrays.append(array)
    images, labels = arrays
    check_balance(labels, len(CLASSES), count // len(CLASSES), folder / name)
    return ArrayDataset(images[:, None], labels.astype("int64"), CLASSES, NAME)
