"""`python -m tests.fuzz`: see the package."""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from pathlib import Path

from .runner import child, content_of, run
from .targets import TARGETS


def main(words: list[str]) -> int:
    """Run what the words ask for; 1 when there were faults."""
    if words[:1] == ["--child"]:
        name, *numbers = words[1:]
        return child(name, *map(int, numbers))
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("targets", nargs="*", metavar="target", help=", ".join(TARGETS))
    parser.add_argument("--count", type=int, default=1000, help="cases of each target")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--case", type=int, help="this case alone")
    parser.add_argument("--keep", type=Path, help="folder that damaged files with faults go to")
    options = parser.parse_args(words)
    first, count = (0, options.count) if options.case is None else (options.case, 1)
    faults = 0
    for name in options.targets or TARGETS:
        started = time.monotonic()
        report = run(name, options.seed, first, count)
        print(f"{name}: {report}; {time.monotonic() - started:.0f} s", flush=True)
        faults += len(report.faults)
        for case, text in report.faults.items():
            print(f"--- python -m tests.fuzz {name} --seed {options.seed} --case {case}\n{text}")
            if options.keep:
                keep(options.keep, name, options.seed, case)
    return 1 if faults else 0


def keep(folder: Path, name: str, seed: int, case: int) -> None:
    """Write the damaged file of a case into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        content = content_of(name, TARGETS[name](Path(temporary)), seed, case)
    (folder / f"{name}-{seed}-{case}").write_bytes(content)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
