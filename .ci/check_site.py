"""Every link in the built site leads somewhere, and every name of the reference is in it.

python .ci/check_site.py SITE
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.api_pages import pages  # stands in tests/


class Page(HTMLParser):
    """The ids that a page has, and where its links and pictures lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids, self.targets = set(), []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids |= {value for key in ("id", "name") if (value := found.get(key))}
        self.targets += [found[key] for key in ("href", "src") if found.get(key)]


def main(site: Path) -> int:
    html = {path: Page(path.read_text("utf-8")) for path in site.rglob("*.html")}
    bad = []
    for path, page in html.items():
        if path.name == "404.html":  # its links are from the server's root
            continue
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            found = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            found = found / "index.html" if found.is_dir() else found
            if not found.exists():
                bad.append(f"{path.relative_to(site)}: no {target}")
            elif parts.fragment and found in html and parts.fragment not in html[found].ids:
                bad.append(f"{path.relative_to(site)}: no place {target}")
    for page in pages():
        ids = html[site / page.file.replace(".md", ".html")].ids
        bad += [
            f"{page.file}: no {name}"
            for name, anchor in page.anchors.items()
            if anchor and anchor not in ids
        ]
    print("\n".join(bad) or f"{len(html)} pages, all links lead somewhere")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
