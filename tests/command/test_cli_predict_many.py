"""`tinygrad-cupy predict`: folders, what the net was shown, blank pictures and several digits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from support.command_runs import failed, run, skip_drawing, train_quietly
from tinygrad_cupy import datasets
from tinygrad_cupy.command import ink
from tinygrad_cupy.command.ink import is_blank, is_several
from tinygrad_cupy.command.picture_input import Framing, look
from tinygrad_cupy.datasets.picture_form import PictureForm

Capture = pytest.CaptureFixture[str]
DRAWN = Framing(drawn=True, light_ink=True, box=20, by_mass=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        skip_drawing(patch)
        return train_quietly(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    """Test images, uint8 (N, 28, 28)."""
    found: np.ndarray = datasets.digits()[1].images[:, 0]
    return found


@pytest.fixture
def pictures(tmp_path: Path, digits: np.ndarray) -> Path:
    """A folder with pictures, one of them damaged, and other files."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for number, place in enumerate(("b.png", "a.PNG", "more/c.jpg", ".hidden/d.png")):
        Image.fromarray(digits[number]).save(folder / place, format="PNG")
    (folder / "broken.png").write_text("no picture")
    (folder / "notes.txt").write_text("mine")
    return folder


def side_by_side(digits: np.ndarray, *chosen: int, gap: int = 4) -> np.ndarray:
    """Dark digits on a white page."""
    parts = []
    for one in chosen:
        columns = np.flatnonzero(digits[one].any(axis=0))
        parts += [digits[one][:, columns[0] : columns[-1] + 1], np.zeros((28, gap), np.uint8)]
    return 255 - np.pad(np.hstack(parts), 10)


def test_a_folder_is_all_pictures_below_it(capsys: Capture, trained: Path, pictures: Path) -> None:
    result = run(capsys, "predict", trained, pictures, "--json")
    line = failed(result)
    assert line.startswith(f"error: cannot read {str(pictures / 'broken.png')!r} as a picture")
    answers = json.loads(result.out)
    assert [Path(one["image"]).name for one in answers] == ["a.PNG", "b.png", "broken.png", "c.jpg"]
    assert ["label" in one for one in answers] == [True, True, False, True]
    alone = run(capsys, "predict", trained, pictures / "more" / "c.jpg", "--json")
    assert json.loads(alone.out)[0]["label"] == answers[3]["label"]


def test_many_go_through_the_net_together(
    capsys: Capture, trained: Path, digits: np.ndarray, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from tinygrad_cupy.command import predict

    sizes: list[int] = []
    plain = predict._probabilities

    def counted(model: Any, batch: Any, normalization: Any) -> np.ndarray:
        sizes.append(len(batch))
        return plain(model, batch, normalization)

    monkeypatch.setattr(predict, "_probabilities", counted)
    for number in range(70):
        Image.fromarray(digits[number]).save(tmp_path / f"{number:02d}.png")
    answers = json.loads(run(capsys, "predict", trained, tmp_path, "--json").out)
    assert sizes == [64, 6]
    assert [Path(one["image"]).stem for one in answers] == [f"{n:02d}" for n in range(70)]


def test_what_the_net_was_shown(
    capsys: Capture, trained: Path, pictures: Path, tmp_path: Path, digits: np.ndarray
) -> None:
    shown = tmp_path / "shown"
    twice = pictures / "b.png"
    result = run(capsys, "predict", trained, pictures, twice, "--show", shown)
    assert result.code == 1
    assert sorted(path.name for path in shown.iterdir()) == ["a.png", "b-2.png", "b.png", "c.png"]
    with Image.open(shown / "b.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), digits[0])
    line = failed(run(capsys, "predict", trained, twice, "--show", shown))
    assert line == f"error: --show: {str(shown)!r} is not empty; choose another folder"
    line = failed(run(capsys, "predict", trained, twice, "--show", twice))
    assert line.startswith(f"error: --show: cannot write to {str(twice)!r}: ")


def test_a_framed_picture_is_shown_framed(
    capsys: Capture, trained: Path, digits: np.ndarray, tmp_path: Path
) -> None:
    Image.fromarray(side_by_side(digits, 3)).save(tmp_path / "page.png")
    assert (
        run(capsys, "predict", trained, tmp_path / "page.png", "--show", tmp_path / "s").code == 0
    )
    with Image.open(tmp_path / "s" / "page.png") as picture:
        values = np.asarray(picture)
    assert values.shape == (28, 28)
    assert values[0].max() < 50 < values.max()  # light on black


# --- what is said of pictures -------------------------------------------------------------------


def test_blank_pictures_and_several_digits_are_said_to_be_so(
    capsys: Capture, trained: Path, digits: np.ndarray, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "200")
    Image.new("L", (60, 40), 250).save(tmp_path / "1.png")
    Image.fromarray(side_by_side(digits, 3, 4)).save(tmp_path / "2.png")
    Image.fromarray(side_by_side(digits, 5)).save(tmp_path / "3.png")
    result = run(capsys, "predict", trained, tmp_path)
    assert result.code == 0
    assert "note" in result.out
    rows = result.out.splitlines()[3:6]
    notes = [row.split("│")[-2].strip() for row in rows]
    assert notes == ["blank", "several digits", ""]
    answers = json.loads(run(capsys, "predict", trained, tmp_path, "--json").out)
    assert [one["note"] for one in answers] == ["blank", "several digits", None]
    assert "note" not in run(capsys, "predict", trained, tmp_path / "3.png").out


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_blank_pages(value: float) -> None:
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (28, 28), (300, 1), (701, 503)):
        page = np.full(shape, value, np.float32)
        assert is_blank(page)
        assert is_blank(page + rng.normal(0, 0.005, shape).astype(np.float32))
    grainy = np.full((701, 503), value) + rng.normal(0, 0.03, (701, 503))
    assert is_blank(grainy.astype(np.float32))


def test_pages_that_are_not_blank() -> None:
    page = np.ones((2000, 1500), np.float32)
    page[900:1000, 700] = 0.6  # a line of one pixel
    assert not is_blank(page)
    faint = np.ones((400, 400), np.float32)
    faint[100:200, 150:170] = 0.85
    assert not is_blank(faint)


def test_every_digit_is_one_and_two_are_several(digits: np.ndarray) -> None:
    alone = [is_several(ink.ink_and_background(one / np.float32(255))[0]) for one in digits]
    assert sum(alone) <= 1
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, len(digits), (60, 2))
    found = [
        is_several(ink.ink_and_background(side_by_side(digits, *pair) / np.float32(255))[0])
        for pair in pairs
    ]
    assert sum(found) >= 58


def test_only_digits_are_counted(tmp_path: Path, digits: np.ndarray) -> None:
    Image.fromarray(side_by_side(digits, 3, 4)).save(tmp_path / "two.png")
    form = PictureForm((28, 28), 1)
    assert look(tmp_path / "two.png", DRAWN, form, digits=True).note == "several digits"
    assert look(tmp_path / "two.png", DRAWN, form).note is None
    Image.new("RGB", (9, 9), "red").save(tmp_path / "red.png")
    assert look(tmp_path / "red.png", None, PictureForm((9, 9), 3)).note == "blank"
