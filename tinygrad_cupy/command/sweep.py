"""`tinygrad-cupy sweep`: the same training at several batch sizes, compared in a report."""

from __future__ import annotations

import csv
import io
import reprlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..folders import Claim
from ..nn import Callback
from ..printing import printable, shortened
from . import experiment, report, run_folder, signals, terminal
from .by_size import by_size, spread
from .errors import CommandError, Interrupted, UsageError
from .experiment import Data, Run
from .keeping import DATA_NAME, Drawing, Keeper, open_tensorboard
from .progress import CtrlC, ProgressBar
from .settings import RunSettings, TrainSettings
from .train import announce, check_shown, reading, tell_recovered

COLUMNS = (
    "batch_size", "seed", "test_accuracy", "test_loss", "val_accuracy", "seconds_per_epoch",
    "images_per_second", "epochs", "kept_epoch", "train_seconds", "stopped",
)  # fmt: skip
LONGEST_NUMBER = 18  # digits; Python refuses to read numbers of thousands


def parse_batch_sizes(text: str) -> list[int]:
    """ "32,64,128" as numbers, ascending, each once. Raises `UsageError`."""
    sizes = set()
    for word in text.split(","):
        word = word.strip()
        if not word.isdecimal() or len(word) > LONGEST_NUMBER:
            raise UsageError(
                f"--batch-sizes: expected numbers divided by commas, such as 32,64, "
                f"got {reprlib.repr(text)}"
            )
        sizes.add(int(word))
    if min(sizes) < 1:
        raise UsageError("--batch-sizes: expected at least 1, got 0")
    return sorted(sizes)


def seeds_of(asked: TrainSettings, count: int) -> range:
    """The seeds of `--seeds`, from `--seed` on. Raises `UsageError`."""
    if count < 1:
        raise UsageError(f"--seeds: expected at least 1, got {count}")
    if asked.seed + count > 2**64:
        raise UsageError(f"--seeds: expected seeds below 2**64, got {count} from {asked.seed} on")
    return range(asked.seed, asked.seed + count)


def sweep(
    asked: TrainSettings,
    batch_sizes: Sequence[int],
    seeds: Sequence[int],
    out: Path | None,
    overwrite: bool,
    quiet: bool,
    tensorboard: bool = False,
) -> None:
    """Run all batch sizes from each seed and write the study's folder.

    Each run is written when it has ended. A size whose loss is not finite takes part with the
    weights it kept, and ends the command in an error after the report is written. After Ctrl-C or
    an error the report holds the sizes that had finished.
    """
    console = Console(quiet=quiet)
    with run_folder.claim(out, f"sweep-{asked.folder_name}", overwrite) as claim:
        tell_recovered(claim)
        device = asked.resolve_device()
        with reading(console, asked) as progress:
            data = experiment.load_data(asked, progress)
        each = [asked.resolve(data.train, device, size) for size in batch_sizes]
        if len(seeds) > 1:  # each with all batch sizes, so that a sweep cut short has all of these
            each = [replace(one, seed=seed, among_seeds=True) for seed in seeds for one in each]
        if tensorboard:
            open_tensorboard(claim.new)  # its library is missed now
        announce(console, each[0], data)
        study = Study(claim, asked, data, console, tensorboard)
        with CtrlC("this batch size") as ctrl_c:
            ending = study.run_each(each, ctrl_c)
            if not study.runs:
                text = "no batch size had finished, nothing was written"
                raise ending or Interrupted(text, ctrl_c.asked)
            folder = study.put_in_place(ending, ctrl_c)
            drawing = Drawing(folder)
            try:
                draw_sweep(drawing, study.runs)
            except KeyboardInterrupt as error:
                text = f"while pictures were drawn; {study.where(folder)}"
                raise Interrupted(text, ctrl_c.asked) from error
    console.print(table(study.runs))
    path = printable(folder / run_folder.SWEEP_REPORT)
    console.print(f"report: {path}", highlight=False, markup=False, soft_wrap=True)
    if quiet:
        terminal.print_path(folder)
    if ending:
        told = filter(None, (str(ending), drawing.problem(), study.where(folder)))
        ending.args = ("; ".join(told),)
        raise ending
    check_shown(study.where(folder), drawing)


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
        self.replacing = run_folder.holds_run(claim.folder)
        self.runs: list[Run] = []

    def where(self, folder: Path) -> str:
        """What of the study is in `folder`."""
        sizes = ", ".join(str(one.batch_size) for one in by_size(self.runs))
        return f"the report on batch size {sizes} is in {folder}"

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
        keeper = Keeper(self.claim, report.run_name(settings), tensorboard=self.tensorboard)
        bar: list[Callback] = [] if self.console.quiet else [ProgressBar(self.console)]
        try:
            run = keeper.execute(settings, self._data(settings.seed), [*bar, ctrl_c])
            # What another seed trained on is not held: from here, parts of the same sizes will do.
            run.data = replace(run.data, train=self.data.train, val=self.data.val)
            if run.history.stopped not in signals.WORDS.values():
                if not self.replacing:
                    self._put_run_in_place(keeper, run)
                self.runs.append(run)
            return run
        finally:
            if not self.runs or self.runs[-1].settings is not settings:
                keeper.drop()

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


def table(runs: Sequence[Run]) -> Table:
    """The study on one screen."""
    result = Table()
    for name in ("batch size", "test accuracy", "test loss", "s per epoch", "images/s", "epochs"):
        result.add_column(name, justify="right")
    for one in by_size(runs):
        many = one.runs[0].settings.among_seeds
        accuracy = f" ± {100 * spread(one.accuracies):.2f}" if many else ""
        diverged = any(run.problem for run in one.runs)
        result.add_row(
            str(one.batch_size),
            f"{100 * one.accuracy:.2f}{accuracy}%",
            f"{one.loss:.4f}",
            f"{one.seconds_per_epoch or 0:.2f}",
            f"{one.images_per_second or 0:,.0f}",
            f"{one.epochs:.4g}{' (diverged)' if diverged else ''}",
        )
    return result


def table_bytes(runs: Sequence[Run]) -> bytes:
    """The study as CSV, a row per batch size."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(row(run) for run in runs)
    return text.getvalue().encode()


def draw_sweep(drawing: Drawing, runs: Sequence[Run]) -> None:
    """The pictures of the study and of each run."""
    sizes = by_size(runs)
    title = f"{runs[0].settings.model_label} on {shortened(runs[0].data.name, DATA_NAME)}"
    drawing.draw(
        run_folder.SWEEP_CURVES,
        lambda pictures, part: pictures.draw_overlaid(
            part,
            {f"batch {one.batch_size}": [run.history for run in one.runs] for one in sizes},
            f"Validation of {title}, by batch size",
        ),
    )
    drawing.draw(
        run_folder.SWEEP_SUMMARY,
        lambda pictures, part: pictures.draw_by_batch_size(
            part,
            [one.batch_size for one in sizes],
            {
                "test accuracy (%)": [[100 * p for p in one.accuracies] for one in sizes],
                "seconds per epoch": [
                    one.known(lambda run: run.seconds_per_epoch) for one in sizes
                ],
                "epochs until it stopped": [
                    [float(len(run.history)) for run in one.runs] for one in sizes
                ],
            },
            f"What the batch size changes: {title}",
        ),
    )
    for run in runs:
        drawing.run(run, report.run_name(run.settings))
