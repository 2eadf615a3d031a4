"""The documentation's site: its navigation, and its reference of every public name."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

import tinygrad_cupy as tg
from support import api_pages, docstrings
from tinygrad_cupy import Tensor

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def places() -> dict[str, str]:
    """What each name is called in code, and the page that it stands on."""
    return {name: page.file for page in api_pages.pages() for name in page.anchors}


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(
        r"^ +- ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE
    )
    taken_in = {"benchmarks.md", "contributing.md", "changelog.md"}
    assert set(listed) - taken_in == {page.name for page in DOCS.glob("*.md")}
    assert len(listed) == len(set(listed))


def test_every_page_is_named_on_the_first_one_and_in_the_readme() -> None:
    first = (DOCS / "index.md").read_text("utf-8")
    readme = (ROOT / "README.md").read_text("utf-8")
    for page in {page.name for page in DOCS.glob("*.md")} - {"index.md"}:
        assert f"]({page}" in first, page
        assert f"](docs/{page}" in readme, page


def test_every_public_name_is_in_the_reference(places: dict[str, str]) -> None:
    for name, called in api_pages.MODULES.items():
        module = api_pages.module(name)
        for key in api_pages.public(name):
            if not isinstance(getattr(module, key), ModuleType):
                assert f"{called}.{key}" in places, (name, key)


def test_every_public_module_is_in_the_reference() -> None:
    """Those that `tg` and its parts name in __all__, and those that these import publicly."""
    waiting, seen = [("", tg)], set()
    while waiting:
        name, module = waiting.pop()
        seen.add(name)
        for key in getattr(module, "__all__", ()):
            child = getattr(module, key)
            if isinstance(child, ModuleType):
                waiting.append((f"{name}.{key}".lstrip("."), child))
    assert seen <= {*api_pages.MODULES, *api_pages.FOLDERS}
    for name in api_pages.FOLDERS:
        of = api_pages.module(name)
        assert all(isinstance(getattr(of, key), ModuleType) for key in of.__all__)


def test_every_method_of_tensor_is_in_the_reference(places: dict[str, str]) -> None:
    methods = {name for name in dir(Tensor([1.0])) if not name.startswith("_")}
    assert len(methods) > 200
    assert not {name for name in methods if f"Tensor.{name}" not in places}


def test_every_public_name_is_described() -> None:
    for page in api_pages.pages():
        for entry in re.split(r"^### ", page.text, flags=re.MULTILINE)[1:]:
            head, _, rest = entry.partition("\n")
            said = re.sub(r"```python\n.*?```", "", rest, count=1, flags=re.DOTALL).strip()
            assert said, (page.file, head)
            assert not said.startswith("## "), (page.file, head)


def test_anchors_are_one_for_each_name() -> None:
    for page in api_pages.pages():
        anchors = re.findall(r"^### .* \{ #(\S+) \}$", page.text, re.MULTILINE)
        assert len(anchors) == len(set(anchors)), page.file
        assert set(anchors) == {anchor for anchor in page.anchors.values() if anchor}


def test_the_table_of_modules_names_them_all() -> None:
    named = re.findall(
        r"^\| `(tinygrad_cupy[\w.]*)` \|", (DOCS / "api.md").read_text("utf-8"), re.MULTILINE
    )
    assert named == [f"tinygrad_cupy.{name}".rstrip(".") for name in api_pages.MODULES]


def test_docstrings_become_markdown() -> None:
    text = """The sum a * b of x_i, 1 < n.

    Parameters
    ----------
    x:
        an array,
        of any shape.
    axis:
        which.

    - one
    - two

        code(1)

    >>> f(1)
    2
    """
    lines = [line.removeprefix("    ") for line in text.split("\n")]
    assert (
        docstrings.markdown("\n".join(lines))
        == r"""The sum a \* b of x\_i, 1 &lt; n.

**Parameters**

`x`
:   an array,
    of any shape.

`axis`
:   which.


- one
- two

    code(1)

```pycon
>>> f(1)
2
```"""
    )
