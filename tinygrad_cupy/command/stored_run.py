"""A run folder as `predict`, `evaluate` and `tg.load_run` use it: each file is checked before.

Neither file is trusted: what metrics.json says may not cost memory or time beyond what a run of
this program can need, and weights are finite numbers of the model's own names, shapes and types.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.files import read_file
from ..datasets.picture_form import CHANNELS, RESIZES, PictureForm
from ..nn import Module, models
from ..printing import printable
from . import limits
from .errors import ArgumentError, CommandError, near
from .model_file import ModelFile
from .normalization import Normalization
from .picture_input import FRAMED, SCALED, Framing
from .run_folder import HISTORY, METRICS, RECORD, SWEEP_RECORD, SWEEP_TABLE, WEIGHTS
from .settings import DATASETS

MAX_METRICS = 1 << 24  # bytes
MAX_WEIGHTS = 1 << 31
MAX_NAME = 4096  # letters of a class: the path of a folder may be its name
LARGEST = 1e6  # of a mean or a standard deviation


@dataclass(frozen=True)
class Source:
    """Where the code of a user's own model was, and what it was."""

    path: str
    function: str
    sha256: str


@dataclass(frozen=True)
class Description:
    """What metrics.json says of a model; without a framing its pictures are read as they are.

    `source` is that of a model of the user's own. `metrics` is all of metrics.json, unchecked, or
    what there is of it in run.json, where the run has not ended: `untested` says so then.
    """

    model: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    resize: str
    framing: Framing | None
    normalization: Normalization
    source: Source | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict, compare=False)
    untested: str | None = None

    @property
    def digits(self) -> bool:
        """Whether the classes are the digits."""
        return all(len(name) == 1 and name.isdecimal() for name in self.classes)

    @property
    def form(self) -> PictureForm:
        """How a picture is read for the model."""
        channels, height, width = self.image_shape
        return PictureForm((height, width), channels, self.resize)


def load_run(folder: Path, own: ModelFile | None = None) -> tuple[Description, Module]:
    """The trained model of a run folder, on the CPU and in evaluation mode.

    own: the file and function of a run on a model of the user's own, whose code is run; None of
        any other. `remarks` says whether that file is another than then.

    Raises `CommandError` naming the folder or file that is missing, cannot be read or is not what
    a run writes.
    """
    if not folder.is_dir():
        siblings = [path.name for path in folder.parent.glob("*") if path.is_dir()]
        hint = near(folder.name, siblings)
        raise CommandError(f"there is no run folder {str(folder)!r}{hint}")
    if (folder / SWEEP_TABLE).exists() or (folder / SWEEP_RECORD).exists():
        inside = sorted(printable(path.name) for path in folder.glob("batch-*"))
        choice = f"choose a run in it: {', '.join(inside)}" if inside else "no run of it has ended"
        raise CommandError(f"{str(folder)!r} is a sweep; {choice}")
    tested, begun = (folder / METRICS).exists(), (folder / RECORD).exists()
    if begun and not (folder / WEIGHTS).exists():
        raise CommandError(f"{_not_ended(folder)}, and has no weights: {_go_on(folder)}")
    for name in (METRICS, WEIGHTS):
        if not (folder / name).exists() and not begun:
            raise CommandError(f"{str(folder)!r} is no run folder: it has no {name}")
    description = read_description(folder / METRICS) if tested else _untested(folder)
    _check_own(folder, description, own)
    return description, _load_weights(folder / WEIGHTS, description, own)


def remarks(description: Description, own: ModelFile | None) -> list[str]:
    """What to tell: that weights are not tested, that a model's file is another than then."""
    told = [description.untested] if description.untested else []
    source = description.source
    if own is not None and source is not None and own.hash != source.sha256:
        told.append(f"{own.path} is not the file that the run was trained with, of {source.path}")
    return told


def _not_ended(folder: Path) -> str:
    return f"the run in {str(folder)!r} has not ended"


def _go_on(folder: Path) -> str:
    return f"go on with tinygrad-cupy train --resume {folder}"


def _untested(folder: Path) -> Description:
    """Of a run that was ended between its weights and their test, by what run.json says."""
    content = _json(folder / RECORD)
    try:
        description = _description(_field(content, "description", bool, "an object"))
        epochs = _field(content["settings"], "epochs", lambda x: type(x) is int, "a number")
        finished = read_file(folder / HISTORY, MAX_METRICS).count(b"\n") - 1
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise CommandError(f"{_not_ended(folder)}: {_go_on(folder)}") from error
    text = (
        f"{_not_ended(folder)}: these are the weights after {finished} of {epochs} epochs, not "
        f"tested; {_go_on(folder)}"
    )
    return replace(description, untested=text)


def _check_own(folder: Path, description: Description, own: ModelFile | None) -> None:
    source = description.source
    if source is None and own is not None:
        raise ArgumentError(
            "model", f"{str(folder)!r} is a run of {description.model}, which is in this package"
        )
    if source is not None and own is None:
        named = printable(f"{source.path}:{source.function}")
        raise ArgumentError(
            "model",
            f"{str(folder)!r} is a run on a model of your own; name its file, whose code is run",
            needed=named,
        )


def read_description(path: Path) -> Description:
    """The checked contents of a metrics.json. Raises `CommandError` naming the file."""
    try:
        return _description(_json(path))
    except ValueError as error:
        raise CommandError(f"{str(path)!r} does not describe a model: {error}") from error


def _json(path: Path) -> Any:
    """Raises `CommandError` naming the file."""
    try:
        return json.loads(read_file(path, MAX_METRICS).decode("utf-8"))
    except OSError as error:
        raise CommandError(f"cannot read {str(path)!r}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CommandError(f"cannot read {str(path)!r}: {printable(error)}") from error


def _description(metrics: Any) -> Description:
    """Raises ValueError."""
    _expect(isinstance(metrics, dict), "an object", metrics)
    model = _field(metrics, "model", lambda value: isinstance(value, str), "a name")
    source = _source(metrics)
    if source is None and model not in models.CLASSIFIERS:
        raise ValueError(f"unknown model {reprlib.repr(model)}{near(model, models.CLASSIFIERS)}")
    classes = _field(metrics, "classes", _are_classes, "two or more different names")
    shape = _field(
        metrics,
        "image_shape",
        lambda value: (
            _are_integers(value, (max(CHANNELS), limits.MAX_SIDE, limits.MAX_SIDE))
            and value[0] in CHANNELS
        ),
        f"[channels, 1 or 3, height to {limits.MAX_SIDE}, width]",
    )
    if found := limits.problem(shape, len(classes)):
        raise ValueError(f"expected {found}")
    framing = _framing(metrics, shape)
    resize = _optional(metrics, "resize", lambda value: value in RESIZES, f"one of {RESIZES}")
    # Before metrics.json said how, pictures were stretched.
    return Description(
        model, tuple(classes), tuple(shape), resize or "stretch", framing,
        _normalization(metrics, shape[0]), source, metrics,
    )  # fmt: skip


def _source(metrics: dict[str, Any]) -> Source | None:
    names = [field.name for field in fields(Source)]
    stored = _optional(
        metrics,
        "model_source",
        lambda value: (
            isinstance(value, dict)
            and sorted(value) == sorted(names)
            and all(isinstance(one, str) and len(one) <= MAX_NAME for one in value.values())
        ),
        f"an object of the texts {', '.join(names)}",
    )
    return Source(**stored) if stored else None


def _normalization(metrics: dict[str, Any], channels: int) -> Normalization:
    """Runs from before it was stored had none."""
    numbers = f"{channels} numbers to {LARGEST:g}"
    mean = _optional(metrics, "mean", lambda value: _are_numbers(value, channels, 0), numbers)
    least = 1 / LARGEST
    std = _optional(
        metrics,
        "std",
        lambda value: _are_numbers(value, channels, least),
        f"{numbers}, from {least:g}",
    )
    return Normalization(tuple(mean or [0.0] * channels), tuple(std or [1.0] * channels))


def _framing(metrics: dict[str, Any], shape: list[int]) -> Framing | None:
    default = _old_pictures(metrics)
    kinds = (FRAMED, SCALED)
    metrics = {"pictures": default, **metrics}
    if _field(metrics, "pictures", lambda value: value in kinds, f"one of {kinds}") == SCALED:
        return None
    _expect(shape[0] == 1 and shape[1] == shape[2], "framed images as gray squares", shape)
    side = shape[1]
    names = [field.name for field in fields(Framing)]
    stored = _field(
        metrics,
        "framing",
        lambda value: isinstance(value, dict) and sorted(value) == sorted(names),
        f"an object of {', '.join(names)}",
    )
    framing = Framing(**stored)
    for name, value in asdict(framing).items():
        if name == "box":
            _expect(_are_integers([value], (side,)), f"a framing's box from 1 to {side}", value)
        else:
            _expect(isinstance(value, bool), f"a framing's {name} as true or false", value)
    return framing


def _old_pictures(metrics: dict[str, Any]) -> str:
    """Of a run from before metrics.json said so: only what was no folder was framed."""
    folder = str(metrics.get("dataset_reason")).startswith("The class folders in")
    return SCALED if folder or metrics.get("dataset") not in DATASETS else FRAMED


def _field(metrics: dict[str, Any], name: str, fits: Callable[[Any], bool], expected: str) -> Any:
    if name not in metrics:
        raise ValueError(f"it has no {name}")
    _expect(fits(metrics[name]), f"{name} as {expected}", metrics[name])
    return metrics[name]


def _optional(
    metrics: dict[str, Any], name: str, fits: Callable[[Any], bool], expected: str
) -> Any:
    """None where it is absent, or said to be."""
    return None if metrics.get(name) is None else _field(metrics, name, fits, expected)


def _expect(fits: bool, expected: str, found: Any) -> None:
    if not fits:
        raise ValueError(f"expected {expected}, got {reprlib.repr(found)}")


def _are_integers(values: Any, most: tuple[int, ...]) -> bool:
    return (
        isinstance(values, list)
        and len(values) == len(most)
        and all(type(value) is int for value in values)
        and all(1 <= value <= limit for value, limit in zip(values, most, strict=True))
    )


def _are_numbers(values: Any, count: int, least: float) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(type(value) in (int, float) for value in values)
        and all(least <= value <= LARGEST for value in values)
    )


def _are_classes(values: Any) -> bool:
    return (
        isinstance(values, list)
        and len(values) >= 2
        and all(isinstance(name, str) and 1 <= len(name) <= MAX_NAME for name in values)
        and len(set(values)) == len(values)
    )


def _load_weights(path: Path, description: Description, own: ModelFile | None) -> Module:
    from safetensors.numpy import load

    try:
        content = read_file(path, MAX_WEIGHTS)
    except OSError as error:
        raise CommandError(f"cannot read {str(path)!r}: {error.strerror}") from error
    try:
        state = load(content)
    except Exception as error:  # SafetensorError, and KeyError for a dtype that NumPy has not
        raise CommandError(f"cannot read {str(path)!r}: {printable(error)}") from error
    try:
        channels, height, width = description.image_shape
        classes = len(description.classes)
        if own is None:
            model = models.build(description.model, classes, channels, (height, width))
        else:
            model = own.build(classes, channels, (height, width)).to("cpu")
        built = model.state_dict()
        for name, array in state.items():
            if array.shape == (1,) and name in built and built[name].shape == ():
                state[name] = array.reshape(())  # as older versions stored it
        _check_state(state, built)
        model.load_state_dict(state)
    except ValueError as error:
        text = f"{str(path)!r} does not fit {description.model!r}: {error}"
        raise CommandError(text) from error
    return model.to("cpu").eval()


def _check_state(state: dict[str, np.ndarray], own: dict[str, np.ndarray]) -> None:
    """Raise ValueError unless these are the model's names, shapes and dtypes, and finite."""
    for kind, names in (
        ("missing", own.keys() - state.keys()),
        ("unexpected", state.keys() - own.keys()),
    ):
        if names:
            raise ValueError(f"{kind} {printable(reprlib.repr(sorted(names)))}")
    for name, array in state.items():
        expected = f"{own[name].dtype} {own[name].shape}"
        if (found := f"{array.dtype} {array.shape}") != expected:
            raise ValueError(f"expected {name} as {expected}, got {found}")
        if not np.isfinite(array).all():
            raise ValueError(f"expected finite numbers in {name}, got NaN or infinity")
