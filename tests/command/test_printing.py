"""Names of others, as they are printed."""

from pathlib import Path

import pytest

from tinygrad_cupy.printing import printable, shortened


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name.png", "plain name.png"),
        ("überall/七", "überall/七"),
        ("C:\\folder", "C:\\folder"),
        ('it\'s "quoted"', 'it\'s "quoted"'),
        ("two\nlines\r\t", "two\\nlines\\r\\t"),
        ("\x1b[31mred\x07\x9b", "\\x1b[31mred\\x07\\x9b"),
        ("gpj\u202e.exe", "gpj\\u202e.exe"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("line\u2028paragraph\u2029", "line\\u2028paragraph\\u2029"),
        ("not utf-8: \udcff", "not utf-8: \\udcff"),
        (Path("a") / "b\x00", "a/b\\x00"),
        (7, "7"),
    ],
)
def test_what_does_not_print_is_escaped(name: object, shown: str) -> None:
    assert printable(name) == shown
    assert printable(name).isprintable()
    printable(name).encode()


def test_long_names_are_cut_in_the_middle() -> None:
    assert shortened("abcdefgh", 8) == "abcdefgh"
    assert shortened("abcdefghi", 8) == "abcd…ghi"
    assert shortened("abcdefghi", 7) == "abc…ghi"
