"""The command on folders of pictures: colour, any size, and `predict` as `train` tested."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

import tinygrad_cupy as tg
from support.command_runs import Result, failed, metrics_of, run, skip_drawing
from support.graph_stand_in import StandInPool
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.command import pictures
from tinygrad_cupy.command.errors import UsageError
from tinygrad_cupy.command.normalization import Normalization, NormalizedLoader
from tinygrad_cupy.command.settings import TrainSettings, parse_image_size
from tinygrad_cupy.command.stored_run import load_run
from tinygrad_cupy.datasets import ArrayDataset, DataLoader, DownloadError, catalog, picture_cache

Capture = pytest.CaptureFixture[str]
COLOURS = ("blue", "green", "red")


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of pictures alone: compiled code stays where it is."""
    (tmp_path / "cache").mkdir()
    monkeypatch.setattr(picture_cache, "private_folder", lambda name: tmp_path / "cache")


def colour_folder(root: Path, train: int = 40, test: int = 16) -> Path:
    """Three classes that differ by colour: noise of about one gray value, 24 × 40, PNG and JPEG."""
    rng = np.random.default_rng(0)
    weights = {"red": 0.299, "green": 0.587, "blue": 0.114}
    for part, count in (("train", train), ("test", test)):
        for channel, name in enumerate(("red", "green", "blue")):
            place = root / part / name
            place.mkdir(parents=True)
            for n in range(count):
                pixels = rng.integers(60, 100, (24, 40, 3)).astype(float)
                pixels -= 40 * weights[name]
                pixels[..., channel] += 40
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(place / f"{n}.{('png', 'jpg')[n % 2]}")
    return root


def pictures_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def predicted(capsys: Capture, folder: Path, paths: list[Path]) -> list[str]:
    """The label that `predict` gives each picture."""
    result = run(capsys, "predict", folder, *paths, "--json")
    assert (result.code, result.err) == (0, "")
    return [answer["label"] for answer in json.loads(result.out)]


def trained(capsys: Capture, root: Path, out: Path, *options: str) -> Result:
    result = run(
        capsys, "train", "--dataset", root, "--device", "cpu", "--out", out,
        "--model", "small", "--epochs", "1", *options,
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")
    return result


@pytest.mark.slow
def test_colours_of_24_by_40(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight epochs with every default; `predict` is right exactly as often as `train` said."""
    shown: list[np.ndarray] = []
    real = pictures._shown

    def show(image: np.ndarray) -> np.ndarray:
        shown.append(real(image))
        return shown[-1]

    monkeypatch.setattr(pictures, "_shown", show)
    root = colour_folder(tmp_path / "set")
    result = run(
        capsys, "train", "--dataset", root, "--epochs", "8", "--device", "cpu",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0] == f"dataset: The class folders in {root}, as asked."
    assert lines[1] == "images:  24×40, in colour"
    metrics = metrics_of(tmp_path / "run")
    assert metrics["test_accuracy"] >= 0.98
    assert (metrics["image_shape"], metrics["resize"]) == ([3, 24, 40], "fit")
    assert (metrics["pictures"], metrics["framing"], metrics["skipped"]) == ("scaled", None, [])
    assert metrics["classes"] == list(COLOURS)
    paths = pictures_in(root / "test")
    answers = predicted(capsys, tmp_path / "run", paths)
    right = sum(answer == path.parent.name for answer, path in zip(answers, paths, strict=True))
    assert right / len(paths) == metrics["test_accuracy"]
    # The pictures of the run show colours.
    assert {image.shape for image in shown} == {(24, 40, 3)}
    assert any((image[..., 0] != image[..., 1]).any() for image in shown)


@pytest.mark.slow
def test_an_untrained_net_is_as_wrong_in_predict(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where answers are guesses, any difference in reading would show; sizes and modes vary."""
    skip_drawing(monkeypatch)
    rng, root = np.random.default_rng(1), tmp_path / "set"
    modes = ("RGB", "L", "P", "RGBA", "LA", "1", "CMYK")
    for part in ("train", "test"):
        for name in COLOURS:
            place = root / part / name
            place.mkdir(parents=True)
            for n in range(21):
                height, width = rng.integers(8, 60, 2)
                pixels = rng.integers(0, 256, (height, width, 4), np.uint8)
                mode = modes[n % len(modes)]
                image = Image.fromarray(pixels)
                image = image if mode == "RGBA" else image.convert("RGB").convert(mode)
                exif = Image.Exif()
                exif[0x0112] = n % 8 + 1
                kind = "tiff" if mode == "CMYK" else "png"
                image.save(place / f"{n}.{kind}", exif=exif)
    paths = pictures_in(root / "test")
    for how, channels in (("fit", 3), ("crop", 1), ("stretch", 3)):
        folder = tmp_path / how
        options = ("--image-size", "20x33", "--channels", str(channels), "--resize", how)
        trained(capsys, root, folder, *options, "--lr", "1e-9")
        metrics = metrics_of(folder)
        assert metrics["image_shape"] == [channels, 20, 33]
        answers = predicted(capsys, folder, paths)
        right = sum(answer == path.parent.name for answer, path in zip(answers, paths, strict=True))
        assert right / len(paths) == metrics["test_accuracy"]


NETS = (
    *(nn.models.MNIST[:2]),
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in nn.models.CLASSIFIERS
        if name not in nn.models.MNIST[:2]
    ),
)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("model", NETS)
def test_every_net_takes_colour_of_any_size(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    skip_drawing(monkeypatch)
    root = colour_folder(tmp_path / "set", 8, 4)
    trained(capsys, root, tmp_path / "run", "--model", model)
    assert metrics_of(tmp_path / "run")["image_shape"] == [3, 24, 40]
    paths = pictures_in(root / "test")
    assert set(predicted(capsys, tmp_path / "run", paths)) <= set(COLOURS)


def test_a_table_and_what_it_leaves_out(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_drawing(monkeypatch)
    root = colour_folder(tmp_path / "set", 6, 2)
    names = [path.relative_to(root) for path in pictures_in(root)]
    rows = [f"{name},{name.parent.name}" for name in names[1:]]
    (root / "labels.csv").write_text("\n".join(["file,label", *rows]))
    result = trained(capsys, root, tmp_path / "run")
    assert result.out.splitlines()[0] == (
        f"dataset: The pictures of labels.csv in {root}, as asked. "
        f"Skipped 1: {names[0]} (not in labels.csv)."
    )
    metrics = metrics_of(tmp_path / "run")
    assert metrics["skipped"] == [[str(names[0]), "not in labels.csv"]]
    assert metrics["images"]["test"] + metrics["images"]["train"] + metrics["images"]["val"] == 23


def test_sizes_that_differ_ask_for_the_option(capsys: Capture, tmp_path: Path) -> None:
    root = colour_folder(tmp_path / "set", 6, 2)
    Image.new("RGB", (9, 9)).save(root / "test" / "red" / "odd.png")
    words = ("train", "--dataset", root, "--out", tmp_path / "run")
    line = failed(run(capsys, *words))
    assert line == (
        f"error: [{root}] expected pictures of one size, or an image_size (--image-size H×W) to "
        "bring them to, got 2 sizes: 24×40 (24, such as train/blue/0.png), "
        "9×9 (1, such as test/red/odd.png)"
    )
    assert not (tmp_path / "run").exists()


def test_images_too_large_for_a_net_are_refused(capsys: Capture, tmp_path: Path) -> None:
    root = colour_folder(tmp_path / "set", 2, 1)
    words = ("train", "--dataset", root, "--out", tmp_path / "run", "--image-size")
    line = failed(run(capsys, *words, "400x400"))
    assert line == (
        "error: --image-size: expected images of at most 131,072 pixels and sides of at most "
        "4,096, got 400×400; choose a smaller --image-size"
    )
    line = failed(run(capsys, *words, "3x3", "--model", "deep"))
    assert "images of 3x3 pixels are too small, expected at least 20x20" in line


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--image-size", "24by40"), "--image-size: expected HEIGHTxWIDTH, as in 24x40, got '24by"),
        (("--image-size", "0x4"), "--image-size: expected at least 1 x 1 and at most 33,554,432"),
        (("--channels", "2"), "--channels: expected 1 (gray) or 3 (colour), got 2"),
        (("--resize", "squash"), "--resize: expected one of fit, crop, stretch, got 'squash'"),
        (("--class-depth", "0"), "--class-depth: expected at least 1, got 0"),
        (("--test-fraction", "1"), "--test-fraction: expected a number between 0 and 1, got 1"),
        (("--data-dir", "."), "--data-dir: is for data sets by name; a folder of pictures is nam"),
    ],
)
def test_options_that_cannot_be(
    capsys: Capture, tmp_path: Path, options: tuple[str, ...], text: str
) -> None:
    line = failed(run(capsys, "train", "--dataset", tmp_path, *options), code=2)
    assert line.startswith(f"error: {text}")


@pytest.mark.parametrize("option", ["image_size", "channels", "resize"])
def test_options_of_folders_are_for_folders(option: str) -> None:
    values: dict[str, Any] = {"image_size": "9x9", "channels": 3, "resize": "crop"}
    text = f"--{option.replace('_', '-')}: is for folders of pictures; --dataset is digits"
    with pytest.raises(UsageError, match=re.escape(text)):
        TrainSettings(dataset="digits", **{option: values[option]})


def test_a_data_set_in_colour_by_its_name(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """cifar10 here is a few pictures of noise."""
    skip_drawing(monkeypatch)
    images = rng.integers(0, 256, (200, 3, 32, 32), np.uint8)
    data = ArrayDataset(images, np.arange(200) % 10, tuple("abcdefghij"), "cifar10")
    monkeypatch.setitem(catalog.PUBLISHED, "cifar10", lambda data_dir: (data, data))
    trained(capsys, Path("cifar10"), tmp_path / "run")
    metrics = metrics_of(tmp_path / "run")
    assert (metrics["dataset"], metrics["image_shape"]) == ("cifar10", [3, 32, 32])
    assert (metrics["pictures"], metrics["framing"]) == ("scaled", None)
    paths = [tmp_path / f"{n}.png" for n in range(20)]
    for path, image in zip(paths, images, strict=False):
        Image.fromarray(image.transpose(1, 2, 0)).save(path)
    description, model = load_run(tmp_path / "run")
    x = description.normalization(Tensor(images[:20] / np.float32(255)))
    expected = [description.classes[n] for n in model(x).numpy().argmax(axis=1)]
    assert predicted(capsys, tmp_path / "run", paths) == expected


def test_a_folder_with_the_name_of_a_data_set(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(data_dir: Path | None) -> None:
        raise DownloadError("[cifar10] no mirror can be reached")

    monkeypatch.chdir(tmp_path)
    colour_folder(Path("cifar10"), 2, 1)
    monkeypatch.setitem(catalog.PUBLISHED, "cifar10", unreachable)
    line = failed(run(capsys, "train", "--dataset", "cifar10"))
    assert line == (
        "error: [cifar10] no mirror can be reached (--dataset ./cifar10 is the folder of that name)"
    )


@pytest.mark.parametrize("text", ["24x40", "24×40", " 24 X 40 ", "24*40"])
def test_ways_to_write_a_size(text: str) -> None:
    assert parse_image_size(text) == (24, 40)
    assert parse_image_size("32") == (32, 32)


@pytest.mark.parametrize(("images", "size"), [(10_000, 128), (1024, 128), (81, 10), (3, 1)])
def test_few_pictures_make_small_batches(tmp_path: Path, images: int, size: int) -> None:
    pixels = np.zeros((images, 1, 4, 4), np.uint8)
    data = ArrayDataset(pixels, np.zeros(images, np.int64), ("a", "b"), "set")
    assert TrainSettings(dataset=str(tmp_path)).resolve(data, "cpu").batch_size == size
    asked = TrainSettings(dataset=str(tmp_path), batch_size=2)
    if images >= 2:
        assert asked.resolve(data, "cpu").batch_size == 2


@pytest.mark.slow
def test_a_sweep_says_how_to_repeat_it(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_drawing(monkeypatch)
    root = colour_folder(tmp_path / "set", 6, 2)
    result = run(
        capsys, "sweep", "--dataset", root, "--batch-sizes", "4,8", "--epochs", "1",
        "--device", "cpu", "--out", tmp_path / "out", "--image-size", "12x20", "--resize", "crop",
        "--class-depth", "1",
    )  # fmt: skip
    assert result.code == 0
    report = (tmp_path / "out" / "report.md").read_text()
    words = "--image-size 12x20 --channels 3 --resize crop --class-depth 1 --model small "
    assert f"tinygrad-cupy sweep --batch-sizes 4,8 --dataset {root} {words}" in report


# --- normalization ------------------------------------------------------------------------------


def test_gray_is_left_alone_and_colour_is_normalized(rng: np.random.Generator) -> None:
    gray = rng.integers(0, 256, (9, 1, 5, 6), np.uint8)
    assert Normalization.of(gray) == Normalization((0.0,), (1.0,))
    assert not Normalization.of(gray).changes
    images = rng.integers(0, 256, (600, 3, 5, 6), np.uint8)
    images[:, 1] //= 2
    images[:, 2] //= 4
    found = Normalization.of(images)
    scaled = images / 255
    np.testing.assert_allclose(found.mean, scaled.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(found.std, scaled.std(axis=(0, 2, 3)), rtol=1e-9)
    plain = Normalization.of(np.full((4, 3, 2, 2), 7, np.uint8))
    assert plain.std == (1 / 255,) * 3


def test_batches_are_normalized_as_pictures_are(rng: np.random.Generator, device: str) -> None:
    images = rng.integers(0, 256, (10, 3, 5, 6), np.uint8)
    data = ArrayDataset(images, np.arange(10) % 2, ("a", "b"), "set")
    normalization = Normalization.of(images)
    loader = NormalizedLoader(DataLoader(data, 4, device=device), normalization)
    assert len(loader) == 3
    batches = list(loader)
    x = np.concatenate([x.numpy() for x, _ in batches])
    assert x.dtype == np.float32
    np.testing.assert_allclose(x.mean(axis=(0, 2, 3)), [0, 0, 0], atol=1e-5)
    np.testing.assert_allclose(x.std(axis=(0, 2, 3)), [1, 1, 1], atol=1e-5)
    plain = np.divide(images, np.float32(255))
    alone = normalization(Tensor(plain, device=device)).numpy()
    np.testing.assert_array_equal(alone, x)
    assert np.concatenate([y.numpy() for _, y in batches]).tolist() == data.labels.tolist()


def test_a_captured_step_normalizes_too(place: str, rng: np.random.Generator) -> None:
    """The same weights with captures and without, bit for bit."""
    images = rng.integers(0, 256, (20, 3, 6, 9), np.uint8)
    data = ArrayDataset(images, np.arange(20) % 2, ("a", "b"), "set")
    weights = []
    for jitted in (False, True):
        tg.manual_seed(0)
        model = nn.models.build("small", 2, 3, (6, 9))
        adam = nn.optim.Adam(model.parameters(), lr=0.01)
        StandInPool.owners[:] = [model, adam]
        loader = NormalizedLoader(DataLoader(data, 8, shuffle=True), Normalization.of(images))
        trainer = nn.Trainer(model, adam, jit=jitted)
        trainer.fit(loader, epochs=2)
        weights.append([*model.state_dict().values(), trainer.evaluate(loader).probabilities])
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


# --- runs from before ---------------------------------------------------------------------------


def test_a_run_on_a_folder_from_before(capsys: Capture, tmp_path: Path) -> None:
    """It knew neither resize nor mean: gray, stretched to a square, from 0 to 1."""
    folder = tmp_path / "run"
    folder.mkdir()
    metrics = {
        "dataset": "birds", "dataset_reason": "The class folders in birds, as asked.",
        "model": "small", "classes": ["a", "b", "c"], "image_shape": [1, 28, 28],
        "pictures": "scaled", "framing": None,
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics))
    model = nn.models.build("small", 3)
    save_file(model.state_dict(), folder / "model.safetensors")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 70, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    gray = Image.fromarray(pixels).convert("L").resize((28, 28), Image.Resampling.BICUBIC)
    x = Tensor(np.asarray(gray)[None, None].astype(np.float32) / 255)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    expected = model.eval()(x).softmax(axis=1).numpy().max()
    (answer,) = json.loads(run(capsys, "predict", folder, tmp_path / "x.png", "--json").out)
    assert answer["probability"] == pytest.approx(expected, rel=1e-6)
