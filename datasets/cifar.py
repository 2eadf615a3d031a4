"""CIFAR-10 and CIFAR-100 in their binary form: 60,000 photographs of 32 x 32 pixels.

Krizhevsky, "Learning multiple layers of features from tiny images" (2009);
https://www.cs.toronto.edu/~kriz/cifar.html. A record is the label's byte, in CIFAR-100 that of the
superclass and then that of the class, and 3,072 bytes of pixels: red, green and blue, row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .dataset import ArrayDataset, DataError
from .sources import Pair, Source, check_balance, check_md5, is_file, read
from .tar import read_members

MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)
MOST_BYTES = 200 << 20  # of an archive, of which there are 170 million
PIXELS = (3, 32, 32)
CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
CIFAR100_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile
cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp
lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom
oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake
spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
CIFAR100_SUPERCLASS_NAMES = """
aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices
household_furniture insects large_carnivores large_man-made_outdoor_things
large_natural_outdoor_scenes large_omnivores_and_herbivores medium_mammals
non-insect_invertebrates people reptiles small_mammals trees vehicles_1 vehicles_2
"""


@dataclass(frozen=True)
class Form:
    """Which files one of the two has, and what is in them."""

    name: str
    archive: str
    md5: str  # of the archive, as its makers publish it
    folder: str  # in the archive
    train: tuple[str, ...]
    test: str
    records: tuple[int, int]  # of a training file, and of the test file
    label_bytes: int


CIFAR10 = Form(
    "cifar10",
    "cifar-10-binary.tar.gz",
    "c32a1d4ab5d03f1284b67883e8d87530",
    "cifar-10-batches-bin",
    tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test_batch.bin",
    (10_000, 10_000),
    1,
)
CIFAR100 = Form(
    "cifar100",
    "cifar-100-binary.tar.gz",
    "03b5dce01913d631647c71ecec9e9cb8",
    "cifar-100-binary",
    ("train.bin",),
    "test.bin",
    (50_000, 10_000),
    2,
)


def cifar10(data_dir: str | Path | None = None, download: bool = True) -> Pair:
    """CIFAR-10 as (train, test): 50,000 and 10,000 pictures, uint8 (N, 3, 32, 32), of 10 classes.

    With `data_dir`, cifar-10-binary.tar.gz must be in it, or its .bin files, in the folder that
    they are packed in or directly. Without, they are taken from $TINYGRAD_CUPY_DATA or the folder
    cifar10 in it, else from the cache, else downloaded into the cache (170 MB), where a corrupt
    file is fetched again.

    Raises DataError when files are missing or damaged, and DownloadError (a DataError) when the
    mirror cannot be reached or does not serve the file intact.

    >>> train, test = datasets.cifar10()  # 170 MB the first time  # doctest: +SKIP
    >>> datasets.cifar10("no_such_folder")
    Traceback (most recent call last):
        ...
    tinygrad_cupy.datasets.dataset.DataError: [cifar10] expected cifar-10-binary.tar.gz or its ...
    """
    return _source(CIFAR10).load(data_dir, download)


def cifar100(
    data_dir: str | Path | None = None, download: bool = True, superclasses: bool = False
) -> Pair:
    """CIFAR-100 as (train, test): 50,000 and 10,000 pictures of 100 classes; see `cifar10`.

    superclasses: the labels are those of the 20 superclasses instead

    >>> train, test = datasets.cifar100(superclasses=True)  # doctest: +SKIP
    >>> datasets.cifar100("no_such_folder")
    Traceback (most recent call last):
        ...
    tinygrad_cupy.datasets.dataset.DataError: [cifar100] expected cifar-100-binary.tar.gz or its ...
    """
    return _source(CIFAR100, superclasses).load(data_dir, download)


def _source(form: Form, superclasses: bool = False) -> Source:
    return Source(
        form.name,
        f"{form.archive} or its .bin files",
        {form.archive: lambda stored, path: _check(form, stored, path)},
        MIRRORS,
        MOST_BYTES,
        lambda folder: is_file(folder / form.archive) or _unpacked(form, folder) is not None,
        lambda folder: _read(form, folder, superclasses),
    )


def _sizes(form: Form) -> dict[str, int]:
    record = form.label_bytes + int(np.prod(PIXELS))
    counts = dict.fromkeys(form.train, form.records[0]) | {form.test: form.records[1]}
    return {name: count * record for name, count in counts.items()}


def _unpacked(form: Form, folder: Path) -> Path | None:
    """The folder of the unpacked files."""
    for place in (folder / form.folder, folder):
        if all(is_file(place / name) for name in (*form.train, form.test)):
            return place
    return None


def _check(form: Form, stored: bytes, path: Path) -> dict[str, bytes]:
    """The files in an archive, which must be the one that was published."""
    check_md5(stored, form.md5, path)
    sizes = {f"{form.folder}/{name}": size for name, size in _sizes(form).items()}
    found = read_members(stored, sizes, path)
    return {name.rpartition("/")[2]: content for name, content in found.items()}


def _read(form: Form, folder: Path, superclasses: bool) -> Pair:
    place = _unpacked(form, folder)
    if place is None:
        path = folder / form.archive
        files = _check(form, read(path, MOST_BYTES), path)
    else:
        path, files = place, {}
        for name, size in _sizes(form).items():
            files[name] = read(place / name, size)
            if len(files[name]) != size:
                raise DataError(f"[{place / name}] expected {size} bytes, got {len(files[name])}")
    train = b"".join(files[name] for name in form.train)
    return (
        _dataset(form, train, superclasses, path),
        _dataset(form, files[form.test], superclasses, path),
    )


def _dataset(form: Form, content: bytes, superclasses: bool, path: Path) -> ArrayDataset:
    """Records as pictures and labels; each class has as many as the others."""
    records = np.frombuffer(content, np.uint8).reshape(-1, form.label_bytes + int(np.prod(PIXELS)))
    classes: tuple[str, ...] = CIFAR10_CLASSES
    if form.label_bytes == 2:
        names = CIFAR100_SUPERCLASS_NAMES if superclasses else CIFAR100_NAMES
        classes = tuple(names.split())
    labels = records[:, 0 if superclasses else form.label_bytes - 1]
    check_balance(labels, len(classes), len(records) // len(classes), path)
    pixels = np.ascontiguousarray(records[:, form.label_bytes :])
    return ArrayDataset(pixels.reshape(-1, *PIXELS), labels.astype(np.int64), classes, form.name)
