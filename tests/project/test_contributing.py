"""The code that CONTRIBUTING.md quotes is the code of the files it names."""

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def quotes() -> list[tuple[str, str]]:
    """Each Python block, with the file named last before it."""
    found = []
    for block in re.finditer(r"```python\n(.*?)```", TEXT, re.DOTALL):
        named = re.findall(r"`([\w/.]+\.py)`", TEXT[: block.start()])
        found.append((named[-1], block[1].rstrip()))
    return found


def test_each_step_is_quoted() -> None:
    assert len(quotes()) == 5


@pytest.mark.parametrize(("name", "quote"), quotes())
def test_a_quote_is_in_its_file(name: str, quote: str) -> None:
    source = (ROOT / name).read_text(encoding="utf-8")
    assert any(textwrap.indent(quote, " " * depth) in source for depth in (0, 4)), (
        f"{name} has changed, and CONTRIBUTING.md still quotes\n{quote}"
    )


def test_every_file_that_is_named_exists() -> None:
    named = re.findall(r"`((?:tinygrad_cupy|tests|\.ci)/[\w/.]*)`", TEXT)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_no_line_of_a_kernel_passes_100_columns() -> None:
    sources = [
        path
        for folder in ("tinygrad_cupy", "nn", "datasets")
        for path in (ROOT / folder).rglob("*.*")
        if path.suffix in (".cu", ".cuh", ".c", ".h")
    ]
    assert sources
    for path in sources:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert [i for i, line in enumerate(lines, 1) if len(line) > 100] == [], path
