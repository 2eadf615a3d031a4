"""What mkdocs does beside rendering docs/: see mkdocs.yml.

It adds the API reference and a page for each example, takes CONTRIBUTING.md, CHANGELOG.md and
benchmarks/README.md in, and links names of ours in code to the reference. The files in docs/ are
written for GitHub and stay as they are.
"""

from __future__ import annotations

import ast
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.utils import get_relative_url

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.api_pages import pages  # stands in tests/
from tinygrad_cupy import datasets, nn

ROOT = Path(__file__).parents[1]
TAKEN = {  # files outside of docs/, and their place on the site
    "../CONTRIBUTING.md": "contributing.md",
    "../CHANGELOG.md": "changelog.md",
    "../benchmarks/README.md": "benchmarks.md",
    "../examples": "examples.md",
}
PLACES: dict[str, tuple[str, str]] = {}  # a name in code: its page and its anchor there


def on_config(config: Any) -> Any:
    """The reference's pages into the navigation, and where each name is."""
    for page in pages():
        for name, anchor in page.anchors.items():
            PLACES.setdefault(name, (page.file, anchor))
            for short in ("tg.", "nn."):  # nn.optim.Adam is optim.Adam, too
                PLACES.setdefault(name.removeprefix(short), (page.file, anchor))
    for called, of in (("datasets", datasets), ("nn.optim", nn.optim), ("nn", nn)):
        for name in of.__all__:
            if name[0].isupper() and f"{called}.{name}" in PLACES:
                PLACES[name] = PLACES[f"{called}.{name}"]
    for section in config["nav"]:
        for name, items in section.items():
            if name == "Reference":
                items.insert(1, {"API": [{page.title: page.file} for page in pages()]})
            if name == "Examples":
                items += [{path.stem.replace("_", " "): _page_of(path)} for path in _examples()]
    return config


def on_files(files: Files, config: Any) -> Files:
    """The pages that are not in docs/."""
    made = {page.file: page.text for page in pages()}
    for target, place in TAKEN.items():
        if target.endswith(".md"):
            made[place] = _taken(target.removeprefix("../"))
    for path in _examples():
        made[_page_of(path)] = _example(path)
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links that lead out of docs/ on GitHub lead to the pages taken in."""
    if page.file.src_uri == "api.md":
        files_of = {page.title: page.file for page in pages()}
        for title, file in files_of.items():
            markdown = markdown.replace(f"| `{title}` |", f"| [`{title}`]({file}) |")
    for target, place in TAKEN.items():
        markdown = re.sub(rf"\]\({re.escape(target)}(?=[)#])", f"]({place}", markdown)
    return re.sub(r"\]\(\.\./examples/(\w+)\.py\)", r"](examples/\1.md)", markdown)


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """`nn.Conv2d` and `tg.grad(fn)` in code lead to the reference."""
    here = page.file.src_uri

    def linked(match: re.Match[str]) -> str:
        name = re.match(r"[\w.]*", match[1])
        place = PLACES.get(name[0]) if name else None
        if place is None or match[1][len(name[0]) :][:1] not in ("", "(") or place[0] == here:
            return match[0]
        file = files.get_file_from_path(place[0])
        url = get_relative_url(file.url, page.url) + (f"#{place[1]}" if place[1] else "")
        return f'<a class="api" href="{url}">{match[0]}</a>'

    # Not in headings, in blocks of code, or in links.
    parts = re.split(r"(<pre.*?</pre>|<a .*?</a>|<h\d.*?</h\d>)", html, flags=re.DOTALL)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"<code>([^<]*)</code>", linked, parts[i])
    return "".join(parts)


def _taken(name: str) -> str:
    """A file from outside of docs/, with its links as seen from the site's root."""
    text = (ROOT / name).read_text("utf-8")
    text = re.sub(r"\]\(docs/([^)]*)\)", r"](\1)", text)
    return re.sub(r"\[([^\]]*)\]\(results/[^)]*\)", r"`\1`", text)


def _examples() -> list[Path]:
    return sorted((ROOT / "examples").glob("*.py"))


def _page_of(path: Path) -> str:
    return posixpath.join("examples", f"{path.stem}.md")


def _example(path: Path) -> str:
    """Its docstring, its picture where docs/ has one, and its code."""
    code = path.read_text("utf-8")
    said = ast.get_docstring(ast.parse(code)) or ""
    head, _, rest = said.partition("\n")
    picture = (ROOT / "docs" / f"{path.stem}.png").exists()
    shown = f"![{path.stem}](../{path.stem}.png)\n\n" if picture else ""
    body = code.split('"""', 2)[2].strip()
    title = path.stem.replace("_", " ").capitalize()
    return f"# {title}\n\n{head}\n\n{rest.strip()}\n\n{shown}```python\n{body}\n```\n"
