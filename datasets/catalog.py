"""A dataset by its name or its folder, with the reason for what was taken."""

import difflib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from .cifar import cifar10, cifar100
from .dataset import ArrayDataset, DataError
from .download import DownloadError, UnreachableError
from .fashion import fashion_mnist
from .mnist_files import cached_mnist, find_mnist, mnist, mnist_cache, places, read_mnist
from .parallel import Progress
from .picture_folder import FolderOptions, read_folder
from .picture_form import PictureForm
from .picture_list import Skipped
from .uci_digits import digits

PUBLISHED: dict[str, Callable[..., tuple[ArrayDataset, ArrayDataset]]] = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "fashion_mnist": fashion_mnist,
}
NAMES = ("auto", "mnist", "digits", *PUBLISHED)

Loaded = tuple[ArrayDataset, ArrayDataset, str]


class Found(NamedTuple):
    """What `load` gives; `warning` says what went wrong where an error led to other data.

    Of a folder also the form that its pictures are in, and what in it was skipped.
    """

    train: ArrayDataset
    test: ArrayDataset
    reason: str
    warning: str | None = None
    form: PictureForm | None = None
    skipped: tuple[Skipped, ...] = ()


class FallbackWarning(UserWarning):
    """Another dataset than the one hoped for was taken, because of an error."""


def load(name_or_folder: str | Path, data_dir: str | Path | None = None) -> Loaded:
    """The dataset (train, test) of a name, and one sentence that says which it is and why.

    "mnist": see mnist(); an error when it is not to be had.
    "digits": the embedded digits.
    "cifar10", "cifar100", "fashion_mnist": see the functions of these names.
    "auto": MNIST where it is in data_dir, in $TINYGRAD_CUPY_DATA or in the cache, or can be
        downloaded; else the embedded digits. Without a network that is known within 10 seconds;
        where anything else stands in the way (mirrors that serve something else, a disk that is
        full, damaged files in the cache), it warns (FallbackWarning).
        Damaged files outside the cache are an error, not a reason for the digits.
    a folder (a Path is always one): see image_folder(); the sentence says what in it was skipped.

    Raises DataError for a name that is none of these, and what those functions raise.

    >>> train, test, why = datasets.load("cifar10")  # doctest: +SKIP
    >>> datasets.load("mnits")
    Traceback (most recent call last):
        ...
    tinygrad_cupy.datasets.dataset.DataError: [dataset] expected auto, mnist, digits, cifar10, ...
    """
    found = find(name_or_folder, data_dir)
    if found.warning:
        warnings.warn(found.warning, FallbackWarning, stacklevel=2)
    return found.train, found.test, found.reason


def find(
    name_or_folder: str | Path,
    data_dir: str | Path | None = None,
    options: FolderOptions | None = None,
    progress: Progress | None = None,
) -> Found:
    """As `load`, but what it would warn of is part of the result.

    options: how a folder is read; progress: is called with how many pictures are decoded, of all
    """
    if name_or_folder == "auto":
        return _find_auto(data_dir)
    if name_or_folder == "mnist":
        return Found(*mnist(data_dir), "MNIST, as asked.")
    if name_or_folder == "digits":
        return Found(*digits(), "The embedded digits, as asked.")
    if isinstance(name_or_folder, str) and name_or_folder in PUBLISHED:
        return Found(*PUBLISHED[name_or_folder](data_dir), f"{name_or_folder}, as asked.")
    folder = Path(name_or_folder)
    if isinstance(name_or_folder, str) and not folder.exists():
        near = difflib.get_close_matches(name_or_folder.lower(), NAMES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DataError(
            f"[dataset] expected {', '.join(NAMES)} or a folder that exists, "
            f"got {name_or_folder!r}{hint}"
        )
    found = read_folder(folder, options, progress)
    reason = " ".join(found.notes)
    return Found(found.train, found.test, reason, form=found.form, skipped=found.skipped)


def _find_auto(data_dir: str | Path | None) -> Found:
    folder = find_mnist(data_dir)
    try:
        if folder is not None and folder != mnist_cache():
            pair = read_mnist(folder)
        else:
            pair = cached_mnist()
    except DownloadError as error:
        reason = (
            f"The embedded digits, because no intact MNIST is in {places(data_dir)} "
            f"and it cannot be downloaded: {error}."
        )
        warning = None
        if folder is not None or not isinstance(error, UnreachableError):
            warning = f"[dataset] this is not MNIST but 1,797 small digits: {error}"
        return Found(*digits(), reason, warning)
    if folder is None:
        return Found(*pair, f"MNIST, because it could be downloaded to {mnist_cache()}.")
    return Found(*pair, f"MNIST, because its files are in {folder}.")
