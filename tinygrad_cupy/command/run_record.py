"""run.json: what a run was asked for and is made of, so that it can go on; it stands from step 1.

`TrainSettings` as they were asked for, `RunSettings` as they were resolved, what tells its data
from others, and what must be known to use weights that were not tested.
"""

from __future__ import annotations

import dataclasses
import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import backend
from ..datasets.files import read_file
from ..printing import printable
from .errors import CommandError, UsageError
from .experiment import Data, described, versions
from .model_file import FORM, ModelFile
from .run_folder import (
    CHECKPOINTS,
    RECORD,
    RECORD_FORMAT,
    SETTINGS,
    STEPS,
    SWEEP_RECORD,
    TENSORBOARD,
    json_bytes,
)
from .settings import DATASETS, ENDLESS, RunSettings, TrainSettings

AT_ONCE = (RECORD, CHECKPOINTS, SETTINGS, STEPS, TENSORBOARD)
VERSION = 1
MOST = 1 << 26  # bytes


def record_bytes(asked: TrainSettings, settings: RunSettings, data: Data, **more: Any) -> bytes:
    """The contents of run.json, or of sweep.json: of its first run, and `more`."""
    return json_bytes(
        {
            "format": RECORD_FORMAT,
            "version": VERSION,
            "asked": {
                field.name: _plain(field.name, getattr(asked, field.name))
                for field in dataclasses.fields(asked)
            },
            "settings": {
                field.name: _plain(field.name, getattr(settings, field.name))
                for field in dataclasses.fields(settings)
            },
            "data": fingerprint(data),
            "description": described(settings, data),
            "versions": versions(),
            **more,
        }
    )


def fingerprint(data: Data) -> dict[str, Any]:
    """What tells these pictures from others."""
    parts = {"train": data.train, "val": data.val, "test": data.test}
    return {
        "name": data.name,
        "classes": len(data.classes),
        "image_shape": list(data.train.images.shape[1:]),
        "images": data.counts,
        "checksums": {
            name: f"{zlib.crc32(_bytes(part.labels), zlib.crc32(_bytes(part.images))):08x}"
            for name, part in parts.items()
        },
    }


def _bytes(array: Any) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, ModelFile):
        return value.as_dict()
    if name == "model" and (found := FORM.fullmatch(value)):
        return f"{os.path.abspath(found[1])}:{found[2]}"
    if isinstance(value, Path) or (name == "dataset" and value not in DATASETS):
        return os.path.abspath(value)  # the run may go on from another working directory
    return value


@dataclass(frozen=True)
class Record:
    """The run.json, or sweep.json, of what is to go on; `sweep` is its batch sizes and seeds."""

    path: Path
    asked: dict[str, Any]
    settings: dict[str, Any]
    data: dict[str, Any]
    sweep: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, name: str = RECORD) -> Record | None:
        """None where there is none. Raises `CommandError` naming the file."""
        path = folder / name
        try:
            content = json.loads(read_file(path, MOST).decode())
            if content["format"] != RECORD_FORMAT or content["version"] != VERSION:
                raise ValueError(f"expected version {VERSION}, got {content['version']!r}")
            sweep = content["sweep"] if name == SWEEP_RECORD else {}
            found = cls(path, content["asked"], content["settings"], content["data"], sweep)
            fields = dataclasses.fields(RunSettings)
            known = {field.name for field in fields if field.default is dataclasses.MISSING}
            if not (known <= set(found.settings) and isinstance(found.asked, dict)):
                raise ValueError("its settings are not those of a run")
            for field in fields:  # those that came later
                found.settings.setdefault(field.name, field.default)
            return found
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CommandError(f"cannot read {str(path)!r}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            text = f"cannot read {str(path)!r}: {printable(error) or repr(error)}"
            raise CommandError(text) from error

    def merged(
        self, given: TrainSettings, names: Iterable[str], epochs_grow: bool = True
    ) -> TrainSettings:
        """The settings to go on with: the stored ones, and more epochs where that is asked for.

        `names` are the options that were given again. Raises `UsageError` where one of them says
        something else, naming both, and where the model is in a file that is not named again:
        nothing is run because a run folder says so.
        """
        if self.settings["model_file"] and "model" not in names:
            raise UsageError(
                f"--model: the run in {str(self.path.parent)!r} is of a model of your own; name "
                f"its file, whose code is run: --model {printable(self.settings['model'])}"
            )
        try:
            return self._merged(given, names, epochs_grow)
        except CommandError:
            raise
        except Exception as error:  # values of other types than a run writes
            text = f"cannot read {str(self.path)!r}: {printable(error) or repr(error)}"
            raise CommandError(text) from error

    def _merged(
        self, given: TrainSettings, names: Iterable[str], epochs_grow: bool
    ) -> TrainSettings:
        fields = {field.name for field in dataclasses.fields(given)}
        names = fields.intersection(names)
        for name in sorted(names):
            self._check(name, getattr(given, name), epochs_grow)
        fixed = {name: self.settings[name] for name in ("batch_size", "lr", "epochs", "device")}
        if "epochs" in names and given.epochs != fixed["epochs"]:
            schedule = self.settings["schedule"]
            if schedule not in ENDLESS:
                raise UsageError(
                    f"--epochs: cannot be raised with --schedule {schedule}, whose learning rates "
                    f"are those of {fixed['epochs']} epochs"
                )
            fixed["epochs"] = given.epochs
        if "checkpoint_minutes" in names:
            fixed["checkpoint_minutes"] = given.checkpoint_minutes
        values = {name: _typed(value) for name, value in self.asked.items()} | fixed
        if values.get("data_dir") is not None:
            values["data_dir"] = Path(values["data_dir"])
        return TrainSettings(**values)

    def _check(self, name: str, given: Any, epochs_grow: bool) -> None:
        stored = {_typed(table.get(name)) for table in (self.asked, self.settings)}
        value = _typed(_plain(name, given))
        if name == "checkpoint_minutes":  # the weights do not depend on it
            return
        if name == "epochs" and epochs_grow:
            if value >= self.settings["epochs"]:
                return
            told = "may be raised, but not lowered: "
        elif name == "device":
            if _is_device(value, self.settings["device"]):
                return
            told = ""
        elif value in stored:
            return
        else:
            told = ""
        option = "--no-jit" if name == "jit" else f"--{name.replace('_', '-')}"
        was = self.settings.get(name, self.asked.get(name))
        shown = "not given" if was is None or name == "jit" else printable(was)
        raise UsageError(
            f"{option}: {told}{'given' if name == 'jit' else printable(given)} now, and {shown} "
            f"when the run in {str(self.path.parent)!r} began"
        )

    def changed(self, settings: RunSettings) -> bool:
        """Whether the file of a model of the user's own is not what it was."""
        own, before = settings.model_file, self.settings["model_file"]
        return own is not None and own.hash != before.get("sha256")

    def check_data(self, data: Data) -> None:
        """Raise `CommandError` unless these are the pictures that the run began with."""
        for name, now in fingerprint(data).items():
            if self.data.get(name) != now:
                raise CommandError(
                    f"--resume: the data is not that of the run in {str(self.path.parent)!r}: "
                    f"{name} {printable(json.dumps(self.data.get(name)))} then, "
                    f"{printable(json.dumps(now))} now"
                )


def _typed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _is_device(given: str, stored: str) -> bool:
    try:
        return given == "auto" or backend.normalize_device(given) == stored
    except (RuntimeError, ValueError):
        return given == stored
