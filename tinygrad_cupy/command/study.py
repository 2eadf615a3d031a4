"""The runs of a sweep, one after the other, and the folder that they are put into."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from ..folders import Claim
from ..nn import Callback
from . import experiment, report, run_folder, signals
from .by_size import by_size
from .errors import CommandError, Interrupted
from .experiment import Data, Run
from .keeping import Keeper
from .progress import CtrlC, ProgressBar
from .restored import restored
from .settings import RunSettings, TrainSettings

COLUMNS = (
    "batch_size", "seed", "test_accuracy", "test_loss", "val_accuracy", "seconds_per_epoch",
    "images_per_second", "epochs", "kept_epoch", "train_seconds", "stopped",
)  # fmt: skip


class Study:
    """The runs of a sweep that ended by themselves, each written when it had ended.

    They go to their places in the claimed folder at once, or where another study stands there, all
    together at the end.
    """

    def __init__(
        self,
        claim: Claim,
        asked: TrainSettings,
        data: Data,
        console: Console,
        tensorboard: bool = False,
    ) -> None:
        self.claim, self.asked, self.data, self.console = claim, asked, data, console
        self.tensorboard = tensorboard
        self._of_seed = asked.seed, data
        self.replacing = claim.replacing
        self.runs: list[Run] = []

    def where(self, folder: Path) -> str:
        """What of the study is in `folder`."""
        sizes = ", ".join(str(one.batch_size) for one in by_size(self.runs))
        return f"the report on batch size {sizes} is in {folder}"

    def leave(self) -> Path | None:
        """Where no run has ended: the folder from which the sweep goes on, if it can."""
        if self.runs:
            return None
        claim = self.claim
        place = claim.live / run_folder.IN_PROGRESS
        if not any(place.glob(f"*/{run_folder.CHECKPOINTS}/*.json")):
            shutil.rmtree(place, ignore_errors=True)
            (claim.live / run_folder.SWEEP_RECORD).unlink(missing_ok=True)
            return None
        return claim.commit_beside("-unfinished") if claim.replacing else claim.folder

    def run_each(self, each: Sequence[RunSettings], ctrl_c: CtrlC) -> CommandError | None:
        """Run them all; returns the error to end with once the report is written."""
        ending: CommandError | None = None
        for settings in each:
            try:
                run = self._run(settings, ctrl_c)
            except KeyboardInterrupt:
                if not self.runs:
                    raise
                break
            except Exception as error:  # out of memory: larger batches would be as well
                if not self.runs:
                    raise
                told = str(error) if isinstance(error, CommandError) else repr(error)
                return CommandError(told)
            if ctrl_c.asked:
                break
            if run.problem and not ending:
                ending = CommandError(
                    f"batch size {settings.batch_size}: {run.problem} (--lr was {settings.lr:g})"
                )
        if ctrl_c.asked:
            return Interrupted("some batch sizes are missing", ctrl_c.asked) if self.runs else None
        return ending

    def put_in_place(self, ending: CommandError | None, ctrl_c: CtrlC) -> Path:
        """Write table and report, and return the folder that the study is in.

        Beside the one that was asked for where an `ending` would replace a whole study.
        """
        claim = self.claim
        ctrl_c.busy = True
        try:
            self.runs.sort(key=lambda run: (run.settings.batch_size, run.settings.seed))
            claim.write(run_folder.SWEEP_REPORT, report.report(self.runs).encode())
            claim.write(run_folder.SWEEP_TABLE, table_bytes(self.runs))
            if not self.replacing:
                claim.commit_part(run_folder.SWEEP_REPORT)
                claim.commit_part(run_folder.SWEEP_TABLE)
                return claim.folder
            return self._replace(ending)
        except OSError as error:
            kept = self._replace(error) if self.replacing else claim.folder
            runs = ", ".join(str(kept / report.run_name(run.settings)) for run in self.runs)
            raise CommandError(
                f"cannot write the report to {str(claim.folder)!r}: {error.strerror or error}; "
                f"the runs are in {runs}"
            ) from error
        finally:
            ctrl_c.busy = False

    def _replace(self, ending: Exception | None) -> Path:
        if ending is not None:
            return self.claim.commit_beside("-unfinished")
        if run_folder.foreign(self.claim.folder):
            return self.claim.commit_beside("-new")
        return self.claim.commit()

    def _run(self, settings: RunSettings, ctrl_c: CtrlC) -> Run:
        seed = f", seed {settings.seed}" if settings.among_seeds else ""
        heading = f"\nbatch size {settings.batch_size}{seed}"
        self.console.print(heading, style="bold", highlight=False)
        name, data = report.run_name(settings), self._data(settings.seed)
        run = restored(self.claim.live / name, settings, data)
        if run is not None:
            self.console.print("was trained before", highlight=False)
            self._note(run)
            return run
        shutil.rmtree(self.claim.new / name, ignore_errors=True)  # what was killed while it ended
        minutes = settings.checkpoint_minutes
        keeper = Keeper(self.claim, name, minutes=minutes, tensorboard=self.tensorboard)
        bar: list[Callback] = [] if self.console.quiet else [ProgressBar(self.console)]
        try:
            run = keeper.execute(settings, data, [*bar, ctrl_c])
            if run.history.stopped not in signals.WORDS.values():
                if not self.replacing:
                    self._put_run_in_place(keeper, run)
                self._note(run)
                keeper.ended()
            return run
        finally:
            if not self.runs or self.runs[-1].settings is not settings:
                keeper.drop()

    def _note(self, run: Run) -> None:
        # What another seed trained on is not held: from here, parts of the same sizes will do.
        run.data = replace(run.data, train=self.data.train, val=self.data.val)
        self.runs.append(run)

    def _data(self, seed: int) -> Data:
        """The data as this seed divides it into training and validation."""
        if seed != self._of_seed[0]:
            dataset = self.data.name.lower() if self.asked.dataset == "auto" else self.asked.dataset
            found = experiment.load_data(replace(self.asked, seed=seed, dataset=dataset))
            self._of_seed = seed, replace(found, reason=self.data.reason, test=self.data.test)
        return self._of_seed[1]

    def _put_run_in_place(self, keeper: Keeper, run: Run) -> None:
        try:
            self.claim.commit_part(keeper.inside)
        except OSError as error:
            raise keeper.rescue(run, error) from error


def row(run: Run) -> dict[str, object]:
    """The figures of one batch size, by the names of `COLUMNS`."""
    metrics = run.metrics
    return {name: metrics[name] for name in COLUMNS}


def table_bytes(runs: Sequence[Run]) -> bytes:
    """The study as CSV, a row per batch size."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(row(run) for run in runs)
    return text.getvalue().encode()
