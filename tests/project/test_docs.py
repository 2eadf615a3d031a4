"""The code in docs/ runs as it stands."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def run(page: str) -> None:
    """The examples of a page, one after the other; those in a list are indented."""
    text = (DOCS / page).read_text("utf-8")
    names: dict[str, object] = {}
    for block in re.findall(r"^( *)```python\n(.*?)^\1```", text, re.DOTALL | re.MULTILINE):
        exec(textwrap.dedent(block[1]), names)


def test_the_examples_of_jit(capsys: pytest.CaptureFixture[str]) -> None:
    run("jit.md")
    *losses, last = capsys.readouterr().out.split()
    assert float(losses[-1]) < float(losses[0])
    assert last == "True"


def test_the_examples_of_modules(capsys: pytest.CaptureFixture[str]) -> None:
    run("modules.md")
    names, last = capsys.readouterr().out.splitlines()
    assert names == "['layer.bias', 'layer.weight', 'mean', 'scale']"
    assert last == "True"


def test_the_example_of_writing_in_place(capsys: pytest.CaptureFixture[str]) -> None:
    run("in-place.md")
    assert capsys.readouterr().out == "[ 1.  -2.   0.5]\n"


def test_links_lead_somewhere() -> None:
    for page in DOCS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
            assert "://" in target or (DOCS / target).exists(), (page.name, target)
