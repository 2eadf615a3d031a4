"""The API reference of the documentation site: a page for each public module, in Markdown.

It looks at the objects, not at the source as mkdocstrings does: many public names (functions of
`special`, ufuncs of `numpy`, methods of `Tensor`) are made from tables, and only exist once the
package is imported. What is public is what a module's ``__all__`` names.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.ops.hints import HintMixin

from .docstrings import escaped, markdown

ROOT = "tinygrad_cupy"
# Public modules, what code calls them, in the order of the navigation. Those that another module
# names in its __all__ must be here: tests/project/test_api_pages.py sees to it.
MODULES = {
    "": "tg",
    "nn": "nn",
    "nn.optim": "nn.optim",
    "nn.schedules": "nn.schedules",
    "nn.models": "nn.models",
    "nn.init": "nn.init",
    "nn.augment": "nn.augment",
    "nn.metrics": "nn.metrics",
    "datasets": "datasets",
    "distributed": "tg.distributed",
    "numpy": "tg.numpy",
    "numpy.linalg": "tg.numpy.linalg",
    "numpy.fft": "tg.numpy.fft",
    "numpy.random": "tg.numpy.random",
    "numpy.emath": "tg.numpy.emath",
    "numpy.lib.stride_tricks": "tg.numpy.lib.stride_tricks",
    "linalg": "tg.linalg",
    "fft": "tg.fft",
    "special": "tg.special",
    "signal": "tg.signal",
    "sparse": "tg.sparse",
    "spatial.distance": "tg.spatial.distance",
    "ndimage": "tg.ndimage",
    "optimize": "tg.optimize",
    "integrate": "tg.integrate",
    "interop": "tg.interop",
    "array_api": "tg.array_api",
    "array_api.linalg": "tg.array_api.linalg",
    "array_api.fft": "tg.array_api.fft",
}
FOLDERS = ("numpy.lib", "spatial")  # of nothing but modules that have pages
HIDDEN = ("forward", "extra_repr")  # calling a layer says it
WIDTH = 88


@dataclass(frozen=True)
class Page:
    """A page of the reference, and the names on it: what they are called in code, and where."""

    file: str
    title: str
    text: str
    anchors: dict[str, str]


@functools.cache
def pages() -> tuple[Page, ...]:
    """All pages, `Tensor`'s first."""
    return (tensor_page(), *(module_page(name) for name in MODULES))


# --- modules ------------------------------------------------------------------------------------


def module(name: str) -> ModuleType:
    """A public module, by its name under tinygrad_cupy."""
    found: Any = tg
    for part in name.split(".") if name else ():
        if not hasattr(found, part):
            importlib.import_module(f"{found.__name__}.{part}")
        found = getattr(found, part)
    assert isinstance(found, ModuleType)
    return found


def public(name: str) -> list[str]:
    """The public names of a module: its ``__all__``, else what it defines itself."""
    of = module(name)
    if hasattr(of, "__all__"):
        return list(of.__all__)
    own = (
        key for key, value in vars(of).items() if getattr(value, "__module__", "") == of.__name__
    )
    return sorted(key for key in own if not key.startswith("_"))


def module_page(name: str) -> Page:
    """What a module has: classes, then functions, then values, each in alphabetical order."""
    of, called = module(name), MODULES[name]
    title = f"{ROOT}.{name}" if name else ROOT
    parts, anchors = [f"# {title}", described(of)], {}
    kinds: dict[str, list[str]] = {"Classes": [], "Functions": [], "Values": []}
    for key in sorted(public(name), key=str.lower):
        value = getattr(of, key)
        if isinstance(value, ModuleType):
            continue
        kind = "Classes" if isinstance(value, type) else "Functions"
        kinds[kind if callable(value) or isinstance(value, type) else "Values"].append(key)
    for kind, keys in kinds.items():
        if keys:
            parts.append(f"## {kind}")
        for key in keys:
            full = f"{called}.{key}"
            anchors[full] = anchor_of(full)
            parts.append(entry(key, getattr(of, key), full))
    file = f"api/{name or 'tinygrad_cupy'}.md"
    return Page(file, title, "\n\n".join(parts) + "\n", anchors)


def anchor_of(full: str) -> str:
    """The place of a name on its page; two underlines would be bold."""
    return full.lower().replace("__", "--")


def entry(name: str, value: Any, full: str) -> str:
    """A heading, the signature, the docstring, and of a class its own methods."""
    head = f"### {escaped(name)} {{ #{anchor_of(full)} }}"
    if value is Tensor:
        return f"{head}\n\n[A page of its own](Tensor.md)."
    if isinstance(value, type) and getattr(value, "__module__", "").startswith(ROOT):
        lines = [head, signature(name, value), inherits(value), described(value), *methods(value)]
        return "\n\n".join(line for line in lines if line)
    if callable(value) and not isinstance(value, type) and not _is_alias(value):
        return f"{head}\n\n{signature(name, value)}\n\n{described(value, name)}"
    return f"{head}\n\n{of_others(value)}"


def of_others(value: Any) -> str:
    """What is said of a value, or of a class that is NumPy's or Python's."""
    if isinstance(value, type):
        return f"`{value.__module__}.{value.__qualname__}`."
    if isinstance(value, tuple | str | int | float | type(None)):
        return f"`{value!r}`"
    if isinstance(value, np.dtype):
        return f"NumPy's dtype `{value}`."
    return f"`{value!r}`" if _is_alias(value) else described(value)


def _is_alias(value: Any) -> bool:
    """Whether it is a type for type checkers, as ``Callable[[int], float]`` is."""
    return type(value).__module__ in ("types", "typing", "collections.abc") and hasattr(
        value, "__args__"
    )


# --- classes ------------------------------------------------------------------------------------


def inherits(cls: type) -> str:
    """The public class below it, of whose methods nothing is said again; a layer is a Module."""
    base = next((base for base in cls.__mro__[1:] if base in _public_classes()), None)
    return "" if base in (None, nn.Module, Exception) else f"Base class: `{base.__name__}`."


@functools.cache
def _public_classes() -> frozenset[type]:
    found = (getattr(module(name), key) for name in MODULES for key in public(name))
    return frozenset(one for one in found if isinstance(one, type))


def methods(cls: type) -> Iterator[str]:
    """A line for each public method and property that no public base has."""
    bases = [base for base in cls.__mro__[1:] if base in _public_classes() or _is_foreign(base)]
    for name in sorted(dir(cls)):
        if name.startswith("_") or name in HIDDEN:
            continue
        if any(name in vars(one) for base in bases for one in base.__mro__):
            continue
        value = inspect.getattr_static(cls, name)
        if isinstance(value, classmethod | staticmethod):
            value = value.__func__
        if isinstance(value, property | functools.cached_property) or callable(value):
            yield method(name, value)


def _is_foreign(cls: type) -> bool:
    return not cls.__module__.startswith(ROOT)


def method(name: str, value: Any, anchor: str = "") -> str:
    """A definition: the call, and what its docstring says."""
    call = f"**`.{name}`**" if isinstance(value, property) else ""
    text = described(value) or "—"
    body = text.replace("\n", "\n    ")
    body = re.sub(r"(?m)^ +$", "", body)
    mark = f" {{ #{anchor} }}" if anchor else ""
    if call:
        head = f"{call}{mark}"
    else:
        head = f"**`.{call_of(name, value, skip_self=True)}`**{mark}"
    return f"{head}\n\n:   {body}"


def tensor_page() -> Page:
    """`Tensor`'s methods, by the family that they belong to."""
    families: dict[str, tuple[str, list[str]]] = {}
    anchors: dict[str, str] = {}
    for name in sorted(dir(Tensor)):
        if name.startswith("_"):
            continue
        owner = next((cls for cls in Tensor.__mro__ if name in vars(cls)), None)
        if owner is None or owner is HintMixin or not owner.__module__.startswith(ROOT):
            continue
        value = inspect.getattr_static(Tensor, name)
        if isinstance(value, classmethod | staticmethod):
            value = value.__func__
        if not isinstance(value, property | Callable):
            value = None
        anchor = f"tensor.{name.lower()}"
        while anchor in anchors.values():  # T and t
            anchor += "-"
        anchors[f"Tensor.{name}"] = anchor
        family = owner.__module__
        title = _family(owner)
        families.setdefault(family, (title, []))[1].append(
            f"### {name} {{ #{anchor} }}\n\n"
            + (f"{signature(name, value, skip_self=True)}\n\n" if callable(value) else "")
            + (described(value) if value is not None else "An attribute.")
        )
    parts = [f"# {ROOT}.Tensor", signature("Tensor", Tensor), described(Tensor)]
    for _, (title, entries) in sorted(families.items(), key=lambda item: item[1][0]):
        parts += [f"## {title}", *entries]
    text = "\n\n".join(part for part in parts if part)
    return Page("api/Tensor.md", "Tensor", text + "\n", anchors | {"tg.Tensor": "", "Tensor": ""})


def _family(owner: type) -> str:
    stem = owner.__module__.rpartition(".")[2]
    own = {"tensor": "The tensor itself", "tensor_base": "Gradients and the graph"}
    return own.get(stem, stem.replace("_", " ").capitalize())


# --- signatures ---------------------------------------------------------------------------------


def signature(name: str, value: Any, skip_self: bool = False) -> str:
    """A block of code with the call, a parameter a line where one line is too long."""
    return f"```python\n{call_of(name, value, skip_self)}\n```"


def call_of(name: str, value: Any, skip_self: bool = False) -> str:
    """``name(parameters) -> result``."""
    parameters, result = _parameters(value, skip_self)
    line = f"{name}({', '.join(parameters)}){result}"
    if len(line) <= WIDTH or skip_self is None:
        return line
    rows = "".join(f"    {one},\n" for one in parameters)
    return f"{name}(\n{rows}){result}"


def _parameters(value: Any, skip_self: bool) -> tuple[list[str], str]:
    if getattr(value, "nin", None):  # a ufunc, whose own call takes anything
        inputs = ["x"] if value.nin == 1 else [f"x{i + 1}" for i in range(value.nin)]
        return [*inputs, "/", "out=None", "*", "where=True", "dtype=None"], ""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return ["…"], ""
    given = list(found.parameters.values())
    if skip_self and given and given[0].name in ("self", "cls"):
        given = given[1:]
    text = str(found.replace(parameters=given, return_annotation=inspect.Signature.empty))
    result = found.return_annotation
    shown = "" if result in (inspect.Signature.empty, "None") else f" -> {_spelled(result)}"
    return _split(text[1:-1]), "" if isinstance(value, type) else shown


def _spelled(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _split(text: str) -> list[str]:
    """Parameters, at the commas that stand in no bracket or text."""
    parts, depth, quote, start = [], 0, "", 0
    for i, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth -= 1
        elif sign == "," and not depth:
            parts.append(_plain(text[start:i]))
            start = i + 1
    return [part for part in (*parts, _plain(text[start:])) if part]


def _plain(parameter: str) -> str:
    """Annotations are written as texts in the source: 'Sizes' is Sizes."""
    return re.sub(r": '([^']*)'", r": \1", re.sub(r" at 0x[0-9a-f]+", "", parameter.strip()))


# --- docstrings ---------------------------------------------------------------------------------


def described(value: Any, name: str = "") -> str:
    """The docstring as Markdown."""
    text = inspect.getdoc(value) or ""
    if (end := re.search(r"\n( +)\Z", text)) is not None:  # put together of two, one indented
        text = re.sub(f"(?m)^{end[1]}", "", text).rstrip()
    theirs = getattr(np, name, None) if name else None
    if theirs is not None and text == inspect.getdoc(theirs):
        return f"NumPy's [`numpy.{name}`](https://numpy.org/doc/stable/reference/generated/numpy.{name}.html)."
    return markdown(text)
