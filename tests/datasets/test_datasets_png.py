"""Class folders of pictures: read, cached, written."""

import io
import os
import re
import socket
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tinygrad_cupy.datasets import (
    ArrayDataset,
    DataError,
    image_folder,
    load,
    picture_cache,
    picture_folder,
    write_png_folders,
)
from tinygrad_cupy.datasets.picture_form import PictureForm

FORM = PictureForm((28, 28), 1, "fit")


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def random_data(
    rng: np.random.Generator, count: int, classes: tuple[str, ...], side: int = 28
) -> ArrayDataset:
    images = rng.integers(0, 256, (count, 1, side, side)).astype(np.uint8)
    return ArrayDataset(images, np.arange(count) % len(classes), classes, "random")


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A good folder with the classes a and b."""
    write_png_folders(
        random_data(rng, 6, ("a", "b")), random_data(rng, 4, ("a", "b")), tmp_path / "good"
    )
    return tmp_path / "good"


def cache_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").rglob("*.npz"))


def fails(folder: Path, text: str) -> None:
    with pytest.raises(DataError, match=re.escape(text)):
        image_folder(folder)


def test_what_is_written_is_read_back(tmp_path: Path, rng: np.random.Generator) -> None:
    classes = ("ten", "nine", "Eins")
    train, test = random_data(rng, 200, classes), random_data(rng, 7, classes)
    write_png_folders(train, test, tmp_path / "out")
    found = image_folder(tmp_path / "out")
    for written, read in zip((train, test), found, strict=True):
        assert read.classes == ("Eins", "nine", "ten")
        assert read.name == "out"
        for name in classes:
            np.testing.assert_array_equal(
                read.images[read.labels == read.classes.index(name)],
                written.images[written.labels == classes.index(name)],
            )


def test_the_layout_and_the_names_of_the_files(tmp_path: Path, rng: np.random.Generator) -> None:
    data = random_data(rng, 3, ("0", "1"))
    write_png_folders(data, data, tmp_path / "deep" / "out")
    root = tmp_path / "deep" / "out"
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    one = ["0/00000.png", "0/00002.png", "1/00001.png"]
    assert files == [f"{part}/{name}" for part in ("test", "train") for name in one]
    with Image.open(root / "train" / "1" / "00001.png") as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", (28, 28))
        np.testing.assert_array_equal(np.asarray(image), data.images[1, 0])
    plain = tmp_path / "plain"
    plain.mkdir()
    assert root.stat().st_mode == plain.stat().st_mode
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


# --- reading ------------------------------------------------------------------------------------


def test_other_sizes_modes_and_formats(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        path.unlink()
    place = folder / "train" / "a"
    ramp = np.linspace(0, 65535, 56 * 28).reshape(28, 56).astype(np.uint16)
    Image.new("RGB", (40, 20), (255, 0, 0)).save(place / "1.jpg", quality=100)
    Image.new("RGBA", (28, 28), (0, 0, 0, 0)).save(place / "2.png")
    Image.new("1", (9, 9), 1).save(place / "3.BMP")
    Image.fromarray(ramp).save(place / "4.png")
    for other in ("train/b", "test/a", "test/b"):
        Image.new("L", (28, 28), 7).save(folder / other / "x.png")
    train, test = image_folder(folder, 28, channels=1, resize="stretch")
    red, transparent, white, wide = train.images[:4, 0].astype(int)
    assert abs(red - 76).max() <= 1  # 0.299 of 255
    assert (transparent == 255).all()
    assert (white == 255).all()
    assert abs(wide[:, ::-1][::-1] - (255 - wide)).max() <= 2  # 16 bits scaled, not cut off
    assert (test.images == 7).all()
    assert image_folder(folder, image_size=10)[0].images.shape == (5, 3, 10, 10)
    assert image_folder(folder, (9, 12), channels=1)[0].images.shape == (5, 1, 9, 12)


def test_hidden_files_and_files_of_other_kinds_do_not_count(folder: Path) -> None:
    before = image_folder(folder)
    (folder / "train" / "a" / ".hidden.png").write_bytes(b"")
    (folder / "train" / "a" / "notes.txt").write_bytes(b"x")
    (folder / "train" / ".checkpoints").mkdir()
    (folder / "train" / "README").write_bytes(b"x")
    after = image_folder(folder)
    np.testing.assert_array_equal(before[0].images, after[0].images)
    assert after[0].classes == ("a", "b")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "none"
    fails(path, f"[{path}] expected a folder with train and test in it, there is none")


def test_a_part_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "x" / "train").mkdir(parents=True)
    path = tmp_path / "x"
    fails(path, f"[{path}] expected the folders train and test in it, test is not there")


def test_no_classes(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / "x" / part).mkdir(parents=True)
    path = tmp_path / "x"
    fails(path, f"[{path / 'train'}] expected a folder for each class, got none")


@pytest.mark.parametrize(("part", "other"), [("train", "test"), ("test", "train")])
def test_a_class_missing_from_one_part(folder: Path, part: str, other: str) -> None:
    (folder / part / "d").mkdir()
    (folder / part / "c").mkdir()
    fails(
        folder,
        f"[{folder}] expected the same classes in train and test, missing from {other}: c, d",
    )


def test_a_class_without_pictures(folder: Path) -> None:
    for path in (folder / "test" / "b").iterdir():
        path.rename(path.with_suffix(".txt"))
    fails(folder, f"[{folder / 'test' / 'b'}] expected at least one picture, got none")


@pytest.mark.parametrize("damage", ["text", "empty", "truncated"])
def test_a_picture_that_cannot_be_decoded(folder: Path, damage: str) -> None:
    path = folder / "train" / "b" / "00001.png"
    content = path.read_bytes()
    path.write_bytes({"text": b"hello", "empty": b"", "truncated": content[:-300]}[damage])
    fails(folder, f"[{path}] cannot be read as a picture: ")


def test_what_is_no_picture_is_skipped_with_a_word(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, place = image_folder(folder), folder / "train" / "a"
    (place / "album.png").mkdir()
    (place / "loop.png").symlink_to("loop.png")
    (place / "gone.png").symlink_to("nowhere")
    (place / "not\x1b[31m.txt").write_bytes(b"x")
    os.mkfifo(place / "pipe.png")
    monkeypatch.chdir(place)  # a socket's path may have 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("talk.png")
        train, _, reason = load(folder)
    np.testing.assert_array_equal(train.images, before[0].images)
    assert reason == (
        f"The class folders in {folder}, as asked. Skipped 6: "
        "train/a/gone.png (link to nothing), train/a/loop.png (link to nothing), "
        "train/a/not\\x1b[31m.txt (not a picture's ending), train/a/pipe.png (FIFO), "
        "train/a/talk.png (socket) and 1 more."
    )


def test_what_is_too_dark_for_its_type_is_read_as_black_with_a_word(folder: Path) -> None:
    Image.new("L", (28, 28), 0).save(folder / "test" / "a" / "night.png")
    dim = np.full((28, 28), 100, np.uint16)
    Image.fromarray(dim).save(folder / "test" / "b" / "dim.png")
    for _ in range(2):  # from the cache as well
        _, test, reason = load(folder)
        assert reason.endswith(
            "So dark for their type that they are read as black: test/b/dim.png."
        )
    assert (~test.images.any(axis=(1, 2, 3))).sum() == 2


def test_a_folder_that_cannot_be_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", denied)
    fails(folder, f"[{folder / 'train'}] cannot be read: Permission denied")


def test_a_folder_that_cannot_be_entered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = Path.stat

    def refuse(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path.name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", refuse)
    fails(folder, f"[{folder / 'train' / 'b'}] cannot be read: Permission denied")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"image_size": 0}, "image_size: expected at least 1 x 1 and at most 33,554,432 pixels, "),
        ({"image_size": (9, 70_000)}, "image_size: expected at least 1 x 1 and at most "),
        ({"channels": 4}, "channels: expected 1 (gray) or 3 (colour), got 4"),
        ({"resize": "squash"}, "resize: expected one of fit, crop, stretch, got 'squash'"),
        ({"class_depth": 0}, "class_depth: expected at least 1, got 0"),
        ({"test_fraction": 1.0}, "test_fraction: expected a number between 0 and 1, got 1"),
    ],
)
def test_options_that_cannot_be(folder: Path, options: dict[str, Any], text: str) -> None:
    with pytest.raises(DataError, match=re.escape(f"[image_folder] {text}")):
        image_folder(folder, **options)


# --- the cache ----------------------------------------------------------------------------------


def test_the_second_time_nothing_is_decoded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = image_folder(folder)
    assert len(cache_files(tmp_path)) == 1
    monkeypatch.setattr(picture_folder, "decode", None)
    folder.rename(tmp_path / "moved")
    second = image_folder(tmp_path / "moved")
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.labels, b.labels)


def test_a_changed_picture_is_seen(folder: Path, tmp_path: Path) -> None:
    image_folder(folder)
    path = folder / "test" / "a" / "00000.png"
    Image.new("L", (28, 28), 99).save(path)
    assert (image_folder(folder)[1].images[0] == 99).all()
    path.rename(folder / "test" / "b" / "zzz.png")
    assert (image_folder(folder)[1].images[-1] == 99).all()
    image_folder(folder, image_size=14)
    assert len(cache_files(tmp_path)) == 4


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "flipped", "other"])
def test_a_damaged_cache_is_built_again(folder: Path, tmp_path: Path, damage: str) -> None:
    first = image_folder(folder)
    (kept,) = cache_files(tmp_path)
    content = bytearray(kept.read_bytes())
    if damage == "empty":
        kept.write_bytes(b"")
    elif damage == "text":
        kept.write_bytes(b"hello")
    elif damage == "truncated":
        kept.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 2] ^= 0xFF
        kept.write_bytes(content)
    else:
        np.savez(kept, images=np.zeros((3, 3), np.uint8))
    np.testing.assert_array_equal(first[0].images, image_folder(folder)[0].images)
    with np.load(kept) as stored:
        assert stored["images"].shape == (10, 1, 28, 28)


def test_no_byte_of_a_cached_file_is_believed_unchecked(
    folder: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    images = np.concatenate([part.images for part in image_folder(folder)])
    (kept,) = cache_files(tmp_path)
    good = kept.read_bytes()
    np.testing.assert_array_equal(picture_cache.read(kept, len(images), FORM), images)
    places = [*range(300), *range(len(good) - 300, len(good)), *rng.integers(len(good), size=99)]
    for position in places:
        content = bytearray(good)
        content[position] ^= 1 << rng.integers(8)
        kept.write_bytes(content)
        assert picture_cache.read(kept, len(images), FORM) is None
    kept.write_bytes(good)
    other = kept.rename(kept.with_name("0" * 64 + ".npz"))  # of another data set
    assert picture_cache.read(other, len(images), FORM) is None


@pytest.mark.parametrize("kind", ["pickle", "shape", "no array", "npy", "large"])
def test_a_cached_file_with_a_hash_of_something_else(tmp_path: Path, kind: str) -> None:
    path, shape, packed = tmp_path / "x.npz", (2, 1, 3, 3), io.BytesIO()
    if kind == "pickle":
        np.savez(packed, images=np.array([{}], dtype=object), allow_pickle=True)
    elif kind == "shape":
        head = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000,), }\n"
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(
                "images.npy", b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head
            )
    elif kind == "no array":
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("images", b"x" * 99)
    elif kind == "npy":
        np.save(packed, np.zeros(shape, np.uint8))
    else:
        packed.write(bytes(100_000))
    content = packed.getvalue()
    path.write_bytes(content + picture_cache.digest_of(path, content))
    assert picture_cache.read(path, shape[0], PictureForm((3, 3), 1)) is None


def test_a_cache_that_cannot_be_written_is_no_error(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(image_folder(folder)[0]) == 6


@pytest.mark.skipif(os.name != "posix", reason="needs owners and modes")
def test_a_cache_that_others_can_write_to(folder: Path, tmp_path: Path) -> None:
    """An own one is tightened; in one that anybody may rename, nothing is believed or kept."""
    image_folder(folder)
    (kept,) = cache_files(tmp_path)
    kept.parent.chmod(0o777)
    image_folder(folder)
    assert kept.parent.stat().st_mode & 0o022 == 0
    (tmp_path / "cache").chmod(0o777)
    kept.unlink()
    image_folder(folder)
    assert cache_files(tmp_path) == []


# --- writing ------------------------------------------------------------------------------------


def test_a_folder_with_something_in_it_is_left_alone(
    folder: Path, rng: np.random.Generator
) -> None:
    before = sorted(folder.rglob("*"))
    data = random_data(rng, 2, ("x", "y"))
    text = f"[{folder}] expected an empty folder (overwrite replaces it), got entries"
    with pytest.raises(DataError, match=re.escape(text)):
        write_png_folders(data, data, folder)
    assert sorted(folder.rglob("*")) == before
    write_png_folders(data, data, folder, overwrite=True)
    assert image_folder(folder)[0].classes == ("x", "y")
    assert [path.name for path in folder.parent.iterdir() if path.name[0] == "."] == []


def test_only_class_folders_are_overwritten(folder: Path, rng: np.random.Generator) -> None:
    (folder / "thesis.tex").write_bytes(b"")
    data = random_data(rng, 2, ("x", "y"))
    text = (
        f"[{folder}] expected nothing but train and test, as written before, in a folder to "
        "overwrite, got thesis.tex"
    )
    with pytest.raises(DataError, match=re.escape(text)):
        write_png_folders(data, data, folder, overwrite=True)


def test_an_empty_folder_is_filled(tmp_path: Path, rng: np.random.Generator) -> None:
    (tmp_path / "out").mkdir()
    data = random_data(rng, 2, ("x", "y"))
    write_png_folders(data, data, tmp_path / "out")
    assert len(image_folder(tmp_path / "out")[0]) == 2


def test_a_file_in_the_way(tmp_path: Path, rng: np.random.Generator) -> None:
    data = random_data(rng, 2, ("x", "y"))
    (tmp_path / "out").write_bytes(b"")
    text = f"[{tmp_path / 'out'}] expected a folder to write into, got a file"
    with pytest.raises(DataError, match=re.escape(text)):
        write_png_folders(data, data, tmp_path / "out", overwrite=True)
    text = f"[{tmp_path / 'out' / 'in'}] cannot be written: "
    with pytest.raises(DataError, match=re.escape(text)):
        write_png_folders(data, data, tmp_path / "out" / "in")


def test_colour_is_written_and_read_back(tmp_path: Path, rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (6, 3, 5, 7)).astype(np.uint8)
    data = ArrayDataset(images, np.array([0, 1] * 3), ("x", "y"), "colour")
    write_png_folders(data, data, tmp_path / "out")
    train, test = image_folder(tmp_path / "out")
    for part in (train, test):
        np.testing.assert_array_equal(part.images, images[[0, 2, 4, 1, 3, 5]])


def test_other_channels_are_refused(tmp_path: Path) -> None:
    data = ArrayDataset(np.zeros((2, 2, 4, 4), np.uint8), np.array([0, 1]), ("x", "y"), "two")
    text = "[write_png_folders] expected gray or RGB images (C = 1 or 3), got shape (2, 2, 4, 4) in"
    with pytest.raises(DataError, match=re.escape(text)):
        write_png_folders(data, data, tmp_path / "out")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", ".hidden", "c:"])
def test_class_names_that_are_no_folder_names(
    tmp_path: Path, rng: np.random.Generator, name: str
) -> None:
    data = random_data(rng, 2, ("x", name))
    text = f"[write_png_folders] expected class names that can be folders, got {name!r}"
    with pytest.raises(DataError, match=re.escape(text)):
        write_png_folders(data, data, tmp_path / "out")


@pytest.mark.parametrize("kind", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_nothing_half_written_stays(
    folder: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, kind: BaseException
) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*.png")}
    saved = 0

    def save(self: Image.Image, path: Path) -> None:
        nonlocal saved
        saved += 1
        if saved > 3:
            raise kind

    monkeypatch.setattr(Image.Image, "save", save)
    data = random_data(rng, 20, ("x", "y"))
    for out in (folder, folder.parent / "new"):
        expected = DataError if isinstance(kind, OSError) else KeyboardInterrupt
        with pytest.raises(expected):
            write_png_folders(data, data, out, overwrite=True)
    assert {path: path.read_bytes() for path in folder.rglob("*.png")} == before
    assert {path.name for path in folder.parent.iterdir()} <= {"good", "cache"}


def test_a_move_that_fails_brings_the_old_folder_back(
    folder: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*.png")}
    real, moves = os.replace, []

    def replace(source: Path, target: Path) -> None:
        moves.append(target)
        if len(moves) == 2:
            raise OSError(5, "Input/output error")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    data = random_data(rng, 2, ("x", "y"))
    with pytest.raises(DataError, match=r"cannot be written: .*Input/output error"):
        write_png_folders(data, data, folder, overwrite=True)
    assert {path: path.read_bytes() for path in folder.rglob("*.png")} == before
