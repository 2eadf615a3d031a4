"""The four files of MNIST: where they are looked for, what they must hold, where they come from.

MNIST: 60,000 + 10,000 handwritten digits of 28 x 28 pixels, white on black (LeCun, Cortes, Burges;
"Gradient-based learning applied to document recognition", Proceedings of the IEEE, 1998).
"""

import os
from pathlib import Path

from tinygrad_cupy.backend.cache import cache_dir

from .dataset import ArrayDataset, DataError
from .download import Check, DownloadError, fetch
from .idx import check_sha256, decompress, read_idx

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
DATA_VARIABLE = "TINYGRAD_CUPY_DATA"
DIGIT_CLASSES = tuple("0123456789")
# Of the decompressed bytes: a file that somebody packed again is as good as the published one.
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def mnist(
    data_dir: str | Path | None = None, download: bool = True
) -> tuple[ArrayDataset, ArrayDataset]:
    """MNIST as (train, test): 60,000 and 10,000 images, uint8 (N, 1, 28, 28).

    With `data_dir`, the four IDX files (gzipped or plain) must be in it. Without, they are taken
    from $TINYGRAD_CUPY_DATA, else from the cache, else downloaded into the cache, where a corrupt
    file is fetched again.

    Raises DataError when files are missing or damaged, and DownloadError (a DataError) when no
    mirror can be reached or none serves the files intact.

    >>> train, test = datasets.mnist()  # 11 MB the first time  # doctest: +SKIP
    >>> datasets.mnist("no_such_folder")
    Traceback (most recent call last):
        ...
    tinygrad_cupy.datasets.dataset.DataError: [mnist] expected four IDX files (.gz or plain) in ...
    """
    if data_dir is not None:
        return read_mnist(Path(data_dir))
    folder = find_mnist()
    if folder is not None and (folder != mnist_cache() or not download):
        return read_mnist(folder)
    if not download:
        raise DataError(f"[mnist] expected its four files in {places()}, got none there")
    try:
        return cached_mnist()
    except DownloadError as error:
        raise type(error)(
            f"{error}; put the four files into a folder and name it "
            f"as data_dir (--data-dir) or in ${DATA_VARIABLE}"
        ) from error


def find_mnist(data_dir: str | Path | None = None) -> Path | None:
    """The first folder with all four files, by name: data_dir, $TINYGRAD_CUPY_DATA, the cache.

    None where none has them.

    >>> folder = datasets.find_mnist()
    >>> folder is None or folder.is_dir()
    True
    """
    return next((folder for folder in _folders(data_dir) if not missing_files(folder)), None)


def places(data_dir: str | Path | None = None) -> str:
    """The folders that find_mnist looks into, as text."""
    return " or ".join(str(folder) for folder in _folders(data_dir))


def missing_files(folder: Path) -> list[str]:
    """Which of the four files are not in the folder, neither gzipped nor plain."""
    return [name for name in SHA256 if not any(_is_file(path) for path in _forms(folder, name))]


def read_mnist(folder: Path) -> tuple[ArrayDataset, ArrayDataset]:
    """Read and check the four files in `folder`; see mnist()."""
    missing = missing_files(folder)
    if missing:
        raise DataError(
            f"[mnist] expected four IDX files (.gz or plain) in {folder}, "
            f"missing: {', '.join(missing)}"
        )
    return _read_pair(folder, "train"), _read_pair(folder, "t10k")


def cached_mnist() -> tuple[ArrayDataset, ArrayDataset]:
    """MNIST from the cache, after a download of what it lacks or holds damaged.

    Raises DownloadError when that fails.
    """
    folder = mnist_cache()
    try:
        return read_mnist(folder)
    except DataError:
        checks = {f"{name}.gz": _content_check(sha256) for name, sha256 in SHA256.items()}
        fetch(checks, folder, MIRRORS)
        return read_mnist(folder)


def mnist_cache() -> Path:
    """The folder that downloads of MNIST are kept in."""
    return cache_dir() / "mnist"


def _folders(data_dir: str | Path | None) -> list[Path]:
    named = (data_dir, os.environ.get(DATA_VARIABLE))
    return [*(Path(folder) for folder in named if folder), mnist_cache()]


def _forms(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.gz", folder / name


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise DataError(f"[{path}] cannot be read: {error.strerror}") from error


def _content_check(sha256: str) -> Check:
    return lambda stored, path: check_sha256(decompress(stored, path), sha256, path)


def _read_pair(folder: Path, prefix: str) -> ArrayDataset:
    arrays, paths = [], []
    for kind, axes in (("images-idx3", 3), ("labels-idx1", 1)):
        name = f"{prefix}-{kind}-ubyte"
        path = next(path for path in _forms(folder, name) if path.is_file())
        paths.append(path)
        arrays.append(read_idx(path, axes, SHA256[name]))
    images, labels = arrays
    if len(images) != len(labels):
        raise DataError(
            f"[{paths[1]}] expected {len(images)} labels, one per image of {paths[0].name}, "
            f"got {len(labels)}"
        )
    return ArrayDataset(images[:, None], labels.astype("int64"), DIGIT_CLASSES, "mnist")
