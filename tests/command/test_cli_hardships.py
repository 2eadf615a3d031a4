"""What happens to runs that are killed, interrupted, doubled, or on a disk that is full.

    pytest -m slow tests/command/test_cli_hardships.py                      a few of each
    TINYGRAD_CUPY_HARDSHIPS=long pytest -m slow tests/command/test_cli_hardships.py
                                                                            as many as the
                                                                            changelog says

Every process here is the program itself, in a process of its own; moments are random, and printed
when a test fails.
"""

import contextlib
import errno
import json
import os
import random
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from support.command_runs import RUN_FILES, files_of
from tinygrad_cupy import nn

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="mounts, limits and signals of Linux"),
]

LONG = os.environ.get("TINYGRAD_CUPY_HARDSHIPS") == "long"
KILLS, PAIRS, INTERRUPTS, RESUMES, SIGNALS = (30, 25, 60, 50, 12) if LONG else (4, 3, 9, 3, 2)
DISKS = 13
# Says when main begins: what comes before is the interpreter's own.
PROGRAM = """
import os, sys
from tinygrad_cupy.cli import main
os.write(int(sys.argv[1]), b"x")
sys.exit(main(sys.argv[2:]))
"""
NUMBERS = {"metrics.json", "history.csv", "model.safetensors"}


@dataclass
class Ended:
    """A process that has ended."""

    code: int
    out: str
    err: str


class Process:
    """The program with these words, from the moment when main begins."""

    def __init__(self, *words: str | Path, **options: object) -> None:
        reader, writer = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(writer), *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(writer,),
            text=True,
            errors="replace",
            **options,  # type: ignore[call-overload]
        )
        os.close(writer)
        os.read(reader, 1)
        os.close(reader)
        self.began = time.perf_counter()

    def signal_after(self, seconds: float, number: int) -> Ended:
        """Send a signal so long after main began."""
        time.sleep(max(0.0, self.began + seconds - time.perf_counter()))
        self.process.send_signal(number)
        return self.end()

    def end(self) -> Ended:
        """Wait for it."""
        out, err = self.process.communicate(timeout=300)
        assert "Traceback" not in err, err
        assert "Exception ignored" not in err, err
        return Ended(self.process.returncode, out, err)


def train(out: Path, *options: str) -> tuple[str, ...]:
    return ("train", "--dataset", "digits", "--model", "small", "--device", "cpu", "--epochs", "1",
            "--out", str(out), *options)  # fmt: skip


def assert_whole(folder: Path) -> None:
    """Weights that fit and figures that can be read, of one run."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    state = load_file(folder / "model.safetensors")
    nn.models.build("small").load_state_dict(state)
    rows = (folder / "history.csv").read_text().splitlines()
    assert len(rows) == 1 + metrics["epochs"]


@pytest.fixture(scope="module")
def usual_seconds(tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long a run takes from main's beginning to its end."""
    process = Process(*train(tmp_path_factory.mktemp("usual") / "run"))
    assert process.end().code == 0
    return time.perf_counter() - process.began


@pytest.fixture
def moments(usual_seconds: float) -> random.Random:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}, a run takes {usual_seconds:.1f} s")
    return random.Random(seed)


def test_kill_9_at_any_moment(tmp_path: Path, usual_seconds: float, moments: random.Random) -> None:
    """Over an old run: there is the old one or the new one; and the next run clears up."""
    out = tmp_path / "run"
    assert Process(*train(out, "-q", "--seed", "1")).end().code == 0
    recovered = 0
    for seed in range(2, 2 + KILLS):
        process = Process(*train(out, "-q", "--seed", str(seed), "--overwrite"))
        when = moments.uniform(0, 1.1 * usual_seconds)
        code = process.signal_after(when, signal.SIGKILL).code
        print(f"killed after {when:.2f} s: {code}")
        assert_whole(out)
        assert NUMBERS <= {name for name in files_of(out) if not name.startswith(".")} <= RUN_FILES
    process = Process(*train(out, "-q", "--overwrite"))
    ended = process.end()
    assert ended.code == 0
    assert files_of(out) == RUN_FILES
    recovered = len(files_of(tmp_path)) - 1
    print(f"{recovered} runs moved aside")
    for name in files_of(tmp_path) - {"run"}:
        assert name.startswith("run-recovered")
        assert Process("train", "-q", "--resume", tmp_path / name).end().code == 0
        assert files_of(tmp_path / name) == RUN_FILES


def test_kill_9_of_a_sweep_keeps_what_had_finished(tmp_path: Path, moments: random.Random) -> None:
    out = tmp_path / "study"
    words = ("sweep", "--dataset", "digits", "--device", "cpu", "--epochs", "2")
    process = Process(*words, "--batch-sizes", "64,128,256", "--out", out)
    while not (out / "batch-64").exists():
        assert process.process.poll() is None
        time.sleep(0.01)
    process.signal_after(0, signal.SIGKILL)
    assert_whole(out / "batch-64")


def test_two_runs_into_one_folder(tmp_path: Path) -> None:
    for pair in range(PAIRS):
        out = tmp_path / f"{pair}"
        both = [Process(*train(out, "-q", "--seed", seed)) for seed in "12"]
        first, second = sorted((process.end() for process in both), key=lambda ended: ended.code)
        assert (first.code, second.code) == (0, 1)
        assert second.err in (
            f"error: --out: another run is writing to {str(out)!r}; choose another folder\n",
            f"error: --out: {str(out)!r} is not empty; choose another folder, or replace that run "
            "with --overwrite\n",
            f"error: --out: {str(out)!r} is not empty; choose another folder, or replace that run "
            f"with --overwrite, or go on with it: --resume {out}\n",
        )
        assert files_of(out) == RUN_FILES
        assert_whole(out)


def test_four_first_runs_at_once(tmp_path: Path) -> None:
    """Without a cache and without --out."""
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    words = [word for word in train(tmp_path) if word not in ("--out", str(tmp_path))]
    every = [Process(*words, "-q", cwd=tmp_path, env=environment) for _ in range(4)]
    folders = set()
    for process in every:
        ended = process.end()
        assert ended.code == 0, ended.err  # a compiler of which four run at once may be slow
        folders.add(ended.out.strip())
        assert files_of(tmp_path / ended.out.strip()) == RUN_FILES
    assert len(folders) == 4


def test_ctrl_c_at_any_early_moment(
    tmp_path: Path, usual_seconds: float, moments: random.Random
) -> None:
    for number in range(INTERRUPTS):
        out = tmp_path / f"{number}"
        words = (
            train(out),
            ("sweep", "--dataset", "digits", "--batch-sizes", "128,256", "--out", str(out)),
            ("data", "png", str(out), "--dataset", "digits"),
            ("info",),
        )[number % 4]
        when = moments.uniform(0, 0.5 * usual_seconds)
        ended = Process(*words).signal_after(when, signal.SIGINT)
        print(f"{words[0]} after {when:.2f} s: {ended}")
        assert ended.code in (130, 0)
        assert ended.code == 130 or ended.out  # it had ended before
        assert not list(tmp_path.rglob(".*"))
        if ended.code == 130:
            assert ended.err.splitlines()[-1].startswith("interrupted: ")
            assert str(out) in ended.err if out.exists() else "nothing was written" in ended.err
        if words[0] == "train" and out.exists():
            assert_whole(out)


# --- runs that go on ----------------------------------------------------------------------------

# A training of many checkpoints, in epochs and after them.
LASTING = ("--epochs", "20", "--checkpoint-minutes", "0", "--seed", "3")


@dataclass
class Whole:
    """A run that nothing ended, and how long it took."""

    weights: bytes
    history: list[str]
    seconds: float


def losses(folder: Path) -> list[str]:
    """history.csv without times."""
    rows = [row.split(",") for row in (folder / "history.csv").read_text().splitlines()]
    return [",".join(row[:6]) for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    out = tmp_path_factory.mktemp("whole") / "run"
    process = Process(*train_long(out))
    assert process.end().code == 0
    seconds = time.perf_counter() - process.began
    numbers = sorted((out / "checkpoints").glob("*.json"))
    print(f"a run takes {seconds:.1f} s and writes {int(numbers[-1].stem)} checkpoints")
    return Whole((out / "model.safetensors").read_bytes(), losses(out), seconds)


def train_long(out: Path, *options: str) -> tuple[str, ...]:
    words = list(train(out, "-q", *LASTING, *options))
    at = words.index("--epochs")
    del words[at : at + 2]  # the first of the two
    return tuple(words)


def resumed(out: Path) -> tuple[str, ...]:
    """The same command, which goes on: whatever there is, from the beginning if need be."""
    words = list(train_long(out))
    words[words.index("--out")] = "--resume"
    return tuple(words)


def assert_resumes(out: Path, whole: Whole) -> None:
    ended = Process(*resumed(out)).end()
    assert ended.code == 0, ended
    assert files_of(out) == RUN_FILES
    assert (out / "model.safetensors").read_bytes() == whole.weights
    assert losses(out) == whole.history


def test_kill_9_and_on(tmp_path: Path, whole: Whole, moments: random.Random) -> None:
    """At any moment, a third of the runs once more while they go on: the same bits."""
    begun = 0
    for number in range(RESUMES):
        out = tmp_path / f"{number}"
        when = moments.uniform(0, 1.1 * whole.seconds)
        code = Process(*train_long(out)).signal_after(when, signal.SIGKILL).code
        made = sorted((out / "checkpoints").glob("*.json"))
        print(f"{number}: killed after {when:.2f} s: {code}, {len(made) and made[-1].stem}")
        begun += bool(made)
        if number % 3 == 0:
            when = moments.uniform(0, 0.6 * whole.seconds)
            code = Process(*resumed(out)).signal_after(when, signal.SIGKILL).code
            print(f"{number}: killed again after {when:.2f} s: {code}")
        assert_resumes(out, whole)
        print(f"{number}: the same weights and history")
    print(f"{RESUMES} of {RESUMES}, {begun} of them from a checkpoint")


@pytest.mark.parametrize("sent", ["SIGTERM", "SIGHUP", "SIGINT", "SIGINT SIGINT"])
def test_a_signal_and_on(tmp_path: Path, whole: Whole, moments: random.Random, sent: str) -> None:
    for number in range(SIGNALS):
        out = tmp_path / f"{number}"
        process = Process(*train_long(out))
        while not list(out.glob("checkpoints/*.json")):
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.5 * whole.seconds))
        for name in sent.split():
            process.process.send_signal(getattr(signal, name))
            time.sleep(moments.uniform(0, 0.2))
        ended = process.end()
        print(ended)
        if ended.code == 0:
            assert_resumes(out, whole)
            continue
        assert ended.code == 128 + getattr(signal, sent.split()[0])
        assert str(out) in ended.err
        saved = nn.Checkpoints(out / "checkpoints", tell=pytest.fail).load()
        assert saved is not None
        rows = losses(out)
        assert len(rows) >= 1 + saved.figures["epoch"]  # epochs that had ended
        assert rows == whole.history[: len(rows)]
        nn.models.build("small").load_state_dict(load_file(out / "model.safetensors"))
        assert_resumes(out, whole)


@pytest.mark.parametrize("output", ["head", "full", "closed"])
def test_an_output_that_takes_nothing(tmp_path: Path, whole: Whole, output: str) -> None:
    """The run comes to its end all the same, and the exit code says what was the matter."""
    out = tmp_path / "run"
    words = [word for word in train_long(out) if word != "-q"]
    command = " ".join(map(shlex.quote, [sys.executable, "-m", "tinygrad_cupy.cli", *words]))
    ways = {"head": "| head -1", "full": "> /dev/full", "closed": ">&-"}
    script = f"set -o pipefail; {command} {ways[output]}"
    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    print(ended)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert str(out) in ended.stderr
    assert (out / "model.safetensors").read_bytes() == whole.weights
    assert_resumes(out, whole)


def test_a_disk_that_fills_up_while_it_trains(tmp_path: Path, whole: Whole) -> None:
    """Killed there, it goes on from the last checkpoint that is whole."""
    with disk(tmp_path / "disk", 4 << 20) as mount:
        out = mount / "run"
        process = Process(*train_long(out))
        while not list(out.glob("checkpoints/*.json")):
            time.sleep(0.01)
        _fill(mount / "other", leave=0)
        ended = process.signal_after(0.9 * whole.seconds, signal.SIGKILL)
        print(ended)
        saved = nn.Checkpoints(out / "checkpoints", tell=pytest.fail).load()
        assert saved is not None
        assert "note: cannot write a checkpoint to" in ended.err
        assert str(out) in ended.err
        (mount / "other").unlink()
        assert_resumes(out, whole)


@contextlib.contextmanager
def disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of `size` bytes."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("number", range(DISKS))
@pytest.mark.parametrize("filled", ["before", "meanwhile"])
def test_a_disk_that_is_full(tmp_path: Path, number: int, filled: str) -> None:
    """From no room at all to all that is needed: the run is kept, or it does not begin."""
    if not LONG and number % 4:
        pytest.skip("TINYGRAD_CUPY_HARDSHIPS=long")
    free = round(number * 450_000 / (DISKS - 1))  # a run takes less, weights and figures a half
    with disk(tmp_path / "disk", 4 << 20) as mount:
        if filled == "before":
            _fill(mount / "other", leave=free)
        process = Process(*train(mount / "run"))
        if filled == "meanwhile":
            assert process.process.stdout is not None
            for line in process.process.stdout:
                if line.split()[:1] == ["epoch"]:
                    break
            _fill(mount / "other", leave=free)
        ended = process.end()
        print(free, ended)
        if ended.code == 0:
            assert RUN_FILES - {"checkpoints"} <= files_of(mount / "run") <= RUN_FILES
            return
        assert ended.code == 1
        assert "No space left on device" in ended.err
        assert str(mount / "run") in ended.err
        if (mount / "run").exists():
            assert NUMBERS <= files_of(mount / "run") < RUN_FILES
            assert_whole(mount / "run")
            (mount / "other").unlink()
            assert Process("train", "-q", "--resume", mount / "run").end().code == 0
            assert files_of(mount / "run") == RUN_FILES
        else:
            assert filled == "before"
            assert "test accuracy" not in ended.out


def _fill(path: Path, leave: int) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    with path.open("r+b") as file:
        file.truncate(max(0, path.stat().st_size - leave))


@pytest.mark.parametrize("limit", [0, 10_000, 50_000, 70_000, 100_000])
def test_a_limit_on_file_sizes(tmp_path: Path, limit: int) -> None:
    def restrict() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    ended = Process(*train(tmp_path / "run"), preexec_fn=restrict).end()
    if ended.code:
        assert os.strerror(errno.EFBIG) in ended.err
        assert str(tmp_path / "run") in ended.err
    if (tmp_path / "run").exists():
        assert files_of(tmp_path / "run") >= NUMBERS
        assert_whole(tmp_path / "run")
    else:
        assert "test accuracy" not in ended.out
