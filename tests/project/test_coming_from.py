"""The tables in docs/from-*.md: each row runs; beside NumPy's, both sides give the same."""

from __future__ import annotations

from support.doc_rows import Row, evaluated, expect_same, rows, setup, troubles


def test_numpy() -> None:
    names = setup("from-numpy")

    def check(row: Row) -> None:
        expect_same(evaluated(row[0], names), evaluated(row[1], names))

    assert len(rows("from-numpy")) > 30
    assert not [one for one in troubles("from-numpy", check) if "cupy" not in one.split(" | ")[0]]


def test_chainer() -> None:
    names = setup("from-chainer")
    assert len(rows("from-chainer")) > 50
    assert not troubles("from-chainer", lambda row: evaluated(row[1], names))


def test_pytorch() -> None:
    names = setup("from-pytorch")
    assert len(rows("from-pytorch")) > 70
    assert not troubles("from-pytorch", lambda row: evaluated(row[1], names))
