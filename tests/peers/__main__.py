"""`python -m tests.peers`: how many of the tests of others pass here."""

from __future__ import annotations

import collections
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from peers.running import Run, Wrong, counterpart, records, samples
from peers.translations import NotOurs


def main() -> int:
    """Print figures and what is wrong."""
    counts: collections.Counter[str] = collections.Counter()
    compared, mapped = set(), set()
    for name, record in records().items():
        entry = counterpart(name)
        if entry is None or not entry.functions():
            continue
        mapped.add(record.name)
        for sample in samples(name):
            try:
                Run(name, sample).check()
                counts["right"] += 1
                compared.add(record.name)
            except NotOurs:
                counts["left out"] += 1
            except Wrong as error:
                counts["wrong"] += 1
                compared.add(record.name)
                print(f"{name}: {error}")
    total = len({record.name for record in records().values()})
    share = counts["right"] / max(1, counts["right"] + counts["wrong"])
    print(f"{len(compared)} of {total} operations have a counterpart")
    print(f"{dict(counts)}: {share:.2%} right; nothing is compared of {sorted(mapped - compared)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
