"""What every result file says about where it comes from, and how files are written."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any


def facts(command: str, device: str | None, versions: dict[str, str]) -> dict[str, Any]:
    """The head of a result file. `device` is the GPU's name; None for the CPU."""
    return {
        "device": device or cpu_name(),
        "date": date.today().isoformat(),
        "commit": commit(),
        "versions": {"python": platform.python_version(), **versions},
        "command": command,
    }


ORIGIN = ("device", "date", "commit", "versions", "command")


def kept_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file that another run will add to: each says from now on where it is from."""
    content = read(path)
    origin = {key: content[key] for key in ORIGIN}
    return [{"from": origin} | row for row in content["rows"]]


def command(module: str) -> str:
    """The command line of this process, without the names of folders on this machine."""
    words, hidden = (
        [],
        {"--data-dir": "DIR", "--out": "FILE", "--out-dir": "DIR", "--result": "FILE"},
    )
    for before, word in zip(["", *sys.argv[1:]], sys.argv[1:], strict=False):
        words.append(hidden.get(before, word))
    return shlex.join(["python", "-m", f"benchmarks.{module}", *words])


def cpu_name() -> str:
    """The processor and how many of its cores this process may use."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{model}, {len(os.sched_getaffinity(0))} cores"


def commit() -> str:
    """The commit of the checkout, with a + when it was changed; $BENCHMARK_COMMIT without git."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("BENCHMARK_COMMIT", "unknown")


def _git(*arguments: str) -> str:
    folder = Path(__file__).parent
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)
    return done.stdout.decode().strip()


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a result file whole, each row on a line of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for key, value in content.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            rows = ",\n  ".join(json.dumps(row) for row in value)
            lines.append(f"{json.dumps(key)}: [\n  {rows}\n ]")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value)}")
    part = path.with_suffix(".part")
    part.write_text("{\n " + ",\n ".join(lines) + "\n}\n")
    part.replace(path)


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content
