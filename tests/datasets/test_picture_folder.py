"""Folders of pictures: layouts, labels.csv, sizes, and that what is left out is named."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tinygrad_cupy.datasets import DataError, image_folder
from tinygrad_cupy.datasets.picture_folder import FolderData, FolderOptions, read_folder
from tinygrad_cupy.datasets.picture_form import PictureForm

RED, GREEN, BLUE, GRAY = (200, 10, 10), (10, 200, 10), (10, 10, 200), (90, 90, 90)


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "set"


def put(path: Path, colour: tuple[int, int, int] = RED, size: tuple[int, int] = (6, 9)) -> Path:
    """A picture of one colour, of a size (H, W)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], colour).save(path)
    return path


def fill(root: Path, *names: str) -> None:
    """A picture of each name."""
    for number, name in enumerate(names):
        put(root / name, (10 * number, 0, 0))


def read(root: Path, **options: Any) -> FolderData:
    form = {key: options.pop(key) for key in ("size", "channels", "resize") if key in options}
    return read_folder(root, FolderOptions(PictureForm(**form), **options))


def fails(root: Path, text: str, **options: Any) -> None:
    with pytest.raises(DataError, match=re.escape(text)):
        read(root, **options)


def reds(part: Any) -> list[int]:
    """The red value of each picture, which tells them apart."""
    return [int(value) for value in part.images[:, 0, 0, 0]]


# --- size and colour ----------------------------------------------------------------------------


def test_colour_and_size_stay(root: Path) -> None:
    for part in ("train", "test"):
        for name, colour in (("red", RED), ("green", GREEN), ("blue", BLUE)):
            put(root / part / name / "0.png", colour, (24, 40))
    found = read(root)
    assert found.train.images.shape == found.test.images.shape == (3, 3, 24, 40)
    assert found.train.classes == ("blue", "green", "red")
    np.testing.assert_array_equal(found.train.images[:, :, 0, 0], [BLUE, GREEN, RED])
    assert found.form == PictureForm((24, 40), 3, "fit")
    assert found.skipped == ()
    assert found.notes == [f"The class folders in {root}, as asked."]


def test_gray_in_three_channels_is_one_and_a_single_colour_makes_it_three(root: Path) -> None:
    for part in ("train", "test"):
        for name in ("a", "b"):
            for n in range(40):
                put(root / part / name / f"{n}.png", GRAY)
    assert read(root).train.images.shape == (80, 1, 6, 9)
    assert (read(root).train.images == 90).all()
    assert read(root, channels=3).train.images.shape == (80, 3, 6, 9)
    put(root / "test" / "b" / "7.png", (90, 90, 91))
    assert read(root).test.images.shape == (80, 3, 6, 9)
    assert read(root, channels=1).test.images.shape == (80, 1, 6, 9)


def test_a_colour_picture_among_many_gray_files(root: Path) -> None:
    """None of those that are looked at first."""
    for part in ("train", "test"):
        for name in ("a", "b"):
            for n in range(40):
                (root / part / name).mkdir(parents=True, exist_ok=True)
                Image.new("L", (9, 6), n).save(root / part / name / f"{n:02}.png")
    assert read(root).train.images.shape == (80, 1, 6, 9)
    put(root / "train" / "a" / "01.png", RED)
    found = read(root).train.images
    assert found.shape == (80, 3, 6, 9)
    assert found[1, :, 0, 0].tolist() == list(RED)
    assert found[2, :, 0, 0].tolist() == [2, 2, 2]


def test_sizes_that_differ_are_listed(root: Path) -> None:
    for part in ("train", "test"):
        for n in range(3):
            put(root / part / "a" / f"{n}.png", size=(24, 40))
            put(root / part / "b" / f"{n}.png", size=(24, 40))
    put(root / "train" / "b" / "odd.png", size=(8, 8))
    put(root / "test" / "a" / "odd.png", size=(40, 24))
    put(root / "test" / "b" / "odd.png", size=(8, 8))
    fails(
        root,
        f"[{root}] expected pictures of one size, or an image_size (--image-size H×W) to bring "
        "them to, got 3 sizes: 24×40 (12, such as train/a/0.png), "
        "8×8 (2, such as train/b/odd.png), 40×24 (1, such as test/a/odd.png)",
    )
    for how in ("fit", "crop", "stretch"):
        assert read(root, size=(10, 12), resize=how).train.images.shape == (7, 3, 10, 12)


def test_a_size_that_shows_late(root: Path) -> None:
    """In a picture that is not looked at before the others are decoded."""
    for part in ("train", "test"):
        for name in ("a", "b"):
            for n in range(50):
                put(root / part / name / f"{n:02}.png")
    put(root / "train" / "a" / "01.png", size=(5, 5))
    fails(root, "got 2 sizes: 6×9 (199, such as train/a/00.png), 5×5 (1, such as train/a/01.png)")


def test_a_picture_that_says_behind_its_pixels_that_it_is_turned(root: Path) -> None:
    fill(root, "train/a/0.png", "train/b/0.png", "test/a/0.png", "test/b/0.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    path = put(root / "test" / "b" / "0.png")
    Image.open(path).save(path, exif=exif)
    content = path.read_bytes()
    start = content.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    last = content.index(b"IEND") - 4
    path.write_bytes(content[:start] + content[end:last] + content[start:end] + content[last:])
    fails(root, "got 2 sizes: 6×9 (3, such as train/a/0.png), 9×6 (1, such as test/b/0.png)")


def test_options_are_part_of_what_is_cached(root: Path, tmp_path: Path) -> None:
    for part in ("train", "test"):
        put(root / part / "a" / "0.png", size=(20, 40))
        put(root / part / "b" / "0.png", size=(20, 40))
    for _ in range(2):
        assert read(root).train.images.shape == (2, 3, 20, 40)
        assert read(root, channels=1).train.images.shape == (2, 1, 20, 40)
        fit, stretch = (
            read(root, size=(8, 8), resize=how).train.images for how in ("fit", "stretch")
        )
        assert not fit[:, :, 0].any()
        assert stretch.any(axis=1).all()
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 4


def test_progress_is_told(root: Path) -> None:
    for part in ("train", "test"):
        for name in ("a", "b"):
            for n in range(50):
                put(root / part / name / f"{n}.png")
    told: list[tuple[int, int]] = []
    read_folder(root, None, lambda done, total: told.append((done, total)))
    assert told[-1] == (200, 200)
    assert len(told) > 2
    assert told == sorted(told)


# --- pictures that cannot be read ---------------------------------------------------------------


def test_every_picture_that_cannot_be_read_is_named(root: Path) -> None:
    fill(root, *(f"{part}/{name}/{n}.png" for part in ("train", "test") for name in "ab"
                 for n in range(3)))  # fmt: skip
    bad = [root / "train" / "a" / "1.png", root / "test" / "b" / "2.png"]
    bad[0].write_bytes(b"text")
    fails(root, f"[{bad[0]}] cannot be read as a picture: expected one of PNG, JPEG")
    bad[1].write_bytes(b"P5 9000 9000 255\n")  # 81 million pixels
    fails(
        root,
        f"[{root}] 2 of 12 pictures cannot be read: [{bad[0]}] cannot be read as a picture: "
        "expected one of PNG, JPEG, GIF, BMP, TIFF, WEBP, AVIF, PPM, got something else; "
        f"[{bad[1]}] cannot be read as a picture: expected 1 to 33,554,432 pixels",
    )
    for path in sorted(root.rglob("*.png")):
        path.write_bytes(b"text")
    fails(root, f"[{root}] 12 of 12 pictures cannot be read: ")


def test_pictures_that_memory_does_not_hold(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(root, "train/a/0.png", "train/b/0.png", "test/a/0.png", "test/b/0.png")
    monkeypatch.setattr(os, "sysconf", lambda name: 10)
    fails(
        root,
        "[image_folder] 4 pictures of 5000×4000 with 3 channels take 0.2 GB, more than there is; "
        "choose a smaller image_size (--image-size)",
        size=(5000, 4000),
    )


# --- class folders ------------------------------------------------------------------------------


def test_class_folders_in_folders(root: Path) -> None:
    names = ("pets/cat/0.png", "pets/cat/1.png", "pets/dog/0.png", "car/0.png")
    fill(root, *(f"{part}/{name}" for part in ("train", "test") for name in names))
    found = read(root)
    assert found.train.classes == ("car", "pets/cat", "pets/dog")
    assert found.train.labels.tolist() == [0, 1, 1, 2]
    assert reds(found.train) == [30, 0, 10, 20]
    whole = read(root, class_depth=1)
    assert whole.train.classes == ("car", "pets")
    assert reds(whole.test) == [70, 40, 50, 60]
    deep = read(root, class_depth=2)
    assert deep.train.classes == ("pets/cat", "pets/dog")
    assert [str(one) for one in deep.skipped] == [
        "train/car/0.png (not 2 folders deep)", "test/car/0.png (not 2 folders deep)",
    ]  # fmt: skip


def test_a_class_in_a_class_is_no_guess(root: Path) -> None:
    names = ("cat/0.png", "cat/more/1.png", "dog/0.png")
    fill(root, *(f"{part}/{name}" for part in ("train", "test") for name in names))
    fails(
        root,
        f"[{root / 'train' / 'cat'}] expected either pictures or folders of classes in it, got "
        "0.png and more/1.png; class_depth (--class-depth) 1 takes both as 'cat'",
    )
    assert reds(read(root, class_depth=1).train) == [0, 10, 20]


def test_links_that_lead_back_end(root: Path) -> None:
    fill(root, *(f"{part}/{name}/0.png" for part in ("train", "test") for name in "ab"))
    (root / "train" / "a" / "self").symlink_to(".")
    (root / "train" / "a" / "up").symlink_to(root / "train")
    (root / "test" / "b" / "empty").mkdir()
    found = read(root, class_depth=1)
    assert len(found.train) == 3  # a, b, and b once more by a/up/b
    reasons = {str(one) for one in found.skipped}
    assert "train/a/self (link to a folder that it is in)" in reasons
    assert "test/b/empty (empty folder)" in reasons


def test_what_is_left_out_is_counted_and_named(root: Path) -> None:
    fill(root, *(f"{part}/{name}/0.png" for part in ("train", "test") for name in "ab"))
    put(root / "val" / "a" / "0.png")
    put(root / "train" / "loose.png")
    put(root / "train" / "a" / ".hidden.png")
    (root / "train" / "a" / "notes.txt").write_text("x")
    (root / "test" / "b" / "clip.mp4").write_text("x")
    (root / "README").write_text("x")
    (root / ".git").mkdir()
    found = read(root)
    assert [str(one) for one in found.skipped] == [
        "train/a/.hidden.png (hidden)",
        "train/a/notes.txt (not a picture's ending)",
        "train/loose.png (not in a class folder)",
        "test/b/clip.mp4 (not a picture's ending)",
        ".git (hidden)",
        "README (not in train or test)",
        "val (not in train or test)",
    ]
    assert found.notes[1] == (
        "Skipped 7: train/a/.hidden.png (hidden), train/a/notes.txt (not a picture's ending), "
        "train/loose.png (not in a class folder), test/b/clip.mp4 (not a picture's ending), "
        ".git (hidden) and 2 more."
    )


def test_a_folder_without_parts_is_divided(root: Path) -> None:
    fill(root, *(f"{name}/{n}.png" for name in "ab" for n in range(10)))
    found = read(root)
    assert (len(found.train), len(found.test)) == (16, 4)
    assert found.test.labels.tolist() == [0, 0, 1, 1]
    assert sorted(reds(found.train) + reds(found.test)) == [10 * n for n in range(20)]
    assert reds(read(root).test) == reds(found.test)
    assert found.notes[1] == "It has no test part: that is 20% of each class."
    assert len(read(root, test_fraction=0.5).test) == 10


def test_folders_without_pictures(root: Path) -> None:
    root.mkdir()
    fails(
        root,
        f"[{root}] expected the folders train and test in it, or a folder for each class, or "
        "labels.csv, got none of these",
    )
    (root / "runs").mkdir()
    fails(root, "or labels.csv, got none of these")
    fill(root, *(f"{name}/{n}.png" for name in "ab" for n in range(5)))
    found = read(root)
    assert found.train.classes == ("a", "b")
    assert [str(one) for one in found.skipped] == ["runs (folder without pictures)"]


# --- labels.csv ---------------------------------------------------------------------------------


def table(folder: Path, *rows: str, head: str = "file,label") -> Path:
    path = folder / "labels.csv"
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


def test_a_table_in_each_part(root: Path) -> None:
    fill(root, *(f"{part}/{n}.png" for part in ("train", "test") for n in range(3)))
    put(root / "train" / "unnamed.png")
    for part in ("train", "test"):
        table(root / part, "2.png,dog", "0.png, cat", "1.png,dog")
    found = read(root)
    assert found.train.classes == ("cat", "dog")
    assert (reds(found.train), reds(found.test)) == ([0, 20, 10], [30, 50, 40])
    assert found.train.labels.tolist() == [0, 1, 1]
    assert found.notes == [
        f"The pictures of labels.csv in {root}, as asked.",
        "Skipped 1: train/unnamed.png (not in labels.csv).",
    ]


def test_one_table_with_parts(root: Path) -> None:
    fill(root, *(f"all/{n}.png" for n in range(4)))
    rows = [f"all/{n}.png,{'ab'[n % 2]},{'train' if n < 2 else 'test'}" for n in range(4)]
    table(root, *rows, head="file,label,part")
    found = read(root)
    assert (reds(found.train), reds(found.test)) == ([0, 10], [20, 30])
    table(root, *(f"{row},x" for row in rows), head="file,label,part,taken by")
    assert [str(one) for one in read(root).skipped] == ["labels.csv (column taken by, not read)"]


def test_one_table_whose_files_lie_in_train_and_test(root: Path) -> None:
    names = [f"{part}/{n}.png" for part in ("train", "test") for n in range(2)]
    fill(root, *names)
    table(root, *(f"{name},{'ab'[n % 2]}" for n, name in enumerate(names)))
    found = read(root)
    assert (reds(found.train), reds(found.test)) == ([0, 10], [20, 30])
    assert found.skipped == ()


def test_one_table_without_parts_is_divided(root: Path) -> None:
    fill(root, *(f"{n}.png" for n in range(20)))
    table(root, *(f"{n}.png,{'ab'[n % 2]}" for n in range(20)))
    found = read(root, test_fraction=0.3)
    assert (len(found.train), len(found.test)) == (14, 6)
    assert found.notes[1] == "It has no test part: that is 30% of each class."


def test_a_table_made_elsewhere(root: Path) -> None:
    """With a byte order mark, other line ends, empty lines, quotes and an unusual ending."""
    for n in range(10):
        put(root / f"a, {n}.png").rename(root / f"a, {n}.picture")
    lines = ["label,file", *(f'"{"xy"[n % 2]}","a, {n}.picture"' for n in range(10)), ""]
    (root / "labels.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    found = read(root)
    assert (len(found.train), len(found.test), found.skipped) == (8, 2, ())


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("../out.png,a", "expected a file in this folder, got '../out.png'"),
        ("x/../../out.png,a", "expected a file in this folder, got 'x/../../out.png'"),
        ("..\\out.png,a", "expected a file in this folder, got '..\\\\out.png'"),
        ("/etc/passwd,a", "expected a file in this folder, got '/etc/passwd'"),
        ("C:\\x.png,a", "expected a file in this folder, got 'C:\\\\x.png'"),
        ("link.png,a", "expected a file in this folder, got 'link.png', a link out of it"),
        ("away/out.png,a", "expected a file in this folder, got 'away/out.png', a link out of it"),
        ("none.png,a", "'none.png': No such file or directory"),
        ("inner,a", "'inner' is no regular file"),
        (",a", "expected the name of a file, got ''"),
        ("0.png,", "expected a label, got none"),
        ("0.png", "expected 2 values, got 1"),
        ("0.png,a,b", "expected 2 values, got 3"),
        ("1.png,a", "the same file as in row 2"),
        ("./1.png,b", "the same file as in row 2"),
    ],
)
def test_rows_that_cannot_be(root: Path, tmp_path: Path, row: str, text: str) -> None:
    fill(root, "0.png", "1.png", "inner/2.png")
    put(tmp_path / "out.png")
    put(tmp_path / "beside" / "out.png")
    (root / "link.png").symlink_to(tmp_path / "out.png")
    (root / "away").symlink_to(tmp_path / "beside")
    path = table(root, "1.png,a", row)
    fails(root, f"[{path}] row 3: {text}")


def test_links_inside_are_followed(root: Path) -> None:
    fill(root, *(f"real/{n}.png" for n in range(10)))
    (root / "other").symlink_to("real")
    (root / "link.png").symlink_to("real/9.png")
    names = [*(f"other/{n}.png" for n in range(9)), "link.png"]
    table(root, *(f"{name},{'ab'[n % 2]}" for n, name in enumerate(names)))
    found = read(root)
    assert sorted(reds(found.train) + reds(found.test)) == [10 * n for n in range(10)]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "expected the columns file,label in its first row, got nothing"),
        (b"name;class\n0.png;a\n", "expected the columns file,label in its first row, got name;cl"),
        (b"file,label,label\n", "expected the columns file,label in its first row, got file,label"),
        (b"file,label\n", "expected a row for each picture, got none"),
        (b"file,label\n\xff,a\n", "expected a table of text in UTF-8: 'utf-8' codec can't decode"),
        (b'file,label\n"0.png,a\n', "expected a table of text in UTF-8: unexpected end of data"),
        (b"file,label,part\n0.png,a,val\n", "row 2: expected train or test as part, got 'val'"),
        (b"file,label,part\n0.png,a,test\n", "expected pictures of train and of test, got test o"),
        (b"file,label\n" + b"x,a\n" * 9, "row 2: 'x': No such file or directory; row 3: 'x': No"),
    ],
)
def test_tables_that_cannot_be(root: Path, content: bytes, text: str) -> None:
    fill(root, "0.png")
    (root / "labels.csv").write_bytes(content)
    fails(root, f"[{root / 'labels.csv'}] {text}")


def test_a_table_that_is_a_link_out(root: Path, tmp_path: Path) -> None:
    fill(root, "0.png")
    table(tmp_path, "0.png,a")
    (root / "labels.csv").symlink_to(tmp_path / "labels.csv")
    fails(root, f"[{root / 'labels.csv'}] expected a file in this folder, got 'labels.csv', a link")


def test_classes_that_a_part_of_a_table_lacks(root: Path) -> None:
    fill(root, *(f"{n}.png" for n in range(3)))
    table(root, "0.png,a,train", "1.png,b,train", "2.png,a,test", head="file,label,part")
    fails(root, f"[{root}] expected the same classes in train and test, missing from test: b")


def test_image_folder_takes_the_same_options(root: Path) -> None:
    fill(root, *(f"{name}/{n}.png" for name in ("x/a", "x/b", "y") for n in range(10)))
    train, test = image_folder(root, (12, 8), channels=1, class_depth=1, test_fraction=0.5)
    assert train.classes == ("x", "y")
    assert train.images.shape == test.images.shape == (15, 1, 12, 8)
