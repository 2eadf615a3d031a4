"""Fill the tables of docs/ from what the code and the tests know.

    PYTHONPATH=tests python -m support.doc_tables

A table stands between ``<!-- table NAME -->`` and ``<!-- end -->``; NAME is a function in `TABLES`.
`project/test_doc_tables.py` fails while one is stale.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

import tinygrad_cupy.numpy  # noqa: F401  # fills TABLE
from numpy_api.dispatching import dispatching
from records import SAMPLES
from tinygrad_cupy.ops.protocols import TABLE

DOCS = Path(__file__).parents[2] / "docs"
NUMPY = "2.4"  # whose functions the tables count


def markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# --- docs/numpy.md ------------------------------------------------------------------------------


def group_of(name: str, function: object) -> str:
    if name.startswith(("linalg.", "fft.")):
        return f"`numpy.{name.partition('.')[0]}`"
    if name.startswith(("lib.", "emath.")):
        return "`numpy.lib`, `numpy.emath`"
    return "ufuncs" if isinstance(function, np.ufunc) else "functions of `numpy`"


def numpy_counts() -> str:
    """How many of NumPy's functions that dispatch take a tensor."""
    counts: dict[str, list[bool]] = {}
    for name, function in dispatching().items():
        counts.setdefault(group_of(name, function), []).append(function in TABLE)
    outside = [one for group, found in counts.items() for one in found if _is_outside(group)]
    rows = [[group, *_share(found)] for group, found in counts.items()]
    rows.append(["**all but `numpy.linalg` and `numpy.fft`**", *_share(outside)])
    return markdown([f"of NumPy {NUMPY}", "dispatch", "take a tensor", ""], rows)


def share_outside() -> float:
    """The share of those outside ``linalg`` and ``fft``."""
    found = [f in TABLE for name, f in dispatching().items() if _is_outside(group_of(name, f))]
    return sum(found) / len(found)


def _is_outside(group: str) -> bool:
    return group not in ("`numpy.linalg`", "`numpy.fft`")


def _share(found: list[bool]) -> list[str]:
    return [str(len(found)), str(sum(found)), f"{100 * sum(found) / len(found):.0f} %"]


def numpy_functions() -> str:
    """Which of them do, by the file that does, and which raise."""
    chapters: dict[str, list[str]] = {}
    for name, function in dispatching().items():
        chapter = "— none: these raise"
        if isinstance(function, np.ufunc) and function in TABLE:
            chapter = "ufuncs"
        elif function in TABLE:
            chapter = TABLE[function].__module__.rpartition(".")[2]
        chapters.setdefault(chapter, []).append(f"`{name}`")
    rows = [[chapter, " ".join(sorted(names))] for chapter, names in sorted(chapters.items())]
    return markdown(["chapter", "functions"], rows)


# --- docs/jit.md --------------------------------------------------------------------------------


def not_captured() -> str:
    """What `tg.jit` cannot capture, by the reason."""
    reasons: dict[str, dict[str, None]] = {}
    for sample in SAMPLES:
        if sample.captured is not True:
            names = [f"`{name}`" for name in sample.covers or (sample.name,)]
            reasons.setdefault(sample.obstacle, {}).update(dict.fromkeys(names))
    rows = [[" ".join(names), reason] for reason, names in reasons.items()]
    return markdown(["operation", "what cannot be captured, and why"], rows)


# --- filling ------------------------------------------------------------------------------------

TABLES: dict[str, Callable[[], str]] = {
    "numpy_counts": numpy_counts,
    "numpy_functions": numpy_functions,
    "not_captured": not_captured,
}
MARK = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: str) -> str:
    """The page with its tables as they should be."""
    return MARK.sub(lambda m: f"{m[1]}{TABLES[m[2]]()}\n{m[3]}" if m[2] in TABLES else m[0], page)


if __name__ == "__main__":
    for path in sorted(DOCS.glob("*.md")):
        page = path.read_text("utf-8")
        if filled(page) != page:
            path.write_text(filled(page), "utf-8")
            print(f"filled {path.name}")
