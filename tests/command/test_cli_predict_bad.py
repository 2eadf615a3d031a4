"""`tinygrad-cupy predict` on pictures that are none and on run folders that were tampered with."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from support.command_runs import failed, metrics_of, run, skip_drawing, train_quietly
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.cli import main
from tinygrad_cupy.command.errors import CommandError
from tinygrad_cupy.command.normalization import Normalization
from tinygrad_cupy.command.picture_input import Framing
from tinygrad_cupy.command.stored_run import Description, load_run, read_description
from tinygrad_cupy.datasets.picture_folder import decode
from tinygrad_cupy.datasets.picture_form import PictureForm

Capture = pytest.CaptureFixture[str]
DIGITS = Framing(drawn=True, light_ink=True, box=20, by_mass=False)
METRICS: dict[str, Any] = {
    "dataset": "digits",
    "dataset_reason": "The embedded digits, as asked.",
    "model": "small",
    "classes": list("0123456789"),
    "image_shape": [1, 28, 28],
    "pictures": "framed",
    "framing": DIGITS.as_dict(),
}


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A run folder with what `predict` needs, of an untrained model."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    save_file(nn.models.build("small").state_dict(), folder / "model.safetensors")
    return folder


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.linear_gradient("L").save(tmp_path / "good.png")
    return tmp_path / "good.png"


def change(folder: Path, **fields: Any) -> None:
    (folder / "metrics.json").write_text(json.dumps({**METRICS, **fields}))


# --- pictures -----------------------------------------------------------------------------------


def bad_pictures(folder: Path) -> dict[Path, str]:
    """Paths that hold no picture, and how the line on each begins."""
    (folder / "text.png").write_text("no picture")
    (folder / "empty.png").touch()
    (folder / "loop.png").symlink_to("loop.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "large.pgm").write_text("P5 9000 9000 255\n")
    (folder / "nothing").mkdir()
    return {
        folder / "none.png": "there is no picture {path}",
        folder / "text.png": "cannot read {path} as a picture: expected one of PNG, JPEG, ",
        folder / "empty.png": "cannot read {path} as a picture: expected one of PNG, JPEG, ",
        folder / "loop.png": "cannot read {path}: Too many levels of symbolic links",
        folder / "pipe.png": "cannot read {path}: expected a regular file, got a FIFO",
        folder / "large.pgm": "cannot read {path} as a picture: expected 1 to 33,554,432 pixels ",
        folder / "nothing": "there are no pictures in {path}",
        Path("/dev/zero"): "cannot read {path}: expected a regular file, got a device",
        Path("-"): "there is no picture {path}",
    }


def test_each_picture_that_is_none_has_a_line(
    capsys: Capture, stored: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    bad = bad_pictures(tmp_path)
    for path, text in bad.items():
        line = failed(run(capsys, "predict", stored, path))
        assert line.startswith("error: " + text.format(path=repr(str(path))))
    result = run(capsys, "predict", stored, picture, *bad, picture)
    assert result.code == 1
    assert result.out.count("good.png") == 2  # the others are answered
    *lines, last = result.err.splitlines()
    for line, (path, text) in zip(lines, bad.items(), strict=True):
        assert line.startswith("error: " + text.format(path=repr(str(path))))
    assert last == "error: 9 of 11 pictures have no answer"


def test_json_says_which_picture_is_none(
    capsys: Capture, stored: Path, picture: Path, tmp_path: Path
) -> None:
    result = run(capsys, "predict", stored, tmp_path / "none.png", picture, "--json")
    line = failed(result)
    first, second = json.loads(result.out)
    assert first == {"image": str(tmp_path / "none.png"), "error": line.removeprefix("error: ")}
    assert second["image"] == str(picture)
    assert 0 < second["probability"] <= 1


def test_names_are_printed_without_control_characters(
    capsys: Capture, stored: Path, picture: Path, tmp_path: Path
) -> None:
    evil = picture.rename(tmp_path / "\x1b[31m\udcff.png")
    change(stored, classes=[f"\x1b[2J{n}" for n in range(10)])
    for words in ((evil,), (evil, "--json"), (tmp_path / "\x1b[31mnone.png",)):
        result = run(capsys, "predict", stored, *words)
        text = (result.out + result.err).replace("\n", "")
        assert text.isprintable()
    (answer,) = json.loads(run(capsys, "predict", stored, evil, "--json").out)
    assert answer["image"] == str(evil)
    assert answer["label"].startswith("\x1b[2J")


def test_libraries_say_nothing_of_their_own(
    capfd: pytest.CaptureFixture[str], stored: Path, tmp_path: Path
) -> None:
    path = tmp_path / "damaged.tiff"
    Image.linear_gradient("L").save(path, compression="tiff_lzw")
    content = bytearray(path.read_bytes())
    content[20:200] = bytes(180)
    path.write_bytes(content)
    assert main(["predict", str(stored), str(path)]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line == f"error: cannot read {str(path)!r} as a picture: decoder error -2"


SHAPES = {
    "white": Image.new("L", (50, 50), 255),
    "black": Image.new("L", (50, 50), 0),
    "clear": Image.new("RGBA", (50, 50), (0, 0, 0, 0)),
    "one pixel": Image.new("RGB", (1, 1), "red"),
    "a row": Image.new("L", (10_000, 1), 9),
    "a column": Image.linear_gradient("L").resize((1, 10_000)),
}


@pytest.mark.parametrize("kind", ["framed", "scaled"])
def test_pictures_with_nothing_on_them_are_answered(
    capsys: Capture, stored: Path, tmp_path: Path, kind: str
) -> None:
    change(stored, pictures=kind)
    paths = [tmp_path / f"{name}.png" for name in SHAPES]
    for path, image in zip(paths, SHAPES.values(), strict=True):
        image.save(path)
    result = run(capsys, "predict", stored, *paths)
    assert (result.code, result.err) == (0, "")
    assert result.out.count("%") == 2 * len(paths)
    assert "nan" not in result.out


def test_a_very_large_picture_is_made_smaller_before_its_ink_is_looked_for(
    capsys: Capture, stored: Path, tmp_path: Path
) -> None:
    page = Image.new("1", (4096, 2560))
    page.paste(1, (100, 100, 1300, 2100))
    page.save(tmp_path / "large.png")
    page.resize((256, 160)).save(tmp_path / "small.png")
    words = ("predict", stored, tmp_path / "large.png", tmp_path / "small.png", "--json")
    large, small = json.loads(run(capsys, *words).out)
    assert large["label"] == small["label"]
    assert large["probability"] == pytest.approx(small["probability"], abs=0.02)


def test_more_pictures_than_one_batch(capsys: Capture, stored: Path, tmp_path: Path) -> None:
    paths = []
    for n in range(70):
        paths.append(tmp_path / f"{n}.png")
        Image.linear_gradient("L").rotate(5 * n).save(paths[-1])
    paths.insert(65, tmp_path / "none.png")
    answers = json.loads(run(capsys, "predict", stored, *paths, "--json").out)
    assert [answer["image"] for answer in answers] == [str(path) for path in paths]
    assert [n for n, answer in enumerate(answers) if "error" in answer] == [65]
    (alone,) = json.loads(run(capsys, "predict", stored, paths[70], "--json").out)
    assert answers[70]["probability"] == pytest.approx(alone["probability"], rel=1e-5)


# --- what training did is done again ------------------------------------------------------------


def test_a_run_on_a_folder_is_asked_what_its_reader_made(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    skip_drawing(monkeypatch)
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("left", "right"):
            place = tmp_path / "set" / part / name
            place.mkdir(parents=True)
            for n in range(4):
                page = np.zeros((40, 60), np.uint16)
                page[10:20, (5 if name == "left" else 40) + n :][:, :9] = rng.integers(9000, 65535)
                Image.fromarray(page).save(place / f"{n}.png")
    words = ("--dataset", str(tmp_path / "set"), "--batch-size", "4", "--val-fraction", "0.25")
    folder = train_quietly(tmp_path / "run", *words)
    metrics = metrics_of(folder)
    assert (metrics["pictures"], metrics["framing"]) == ("scaled", None)
    _, model = load_run(folder)
    paths = sorted((tmp_path / "set" / "test").rglob("*.png"))
    form = PictureForm((40, 60), 1)
    pixels = np.stack([decode(path, form) for path in paths]).astype(np.float32) / 255
    expected = model(Tensor(pixels)).softmax(axis=1).numpy()
    answers = json.loads(run(capsys, "predict", folder, *paths, "--json").out)
    assert [answer["inverted"] for answer in answers] == [False] * len(paths)
    np.testing.assert_allclose(
        [answer["probability"] for answer in answers], expected.max(axis=1), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("dataset", "reason", "framed"),
    [
        ("mnist", "MNIST, as asked.", True),
        ("digits", "The embedded digits, as asked.", True),
        ("mnist", "The class folders in data/mnist, as asked.", False),
        ("birds", "The class folders in birds, as asked.", False),
    ],
)
def test_runs_from_before_metrics_said_how(
    stored: Path, dataset: str, reason: str, framed: bool
) -> None:
    old = {**METRICS, "dataset": dataset, "dataset_reason": reason}
    del old["pictures"]
    (stored / "metrics.json").write_text(json.dumps(old))
    framing = DIGITS if framed else None
    assert read_description(stored / "metrics.json") == Description(
        "small", tuple("0123456789"), (1, 28, 28), "stretch", framing, Normalization((0.0,), (1.0,))
    )


# --- run folders --------------------------------------------------------------------------------


NAN, HUGE = float("nan"), 10**400
FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "no such model": ({"model": "smal"}, "unknown model 'smal'; did you mean 'small'?"),
    "model, a number": ({"model": 1}, "expected model as a name, got 1"),
    "one class": ({"classes": ["a"]}, "expected classes as two or more different names, got ['a']"),
    "the same class": ({"classes": ["a", "a"]}, "expected classes as two or more different names"),
    "no name": ({"classes": ["a", ""]}, "expected classes as two or more different names"),
    "classes, a text": ({"classes": "0123456789"}, "expected classes as two or more different"),
    "classes, numbers": ({"classes": [0, 1]}, "expected classes as two or more different names"),
    "NaN": ({"image_shape": [1, NAN, NAN]}, "expected image_shape as [channels, 1 or 3, height"),
    "floats": ({"image_shape": [1, 28.0, 28.0]}, "expected image_shape as [channels"),
    "truths": ({"image_shape": [True, 28, 28]}, "expected image_shape as [channels"),
    "no shape": ({"image_shape": None}, "expected image_shape as [channels"),
    "huge": ({"image_shape": [1, HUGE, HUGE]}, "expected image_shape as [channels"),
    "no square": ({"image_shape": [1, 28, 29]}, "framed images as gray squares, got [1, 28, 29]"),
    "many": (
        {"classes": [str(n) for n in range(3000)], "image_shape": [1, 128, 128]},
        "expected classes x pixels of at most 33,554,432, got 49,152,000",
    ),
    "small images": (
        {"image_shape": [1, 1, 1], "pictures": "scaled"}, "images of 1x1 pixels are too small"
    ),
    "large images": (
        {"image_shape": [1, 512, 512]}, "images of at most 131,072 pixels and sides of at most "
    ),
    "two channels": ({"image_shape": [2, 28, 28]}, "expected image_shape as [channels, 1 or 3"),
    "framed in colour": ({"image_shape": [3, 28, 28]}, "framed images as gray squares, got [3,"),
    "resize": ({"pictures": "scaled", "resize": "squash"}, "expected resize as one of ('fit', "),
    "no mean": ({"mean": [0.1, 0.2]}, "expected mean as 1 numbers to 1e+06, got [0.1, 0.2]"),
    "mean, NaN": ({"mean": [NAN]}, "expected mean as 1 numbers to 1e+06, got [nan]"),
    "std, 0": ({"std": [0]}, "expected std as 1 numbers to 1e+06, from 1e-06, got [0]"),
    "std, huge": ({"std": [HUGE]}, "expected std as 1 numbers to 1e+06, from 1e-06, got [1000"),
    "pictures": ({"pictures": "cropped"}, "expected pictures as one of ('framed', 'scaled')"),
    "no framing": ({"framing": None}, "expected framing as an object of drawn, light_ink, box, by"),
    "framing": ({"framing": {"box": 3}}, "expected framing as an object of drawn, light_ink, box"),
    "box": ({"framing": {**DIGITS.as_dict(), "box": 29}}, "framing's box from 1 to 28, got 29"),
    "drawn": ({"framing": {**DIGITS.as_dict(), "drawn": 1}}, "framing's drawn as true or false"),
    "nested": ({"model": {"a": [[[[[[[[[[]]]]]]]]]]}}, "expected model as a name, got {'a': "),
}  # fmt: skip


@pytest.mark.one_in(3)
@pytest.mark.parametrize("kind", FIELDS)
def test_metrics_that_do_not_describe_a_model(
    capsys: Capture, stored: Path, picture: Path, kind: str
) -> None:
    fields, text = FIELDS[kind]
    change(stored, **fields)
    line = failed(run(capsys, "predict", stored, picture))
    assert line.startswith(f"error: {str(stored)!r}"[:-1])
    assert text in line
    assert len(line) < 400 + len(str(stored))


@pytest.mark.parametrize("name", ["model", "classes", "image_shape", "framing"])
def test_metrics_that_lack_something(
    capsys: Capture, stored: Path, picture: Path, name: str
) -> None:
    metrics = {key: value for key, value in METRICS.items() if key != name}
    (stored / "metrics.json").write_text(json.dumps(metrics))
    line = failed(run(capsys, "predict", stored, picture))
    path = str(stored / "metrics.json")
    assert line == f"error: {path!r} does not describe a model: it has no {name}"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, bytes(1 << 25)],
    ids=["empty", "half", "no UTF-8", "lists", "objects", "a number", "large"],
)
def test_metrics_that_are_no_json(
    capsys: Capture, stored: Path, picture: Path, content: bytes
) -> None:
    (stored / "metrics.json").write_bytes(content)
    line = failed(run(capsys, "predict", stored, picture))
    assert line.startswith(f"error: cannot read {str(stored / 'metrics.json')!r}: ")


def test_metrics_that_are_no_object(capsys: Capture, stored: Path, picture: Path) -> None:
    (stored / "metrics.json").write_text("[1]")
    assert "expected an object, got [1]" in failed(run(capsys, "predict", stored, picture))


def _with(name: str, value: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any], Any]:
    return lambda state: {**state, name: value(state[name])}


def _holding(number: float) -> Callable[[np.ndarray], np.ndarray]:
    def put(array: np.ndarray) -> np.ndarray:
        changed = array.copy()
        changed.flat[-1] = number
        return changed

    return put


WEIGHTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "NaN": (_with("0.weight", _holding(np.nan)), "expected finite numbers in 0.weight, got NaN or"),
    "inf": (_with("0.bias", _holding(-np.inf)), "expected finite numbers in 0.bias, got NaN or"),
    "float64": (
        _with("0.bias", lambda array: array.astype(np.float64)),
        "expected 0.bias as float32 (8,), got float64 (8,)",
    ),
    "integers": (
        _with("0.bias", lambda array: array.astype(np.int32)),
        "expected 0.bias as float32 (8,), got int32 (8,)",
    ),
    "shape": (_with("0.bias", lambda array: array[:-1]), "as float32 (8,), got float32 (7,)"),
    "missing": (lambda state: {"0.bias": state["0.bias"]}, "missing ['0.weight', "),
    "unexpected": (lambda state: {**state, "\x1b[2J": state["0.bias"]}, r"unexpected ['\x1b[2J']"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_that_do_not_fit(capsys: Capture, stored: Path, picture: Path, kind: str) -> None:
    path = stored / "model.safetensors"
    damage, text = WEIGHTS[kind]
    save_file(damage(load_file(path)), path)
    line = failed(run(capsys, "predict", stored, picture))
    assert line.startswith(f"error: {str(path)!r} does not fit 'small': {text.split('[')[0]}"[:40])
    assert text in line


def test_weights_of_a_dtype_that_cannot_be(capsys: Capture, stored: Path, picture: Path) -> None:
    path = stored / "model.safetensors"
    content = path.read_bytes()
    for dtype in (b'"F\x7f2"', b'"F16"', b'"F64"'):  # the others do not fit the file's size
        path.write_bytes(content.replace(b'"F32"', dtype, 1))
        line = failed(run(capsys, "predict", stored, picture))
        assert line.startswith(f"error: cannot read {str(path)!r}: ")
        assert line.isprintable()


def test_weights_that_are_finite_and_answers_that_are_not(
    capsys: Capture, stored: Path, picture: Path
) -> None:
    path = stored / "model.safetensors"
    save_file({name: np.full_like(a, 3e38) for name, a in load_file(path).items()}, path)
    result = run(capsys, "predict", stored, picture, "--json")
    text = f"the numbers in {str(path)!r} are too large to read {str(picture)!r}"
    assert failed(result) == f"error: {text}"
    assert json.loads(result.out) == [{"image": str(picture), "error": text}]


def test_files_of_a_run_that_are_none(stored: Path) -> None:
    for name in ("metrics.json", "model.safetensors"):
        (stored / name).rename(stored / "kept")
        os.mkfifo(stored / name)
        text = f"cannot read {str(stored / name)!r}: expected a regular file, got a FIFO"
        with pytest.raises(CommandError, match=re.escape(text)):
            load_run(stored)
        (stored / "kept").rename(stored / name)
