"""The command where outputs are full, closed or narrow, encodings are poor, and signals come."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tinygrad_cupy as tg
from support.command_runs import (
    RUN_FILES,
    SWEPT_FILES,
    TRAIN,
    files_of,
    metrics_of,
    run,
    skip_drawing,
    train_quietly,
)
from tinygrad_cupy import nn
from tinygrad_cupy.cli import main
from tinygrad_cupy.command import report, signals, terminal
from tinygrad_cupy.datasets.catalog import Found

Capture = pytest.CaptureFixture[str]
ONE = (*TRAIN, "--epochs", "1")
SWEEP = ("sweep", "--dataset", "digits", "--device", "cpu", "--epochs", "1", "--batch-sizes", "256")
FULL = OSError(errno.ENOSPC, "No space left on device")
GONE = BrokenPipeError(errno.EPIPE, "Broken pipe")


class Sink(io.RawIOBase):
    """Where bytes go, unless writing them raises."""

    def __init__(self, error: OSError | None = None) -> None:
        self.error, self.got = error, b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.error:
            raise self.error
        self.got += bytes(data)
        return len(data)


def stream(sink: Sink, encoding: str = "utf-8") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(sink), encoding)


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_drawing(monkeypatch)


@pytest.fixture(scope="module")
def picture_of_a_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = train_quietly(tmp_path_factory.mktemp("runs") / "run")
    return str(folder), str(folder / "mistakes.png")


def every_command(place: Path, model: tuple[str, str]) -> dict[str, tuple[str, ...]]:
    return {
        "train": (*ONE, "--out", str(place / "run")),
        "sweep": (*SWEEP, "--out", str(place / "study")),
        "predict": ("predict", *model),
        "json": ("predict", *model, "--json"),
        "png": ("data", "png", str(place / "png"), "--dataset", "digits"),
        "info": ("info",),
        "help": ("train", "--help"),
    }


COMMANDS = ("train", "sweep", "predict", "json", "png", "info", "help")


# --- outputs that fail --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_standard_output_that_takes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path,
    picture_of_a_run: tuple[str, str], command: str,
) -> None:  # fmt: skip
    kept = {
        "train": f"; the run is in {tmp_path / 'run'}",
        "sweep": f"; the report on batch size 256 is in {tmp_path / 'study'}",
        "png": f"; the images are in {str(tmp_path / 'png')!r}",
    }.get(command, "")
    words = every_command(tmp_path, picture_of_a_run)[command]
    monkeypatch.setattr(sys, "stdout", stream(Sink(FULL)))
    assert main(words) == 1
    assert capsys.readouterr().err == (
        f"error: cannot write to standard output: No space left on device{kept}\n"
    )
    assert files_of(tmp_path / "run") == RUN_FILES if command == "train" else True


def test_a_closed_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "stdout", None)  # as Python starts without descriptor 1
    assert main((*ONE, "--out", str(tmp_path / "run"))) == 1
    told = f"it is closed; the run is in {tmp_path / 'run'}\n"
    assert capsys.readouterr().err == f"error: cannot write to standard output: {told}"
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    assert main(("info",)) == 1
    assert capsys.readouterr().err.endswith(": it is closed\n")


@pytest.mark.slow
def test_a_reader_that_left_costs_the_run_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "stdout", stream(Sink(GONE)))
    assert main((*ONE, "--out", str(tmp_path / "run"))) == 1
    assert f"Broken pipe; the run is in {tmp_path / 'run'}" in capsys.readouterr().err
    assert files_of(tmp_path / "run") == RUN_FILES
    monkeypatch.setattr(sys, "stdout", stream(Sink(GONE)))
    assert main(("info",)) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("broken", [None, stream(Sink(FULL))])
def test_a_standard_error_that_takes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, broken: io.TextIOWrapper | None
) -> None:
    monkeypatch.setattr(sys, "stderr", broken)
    assert main((*TRAIN, "--model", "x")) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="has no such descriptors")
def test_descriptors_that_were_closed_are_nobody_elses(tmp_path: Path) -> None:
    """A file opened without them would be number 1, and what a compiler prints would go there."""
    command = [sys.executable, "-m", "tinygrad_cupy.cli", *TRAIN, "--epochs", "1", "--out"]
    script = 'exec "$@" <&- >&- 2>&-'
    result = subprocess.run(["sh", "-c", script, "sh", *command, str(tmp_path / "run")])
    assert result.returncode == 1
    assert files_of(tmp_path / "run") == RUN_FILES


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
def test_the_interpreter_ends_quietly_as_well() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "tinygrad_cupy.cli", "info"]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1
    assert result.stderr == "error: cannot write to standard output: No space left on device\n"


# --- encodings and widths -----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "encoding"),
    [(command, "ascii") for command in COMMANDS]
    + [(command, other) for command in ("info", "predict") for other in ("shift_jis", "cp1252")],
)
def test_every_encoding_is_enough(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, picture_of_a_run: tuple[str, str],
    command: str, encoding: str,
) -> None:  # fmt: skip
    sink = Sink()
    monkeypatch.setattr(sys, "stdout", stream(sink, encoding))
    assert main(every_command(tmp_path, picture_of_a_run)[command]) == 0
    text = sink.got.decode(encoding)
    assert text.strip()
    assert "\\u" not in text
    assert "\\x" not in text


def test_what_an_encoding_lacks() -> None:
    assert terminal.fit("a · b → c… ┏━┓ ü é 七", "ascii") == "a - b -> c... +-+ \\xfc \\xe9 \\u4e03"
    assert terminal.fit("ü · 七", "cp1252") == "ü · \\u4e03"
    assert terminal.fit("七\udcff", "utf-8") == "七\\udcff"


@pytest.mark.slow
def test_quiet_prints_every_byte_of_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = tmp_path / "not utf-8: \udcff"
    sink = Sink()
    monkeypatch.setattr(sys, "stdout", stream(sink, "ascii"))
    assert main([*ONE, "--quiet", "--out", str(out)]) == 0
    assert sink.got == os.fsencode(out) + b"\n"
    assert files_of(out) == RUN_FILES


@pytest.mark.one_in(5)
@pytest.mark.parametrize("value", ["0", "1", "-3", "x", "", "²", "99999999999"])
@pytest.mark.parametrize("command", ["info", "help"])
def test_a_width_that_cannot_be(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    picture_of_a_run: tuple[str, str], command: str, value: str,
) -> None:  # fmt: skip
    words = every_command(tmp_path, picture_of_a_run)[command]
    names = ("COLUMNS", "LINES", "TERMINAL_WIDTH")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    expected = run(capsys, *words).out
    for name in names:
        monkeypatch.setenv(name, value)
    assert run(capsys, *words).out == expected
    assert [os.environ[name] for name in names] == [value] * 3


def test_a_width_that_can_be_is_kept(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert max(map(len, run(capsys, "info").out.splitlines())) <= 40


# --- names --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_class_names_of_every_kind(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = ("$x$", "a\nb", "red\x1b[31m", "und\udcff", "\u202eltr", "| *七* |", "n" * 200)
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in names:
            folder = tmp_path / "set\x07" / part / name
            folder.mkdir(parents=True)
            for index in range(5):
                pixels = rng.integers(0, 256, (28, 28), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    monkeypatch.undo()  # draw in earnest
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = ("--dataset", tmp_path / "set\x07", "--epochs", "1", "--device", "cpu")
    result = run(capsys, "train", *words, "--batch-size", "8", "--model", "small", "--out",
                 tmp_path / "run")  # fmt: skip
    assert (result.code, result.err) == (0, "")
    assert all(line.isprintable() for line in result.out.splitlines())
    assert files_of(tmp_path / "run") == RUN_FILES
    assert set(metrics_of(tmp_path / "run")["classes"]) == set(names)
    result = run(capsys, "sweep", *words, "--batch-sizes", "8", "--out", tmp_path / "study")
    assert (result.code, result.err) == (0, "")
    assert files_of(tmp_path / "study" / "batch-8") == SWEPT_FILES
    text = (tmp_path / "study" / "report.md").read_text(encoding="utf-8")
    assert all(line.isprintable() for line in text.splitlines())
    assert report._name("| *七* |") == r"\| \*七\* \|"


def test_errors_are_one_line_whatever_they_name(capsys: Capture, tmp_path: Path) -> None:
    for name in ("a\nb", "\x1b[2J", "\udcff", "\u202e"):
        for words in (
            ("train", "--dataset", name),
            ("train", "--dataset", "digits", "--out", "/dev/null/" + name),
            ("predict", name, name),
            ("train", "--model", name),
            (name,),
        ):
            result = run(capsys, *words)
            assert result.code in (1, 2)
            (line,) = result.err.splitlines()
            assert line.isprintable()
            assert line.startswith("error: ")


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("out", "reason"),
    [("x" * 300, "File name too long"), ("y/" * 3000, "File name too long"),
     ("/proc/run", "No such file or directory"), ("/dev/null/run", "Not a directory")],
)  # fmt: skip
@pytest.mark.skipif(sys.platform != "linux", reason="other systems say it otherwise")
def test_folders_that_cannot_be_made(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, out: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in ((*ONE, "--out", out), (*SWEEP, "--out", out)):
        result = run(capsys, *words)
        assert result.code == 1
        assert result.err == f"error: --out: cannot write to {str(Path(out))!r}: {reason}\n"
    result = run(capsys, "data", "png", out, "--dataset", "digits")
    assert result.err.startswith(f"error: [{Path(out)}] cannot be written: ")
    assert reason in result.err
    assert files_of(tmp_path) == set()


@pytest.mark.slow
def test_a_working_directory_that_is_gone(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert run(capsys, *ONE, "--out", tmp_path / "run").code == 0
    assert run(capsys, "data", "png", tmp_path / "png", "--dataset", "digits").code == 0
    assert run(capsys, "info").code == 0
    result = run(capsys, *ONE)
    assert result.err.startswith("error: --out: cannot write to 'runs/")
    assert result.err.endswith(": No such file or directory\n")


# --- signals ------------------------------------------------------------------------------------


@pytest.fixture
def handlers() -> Iterator[None]:
    """What signals do at first, under nohup as well; in the end they do what they did before."""
    before = {number: signal.getsignal(number) for number in signals.WORDS}
    for number in signals.WORDS:
        interrupt = number == signal.SIGINT
        signal.signal(number, signal.default_int_handler if interrupt else signal.SIG_DFL)
    first = {number: signal.getsignal(number) for number in signals.WORDS}
    yield
    assert {number: signal.getsignal(number) for number in signals.WORDS} == first
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.slow
@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", signals.WORDS)
def test_signals_during_training_keep_the_finished_epochs(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int
) -> None:
    class Trainer(nn.Trainer):
        def _step(self, *arguments: Any) -> None:
            super()._step(*arguments)
            if self.steps_taken == 16:  # 11 an epoch
                signal.raise_signal(number)

    monkeypatch.setattr("tinygrad_cupy.command.experiment.Trainer", Trainer)
    out = tmp_path / "run"
    result = run(capsys, *TRAIN, "--quiet", "--out", out)
    assert result.code == 128 + number
    assert result.err.splitlines() == [
        "stopping after this step, then testing the weights of epoch 1; Ctrl-C again to skip",
        f"{signals.WORDS[number]}: after 1 finished epoch; the weights of epoch 1 are in {out}; "
        f"go on with --resume {out}",
    ]
    assert files_of(out) == RUN_FILES


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", signals.WORDS)
@pytest.mark.parametrize(
    "place",
    ["backend.default_device", "datasets.catalog.find", "folders.Claim._acquire"],
)
def test_signals_elsewhere_leave_nothing(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str, number: int
) -> None:
    def raise_it(*arguments: object, **options: object) -> None:
        signal.raise_signal(number)
        raise ImportError("what else a library makes of an interrupt")

    monkeypatch.setattr(f"tinygrad_cupy.{place}", raise_it)
    result = run(capsys, "train", "--dataset", "digits", "--out", tmp_path / "deep" / "run")
    assert result.code == 128 + number
    assert result.err == f"{signals.WORDS[number]}: nothing was written\n"
    assert files_of(tmp_path) == set()


@pytest.mark.usefixtures("handlers")
def test_a_hang_up_that_nohup_ignores() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.Stop():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("handlers")
def test_a_signal_repeated_at_once_does_not_disturb_the_ending() -> None:
    with signals.Stop() as stop:
        with pytest.raises(signals.Stopped) as caught:
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert (caught.value.number, stop.asked) == (signal.SIGTERM, signal.SIGTERM)
    with signals.Stop() as stop:
        stop.busy = True
        signal.raise_signal(signal.SIGINT)
    assert stop.asked == signal.SIGINT


@pytest.mark.usefixtures("handlers")
def test_a_signal_in_a_destructor_is_raised_again(capsys: Capture) -> None:
    """Python would print it with a traceback, and go on as if nothing had been."""

    class Ends:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def end() -> None:
        Ends()
        time.sleep(5)

    with signals.Stop(), pytest.raises(signals.Stopped):
        end()
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_other_threads_have_no_signals(tmp_path: Path) -> None:
    codes = []
    words = (*ONE, "--quiet", "--out", str(tmp_path / "run"))
    thread = threading.Thread(target=lambda: codes.append(main(words)))
    thread.start()
    thread.join()
    assert codes == [0]


def test_json_is_ascii(capsys: Capture, picture_of_a_run: tuple[str, str], tmp_path: Path) -> None:
    model, picture = picture_of_a_run
    name = tmp_path / "七.png"
    name.write_bytes(Path(picture).read_bytes())
    result = run(capsys, "predict", model, name, "--json")
    assert result.out.isascii()
    assert json.loads(result.out)[0]["image"] == str(name)


@pytest.mark.usefixtures("handlers")
def test_ctrl_c_while_options_are_read(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("tinygrad_cupy.command.settings.TrainSettings", interrupt)
    result = run(capsys, *ONE)
    assert (result.code, result.err) == (130, "interrupted: nothing was written\n")


@pytest.fixture
def two_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = (part.take([0, 1]) for part in tg.datasets.digits())
    found = Found(train, test, "Two digits.")
    monkeypatch.setattr("tinygrad_cupy.datasets.catalog.find", lambda *_: found)


@pytest.mark.usefixtures("two_digits")
def test_a_folder_of_pictures_that_is_called_like_a_data_set(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "data", "png", "mnist").out.endswith("train --dataset ./mnist\n")


@pytest.mark.one_in(2)
@pytest.mark.usefixtures("handlers", "two_digits")
@pytest.mark.parametrize("place", ["folders._sync_folder", "command.export.shlex.quote"])
def test_ctrl_c_after_all_was_written(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    def interrupt(at: object) -> str:
        if at == out or place.endswith("quote"):
            signal.raise_signal(signal.SIGINT)
        return ""

    out = tmp_path / "out"
    monkeypatch.setattr(f"tinygrad_cupy.{place}", interrupt)
    result = run(capsys, "data", "png", out)
    assert (result.code, result.err) == (130, f"interrupted: what was written is in {out}\n")
    assert files_of(out) == {"train", "test"}


@pytest.mark.usefixtures("handlers")
def test_ctrl_c_that_a_library_catches(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def facts() -> list[tuple[str, str]]:
        try:
            signal.raise_signal(signal.SIGINT)
        except BaseException:
            return []
        return []

    monkeypatch.setattr("tinygrad_cupy.command.info.facts", facts)
    result = run(capsys, "info")
    assert (result.code, result.err) == (130, "interrupted: when all was done\n")
