"""The tables of docs/ that are made from the code say what it does."""

from __future__ import annotations

import numpy as np
import pytest

from support import doc_tables


def test_tables_are_true() -> None:
    if not np.__version__.startswith(doc_tables.NUMPY + "."):
        pytest.skip(f"the tables count the functions of NumPy {doc_tables.NUMPY}")
    named = set()
    for path in doc_tables.DOCS.glob("*.md"):
        page = path.read_text("utf-8")
        named |= {found[1] for found in doc_tables.MARK.findall(page)}
        assert doc_tables.filled(page) == page, (
            f"docs/{path.name} is stale: run PYTHONPATH=tests python -m support.doc_tables"
        )
    assert set(doc_tables.TABLES) <= named


def test_most_of_numpy_takes_tensors() -> None:
    assert doc_tables.share_outside() >= 0.9
