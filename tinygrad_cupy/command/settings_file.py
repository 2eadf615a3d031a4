"""Options from a TOML file (`--config`), and the file in a run folder that repeats the run."""

from __future__ import annotations

import json
import reprlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..datasets.files import read_file
from .errors import UsageError, near
from .experiment import Data
from .run_folder import SETTINGS
from .settings import DATASETS, MINUTES, TEST_FRACTION, WEIGHT_DECAYS, RunSettings

EXPECTED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path, as a text",
}


KINDS = {"dataset": str, "data_dir": str, "class_depth": int, "test_fraction": float}
MOST = 1 << 20  # bytes of a settings.toml
DEFAULTS = {"schedule": "constant", "warmup": 0.0}  # which a report need not name


def options_of(settings: RunSettings, data: Data) -> dict[str, Any]:
    """What was chosen of a run, or found of its data, by the names of the options; None is none.

    Batch size and where it ran apart, a run of these options on the same data is the same run.
    """
    options: dict[str, Any] = {"dataset": settings.dataset, "data_dir": settings.data_dir}
    if settings.dataset == "auto":
        options["dataset"] = data.name.lower()
    if data.folder is not None:
        _, channels, height, width = data.train.images.shape
        fraction = data.folder.test_fraction
        options |= {
            "image_size": f"{height}x{width}",
            "channels": channels,
            "resize": data.folder.form.resize,
            "class_depth": data.folder.class_depth,
            "test_fraction": fraction if fraction != TEST_FRACTION else None,
        }
    own = ("schedule", "warmup", "weight_decay", "clip_norm", "ema", "augment", "precision")
    names = ("model", "epochs", "patience", "optimizer", "lr", "val_fraction", "seed", *own)
    options |= {name: getattr(settings, name) for name in names}
    options["augment"] = ",".join(settings.augment) or None
    for name, default in (DEFAULTS | {"weight_decay": WEIGHT_DECAYS[settings.optimizer]}).items():
        if options[name] == default:
            options[name] = None
    return options


def repeating(settings: RunSettings, data: Data) -> bytes:
    """The settings.toml of a run folder: ``train --config`` of it repeats the run.

    Paths are absolute, so that it does from anywhere.
    """
    options = options_of(settings, data)
    if options["dataset"] not in DATASETS:
        options["dataset"] = Path(options["dataset"]).resolve()
    if settings.data_dir is not None:
        options["data_dir"] = settings.data_dir.resolve()
    if own := settings.model_file:
        options["model"] = f"{own.path.resolve()}:{own.function}"
    minutes = settings.checkpoint_minutes
    options |= {
        "batch_size": settings.batch_size,
        "device": settings.device,
        "checkpoint_minutes": minutes if minutes != MINUTES else None,
        "no_jit": None if settings.jit else True,
    }
    return written(options, "To repeat this run: tinygrad-cupy train --config settings.toml")


def stored(folder: Path) -> dict[str, Any]:
    """The settings.toml of a run folder, with underscores in the names; empty without one.

    It is not trusted: what is not of its kind is left out, as is all of a damaged file.
    """
    try:
        found = tomllib.loads(read_file(folder / SETTINGS, MOST).decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    options = {key.replace("-", "_"): value for key, value in found.items()}
    return {
        name: value for name, value in options.items() if _fits(value, KINDS.get(name, type(value)))
    }


def read(path: Path, kinds: Mapping[str, type], command: str) -> dict[str, Any]:
    """The options in a file, by their names with underscores.

    kinds: what the command takes. A key is an option's name without the dashes before it, with
    dashes or underscores within; a list of texts or numbers stands for words divided by commas.
    Raises `UsageError`, naming the file and all keys that are no options, or the value that is of
    another kind.
    """
    shown = repr(str(path))
    try:
        found = tomllib.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise UsageError(f"--config: there is no file {shown}") from None
    except OSError as error:
        raise UsageError(f"--config: cannot read {shown}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, UnicodeDecodeError
        raise UsageError(f"--config: {shown} is no TOML: {error}") from error
    names = {key: key.replace("-", "_") for key in found}
    strange = [key for key, name in names.items() if name not in kinds]
    if strange:
        known = [name.replace("_", "-") for name in kinds]
        told = ", ".join(f"{key!r}{near(key, known)}" for key in strange)
        told += (
            "; options stand in no table"
            if any(isinstance(found[k], dict) for k in strange)
            else ""
        )
        raise UsageError(f"--config: {shown} has keys that {command} does not take: {told}")
    options: dict[str, Any] = {}
    for key, name in names.items():
        if name in options:
            raise UsageError(f"--config: {shown} has {name.replace('_', '-')} twice")
        value = found[key]
        if isinstance(value, list) and kinds[name] is str:
            value = ",".join(map(str, value))
        if not _fits(value, kinds[name]):
            raise UsageError(
                f"--config: {shown}: {key}: expected {EXPECTED[kinds[name]]}, "
                f"got {reprlib.repr(value)}"
            )
        options[name] = value
    return options


def _fits(value: Any, kind: type) -> bool:
    if kind is float:
        return type(value) in (int, float)
    return type(value) is (str if kind is Path else kind)


def written(options: Mapping[str, Any], heading: str) -> bytes:
    """Options as TOML in UTF-8; those that are None are left out, as is what is no text.

    heading: a comment at the top; may have several lines.
    """
    lines = [f"# {line}" for line in heading.splitlines()]
    for name, value in options.items():
        if value is None:
            continue
        try:
            line = f"{name.replace('_', '-')} = {_toml(value)}"
            line.encode()
        except UnicodeEncodeError:  # a path of bytes that are no UTF-8
            line = f"# {name.replace('_', '-')}: {_toml(ascii(value))}, which is no text"
        lines.append(line)
    return ("\n".join(lines) + "\n").encode()


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    # JSON's escapes are among TOML's; the one letter that TOML does not want bare is DEL.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
