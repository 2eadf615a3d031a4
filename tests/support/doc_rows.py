"""The tables of docs/from-*.md, whose rows are code: another library's, and ours beside it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cupy.autograd import TensorBase

DOCS = Path(__file__).parents[2] / "docs"

Row = tuple[str, str]


def setup(page: str) -> dict[str, Any]:
    """The names that the page's first block of code makes."""
    code = re.search(r"```python\n(.*?)```", _text(page), re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)
    return names


def rows(page: str) -> list[Row]:
    """The rows of two pieces of code and a remark."""
    found = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|.*\|$", _text(page), re.MULTILINE)
    return [(left, right) for left, right in found]


def evaluated(code: str, names: dict[str, Any]) -> Any:
    """The value of the last statement, in a copy of the names."""
    names = dict(names)
    *before, last = ast.parse(code).body
    exec(compile(ast.Module(before, []), code, "exec"), names)
    assert isinstance(last, ast.Expr | ast.Assign), code
    return eval(compile(ast.Expression(last.value), code, "eval"), names)


def troubles(page: str, check: Callable[[Row], None]) -> list[str]:
    """What goes wrong in which row: all of it, not the first alone."""
    found = []
    for row in rows(page):
        try:
            check(row)
        except Exception as error:
            found.append(f"{row[0]} | {row[1]}: {error}")
    return found


def expect_same(left: Any, right: Any) -> None:
    """Numbers to rounding, everything else exactly."""
    left, right = _plain(left), _plain(right)
    if isinstance(left, list | tuple | str | bool | type(None)):
        assert left == right
    else:
        np.testing.assert_allclose(right, left, rtol=1e-5, atol=1e-6)


def _plain(value: Any) -> Any:
    if isinstance(value, TensorBase) or type(value).__module__.startswith("torch"):
        return value.detach().numpy() if hasattr(value, "detach") else value
    return value


def _text(page: str) -> str:
    return (DOCS / f"{page}.md").read_text("utf-8")
