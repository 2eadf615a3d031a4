"""`tinygrad-cupy evaluate` and `tg.load_run`: a stored run, tested again and used from Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tinygrad_cupy as tg
from support.command_runs import failed, metrics_of, run, skip_drawing, train_quietly
from tinygrad_cupy import datasets

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        skip_drawing(patch)
        return train_quietly(tmp_path_factory.mktemp("runs") / "run", "--epochs", "3")


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures and a run on it, both in one folder."""
    place = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    for index, name in enumerate(("blue", "red")):
        (place / "pictures" / name).mkdir(parents=True)
        for number in range(30):
            pixels = rng.integers(0, 120, (6, 7, 3), dtype=np.uint8)
            pixels[..., 2 - 2 * index] += 100
            Image.fromarray(pixels).save(place / "pictures" / name / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        skip_drawing(patch)
        patch.chdir(place)
        train_quietly(
            place / "run", "--dataset", "pictures", "--epochs", "5", "--test-fraction", "0.3"
        )
    return place


def json_of(capsys: Capture, *words: str | Path) -> dict[str, Any]:
    result = run(capsys, "evaluate", *words, "--json")
    assert (result.code, result.err) == (0, "")
    found: dict[str, Any] = json.loads(result.out)
    return found


def test_the_test_of_the_run_is_repeated(capsys: Capture, trained: Path) -> None:
    found, metrics = json_of(capsys, trained), metrics_of(trained)
    assert found["accuracy"] == metrics["test_accuracy"]
    assert found["loss"] == pytest.approx(metrics["test_loss"], rel=1e-6)
    assert (found["dataset"], found["part"], found["images"]) == ("digits", "test", 359)
    assert found["per_class"]["3"].pop("images") == sum(found["confusion"][3])
    assert found["per_class"]["3"] == metrics["per_class"]["3"]
    assert np.sum(found["confusion"]) == 359


def test_the_figures_are_shown(capsys: Capture, trained: Path) -> None:
    out = run(capsys, "evaluate", trained, "--part", "train").out
    assert "1,438, the train part of digits" in out
    for word in ("accuracy", "loss", "precision", "recall", "F1"):
        assert word in out


def test_a_run_on_a_folder_finds_its_pictures_from_anywhere(
    capsys: Capture, coloured: Path
) -> None:
    found, metrics = json_of(capsys, coloured / "run"), metrics_of(coloured / "run")
    assert found["accuracy"] == metrics["test_accuracy"]
    assert found["images"] == metrics["images"]["test"] == 18
    whole = json_of(capsys, coloured / "run", "--dataset", coloured / "pictures")
    assert whole["images"] == 12  # a fifth, as no other share was asked for


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--part", "val"), 2, "--part: expected one of test, train, got 'val'"),
        (("--device", "gpu"), 2, "--device: expected one of auto, cpu, cuda, got 'gpu'"),
        (("--dataset", "nowhere"), 2, "--dataset: 'nowhere', is neither auto, mnist, digits"),
        (("--data-dir", "nowhere"), 2, "--data-dir: there is no folder 'nowhere'"),
    ],
)
def test_wrong_options(
    capsys: Capture, trained: Path, words: tuple[str, ...], code: int, text: str
) -> None:
    line = failed(run(capsys, "evaluate", trained, *words), code)
    assert line.startswith(f"error: {text}")


def test_data_of_other_classes(capsys: Capture, trained: Path, coloured: Path) -> None:
    line = failed(run(capsys, "evaluate", trained, "--dataset", coloured / "pictures"))
    assert line == (
        "error: --dataset: expected the classes of the run, 0, 1, 2, 3, 4 and 5 more, got blue, "
        "red in pictures"
    )


def test_damaged_settings_are_as_none(capsys: Capture, trained: Path, tmp_path: Path) -> None:
    for name in ("metrics.json", "model.safetensors"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    (tmp_path / "settings.toml").write_bytes(b"dataset = 3\n\xff")
    assert json_of(capsys, tmp_path)["accuracy"] == metrics_of(trained)["test_accuracy"]


# --- from Python --------------------------------------------------------------------------------


def test_a_run_in_python(trained: Path, tmp_path: Path) -> None:
    loaded = tg.load_run(trained)
    assert loaded.classes == tuple("0123456789")
    assert (loaded.settings["dataset"], loaded.settings["epochs"]) == ("digits", 3)
    assert loaded.metrics["test_accuracy"] == metrics_of(trained)["test_accuracy"]
    assert (loaded.image_shape, loaded.model.training) == ((1, 28, 28), False)
    _, test = datasets.digits()
    guesses = loaded.model(loaded.prepare(test.images)).argmax(axis=1).numpy()
    assert (guesses == test.labels).mean() == loaded.metrics["test_accuracy"]
    Image.fromarray(test.images[0, 0]).save(tmp_path / "one.png")
    np.testing.assert_array_equal(
        loaded.read(tmp_path / "one.png").numpy(), loaded.prepare(test.images[:1]).numpy()
    )


def test_colours_are_normalized(coloured: Path) -> None:
    loaded = tg.load_run(coloured / "run")
    picture = coloured / "pictures" / "red" / "0.png"
    values = np.asarray(Image.open(picture), np.float32).transpose(2, 0, 1) / 255
    mean, std = (np.array(loaded.metrics[name])[:, None, None] for name in ("mean", "std"))
    np.testing.assert_allclose(
        loaded.read(picture).numpy()[0], (values - mean) / std, rtol=1e-4, atol=1e-5
    )


def test_what_python_cannot_load(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"\[load_run\] there is no run folder 'nowhere'"):
        tg.load_run("nowhere")
    with pytest.raises(ValueError, match=r"\[load_run\] .* is no run folder: it has no metrics"):
        tg.load_run(tmp_path)
    with pytest.raises(ValueError, match=r"\[load_run\] model: expected FILE.py:function, got 'sm"):
        tg.load_run(trained, model="small")
    loaded = tg.load_run(trained)
    with pytest.raises(ValueError, match=r"expected images \(N, 1, 28, 28\), got \(3, 28, 28\)"):
        loaded.prepare(np.zeros((3, 28, 28)))
    with pytest.raises(FileNotFoundError, match=r"\[load_run\] there is no picture 'no.png'"):
        loaded.read("no.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"\[load_run\] cannot read .* as a picture"):
        loaded.read(tmp_path / "text.png")


def test_an_older_run_without_settings(trained: Path, tmp_path: Path) -> None:
    for name in ("metrics.json", "model.safetensors"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    loaded = tg.load_run(tmp_path)
    assert (loaded.settings["dataset"], loaded.settings["batch_size"]) == ("digits", 128)
