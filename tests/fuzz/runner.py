"""Cases of a target in a child process: what it may take, what counts as a fault, what it found."""

from __future__ import annotations

import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import numpy as np

from .targets import TARGETS, Target

MOST_SECONDS = 5.0  # of the processor, for a case
MOST_MEGABYTES = 1000  # resident, at any time
PATIENCE = 60.0  # seconds without a word before a child is ended
ADDRESSES = 8 << 30  # bytes beyond those of a child at its start


@dataclass
class Report:
    """What became of a target's cases."""

    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    megabytes: float = 0.0
    faults: dict[int, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"{self.read + self.refused + len(self.faults):,} files: {self.read:,} read, "
            f"{self.refused:,} refused, {len(self.faults)} faults; slowest {self.slowest:.2f} s, "
            f"at most {self.megabytes:.0f} MB"
        )


class TooSlow(BaseException):
    """A case took longer than it may; no handler for Exception catches it."""


def content_of(name: str, target: Target, seed: int, case: int) -> bytes:
    """The damaged file of a case, the same at every call."""
    return target.make(np.random.default_rng([seed, case, *name.encode()]))


def outcome(target: Target, path: Path, content: bytes) -> str:
    """ "read", "refused", or what was wrong."""
    path.write_bytes(content)
    started = time.process_time()
    try:
        result = "read" if target.judge(path) else "nothing"
    except target.ours as error:
        memory = isinstance(error.__cause__, MemoryError)
        result = f"took all memory: {error}" if memory else "refused"
        if not str(error).replace("\n", " ").isprintable():
            result = f"a text that does not print: {error!r}"
    except TooSlow:
        result = f"took more than {MOST_SECONDS} s:\n{traceback.format_exc()}"
    except Exception:
        result = traceback.format_exc()
    if time.process_time() - started > MOST_SECONDS and result in ("read", "refused"):
        result = f"took more than {MOST_SECONDS} s"
    return result


def run(name: str, seed: int, first: int, count: int) -> Report:
    """`count` cases of a target from `first` on; a child that dies is followed by another."""
    report, case = Report(), first
    while case < first + count:
        case = _one_child(name, seed, case, first + count, report)
    return report


def _one_child(name: str, seed: int, first: int, end: int, report: Report) -> int:
    """Let a child run cases until `end` or until it dies; the case after its last."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    words = [sys.executable, "-m", "fuzz", "--child", name, *map(str, (seed, first, end))]
    folder = Path(__file__).resolve().parent.parent
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=folder, env=environment) as child:
        case: int | None = None
        for line in _lines(child):
            found = json.loads(line)
            case = int(found["case"])
            if (result := found.get("result")) is None:
                continue
            report.slowest = max(report.slowest, found["seconds"])
            report.megabytes = max(report.megabytes, found["megabytes"])
            if result in ("read", "refused"):
                setattr(report, result, getattr(report, result) + 1)
            else:
                report.faults[case] = result
            case += 1
        code = child.wait()
    if case is None:
        raise RuntimeError(f"the child for {name} did not start ({code})")
    if code != 0:
        report.faults[case] = f"the process ended with {code}"
        case += 1
    return case


def _lines(child: subprocess.Popen[bytes]) -> Iterator[str]:
    """What a child prints; it is ended when it says nothing for too long."""
    assert child.stdout is not None
    buffered = b""
    while True:
        if not select.select([child.stdout], [], [], PATIENCE)[0]:
            child.kill()
            return
        piece = os.read(child.stdout.fileno(), 1 << 16)
        if not piece:
            return
        *lines, buffered = (buffered + piece).split(b"\n")
        yield from (line.decode() for line in lines)


def child(name: str, seed: int, first: int, end: int) -> int:
    """In a child: print a line of JSON before and after every case."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "target").mkdir()
        target = TARGETS[name](Path(folder) / "target")
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + ADDRESSES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        signal.signal(signal.SIGPROF, _too_slow)
        for case in range(first, end):
            content = content_of(name, target, seed, case)
            _say(case=case)
            started = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
            result = outcome(target, Path(folder) / "damaged", content)
            signal.setitimer(signal.ITIMER_PROF, 0)
            megabytes = most_resident()
            if megabytes > MOST_MEGABYTES:
                result = f"took {megabytes:.0f} MB, then: {result}"
            seconds = time.process_time() - started
            _say(case=case, result=result, seconds=seconds, megabytes=megabytes)
            if megabytes > MOST_MEGABYTES:
                break  # the next child starts with little again
    return 0


def most_resident() -> float:
    """The most memory that this program ever had resident, in MB.

    Not `ru_maxrss`, which starts with what the process that forked this one had.
    """
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE)[0]) / 1024


def _say(**facts: object) -> None:
    sys.__stdout__.write(json.dumps(facts) + "\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise TooSlow
