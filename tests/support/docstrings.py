"""Docstrings, which are plain text, as Markdown: for `api_pages`."""

from __future__ import annotations

import re


def markdown(text: str) -> str:
    """Docstrings are plain text; what Markdown would take for its own is escaped.

    ``name:`` above indented lines becomes a definition, a heading underlined with dashes a bold
    line, an example in doctest's form a block of code.
    """
    lines, i = text.split("\n"), 0
    out: list[str] = []
    while i < len(lines):
        line = lines[i]
        after = lines[i + 1] if i + 1 < len(lines) else ""
        if line.lstrip().startswith(">>>"):
            i = _example(lines, i, out)
            continue
        if re.fullmatch(r"-{3,}", after) and line.strip():
            out += [f"**{line}**", ""]
            i += 2
            continue
        if re.fullmatch(r"[\w*`., /\[\]()=|-]+:", line) and after.startswith("    "):
            i = _definition(lines, i, out)
            continue
        if line.startswith("    ") and (not out or not out[-1].strip() or _is_code(out[-1])):
            out.append(line)  # a block of code
        else:
            if re.match(r"[-*] |\d+\. ", line) and out and out[-1].strip() and not _in_list(out):
                out.append("")
            out.append(escaped(line))
        i += 1
    return "\n".join(out).strip("\n")


def _is_code(line: str) -> bool:
    return line.startswith("    ")


def _in_list(out: list[str]) -> bool:
    return bool(re.match(r"[-*] |\d+\. |  ", out[-1]))


def _example(lines: list[str], i: int, out: list[str]) -> int:
    """An example, up to the next blank line, which may lie between two ``>>>``."""
    indent = len(lines[i]) - len(lines[i].lstrip())
    if out and out[-1].strip():
        out.append("")
    out.append(" " * indent + "```pycon")
    while i < len(lines) and (lines[i].strip() or _goes_on(lines, i)):
        out.append(lines[i])
        i += 1
    out += [" " * indent + "```", ""]
    return i


def _goes_on(lines: list[str], i: int) -> bool:
    return i + 1 < len(lines) and lines[i + 1].lstrip().startswith(">>>")


def _definition(lines: list[str], i: int, out: list[str]) -> int:
    """``name:`` and the indented lines under it."""
    if out and out[-1].strip():
        out.append("")
    out.append(f"`{lines[i].rstrip(':').replace('`', '')}`")
    mark, i = ":   ", i + 1
    body: list[str] = []
    while i < len(lines) and (lines[i].startswith("    ") or not lines[i].strip()):
        if not lines[i].strip() and not (i + 1 < len(lines) and lines[i + 1].startswith("    ")):
            break
        body.append(lines[i][4:])
        i += 1
    for line in markdown("\n".join(body)).split("\n"):
        out.append((mark + line) if line else "")
        mark = "    "
    out.append("")
    return i


def escaped(line: str) -> str:
    """Stars, underlines and angles outside of code stand for themselves."""
    parts = re.split(r"(``[^`]+``|`[^`]+`)", line)
    for k in range(0, len(parts), 2):
        part = re.sub(r"([*_\[\]])", r"\\\1", parts[k].replace("<", "&lt;"))
        parts[k] = re.sub(r"^(\s*)\\\* ", r"\1* ", part) if k == 0 else part  # an item of a list
    text = "".join(parts)
    return re.sub(r"^(\s*)([#+>])", r"\1\\\2", text)
