"""Options of `train` and `sweep`: TOML files, schedules, augmentation, precision, own models."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tinygrad_cupy as tg
from support.command_runs import TRAIN, failed, metrics_of, run, skip_drawing, train_quietly
from tinygrad_cupy import datasets, nn
from tinygrad_cupy.command import recipe, settings_file
from tinygrad_cupy.command.errors import CommandError, UsageError
from tinygrad_cupy.command.normalization import Normalization
from tinygrad_cupy.command.options import SWEEP
from tinygrad_cupy.command.options import TRAIN as TRAIN_OPTIONS
from tinygrad_cupy.command.settings import AUGMENTATIONS, SCHEDULES, RunSettings, TrainSettings
from tinygrad_cupy.datasets import ArrayDataset
from tinygrad_cupy.jit import jit

Capture = pytest.CaptureFixture[str]

NET = """
from beside import width
from tinygrad_cupy import nn


def build(classes, in_channels, image_size):
    inputs = in_channels * image_size[0] * image_size[1]
    first = nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), nn.ReLU())
    return nn.Sequential(first, nn.Linear(width, classes))


def wants(depth): ...
def other(classes): return "a net"
def bare(**given): return nn.ReLU()
def wrong(classes): return nn.Sequential(nn.Flatten(), nn.Linear(784, classes + 1))
def fails(): raise KeyError("no")
"""


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_drawing(monkeypatch)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("width = 8\n")
    path = tmp_path / "net.py"
    path.write_text(NET)
    return path


@pytest.fixture(autouse=True)
def _forget_imports() -> Any:
    yield
    sys.modules.pop("beside", None)


def resolved(**asked: Any) -> RunSettings:
    images = np.zeros((1000, 1, 8, 8), np.uint8)
    data = ArrayDataset(images, np.zeros(1000, np.int64), ("0", "1"), "made up")
    return TrainSettings(**asked).resolve(data, "cpu")


# --- what is said of options --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"schedule": "cosin"},
            "--schedule: expected one of constant, cosine, linear, step, onecycle, plateau, got "
            "'cosin'; did you mean 'cosine'?",
        ),
        ({"warmup": -1.0}, "--warmup: expected a number of at least 0, got -1"),
        (
            {"warmup": 1.0, "schedule": "onecycle"},
            "--warmup: is not for --schedule onecycle, which has its own",
        ),
        ({"weight_decay": -0.1}, "--weight-decay: expected a number of at least 0, got -0.1"),
        ({"clip_norm": 0.0}, "--clip-norm: expected a number above 0, got 0"),
        ({"ema": 1.0}, "--ema: expected a number between 0 and 1, got 1"),
        (
            {"augment": "flip,crp"},
            "--augment: expected one of flip, crop, affine, cutout, color, mixup, got 'crp'; did "
            "you mean 'crop'?",
        ),
        (
            {"precision": "fp64"},
            "--precision: expected one of fp32, tf32, bf16, fp16, got 'fp64'; did you mean 'fp16'?",
        ),
        ({"model": "net.py"}, "--model: expected FILE.py:function, got 'net.py'"),
        ({"model": "net.py:a b"}, "--model: expected FILE.py:function, got 'net.py:a b'"),
        ({"model": "no.py:net"}, "--model: there is no file 'no.py'"),
    ],
)
def test_wrong_options(options: dict[str, Any], text: str) -> None:
    with pytest.raises(CommandError) as caught:
        TrainSettings(**options)
    assert str(caught.value) == text


def test_a_warmup_is_shorter_than_the_run() -> None:
    with pytest.raises(UsageError, match="--warmup: expected less than 3 epochs, got 3"):
        resolved(epochs=3, warmup=3.0)


def test_options_that_are_words_of_the_command_line(capsys: Capture) -> None:
    line = failed(run(capsys, *TRAIN, "--schedule", "steps"), 2)
    assert line.startswith("error: --schedule: expected one of constant, ")
    line = failed(run(capsys, "sweep", "--seeds", "0"), 2)
    assert line == "error: --seeds: expected at least 1, got 0"
    line = failed(run(capsys, "sweep", "--seeds", "3", "--seed", str(2**64 - 2)), 2)
    assert line == f"error: --seeds: expected seeds below 2**64, got 3 from {2**64 - 2} on"


def test_every_option_stands_in_a_group_of_the_help(capsys: Capture) -> None:
    for options in (TRAIN_OPTIONS, SWEEP):
        for kind, _ in options.values():
            assert kind.__metadata__[0].rich_help_panel in ("Data", "Model", "Training", "Run")
    out = run(capsys, "train", "--help").out
    for group in ("Data", "Model", "Training", "Run"):
        assert f"─ {group} ─" in out


def test_the_version(capsys: Capture) -> None:
    assert run(capsys, "--version").out == f"tinygrad-cupy {tg.__version__}\n"


# --- what they do -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_span_the_run(name: str) -> None:
    schedule = recipe.build_schedule(resolved(epochs=10, lr=0.1, schedule=name), steps=20)
    if name == "constant":
        assert schedule is None
        return
    assert schedule is not None
    rates = [schedule(step) for step in range(200)]
    assert max(rates) == pytest.approx(0.1)
    if name in ("cosine", "linear", "onecycle"):
        assert 0 <= rates[-1] < 0.001
    if name == "step":
        assert [rates[99], rates[100], rates[150]] == pytest.approx([0.1, 0.01, 0.001])


def test_a_warmup_rises_and_the_schedule_follows() -> None:
    settings = resolved(epochs=10, lr=0.1, schedule="cosine", warmup=0.5)
    schedule = recipe.build_schedule(settings, steps=20)
    assert schedule is not None
    rates = [schedule(step) for step in range(200)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10] == pytest.approx(0.1)
    assert rates[-1] < 0.001
    flat = recipe.build_schedule(resolved(epochs=10, lr=0.1, warmup=1.0), steps=20)
    assert flat is not None
    assert [flat(20), flat(199)] == [0.1, 0.1]


@pytest.mark.parametrize(("optimizer", "default"), [("adam", 0.0), ("adamw", 0.01), ("sgd", 0.0)])
def test_weight_decay_is_that_of_the_optimizer_unless_asked(optimizer: str, default: float) -> None:
    model = nn.Linear(2, 2)
    for asked, expected in ((None, default), (0.3, 0.3)):
        settings = resolved(optimizer=optimizer, weight_decay=asked)
        made: Any = recipe.build_optimizer(settings, model)
        assert settings.weight_decay == made.weight_decay == expected


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentations_keep_the_shape(name: str, channels: int) -> None:
    normalization = Normalization((0.5,) * 3, (0.25,) * 3) if channels == 3 else None
    plain = Normalization((0.0,), (1.0,))
    layers = recipe.build_augment((name,), (channels, 12, 10), 3, normalization or plain)
    assert layers is not None
    rng = np.random.default_rng(0)
    x = tg.Tensor(rng.random((6, channels, 12, 10)).astype(np.float32))
    changed, y = nn.augment.apply(layers, x, tg.Tensor(rng.integers(0, 3, 6)))
    assert changed.shape == x.shape
    assert y.shape == ((6, 3) if name == "mixup" else (6,))
    low, high = (-2.0, 2.0) if channels == 3 else (0.0, 1.0)
    assert low <= changed.min().item() <= changed.max().item() <= high


def test_a_normalization_behind_augmentations_is_captured() -> None:
    layers = recipe.build_augment(("flip",), (3, 4, 4), 2, Normalization((0.5,) * 3, (0.25,) * 3))
    assert layers is not None
    x = tg.Tensor(np.full((2, 3, 4, 4), 0.75, np.float32))
    found = jit(lambda one: nn.augment.apply(layers, one, None)[0])(x)
    assert np.unique(found.numpy()).tolist() == [1.0]


def test_precision_of_products_holds_for_the_run_alone() -> None:
    before = tg.get_precision()
    with recipe.products_in("fp32"):
        assert tg.get_precision() == "fp32"
    with recipe.products_in("bf16"):  # what autocast does is another thing
        assert tg.get_precision() == before
    assert tg.get_precision() == before
    assert [recipe.autocast_of(one) for one in ("fp32", "bf16", "fp16", None)] == [
        None, "bf16", "fp16", None,
    ]  # fmt: skip


@pytest.mark.slow
def test_all_of_them_together_and_again_from_the_settings_of_the_run(
    capsys: Capture, tmp_path: Path
) -> None:
    first = train_quietly(
        tmp_path / "first", "--schedule", "cosine", "--warmup", "0.25", "--weight-decay", "0.01",
        "--clip-norm", "1", "--ema", "0.9", "--augment", "crop,affine", "--precision", "bf16",
        "--optimizer", "adamw", "--lr", "0.003", "--seed", "3",
    )  # fmt: skip
    settings = tomllib.loads((first / "settings.toml").read_text(encoding="utf-8"))
    assert settings["augment"] == "crop,affine"
    assert (settings["dataset"], settings["warmup"], settings["ema"]) == ("digits", 0.25, 0.9)
    metrics = metrics_of(first)
    assert (metrics["schedule"], metrics["weight_decay"]) == ("cosine", 0.01)
    assert metrics["augment"] == ["crop", "affine"]
    words = ("train", "--config", first / "settings.toml", "-q", "--out", tmp_path / "b")
    assert run(capsys, *words).code == 0
    for name in ("model.safetensors", "settings.toml"):
        assert (tmp_path / "b" / name).read_bytes() == (first / name).read_bytes()
    lines = (first / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [json.loads(line) for line in lines]
    assert [line["step"] for line in steps] == [*range(1, 12), 11]
    assert steps[0]["learning_rate"] < steps[3]["learning_rate"] > steps[10]["learning_rate"]


# --- TOML files ---------------------------------------------------------------------------------


def test_the_command_line_goes_before_the_file(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[TrainSettings] = []
    monkeypatch.setattr(
        "tinygrad_cupy.command.train.train", lambda asked, *rest: found.append(asked)
    )
    path = tmp_path / "options.toml"
    path.write_text(
        'dataset = "digits"\nbatch-size = 32\nval_fraction = 0.2\naugment = ["flip", "crop"]\n'
        "no-jit = true\nlr = 1\n"
    )
    assert run(capsys, "train", "--config", path, "--batch-size", "64").code == 0
    (asked,) = found
    assert (asked.batch_size, asked.val_fraction, asked.lr) == (64, 0.2, 1)
    assert (asked.augmentations, asked.jit, asked.model) == (("flip", "crop"), False, "medium")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            "epoch = 3\nzzz = 1\n",
            "has keys that train does not take: 'epoch'; did you mean 'epochs'?, 'zzz'",
        ),
        ("[train]\nepochs = 3\n", "has keys that train does not take: 'train'"),
        ('epochs = "3"\n', ": epochs: expected a whole number, got '3'"),
        ("epochs = 3.0\n", ": epochs: expected a whole number, got 3.0"),
        ("epochs = true\n", ": epochs: expected a whole number, got True"),
        ("lr = [1]\n", ": lr: expected a number, got [1]"),
        ("no-jit = 1\n", ": no-jit: expected true or false, got 1"),
        ("model = 3\n", ": model: expected a text, got 3"),
        ("out = 3\n", ": out: expected a path, as a text, got 3"),
        ("batch-size = 1\nbatch_size = 2\n", "has batch-size twice"),
        ("epochs = \n", "is no TOML: Invalid value (at line 1, column 10)"),
        ('config = "other.toml"\n', "has keys that train does not take: 'config'"),
    ],
)
def test_files_that_are_none(capsys: Capture, tmp_path: Path, content: str, text: str) -> None:
    path = tmp_path / "o.toml"
    path.write_text(content)
    line = failed(run(capsys, "train", "--config", path), 2)
    assert line.startswith(f"error: --config: {str(path)!r}")
    assert text in line


def test_files_that_are_missing(capsys: Capture, tmp_path: Path) -> None:
    line = failed(run(capsys, "train", "--config", tmp_path / "no.toml"), 2)
    assert line == f"error: --config: there is no file {str(tmp_path / 'no.toml')!r}"
    line = failed(run(capsys, "sweep", "--config", tmp_path), 2)
    assert line == f"error: --config: cannot read {str(tmp_path)!r}: Is a directory"


def test_values_of_a_file_are_checked_as_those_of_the_command_line(
    capsys: Capture, tmp_path: Path
) -> None:
    path = tmp_path / "o.toml"
    path.write_text("epochs = 0\n")
    line = failed(run(capsys, "train", "--config", path), 2)
    assert line == "error: --epochs: expected at least 1, got 0"


@pytest.mark.parametrize("value", ['a"b\\c', "tab\tnew\nline", "grün", "\x7f\x01", "'", 2**64 - 1])
def test_what_is_written_is_read_back(value: Any) -> None:
    content = settings_file.written({"data_dir": value, "lr": 1e-5, "no": None}, "two\nlines")
    assert content.startswith(b"# two\n# lines\n")
    assert tomllib.loads(content.decode()) == {"data-dir": value, "lr": 1e-5}


def test_a_path_that_is_no_text_is_left_out() -> None:
    content = settings_file.written({"data_dir": "a\udcff", "lr": 1.0}, "x").decode()
    assert tomllib.loads(content) == {"lr": 1.0}
    assert "which is no text" in content


# --- models of one's own ------------------------------------------------------------------------


def test_a_model_of_ones_own_is_trained_and_read_again(
    capsys: Capture, tmp_path: Path, net: Path
) -> None:
    folder = train_quietly(tmp_path / "run", "--model", f"{net}:build")
    metrics = metrics_of(folder)
    assert metrics["model"] == "net.py:build"
    assert metrics["model_source"]["path"] == str(net)
    assert metrics["parameters"] == 784 * 8 + 8 + 8 * 10 + 10
    picture = tmp_path / "3.png"
    Image.fromarray(datasets.digits()[1].images[0, 0]).save(picture)
    line = failed(run(capsys, "predict", folder, picture))
    assert line == (
        f"error: {str(folder)!r} is a run on a model of your own; name its file, whose code is "
        f"run: --model {net}:build"
    )
    assert run(capsys, "predict", folder, picture, "--model", f"{net}:build").code == 0
    result = run(capsys, "evaluate", folder, "--model", f"{net}:build", "--json")
    assert json.loads(result.out)["accuracy"] == metrics["test_accuracy"]
    assert result.err == ""
    text = rf"\[load_run\] .* is a run on a model of your own; .* is run: model='{net}:build'$"
    with pytest.raises(ValueError, match=text):
        tg.load_run(folder)
    broken = net.with_name("broken.py")
    broken.write_text("def build():\n    raise KeyError(3)\n")
    with pytest.raises(ValueError, match=r"^\[load_run\] model: broken.py:build raised KeyE.*: 3$"):
        tg.load_run(folder, model=f"{broken}:build")
    net.write_text(NET + "# changed\n")
    result = run(capsys, "predict", folder, picture, "--model", f"{net}:build")
    assert result.err.startswith(f"note: {net} is not the file that the run was trained with")
    with pytest.warns(UserWarning, match="is not the file that the run was trained with"):
        loaded = tg.load_run(folder, model=f"{net}:build")
    assert loaded.settings["model"] == f"{net}:build"
    line = failed(run(capsys, "train", "--resume", folder, "--epochs", "2"), 2)
    assert line.startswith(f"error: --model: the run in {str(folder)!r} is of a model of your own")
    words = ("train", "--resume", folder, "--epochs", "2", "--model", f"{net}:build", "-q")
    result = run(capsys, *words)
    assert (result.code, result.err) == (0, "note: net.py:build has changed since the run began\n")


@pytest.mark.parametrize(
    ("function", "code", "text"),
    [
        ("biuld", 2, "has no function 'biuld'; did you mean 'build'?"),
        (
            "wants",
            2,
            "expected net.py:wants to take none but classes, in_channels, image_size, got depth",
        ),
        ("other", 1, "expected net.py:other to return a Module, got 'a net'"),
        ("bare", 1, "expected net.py:bare to have parameters, it has none"),
        (
            "wrong",
            1,
            "expected net.py:wrong to give logits (N, 10) for images (N, 1, 28, 28), got shape "
            "(2, 11) for N = 2",
        ),
        ("fails", 1, "net.py:fails raised KeyError: 'no' (--debug shows where)"),
    ],
)
def test_functions_that_make_no_model(
    capsys: Capture, tmp_path: Path, net: Path, function: str, code: int, text: str
) -> None:
    words = (*TRAIN, "--out", tmp_path / "run", "--quiet", "--model", f"{net}:{function}")
    line = failed(run(capsys, *words), code)
    assert line.startswith("error: --model: ")
    assert text in line
    assert not (tmp_path / "run").exists()


def test_a_file_that_python_cannot_read(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def net(:\n")
    words = (*TRAIN, "--out", tmp_path / "run", "--model", f"{tmp_path / 'bad.py'}:net")
    assert "bad.py:net raised SyntaxError: invalid syntax" in failed(run(capsys, *words))


def test_a_run_of_a_model_of_ours_takes_no_file(capsys: Capture, tmp_path: Path, net: Path) -> None:
    folder = train_quietly(tmp_path / "run")
    line = failed(run(capsys, "predict", folder, "x.png", "--model", f"{net}:build"))
    assert line.endswith("is a run of small, which is in this package")
    line = failed(run(capsys, "predict", folder, "x.png", "--model", "small"), 2)
    assert line.startswith("error: --model: expected FILE.py:function, got 'small'")


@pytest.mark.slow
def test_more_epochs_do_not_fit_a_schedule_that_has_ended(capsys: Capture, tmp_path: Path) -> None:
    folder = train_quietly(tmp_path / "run", "--schedule", "linear")
    line = failed(run(capsys, "train", "--resume", folder, "--epochs", "2"), 2)
    assert line == (
        "error: --epochs: cannot be raised with --schedule linear, whose learning rates are those "
        "of 1 epochs"
    )


# --- logs ---------------------------------------------------------------------------------------


def test_tensorboard_without_its_library(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    for words in (TRAIN, ("sweep", "--dataset", "digits")):
        line = failed(run(capsys, *words, "--out", tmp_path / "run", "--tensorboard"))
        assert line == (
            "error: --tensorboard: needs tensorboardX: pip install 'tinygrad-cupy[tensorboard]'"
        )
        assert not (tmp_path / "run").exists()


def test_a_log_for_tensorboard_is_part_of_the_run(capsys: Capture, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    folder = train_quietly(tmp_path / "run", "--tensorboard")
    (events,) = (folder / "tensorboard").iterdir()
    assert b"step/loss" in events.read_bytes()
    words = (*TRAIN, "--epochs", "1", "--quiet", "--out", folder, "--overwrite")
    assert run(capsys, *words).code == 0
    assert not (folder / "tensorboard").exists()


def test_a_full_disk_ends_a_log_and_not_the_run(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nn.MetricsWriter, "write_step", full)
    result = run(capsys, *TRAIN, "--epochs", "1", "--quiet", "--out", tmp_path / "run")
    assert result.code == 0
    assert result.err == "note: metrics.jsonl ends too early: No space left on device\n"
