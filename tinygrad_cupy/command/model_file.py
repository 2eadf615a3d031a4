"""A model of the user's own: `--model FILE.py:function`.

The file's code is run, on purpose, and only where the command line or the caller names it. A run
folder keeps its path and a hash of it, never anything that would be run from there.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import re
import reprlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .. import Tensor, no_grad
from ..nn import Module
from .errors import ArgumentError, CommandError, near

ARGUMENTS = ("classes", "in_channels", "image_size")  # a function is given those that it takes
FORM = re.compile(r"(.+\.py):([^:\\/]*)", re.DOTALL)


@dataclass(frozen=True)
class ModelFile:
    """A function, or a class, in a Python file, that makes a model for images.

    `source` is the file as it was when it was named: a sweep runs the same code to its end.

    It is called by keyword with those of these that it takes: `classes`, their number;
    `in_channels`, 1 or 3; `image_size`, (height, width). It returns a Module which maps images
    (N, in_channels, height, width) to logits (N, classes).
    """

    path: Path
    function: str
    source: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> ModelFile | None:
        """Of FILE.py:function; None of the name of a model. Raises `ArgumentError`."""
        found = FORM.fullmatch(text)
        if not found:
            if text.endswith(".py"):
                raise _wrong(f"expected FILE.py:function, got {text!r}")
            return None
        path, function = Path(found[1]), found[2]
        if not function.isidentifier():
            raise _wrong(f"expected FILE.py:function, got {text!r}")
        if not path.is_file():
            raise _wrong(f"there is no file {str(path)!r}")
        try:
            return cls(path, function, path.read_bytes())
        except OSError as error:
            raise ArgumentError("model", f"cannot read {found[1]!r}: {error.strerror}") from error

    @property
    def label(self) -> str:
        """Without the folder: "net.py:build"."""
        return label_of(f"{self.path}:{self.function}")

    @property
    def hash(self) -> str:
        """SHA-256 of the source."""
        return hashlib.sha256(self.source).hexdigest()

    def as_dict(self) -> dict[str, str]:
        """As metrics.json holds it."""
        path = str(self.path.resolve())
        return {"path": path, "function": self.function, "sha256": self.hash}

    def build(self, classes: int, in_channels: int, image_size: tuple[int, int]) -> Module:
        """The function's model on the default device. Runs the file.

        Raises `ArgumentError` for what the file raises, and for what is no such model.
        """
        given = {"classes": classes, "in_channels": in_channels, "image_size": image_size}
        with _importing(self.path), self._telling():
            function = self._function()
            model = function(**self._taken(function, given))
        if not isinstance(model, Module):
            raise ArgumentError(
                "model", f"expected {self.label} to return a Module, got {reprlib.repr(model)}"
            )
        if not any(True for _ in model.parameters()):
            raise ArgumentError("model", f"expected {self.label} to have parameters, it has none")
        return model

    def check(self, model: Module, classes: int, image_shape: tuple[int, int, int]) -> None:
        """Raise `ArgumentError` unless the model, on the CPU, gives (N, classes) for images."""
        model.eval()
        with self._telling(), no_grad(), np.errstate(all="ignore"):
            output: Any = model(Tensor(np.zeros((2, *image_shape), np.float32), device="cpu"))
        model.train()
        shape = getattr(output, "shape", None)
        if not isinstance(output, Tensor) or shape != (2, classes):
            got = f"shape {shape}" if isinstance(output, Tensor) else reprlib.repr(output)
            raise ArgumentError(
                "model",
                f"expected {self.label} to give logits (N, {classes}) for images "
                f"(N, {', '.join(map(str, image_shape))}), got {got} for N = 2",
            )

    def _function(self) -> Callable[..., Any]:
        name = f"_model_file_{self.hash}"
        module = sys.modules.get(name)
        if module is None:
            module = ModuleType(name)
            module.__file__ = str(self.path)
            code = compile(self.source, str(self.path), "exec")
            sys.modules[name] = module  # dataclasses look there
            try:
                exec(code, vars(module))
            except BaseException:
                del sys.modules[name]
                raise
        found = getattr(module, self.function, None)
        if not callable(found):
            names = [key for key, one in vars(module).items() if _is_own(one, name)]
            raise _wrong(
                f"{str(self.path)!r} has no function {self.function!r}"
                + (near(self.function, names) or f"; it has {', '.join(names) or 'none'}")
            )
        function: Callable[..., Any] = found
        return function

    def _taken(self, function: Callable[..., Any], given: dict[str, Any]) -> dict[str, Any]:
        parameters = inspect.signature(function).parameters.values()
        if any(one.kind is one.VAR_KEYWORD for one in parameters):
            return given
        named = [one for one in parameters if one.kind is not one.VAR_POSITIONAL]
        strange = [one.name for one in named if one.default is one.empty and one.name not in given]
        if strange:
            raise _wrong(
                f"expected {self.label} to take none but {', '.join(ARGUMENTS)}, "
                f"got {', '.join(strange)}"
            )
        return {one.name: given[one.name] for one in named if one.name in given}

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """What the file raises becomes an error that names it."""
        try:
            yield
        except CommandError:
            raise
        except MemoryError:
            raise
        except (Exception, SystemExit) as error:
            told = f"{type(error).__name__}: {error}".replace("\n", " ")
            raise ArgumentError("model", f"{self.label} raised {told}", raised=True) from error


def _wrong(text: str) -> ArgumentError:
    return ArgumentError("model", text, usage=True)


def label_of(model: str) -> str:
    """What a run calls its model: its name, or the name of its file and function."""
    found = FORM.fullmatch(model)
    return f"{Path(found[1]).name}:{found[2]}" if found else model


def _is_own(thing: Any, module: str) -> bool:
    own = getattr(thing, "__module__", None) == module
    return own and (inspect.isfunction(thing) or inspect.isclass(thing))


@contextlib.contextmanager
def _importing(path: Path) -> Iterator[None]:
    """The file's folder is where it imports from, as where Python runs it."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
