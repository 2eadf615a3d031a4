"""`tinygrad-cupy train`: one run, shown while it runs, and the folder that it leaves."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..datasets.parallel import Progress
from ..folders import Claim
from ..nn import Callback, History, together
from ..printing import printable
from . import experiment, run_folder, run_record, several, terminal
from .errors import CommandError, Interrupted
from .experiment import Data, Run
from .keeping import Drawing, Keeper, goes_on, note, open_tensorboard
from .progress import CtrlC, ProgressBar
from .run_folder import TENSORBOARD
from .run_record import Record
from .settings import DATASETS, RunSettings, TrainSettings


def train(
    asked: TrainSettings,
    out: Path | None,
    overwrite: bool,
    quiet: bool,
    resume: Path | None = None,
    given: Collection[str] = (),
    tensorboard: bool = False,
) -> None:
    """Train, test and write the run folder; with `quiet` its path is all that is printed.

    resume: the folder of a run that goes on, with the settings that stand there; `given` are those
        that were asked for again by name

    A run that was cut short (Ctrl-C, a loss that is not finite) is written as well, but beside
    `out` when a run stands there; it ends in `Interrupted` or `CommandError`. So does a run whose
    pictures could not be drawn, or whose figures could not be printed.
    """
    if not several.begin(asked.device):
        several.follow(asked, resume is not None, given)
        return
    console = Console(quiet=quiet)
    with claimed(asked, out, overwrite, resume) as claim:
        tell_recovered(claim)
        together.of_first("run folder", str(claim.live))
        record = None if resume is None else Record.read(claim.live)
        if record is not None:
            asked = record.merged(asked, given)
        tensorboard = tensorboard or (resume is not None and (claim.live / TENSORBOARD).is_dir())
        if tensorboard:
            open_tensorboard(claim.live)  # its library is missed now
        device = several.device_of(asked)
        with reading(console, asked) as progress:
            data = several.after_the_first(lambda: experiment.load_data(asked, progress))
        if record is not None:
            record.check_data(data)
        settings = asked.resolve(data.train, device)
        several.check_alike(settings, data)
        announce(console, settings, data)
        if record is not None and record.changed(settings):
            note(f"{settings.model_label} has changed since the run began")
        with CtrlC() as ctrl_c:
            callbacks: list[Callback] = [ctrl_c] if quiet else [ProgressBar(console), ctrl_c]
            written = run_record.record_bytes(asked, settings, data)
            minutes = settings.checkpoint_minutes
            keeper = Keeper(claim, record=written, minutes=minutes, tensorboard=tensorboard)
            if resume is not None and keeper.checkpoints and not keeper.checkpoints.numbers():
                note(f"there is no checkpoint in {str(claim.folder)!r}: the run begins anew")
            with leaving(keeper, ctrl_c):
                run = keeper.execute(settings, data, callbacks)
            folder = put_in_place(keeper, run, ctrl_c)
            drawing, ctrl_c.stage = Drawing(folder), "drawing pictures"
            try:
                drawing.run(run)
            except KeyboardInterrupt as error:
                text = f"while pictures were drawn; the weights and figures are in {folder}"
                raise Interrupted(text, ctrl_c.asked) from error
    console.print(summary(run))
    path = f"run folder           {printable(folder)}"  # in a table it would be cut at the margin
    console.print(path, highlight=False, markup=False, soft_wrap=True)
    if quiet:
        terminal.print_path(folder)
    if ctrl_c.asked or not run.complete:
        raise ended_early(run, folder, ctrl_c.asked, drawing.problem())
    check_shown(f"the run is in {folder}", drawing)


def claimed(asked: TrainSettings, out: Path | None, overwrite: bool, resume: Path | None) -> Claim:
    """The folder to write, for this process alone."""
    if resume is not None:
        return run_folder.claim_again(resume, run_record.AT_ONCE)
    return run_folder.claim(out, asked.folder_name, overwrite, run_record.AT_ONCE)


class Leaves(Protocol):
    """A run or a sweep that was ended."""

    def leave(self) -> Path | None:
        """Where it can go on from, if it can."""
        ...


@contextmanager
def leaving(keeper: Leaves, ctrl_c: CtrlC) -> Iterator[None]:
    """Say of a run that an error or a second Ctrl-C ended where it can go on from."""
    try:
        yield
    except BaseException as error:
        ctrl_c.busy = True
        place = keeper.leave()
        if place is not None and isinstance(error, KeyboardInterrupt):
            text = f"no epoch had finished; the checkpoint is in {place}{goes_on(place)}"
            raise Interrupted(text, ctrl_c.asked) from error
        if place is not None:
            note(f"the run's checkpoint is in {place}{goes_on(place)}")
        raise


@contextmanager
def reading(console: Console, asked: TrainSettings) -> Iterator[Progress]:
    """Show, while the pictures of a folder are read, how many are."""
    if asked.dataset in DATASETS:
        yield lambda done, total: None
        return
    # The default spinner is drawn with letters that few encodings have.
    with console.status("looking through the pictures", spinner="line") as status:
        yield lambda done, total: status.update(f"reading pictures: {done:,} of {total:,}")


def tell_recovered(claim: Claim) -> None:
    """Say where a run is that was killed before it was put in place."""
    if claim.recovered and sys.stderr is not None:
        text = f"note: a run into {claim.folder} was killed; what it left is in {claim.recovered}"
        print(printable(text), file=sys.stderr)


def announce(console: Console, settings: RunSettings, data: Data) -> None:
    """The first lines: which data and why, which model, where.

    That an error led to other data goes to standard error, also where nothing else is printed.
    """
    if data.warning:
        warning = f"warning: {printable(data.warning)}"
        Console(stderr=True).print(warning, style="bold red", markup=False)
    reason = printable(data.reason)
    console.print(f"dataset: {reason}", highlight=False, markup=False, soft_wrap=True)
    if data.folder:
        channels, height, width = data.train.images.shape[1:]
        colour = "gray" if channels == 1 else "in colour"
        console.print(f"images:  {height}×{width}, {colour}", highlight=False)
    console.print(
        f"model:   {printable(settings.model_label)} on {settings.device} · "
        f"{len(data.train):,} training, {len(data.val):,} validation, "
        f"{len(data.test):,} test images",
        highlight=False,
    )


def put_in_place(keeper: Keeper, run: Run, ctrl_c: CtrlC) -> Path:
    """Make what was written the run folder, and return it.

    It goes beside the folder that was asked for where a run was cut short and another stands
    there, or where somebody has put other files there meanwhile.
    """
    claim = keeper.claim
    ctrl_c.busy = True  # a few renames
    try:
        if not run.complete and claim.replacing:
            return claim.commit_beside(f"-{run.history.stopped.replace(' ', '-')}")
        if run_folder.foreign(claim.folder):
            return claim.commit_beside("-new")
        return claim.commit()
    except OSError as error:
        raise keeper.rescue(run, error) from error
    finally:
        ctrl_c.busy = False


def ended_early(run: Run, folder: Path, number: int, missing: str) -> CommandError:
    """What a run that was cut short says: why, where, and which weights were kept."""
    history = run.history
    if history.kept_epoch:
        kept = f"the weights of epoch {history.kept_epoch} are in {folder}"
    elif run.problem:
        kept = f"no epoch had finished: the untrained weights are in {folder}"
    else:
        kept = f"no epoch had finished: the weights of the last step are in {folder}"
    if missing:
        kept += f"; {missing}"
    if run.problem:
        return CommandError(f"{run.problem} (--lr was {run.settings.lr:g}); {kept}")
    epochs = "1 finished epoch" if len(history) == 1 else f"{len(history)} finished epochs"
    more = "" if run.complete else goes_on(folder)
    return Interrupted(f"after {epochs}; {kept}{more}", number)


def check_shown(where: str, drawing: Drawing) -> None:
    """Raise `CommandError`, saying `where` all else is, unless everything was drawn and printed."""
    if drawing.missing:
        error = next(iter(drawing.missing.values()))
        raise CommandError(f"{drawing.problem()}; {where}") from error
    if problem := terminal.output_problem():
        raise CommandError(f"cannot write to standard output: {problem}; {where}")


def summary(run: Run) -> Table:
    """The short table at the end."""
    metrics = run.metrics
    mistakes = run.confusion.sum() - run.confusion.trace()
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in (
        (
            "test accuracy",
            f"{run.test.accuracy:.2%}  ({mistakes} mistakes in {len(run.data.test)})",
        ),
        ("test loss", f"{run.test.loss:.4f}"),
        ("validation accuracy", f"{run.val_accuracy:.2%}"),
        ("epochs", _epochs(run.history)),
        ("training time", f"{run.history.seconds:.1f} s"),
        ("images per second", f"{metrics['images_per_second'] or 0:,.0f}"),
        ("parameters", f"{metrics['parameters']:,}"),
    ):
        table.add_row(name, Text(value))
    return table


def _epochs(history: History) -> str:
    kept = f", weights of epoch {history.kept_epoch}" if history.kept_epoch else ""
    reason = {"finished": "", "early": ", stopped early"}.get(
        history.stopped, f", {history.stopped}"
    )
    return f"{len(history)}{reason}{kept}"
