"""The command line itself: help, exit codes, error texts, info."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.command_runs import TRAIN, failed, run
from tinygrad_cupy import backend, cli
from tinygrad_cupy.backend import compiling
from tinygrad_cupy.cli import main
from tinygrad_cupy.nn import models

Capture = pytest.CaptureFixture[str]

MODELS = ", ".join(models.CLASSIFIERS)


@pytest.mark.parametrize("words", [(), ("data",)])
def test_without_a_subcommand_it_shows_help(capsys: Capture, words: tuple[str, ...]) -> None:
    result = run(capsys, *words)
    assert "Commands" in result.out + result.err
    assert "error" not in result.err


@pytest.mark.parametrize("words", [("train",), ("sweep",), ("predict",), ("data", "png")])
def test_every_subcommand_has_help(capsys: Capture, words: tuple[str, ...]) -> None:
    result = run(capsys, *words, "--help")
    assert result.code == 0
    assert "--debug" in result.out


def test_help_does_not_wait_for_heavy_imports() -> None:
    code = (
        "import sys; from tinygrad_cupy.cli import main; main(['train', '--help']);"
        "print([m for m in ('matplotlib', 'PIL', 'tinygrad_cupy.nn') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "[]", result.stderr


def test_info_names_versions_devices_and_blas(capsys: Capture) -> None:
    result = run(capsys, "info")
    assert result.code == 0
    for word in ("python", "numpy", np.__version__, "default device", "CUDA", "BLAS", "threads",
                 "C compiler", "data cache", "MNIST"):  # fmt: skip
        assert word in result.out


def test_info_shows_what_is_wrong_and_the_rest(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TINYGRAD_CUPY_CC", "no-such-compiler")
    monkeypatch.setattr("tinygrad_cupy.backend.compiling.compiler", compiling.compiler.__wrapped__)
    result = run(capsys, "info")
    assert result.code == 0
    assert "error: [TINYGRAD_CUPY_CC] expected a C compiler, found no" in result.out
    assert "MNIST" in result.out


# --- usage errors: exit code 2 ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            ("--model", "meduim"),
            f"--model: expected one of {MODELS}, got 'meduim'; did you mean 'medium'?",
        ),
        (
            ("--optimizer", "adm"),
            "--optimizer: expected one of adam, adamw, sgd, got 'adm'; did you mean 'adam'?",
        ),
        (
            ("--device", "gpu"),
            "--device: expected one of auto, cpu, cuda, got 'gpu'; did you mean 'cpu'?",
        ),
        (
            ("--dataset", "minst"),
            "--dataset: 'minst' is neither auto, mnist, digits, cifar10, cifar100, fashion_mnist "
            "nor a folder that exists; did you mean 'mnist'?",
        ),
        (("--data-dir", "no-such"), "--data-dir: there is no folder 'no-such'"),
        (("--epochs", "0"), "--epochs: expected at least 1, got 0"),
        (("--batch-size", "-3"), "--batch-size: expected at least 1, got -3"),
        (("--patience", "0"), "--patience: expected at least 1, got 0"),
        (("--lr", "0"), "--lr: expected a number above 0, got 0"),
        (("--lr", "nan"), "--lr: expected a number above 0, got nan"),
        (("--val-fraction", "0"), "--val-fraction: expected a number between 0 and 1, got 0"),
        (("--val-fraction", "1.5"), "--val-fraction: expected a number between 0 and 1, got 1.5"),
        (("--seed", "-1"), "--seed: expected a number from 0 to 2**64 - 1, got -1"),
        (
            ("--batch-size", "5000"),
            "--batch-size: 5000 is more than the 1294 training images of digits "
            "(after --val-fraction 0.1)",
        ),
    ],
)
def test_wrong_options(
    capsys: Capture, tmp_path: Path, options: tuple[str, ...], text: str
) -> None:
    result = run(capsys, *TRAIN, "--out", tmp_path / "out", *options)
    assert failed(result, 2) == f"error: {text}"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("trian",), "train"),
        (("train", "--epoch", "3"), "--epochs"),
        (("train", "--epochs", "many"), "--epochs"),
        (("predict",), "run"),
    ],
)
def test_errors_of_the_parser_are_one_line_too(
    capsys: Capture, words: tuple[str, ...], text: str
) -> None:
    assert text in failed(run(capsys, *words), 2).lower()


@pytest.mark.parametrize("sizes", ["32,x", "", "32;64", "-1", "32,0", "9" * 5000])
def test_wrong_batch_sizes(capsys: Capture, sizes: str) -> None:
    line = failed(run(capsys, "sweep", "--batch-sizes", sizes), 2)
    assert line.startswith("error: --batch-sizes: expected ")


def test_a_batch_size_of_a_sweep_larger_than_the_data(capsys: Capture, tmp_path: Path) -> None:
    words = ("sweep", "--dataset", "digits", "--batch-sizes", "32,2000", "--out", tmp_path / "s")
    line = failed(run(capsys, *words), 2)
    assert line.startswith("error: --batch-sizes: 2000 is more than the 1294 training images")


# --- other errors: exit code 1 ------------------------------------------------------------------


@pytest.mark.skipif(backend.cuda_available(), reason="there is a CUDA device")
def test_cuda_asked_for_and_absent(capsys: Capture, tmp_path: Path) -> None:
    line = failed(run(capsys, *TRAIN, "--device", "cuda", "--out", tmp_path))
    assert line.startswith("error: --device cuda: [device] ")
    assert line.endswith("; or use --device cpu")


def test_a_device_that_is_none(capsys: Capture, tmp_path: Path) -> None:
    line = failed(run(capsys, *TRAIN, "--device", "cuda:x", "--out", tmp_path))
    assert line.startswith("error: --device cuda:x: [device] expected")


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Out of memory allocating 1,024 bytes"),
        RuntimeError("cudaErrorMemoryAllocation: out of memory"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"),
    ],
)
def test_out_of_memory_says_which_batch_size_was_asked(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(tg.nn.Trainer, "fit", fail)
    result = run(capsys, *TRAIN, "--batch-size", "1024", "--out", tmp_path / "out")
    assert failed(result) == (
        "error: out of memory on cpu with --batch-size 1024 and --model small: "
        "choose a smaller batch"
    )
    assert not (tmp_path / "out").exists()


def test_a_dataset_that_cannot_be_read(capsys: Capture, tmp_path: Path) -> None:
    line = failed(run(capsys, "train", "--dataset", tmp_path, "--out", tmp_path / "out"))
    assert line == (
        f"error: [{tmp_path}] expected the folders train and test in it, or a folder for each "
        "class, or labels.csv, got none of these"
    )


def test_a_validation_part_without_an_image(capsys: Capture, tmp_path: Path) -> None:
    words = (*TRAIN, "--val-fraction", "0.0001", "--out", tmp_path / "out")
    assert "leaves one half empty" in failed(run(capsys, *words))


def test_an_unexpected_error_shows_a_traceback_only_when_asked(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinygrad_cupy.command.info.facts", lambda: 1 / 0)
    line = failed(run(capsys, "info"))
    assert line == "error: unexpected ZeroDivisionError: division by zero (--debug shows where)"
    with pytest.raises(ZeroDivisionError):
        main(["info", "--debug"])


def test_debug_shows_where_a_known_error_came_from(tmp_path: Path) -> None:
    with pytest.raises(tg.datasets.DataError):
        main(["train", "--dataset", str(tmp_path), "--out", str(tmp_path / "out"), "--debug"])


def test_ctrl_c_outside_training(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tinygrad_cupy.command.info.facts", interrupt)
    assert failed(run(capsys, "info"), 130) == "interrupted: nothing was written"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="pipes end otherwise there")
def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m tinygrad_cupy.cli info | true"
    result = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert result.stderr == ""


def test_the_program_returns_the_exit_code() -> None:
    command = [sys.executable, "-m", cli.__name__, "train", "--model", "x"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr == f"error: --model: expected one of {MODELS}, got 'x'\n"
