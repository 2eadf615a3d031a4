"""`tinygrad-cupy predict`: pictures of every kind, read by a trained net."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from safetensors.numpy import load_file, save_file

from support.command_runs import failed, metrics_of, run, train_quietly
from tinygrad_cupy import datasets, nn
from tinygrad_cupy.command.picture_input import Framing, read_picture
from tinygrad_cupy.datasets.picture_form import PictureForm

Capture = pytest.CaptureFixture[str]
Picture = Image.Image


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net that reads the digits well enough for its sure answers to be right."""
    return train_quietly(
        tmp_path_factory.mktemp("runs") / "run", "--epochs", "12", "--batch-size", "32"
    )


@pytest.fixture(scope="module")
def digits(trained: Path) -> dict[str, Picture]:
    """Of every class the test image that the trained net is surest of, as it is (28 x 28)."""
    _, test = datasets.digits()
    model = nn.models.build("small")
    model.load_state_dict(load_file(trained / "model.safetensors"))
    trainer = nn.Trainer(model, nn.optim.SGD(model.parameters(), lr=1.0))
    answers = trainer.evaluate(datasets.DataLoader(test, 256))
    right = answers.probabilities[np.arange(len(test)), answers.labels]
    return {
        name: Image.fromarray(test.images[np.where(answers.labels == n, right, 0).argmax(), 0])
        for n, name in enumerate(test.classes)
    }


def read(path: Path, framing: Framing, side: int) -> tuple[np.ndarray, bool]:
    """The picture (side, side) as a model is given it, and whether it was inverted."""
    (image,), inverted = read_picture(path, framing, PictureForm((side, side), 1))
    return image, inverted


def enlarged(picture: Picture) -> Picture:
    return picture.resize((200, 200))


def on_paper(picture: Picture) -> Picture:
    """A dark digit, small, off the centre of a large sheet with shadows and grain."""
    page = Image.new("L", (900, 700), 235)
    digit = ImageOps.invert(picture.resize((300, 300)))
    page.paste(digit.point(lambda value: value * 235 // 255), (60, 90))
    gray = np.asarray(page) * np.linspace(1, 0.8, 900)
    gray += np.random.default_rng(0).normal(0, 6, gray.shape)
    return Image.fromarray(gray.clip(0, 255).astype(np.uint8)).convert("RGB")


def on_glass(picture: Picture) -> Picture:
    """Blue ink on nothing: the colour hardly varies, the alpha is the digit."""
    ink = Image.new("RGBA", (120, 150), (0, 0, 120, 0))
    coloured = Image.new("RGBA", (100, 100), (0, 0, 120, 255))
    coloured.putalpha(picture.resize((100, 100)))
    ink.paste(coloured, (5, 40))
    return ink


def with_16_bits(picture: Picture) -> Picture:
    return Image.fromarray(np.asarray(picture.resize((90, 90))).astype(np.uint16) * 257)


KINDS: dict[str, tuple[Callable[[Picture], Picture], bool]] = {
    "as it is": (lambda picture: picture, False),
    "inverted": (ImageOps.invert, True),
    "large": (enlarged, False),
    "large, inverted": (lambda picture: ImageOps.invert(enlarged(picture)), True),
    "colour photo of paper": (on_paper, True),
    "transparent": (on_glass, True),
    "palette": (lambda picture: ImageOps.invert(enlarged(picture)).convert("P"), True),
    "16 bit": (with_16_bits, False),
    "one bit": (lambda picture: enlarged(picture).convert("1", dither=Image.Dither.NONE), False),
    "gray and alpha": (lambda picture: enlarged(picture).convert("LA"), False),
    "CMYK": (lambda picture: ImageOps.invert(enlarged(picture)).convert("CMYK"), True),
}  # fmt: skip


@pytest.mark.one_in(3)
@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_every_kind(
    capsys: Capture, trained: Path, digits: dict[str, Picture], tmp_path: Path, kind: str
) -> None:
    change, inverted = KINDS[kind]
    suffix = "tiff" if kind == "CMYK" else "png"
    paths = [tmp_path / f"{name}.{suffix}" for name in digits]
    for path, picture in zip(paths, digits.values(), strict=True):
        change(picture).save(path)
    result = run(capsys, "predict", trained, *paths, "--json")
    assert (result.code, result.err) == (0, "")
    answers = json.loads(result.out)
    assert [answer["inverted"] for answer in answers] == [inverted] * 10
    right = sum(answer["label"] == name for answer, name in zip(answers, digits, strict=True))
    assert right >= 9


def test_json_has_probabilities_in_order(
    capsys: Capture, trained: Path, digits: dict[str, Picture], tmp_path: Path
) -> None:
    digits["3"].save(tmp_path / "3.png")
    (answer,) = json.loads(run(capsys, "predict", trained, tmp_path / "3.png", "--json").out)
    assert answer.keys() == {
        "image", "label", "probability", "runner_up", "runner_up_probability", "inverted",
        "note",
    }  # fmt: skip
    assert answer["image"] == str(tmp_path / "3.png")
    assert answer["label"] != answer["runner_up"]
    assert 1 >= answer["probability"] >= answer["runner_up_probability"] >= 0


def test_the_table_has_a_row_per_picture(
    capsys: Capture, trained: Path, digits: dict[str, Picture], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    digits["3"].save("[3].png")
    digits["8"].save("8.png")
    lines = run(capsys, "predict", trained, "[3].png", "8.png").out.splitlines()
    assert [word for word in lines[1].split() if word.isalpha()][:3] == [
        "image", "digit", "probability",
    ]  # fmt: skip
    assert [line.split()[1:4:2] for line in lines[3:5]] == [["[3].png", "3"], ["8.png", "8"]]
    assert "%" in lines[3]


# --- how a picture is prepared ------------------------------------------------------------------


@pytest.mark.slow
def test_framing_is_measured_on_the_training_images() -> None:
    train, _ = datasets.digits()
    assert Framing.of(train.images) == Framing(drawn=True, light_ink=True, box=20, by_mass=False)
    assert Framing.of(255 - train.images) == Framing(
        drawn=True, light_ink=False, box=20, by_mass=False
    )
    noise = np.random.default_rng(0).integers(0, 256, (50, 3, 28, 28), dtype=np.uint8)
    assert not Framing.of(noise).drawn


def test_a_digit_is_brought_to_the_size_and_place_of_the_training_images(tmp_path: Path) -> None:
    """A bar of 30 x 100 pixels in a corner becomes 6 x 20 in the middle."""
    page = np.full((400, 300), 255, np.uint8)
    page[10:110, 20:50] = 0
    Image.fromarray(page).save(tmp_path / "bar.png")
    image, inverted = read(tmp_path / "bar.png", Framing(True, True, 20, True), 28)
    assert inverted
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (4, 23, 11, 16)
    assert image.max() == 1


def test_a_model_of_dark_digits_gets_dark_digits(tmp_path: Path) -> None:
    page = np.zeros((400, 300), np.uint8)
    page[10:110, 20:50] = 255
    Image.fromarray(page).save(tmp_path / "bar.png")
    image, inverted = read(tmp_path / "bar.png", Framing(True, False, 20, True), 28)
    assert inverted
    assert (image[0, 0], image[14, 14]) == (1, 0)


def test_photos_are_only_resized(tmp_path: Path) -> None:
    page = np.full((50, 70, 3), 200, np.uint8)
    Image.fromarray(page).save(tmp_path / "photo.png")
    image, inverted = read(tmp_path / "photo.png", Framing(False, True, 28, True), 28)
    assert not inverted
    np.testing.assert_allclose(image, np.full((28, 28), 200 / 255), atol=1e-3)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_an_empty_page_is_no_error(tmp_path: Path, value: int) -> None:
    Image.new("L", (50, 50), value).save(tmp_path / "empty.png")
    image, _ = read(tmp_path / "empty.png", Framing(True, True, 20, True), 28)
    assert image.shape == (28, 28)
    assert np.isfinite(image).all()


def test_a_picture_of_one_pixel(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), "red").save(tmp_path / "one.png")
    image, _ = read(tmp_path / "one.png", Framing(True, True, 20, True), 28)
    assert np.isfinite(image).all()


def test_a_turned_photo_is_turned_back(tmp_path: Path) -> None:
    """Cameras store how they were held: 6 asks for a quarter turn clockwise."""
    page = np.zeros((28, 28), np.uint8)
    page[:, 4] = 255
    picture = Image.fromarray(page)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    image, _ = read(tmp_path / "turned.png", Framing(True, True, 20, True), 28)
    np.testing.assert_array_equal(np.flatnonzero(image.sum(axis=1)), [4])


def test_gray_values_of_unusual_modes(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 9).reshape(3, 3)
    deep = Image.fromarray((ramp * 65535).astype(np.uint16))
    floats = Image.fromarray(ramp.astype(np.float32))
    light_on_nothing = Image.merge("LA", [Image.new("L", (3, 3), 255), Image.new("L", (3, 3), 0)])
    light_on_nothing.putpixel((1, 0), (255, 255))
    lit = np.zeros((3, 3))
    lit[0, 1] = 1
    for picture, name, expected in (
        (deep, "deep.png", ramp),
        (floats, "floats.tiff", ramp),
        (light_on_nothing, "light.png", lit),
    ):
        picture.save(tmp_path / name)
        photo = Framing(drawn=False, light_ink=True, box=3, by_mass=True)
        image, _ = read(tmp_path / name, photo, 3)
        np.testing.assert_allclose(image, expected, atol=1 / 65535)


# --- errors -------------------------------------------------------------------------------------


def test_pictures_that_cannot_be_read(capsys: Capture, trained: Path, tmp_path: Path) -> None:
    line = failed(run(capsys, "predict", trained, tmp_path / "no.png"))
    assert line == f"error: there is no picture {str(tmp_path / 'no.png')!r}"
    (tmp_path / "text.png").write_text("no picture")
    line = failed(run(capsys, "predict", trained, tmp_path / "text.png"))
    assert line.startswith(f"error: cannot read {str(tmp_path / 'text.png')!r} as a picture: ")
    (tmp_path / "empty").mkdir()
    line = failed(run(capsys, "predict", trained, tmp_path / "empty"))
    assert line == f"error: there are no pictures in {str(tmp_path / 'empty')!r}"


def test_folders_that_are_no_runs(capsys: Capture, trained: Path, tmp_path: Path) -> None:
    near = trained.with_name("runn")
    line = failed(run(capsys, "predict", near, "x.png"))
    assert line == f"error: there is no run folder {str(near)!r}; did you mean 'run'?"
    line = failed(run(capsys, "predict", tmp_path, "x.png"))
    assert line == f"error: {str(tmp_path)!r} is no run folder: it has no metrics.json"
    (tmp_path / "sweep.csv").touch()
    (tmp_path / "batch-32").mkdir()
    line = failed(run(capsys, "predict", tmp_path, "x.png"))
    assert line == f"error: {str(tmp_path)!r} is a sweep; choose a run in it: batch-32"


@pytest.fixture
def broken(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be broken."""
    for name in ("metrics.json", "model.safetensors"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    return tmp_path


def test_run_folders_that_are_damaged(capsys: Capture, broken: Path) -> None:
    metrics, weights = broken / "metrics.json", broken / "model.safetensors"
    text, data = metrics.read_text(encoding="utf-8"), weights.read_bytes()
    metrics.write_text("{")
    line = failed(run(capsys, "predict", broken, "x.png"))
    assert line.startswith(f"error: cannot read {str(metrics)!r}: ")
    metrics.write_text("{}")
    line = failed(run(capsys, "predict", broken, "x.png"))
    assert line.startswith(f"error: {str(metrics)!r} does not describe a model: ")
    metrics.write_text(text.replace('"small"', '"smal"'), encoding="utf-8")
    line = failed(run(capsys, "predict", broken, "x.png"))
    assert "unknown model 'smal'" in line
    metrics.write_text(text, encoding="utf-8")
    weights.write_bytes(data[:100])
    line = failed(run(capsys, "predict", broken, "x.png"))
    assert line.startswith(f"error: cannot read {str(weights)!r}: ")


def test_weights_of_another_model(capsys: Capture, broken: Path) -> None:
    save_file(nn.models.build("deep").state_dict(), broken / "model.safetensors")
    result = run(capsys, "predict", broken, "x.png")
    assert result.code == 1
    assert f"{str(broken / 'model.safetensors')!r} does not fit 'small': " in result.err
    assert "missing" in result.err
    assert "Traceback" not in result.err


def test_metrics_say_how_pictures_look(trained: Path) -> None:
    assert metrics_of(trained)["framing"] == {
        "drawn": True, "light_ink": True, "box": 20, "by_mass": False,
    }  # fmt: skip
