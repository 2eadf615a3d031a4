"""`tg.load_run`: a run folder in Python."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import Tensor
from ..datasets.picture import no_pillow_warnings
from ..nn import Module
from . import settings_file
from .errors import ArgumentError, CommandError
from .model_file import ModelFile
from .picture_input import look
from .stored_run import Description, remarks
from .stored_run import load_run as stored_run


@dataclass(frozen=True)
class LoadedRun:
    """What `tinygrad-cupy train` left, ready to be used.

    model: the trained Module, in evaluation mode; (N, C, H, W) -> logits (N, classes)
    classes: their names, by label
    settings: the options that repeat the run, by their names (settings.toml); of a run of an
        older version what its metrics.json has of them
    metrics: all of metrics.json; of a run that has not ended, the little that run.json has of it
    image_shape: (C, H, W) of what the model takes
    """

    model: Module
    classes: tuple[str, ...]
    settings: Mapping[str, Any]
    metrics: Mapping[str, Any]
    image_shape: tuple[int, int, int]
    _description: Description = field(repr=False)

    def read(self, path: str | os.PathLike[str]) -> Tensor:
        """A picture file as the model takes it, (1, C, H, W): read, framed and normalized.

        As `tinygrad-cupy predict` does it. Raises ValueError for a file that is no picture, and
        FileNotFoundError.
        """
        if not Path(path).exists():
            raise FileNotFoundError(f"[load_run] there is no picture {os.fspath(path)!r}")
        how = self._description
        try:
            with no_pillow_warnings():
                seen = look(Path(path), how.framing, how.form, how.digits)
        except CommandError as error:
            raise ValueError(f"[load_run] {error}") from error
        return self.prepare(seen.picture[None])

    def prepare(self, images: Any) -> Tensor:
        """Images (N, C, H, W) of a data set, uint8 or floats from 0 to 1, as the model takes them.

        On the model's device. Raises ValueError for another shape.
        """
        array = np.asarray(images)
        if array.ndim != 4 or array.shape[1:] != self.image_shape:
            shape = ", ".join(map(str, self.image_shape))
            raise ValueError(f"[load_run] expected images (N, {shape}), got {array.shape}")
        values = array.astype(np.float32)
        if array.dtype.kind in "iu":
            values /= 255
        device = next(param.device for param in self.model.parameters())
        return self._description.normalization(Tensor(values, device=device))


def load_run(
    path: str | os.PathLike[str], model: str | None = None, device: str = "cpu"
) -> LoadedRun:
    """The model, settings and classes of a run folder that `tinygrad-cupy train` wrote.

    >>> run = tg.load_run("runs/2026-01-31_12-00-00_medium")  # doctest: +SKIP
    >>> scores = run.model(run.read("three.png"))  # doctest: +SKIP
    >>> run.classes[scores.argmax(axis=1).item()]  # doctest: +SKIP
    '3'

    model: "FILE.py:function" of a run on a model of your own: that file's code is run. Nothing in a
        run folder ever is. A file that has changed since is warned of.
    Weights that a second Ctrl-C left, which were not tested, are loaded with a warning.
    device: where the model is put

    Raises ValueError for a folder that is no run, whose files are damaged or do not fit each other,
    and FileNotFoundError where there is none.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"[load_run] there is no run folder {os.fspath(path)!r}")
    try:
        own = None if model is None else ModelFile.parse(model)
        if model is not None and own is None:
            raise ArgumentError("model", f"expected FILE.py:function, got {model!r}")
        description, net = stored_run(folder, own)
    except CommandError as error:
        said = error.in_python if isinstance(error, ArgumentError) else error
        raise ValueError(f"[load_run] {said}") from error
    for told in remarks(description, own):
        warnings.warn(f"[load_run] {told}", UserWarning, stacklevel=2)
    metrics = description.metrics
    names = ("dataset", "model", "epochs", "batch_size", "optimizer", "lr", "seed")
    settings = settings_file.stored(folder) or {name: metrics.get(name) for name in names}
    return LoadedRun(
        model=net.to(device),
        classes=description.classes,
        settings=settings,
        metrics=metrics,
        image_shape=description.image_shape,
        _description=description,
    )
