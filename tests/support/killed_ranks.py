"""Trainings by two ranks of which one is killed, and which go on from their last checkpoint."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support.ranks import command, environment

SECONDS = 10.0  # in which all have to be gone
# On a GPU an epoch takes some 15 ms; its steps are captured.
EPOCHS = {"cpu": 10, "cuda": 300}
TOLD = "ranks end; a run with checkpoints goes on"

needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")


def kill_and_resume(folder: Path, device: str, seconds: float, resumed_by: int) -> float:
    """Kill -9 one of two ranks in the middle of training, and go on with so many.

    device: "cpu" or "cuda"; seconds: behind the first checkpoint. Returns the seconds until all
    were gone. What is told, once, names the rank, and the resumed run comes to its end.
    """
    run = folder / "run"
    given = _environment(device)
    process = subprocess.Popen(
        _train(2, run, device), env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    while not any(folder.rglob("0000001.json")) and process.poll() is None:
        time.sleep(0.02)  # until training is under way
    victims = _ranks_of(process.pid)
    time.sleep(seconds)
    if process.poll() is not None:
        pytest.fail(f"training was over before a rank was killed: {process.communicate()[1]}")
    victim = random.choice(sorted(victims))
    os.kill(victims[victim], signal.SIGKILL)
    began = time.monotonic()
    _, told = process.communicate(timeout=60)
    taken = time.monotonic() - began
    assert process.returncode != 0
    assert re.search(rf"\[distributed\] rank {victim} .*died without a word", told), told
    assert told.count(TOLD) == 1, told
    again = subprocess.run(
        command(resumed_by, "-m", "tinygrad_cupy", "train", "--quiet", "--resume", run),
        env=given, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["epochs"] == EPOCHS[device]
    return taken


def _environment(device: str) -> dict[str, str]:
    given = environment()
    if device != "cpu":
        given.pop("TINYGRAD_CUPY_DEVICE")
    return given


def _train(ranks: int, run: Path, device: str) -> list[str]:
    words = ["--dataset", "digits", "--model", "small", "--batch-size", "16", "--epochs"]
    words += [str(EPOCHS[device]), "--device", device, "--checkpoint-minutes", "0"]
    return command(ranks, "-m", "tinygrad_cupy", "train", "--quiet", "--out", run, *words)


def _ranks_of(pid: int) -> dict[int, int]:
    """The processes of ranks, by rank, below a launcher."""
    found: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            given = (entry / "environ").read_bytes().split(b"\0")
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.path.basename(words[0]).startswith(b"python") and _is_below(int(entry.name), pid):
            ranks = [x for x in given if x.startswith(b"OMPI_COMM_WORLD_RANK=")]
            found |= {int(x.partition(b"=")[2]): int(entry.name) for x in ranks}
    return found


def _is_below(pid: int, above: int) -> bool:
    while pid > 1:
        if pid == above:
            return True
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        except OSError:
            return False
        pid = int(stat.rpartition(")")[2].split()[1])
    return False
