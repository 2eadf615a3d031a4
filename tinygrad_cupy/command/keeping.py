"""How a run is kept: its weights once it is trained, then its figures, and at last its pictures.

Nothing that goes wrong later takes away what came before.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

from ..folders import STAGING, Claim, write_file
from ..nn import (
    Callback,
    Checkpoints,
    EpochRecord,
    History,
    MetricsWriter,
    Module,
    Step,
    TensorBoard,
    Trainer,
)
from ..nn.recorders import Recorder
from ..printing import printable, shortened
from . import experiment, run_folder, settings_file
from .errors import CommandError, Interrupted
from .experiment import Data, Run
from .run_folder import HISTORY, METRICS, SETTINGS, STEPS, TENSORBOARD, WEIGHTS
from .settings import RunSettings

METRICS_BYTES = 1 << 16  # more than metrics.json takes beside its classes
CLASS_BYTES = 256  # of it per class, its name apart
EPOCH_BYTES = 256  # more than a row of history.csv takes
EPOCHS_RESERVED = 10_000
DATA_NAME = 16  # letters of it that a picture's title has room for


class Keeper:
    """Writes one run into `claim`, in a sweep into its folder `inside`.

    record: what a single run is, which stands before its first step
    minutes: how often, within an epoch, there is a checkpoint
    tensorboard: whether to write a log for it as well. Raises `CommandError` where its library is
        missing.
    """

    def __init__(
        self,
        claim: Claim,
        inside: str = "",
        record: bytes | None = None,
        minutes: float = 5.0,
        tensorboard: bool = False,
    ) -> None:
        self.claim, self.inside, self.record = claim, inside, record
        self.put_aside = False
        # Where settings, logs and checkpoints are while it trains, and when it is killed.
        self.live = claim.live / run_folder.IN_PROGRESS / inside if inside else claim.live
        self.checkpoints = Checkpoints(self.live / run_folder.CHECKPOINTS, minutes, tell=note)
        self.logs = {STEPS: Log(MetricsWriter(self.live / STEPS))}
        if tensorboard:
            self.logs[TENSORBOARD] = Log(open_tensorboard(self.live / TENSORBOARD))

    def leave(self) -> Path | None:
        """After what ended the run without weights: where it can go on from, if it can.

        Where no checkpoint was written, nothing is left.
        """
        if self.put_aside:
            return None
        if not self.checkpoints.numbers():
            if not (self.live / WEIGHTS).exists():  # of an earlier try
                for name in (run_folder.RECORD, SETTINGS, STEPS):
                    with contextlib.suppress(OSError):
                        (self.live / name).unlink()
                shutil.rmtree(self.live / TENSORBOARD, ignore_errors=True)
            return None
        return (
            self.claim.commit_beside("-unfinished") if self.claim.replacing else self.claim.folder
        )

    def execute(self, settings: RunSettings, data: Data, callbacks: Sequence[Callback]) -> Run:
        """Train and test, and write weights and figures, but do not put them in place yet.

        The room on the disk is taken before. Raises `CommandError` where there is none, and
        where something failed once the weights were there, saying where they are now.
        """
        try:
            self._reserve(settings, data)
        except OSError as error:
            raise self._cannot_write(error) from error
        watching = [*callbacks, *self.logs.values()]
        if not self.checkpoints.numbers():
            self._write_settings(settings, data)
        else:  # of a run that goes on they stay until its checkpoint was found to fit
            watching.append(Begun(lambda: self._write_settings(settings, data)))
        try:
            run = experiment.execute(settings, data, watching, self._trained, self.checkpoints)
            figures = run_folder.json_bytes(run.metrics)
        except KeyboardInterrupt as error:
            if self.inside or not self._has(WEIGHTS):
                raise
            can_go_on = self.checkpoints.numbers()
            kept = self._put_untested_aside()
            told = f"the weights of the last finished epoch, not tested, are in {kept}"
            told += goes_on(kept) if can_go_on else ""
            raise Interrupted(told, getattr(error, "number", 0)) from error
        except Exception as error:
            if not self._has(WEIGHTS):
                raise
            told = str(error) if isinstance(error, CommandError) else repr(error)
            kept = self._put_untested_aside()
            raise CommandError(f"{told}; the weights, not tested, are in {kept}") from error
        try:
            if not self._has(WEIGHTS):
                self._write(WEIGHTS, run_folder.weights_bytes(run.model.state_dict()))
            if not self._has(HISTORY):
                self._write(HISTORY, run_folder.history_bytes(run.history))
            self._take_along()
            self._write(METRICS, figures)
        except OSError as error:
            raise self.rescue(run, error) from error
        self._tell_cut_logs()
        return run

    def _take_along(self) -> None:
        """In a sweep, put settings and logs beside the weights; they stay where they were, too."""
        if not self.inside:
            return
        place = self.claim.new / self.inside
        for name in (SETTINGS, STEPS):
            if (self.live / name).exists():  # a full disk takes no log
                shutil.copyfile(self.live / name, place / name)
        if (self.live / TENSORBOARD).is_dir():
            shutil.copytree(self.live / TENSORBOARD, place / TENSORBOARD, dirs_exist_ok=True)

    def _write_settings(self, settings: RunSettings, data: Data) -> None:
        try:
            self.live.mkdir(parents=True, exist_ok=True)
            write_file(self.live / SETTINGS, settings_file.repeating(settings, data))
            if self.record is not None:
                write_file(self.claim.live / run_folder.RECORD, self.record)
        except OSError as error:
            raise self._cannot_write(error) from error

    def _tell_cut_logs(self) -> None:
        for name, log in self.logs.items():
            if log.problem:
                note(f"{name} ends too early: {log.problem.strerror or log.problem}")

    def drop(self) -> None:
        """Remove what was written of this run of a sweep, but what it needs to go on."""
        shutil.rmtree(self.claim.new / self.inside, ignore_errors=True)
        if not self.checkpoints.numbers():
            self.ended()

    def ended(self) -> None:
        """Remove what this run of a sweep needed to go on."""
        shutil.rmtree(self.live, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.live.parent.rmdir()  # it was the last one

    def rescue(self, run: Run, error: OSError) -> CommandError:
        """Write the run to another disk; returns the error that says where, or that it is lost."""
        told = str(self._cannot_write(error))
        parents = []
        for place in (tempfile.gettempdir, os.getcwd):
            with contextlib.suppress(OSError):  # a working directory that is gone, for one
                parents.append(place())
        for parent in parents:
            folder = None
            try:
                folder = Path(tempfile.mkdtemp(prefix="tinygrad_cupy-run-", dir=parent))
                (folder / WEIGHTS).write_bytes(run_folder.weights_bytes(run.model.state_dict()))
                (folder / HISTORY).write_bytes(run_folder.history_bytes(run.history))
                (folder / SETTINGS).write_bytes(settings_file.repeating(run.settings, run.data))
                (folder / METRICS).write_bytes(run_folder.json_bytes(run.metrics))
                return CommandError(f"{told}; the run is in {folder}")
            except OSError:
                if folder is not None:
                    shutil.rmtree(folder, ignore_errors=True)
        return CommandError(f"{told}; nor to {' or '.join(map(repr, parents))}: the run is lost")

    def _reserve(self, settings: RunSettings, data: Data) -> None:
        weights = run_folder.weights_bytes(experiment.untrained_state(settings, data))
        names = len(run_folder.json_bytes(data.classes))
        skipped = 2 * len(run_folder.json_bytes([list(one) for one in data.skipped]))  # indented
        epochs = min(settings.epochs, EPOCHS_RESERVED)
        self.claim.reserve(self._path(WEIGHTS), len(weights))
        self.claim.reserve(self._path(HISTORY), (1 + epochs) * EPOCH_BYTES)
        self.claim.reserve(
            self._path(METRICS),
            METRICS_BYTES + 8 * names + skipped + CLASS_BYTES * len(data.classes),
        )

    def _trained(self, model: Module, history: History) -> None:
        with contextlib.suppress(OSError):  # tried again, and told, when the figures are there
            self._write(WEIGHTS, run_folder.weights_bytes(model.state_dict()))
            self._write(HISTORY, run_folder.history_bytes(history))

    def _put_untested_aside(self) -> Path:
        self.put_aside = True
        with contextlib.suppress(OSError):
            self._take_along()
        if self.inside or self.claim.replacing:
            return self.claim.commit_beside("-untested", self.inside)
        return self.claim.commit()

    def _write(self, name: str, data: bytes) -> None:
        self.claim.write(self._path(name), data)

    def _path(self, name: str) -> str:
        return f"{self.inside}/{name}" if self.inside else name

    def _has(self, name: str) -> bool:
        return (self.claim.new / self._path(name)).exists()

    def _cannot_write(self, error: OSError) -> CommandError:
        folder = str(self.claim.folder / self.inside)
        return CommandError(f"--out: cannot write to {folder!r}: {error.strerror or error}")


class Begun(Callback):
    """Calls a function once training begins."""

    def __init__(self, function: Callable[[], None]) -> None:
        self.function = function

    def on_fit_start(self, trainer: Trainer) -> None:
        self.function()


class Log(Callback):
    """A recorder that a full disk does not let end the run: it only falls silent.

    `problem` says why it did.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.problem: OSError | None = None

    def on_fit_start(self, trainer: Trainer) -> None:
        with self._noting() as recorder:
            recorder.on_fit_start(trainer)

    def on_step_end(self, trainer: Trainer, step: Step) -> None:
        if self.problem is None:
            with self._noting() as recorder:
                recorder.on_step_end(trainer, step)

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        if self.problem is None:
            with self._noting() as recorder:
                recorder.on_epoch_end(trainer, record)

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        with self._noting() as recorder:
            recorder.close() if self.problem else recorder.on_fit_end(trainer, history)

    @contextlib.contextmanager
    def _noting(self) -> Iterator[Recorder]:
        try:
            yield self.recorder
        except OSError as error:
            self.problem = self.problem or error


def open_tensorboard(folder: Path) -> TensorBoard:
    """Raises `CommandError`, naming the extra, where the library is missing."""
    try:
        return TensorBoard(folder)
    except ImportError as error:
        raise CommandError(f"--tensorboard: {str(error).removeprefix('[TensorBoard] ')}") from error


def note(text: str) -> None:
    """Say it on standard error, where nothing has failed yet."""
    if sys.stderr is not None:
        print(printable(f"note: {text.removeprefix('[Checkpoints] ')}"), file=sys.stderr)


def goes_on(folder: Path) -> str:
    """What an error says of a run that was cut short."""
    return f"; go on with --resume {folder}"


class Drawing:
    """Draws pictures into `folder`; those that fail are `missing`, by name, with the reason."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.missing: dict[str, Exception] = {}

    def draw(self, name: str, draw: Callable[[ModuleType, Path], None]) -> None:
        """`draw(pictures, part)`; the part gets its name once it is whole."""
        path = self.folder / name
        part = path.with_name(f"{STAGING}-{path.name}")
        try:
            pictures = _pictures()
            with pictures.default_settings():
                draw(pictures, part)
            os.replace(part, path)
        except Exception as error:  # whatever fonts, plotting settings and disks come up with
            self.missing[name] = error
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def run(self, run: Run, inside: str = "") -> None:
        """The pictures of a run, in a sweep into its folder `inside`."""
        start = f"{inside}/" if inside else ""
        name = f"{run.settings.model_label} on {shortened(run.data.name, DATA_NAME)}"
        tested = f"{run.test.accuracy:.2%} of {len(run.data.test):,} test images right"
        classes = run.data.classes
        self.draw(
            start + run_folder.CURVES,
            lambda pictures, part: pictures.draw_curves(part, run.history, f"Training {name}"),
        )
        self.draw(
            start + run_folder.CONFUSION,
            lambda pictures, part: pictures.draw_confusion(
                part, run.confusion, classes, f"{name}: {tested}"
            ),
        )
        self.draw(
            start + run_folder.MISTAKES,
            lambda pictures, part: pictures.draw_mistakes(
                part,
                run.data.test.images,
                run.test.labels,
                run.test.probabilities,
                classes,
                f"Test images that {name} finds hardest",
            ),
        )

    def problem(self) -> str:
        """What is missing and why, or nothing."""
        if not self.missing:
            return ""
        error = next(iter(self.missing.values()))
        reason = error.strerror if isinstance(error, OSError) and error.strerror else repr(error)
        names = list(self.missing)
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return f"{', '.join(names[:3])}{more} could not be drawn ({reason})"


def _pictures() -> ModuleType:
    """Imported without $MPLBACKEND, which may name none that exists: PNG files need no backend."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # where it keeps fonts is nobody's care
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        from . import pictures
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    return pictures
