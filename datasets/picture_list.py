"""Which files of a folder are pictures, of which class, and for training or for the test.

What is not taken is named, with the reason. Three layouts:

    train/CLASS/… and test/CLASS/…   a class is a folder that holds pictures; it may lie deeper
    CLASS/…                          the same without parts: a share of each class is the test
    labels.csv                       instead of class folders, in the folder or in train and in test
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tinygrad_cupy.printing import printable

from .dataset import DataError
from .files import kind_of
from .picture import SUFFIXES
from .picture_labels import LABELS, read_labels

PARTS = ("train", "test")
WHOLE = "whole"  # the part of a folder that is not divided
MAX_DEPTH = 32  # of folders in folders
SHOWN = 5  # names in a sentence

Groups = dict[str, list[Path]]  # the pictures of each class


class Skipped(NamedTuple):
    """What was found in a folder and not taken, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{printable(self.name)} ({self.reason})"


class PictureList(NamedTuple):
    """The pictures of each part by their classes, and what was left out.

    `parts` has the keys "train" and "test", or "whole" alone. `source` says what they are.
    """

    parts: dict[str, Groups]
    classes: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    source: str


def list_pictures(root: Path, class_depth: int | None = None) -> PictureList:
    """The pictures in a folder.

    class_depth: how many folders name a class: with 1, whatever lies in train/cat, however deep,
        is a "cat"; None: the folder that holds a picture names its class, by its path ("pets/cat")

    Raises DataError, naming the folder or file, where there is no such layout, where a class has
    no picture in a part, and for a labels.csv that names what is not there.
    """
    if not _is_folder(root):
        raise DataError(f"[{root}] expected a folder with train and test in it, there is none")
    skipped: list[Skipped] = []
    if _has_labels(root):
        parts = _labelled(root, root, skipped)
        source = f"The pictures of {LABELS}"
    else:
        parts, source = _in_folders(root, class_depth, skipped)
    return PictureList(parts, _classes(root, parts), tuple(skipped), source)


def listed(things: Sequence[object], separator: str = ", ") -> str:
    """The first few of them, and how many more there are."""
    more = f" and {len(things) - SHOWN:,} more" if len(things) > SHOWN else ""
    return separator.join(str(thing) for thing in things[:SHOWN]) + more


def inside(root: Path, path: Path) -> str:
    """A path as seen from the folder."""
    return path.relative_to(root).as_posix()


def _classes(root: Path, parts: dict[str, Groups]) -> tuple[str, ...]:
    """The class names, checked to be the same in train and test, each with a picture."""
    if len(parts) > 1:
        for part, other in (PARTS, PARTS[::-1]):
            if missing := sorted(parts[part].keys() - parts[other].keys()):
                raise DataError(
                    f"[{root}] expected the same classes in train and test, "
                    f"missing from {other}: {', '.join(missing)}"
                )
    for part, groups in parts.items():
        for name, pictures in groups.items():
            if not pictures:
                raise DataError(f"[{root / part / name}] expected at least one picture, got none")
    return tuple(sorted(set().union(*parts.values())))


# --- class folders ------------------------------------------------------------------------------


def _in_folders(
    root: Path, depth: int | None, skipped: list[Skipped]
) -> tuple[dict[str, Groups], str]:
    there = [part for part in PARTS if _is_folder(root / part)]
    if len(there) == 1:
        (missing,) = set(PARTS) - set(there)
        raise DataError(
            f"[{root}] expected the folders train and test in it, {missing} is not there"
        )
    folders = "The class folders"
    if not there:
        groups = _class_folders(root, root, depth, skipped)
        for name in [name for name in groups if not groups[name]]:
            del groups[name]
            skipped.append(Skipped(name, "folder without pictures"))
        if not groups:
            raise DataError(
                f"[{root}] expected the folders train and test in it, or a folder for each class, "
                f"or {LABELS}, got none of these"
            )
        return {WHOLE: groups}, folders
    parts, sources = {}, set()
    for part in PARTS:
        base = root / part
        if _has_labels(base):
            (parts[part],) = _labelled(root, base, skipped, divided=False).values()
            sources.add(f"The pictures of {LABELS}")
        else:
            parts[part] = _class_folders(root, base, depth, skipped)
            sources.add(folders)
    for entry in _entries(root):
        if entry.name not in PARTS:
            reason = "hidden" if entry.name.startswith(".") else "not in train or test"
            skipped.append(Skipped(entry.name, reason))
    return parts, max(sources)


def _class_folders(root: Path, base: Path, depth: int | None, skipped: list[Skipped]) -> Groups:
    """The pictures below `base` by their classes; both sorted."""
    groups: Groups = {}
    others = []
    for top in _entries(base):
        reason = _reason(top)
        if reason != "folder":
            name = inside(root, base / top.name)
            others.append(Skipped(name, reason or "not in a class folder"))
            continue
        groups[top.name] = []
        found = list(_walk(root, base / top.name, skipped))
        for path in found:
            names = path.relative_to(base).parts[:-1]
            if depth is not None and len(names) < depth:
                skipped.append(Skipped(inside(root, path), f"not {depth} folders deep"))
            else:
                groups.setdefault("/".join(names[:depth]), []).append(path)
        if found and not groups[top.name]:
            del groups[top.name]  # it holds folders of classes
    skipped += others
    if not groups and base != root:
        raise DataError(f"[{base}] expected a folder for each class, got none")
    if depth is None:
        _expect_no_mixture(base, groups)
    return {name: groups[name] for name in sorted(groups)}


def _expect_no_mixture(base: Path, groups: Groups) -> None:
    """Whether a picture in a folder of a class is of that class must not be a guess."""
    for name in sorted(groups):
        for above in _above(name):
            if groups.get(above):
                raise DataError(
                    f"[{base / above}] expected either pictures or folders of classes in it, got "
                    f"{groups[above][0].name} and {name[len(above) + 1 :]}/{groups[name][0].name}; "
                    f"class_depth (--class-depth) {above.count('/') + 1} takes both as {above!r}"
                )


def _above(name: str) -> Iterator[str]:
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def _walk(
    root: Path, folder: Path, skipped: list[Skipped], above: tuple[tuple[int, int], ...] = ()
) -> Iterator[Path]:
    """The pictures, by their endings, in a folder and in those in it; sorted."""
    status = _status(folder)
    if status[1:] in above:
        skipped.append(Skipped(inside(root, folder), "link to a folder that it is in"))
        return
    if len(above) == MAX_DEPTH:
        skipped.append(Skipped(inside(root, folder), f"more than {MAX_DEPTH} folders deep"))
        return
    inner, entries = [], _entries(folder)
    for entry in entries:
        reason = _reason(entry)
        path = folder / entry.name
        if reason is None:
            yield path
        elif reason == "folder":
            inner.append(path)
        else:
            skipped.append(Skipped(inside(root, path), reason))
    if not entries and above:
        skipped.append(Skipped(inside(root, folder), "empty folder"))
    for path in inner:
        yield from _walk(root, path, skipped, (*above, status[1:]))


# --- labels.csv ---------------------------------------------------------------------------------


def _labelled(
    root: Path, base: Path, skipped: list[Skipped], divided: bool = True
) -> dict[str, Groups]:
    """The pictures that labels.csv in `base` names; by parts, where it tells of them."""
    table = read_labels(base, divided)
    parts: dict[str, Groups] = {}
    for row in table.rows:
        parts.setdefault(row.part or WHOLE, {}).setdefault(row.label, []).append(row.path)
    named = {row.path for row in table.rows}
    left: list[Skipped] = []
    for path in _walk(root, base, left):
        if path not in named:
            left.append(Skipped(inside(root, path), f"not in {LABELS}"))
    named.add(base / LABELS)
    skipped.extend(one for one in left if root / one.name not in named)
    skipped.extend(
        Skipped(inside(root, base / LABELS), f"column {printable(name)}, not read")
        for name in table.unread
    )
    return parts


def _has_labels(folder: Path) -> bool:
    return os.path.lexists(folder / LABELS) and _kind(folder / LABELS) == "file"


# --- entries ------------------------------------------------------------------------------------


def _reason(entry: os.DirEntry[str]) -> str | None:
    """Why an entry is no picture; None for one that is, by its ending."""
    if entry.name.startswith("."):
        return "hidden"
    # What a listing of the folder tells of regular files is asked for at no cost.
    kind = "file" if entry.is_file(follow_symlinks=False) else _kind(Path(entry.path))
    if kind != "file":
        return kind
    ending = os.path.splitext(entry.name)[1].lower()
    return None if ending in SUFFIXES else "not a picture's ending"


def _kind(path: Path) -> str:
    return _status(path)[0]


def _status(path: Path) -> tuple[str, int, int]:
    """What is there, in a word, and which it is."""
    try:
        found = path.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return "link to nothing", 0, 0
        raise DataError(f"[{path}] cannot be read: {error.strerror}") from error
    return kind_of(found.st_mode), found.st_dev, found.st_ino


def _is_folder(path: Path) -> bool:
    return _kind(path) == "folder"


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, by name."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"[{folder}] cannot be read: {error.strerror}") from error
