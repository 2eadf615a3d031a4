"""`tinygrad-cupy sweep`: the same training at several batch sizes, compared in a report.

What the sweep is stands in sweep.json from its first second on; what its run in progress needs to
go on, in in-progress/RUN. With --resume, runs that have ended are read again.
"""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..folders import Claim, write_file
from ..printing import printable, shortened
from . import experiment, report, run_folder, run_record, several, terminal
from .by_size import by_size, spread
from .errors import CommandError, Interrupted, UsageError
from .experiment import Run
from .keeping import DATA_NAME, Drawing, goes_on, note, open_tensorboard
from .progress import CtrlC
from .run_record import Record
from .settings import TrainSettings
from .study import Study
from .train import announce, check_shown, leaving, reading, tell_recovered

AT_ONCE = (run_folder.SWEEP_RECORD, run_folder.IN_PROGRESS)
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
    resume: Path | None = None,
    given: Collection[str] = (),
) -> None:
    """Run all batch sizes from each seed and write the study's folder.

    resume: the folder of a sweep that goes on, as it was asked for; `given` are the options that
        are said again

    Each run is written when it has ended. A size whose loss is not finite takes part with the
    weights it kept, and ends the command in an error after the report is written. After Ctrl-C or
    an error the report holds the sizes that had finished.
    """
    several.refuse("sweep")
    console = Console(quiet=quiet)
    with claimed(asked, out, overwrite, resume) as claim:
        tell_recovered(claim)
        record = None
        if resume is not None:
            record = Record.read(claim.live, run_folder.SWEEP_RECORD)
            tensorboard = tensorboard or any(claim.live.rglob(run_folder.TENSORBOARD))
            if record is None:
                note(f"there is no sweep in {str(claim.folder)!r}: it begins anew")
        if record is not None:
            batch_sizes, seeds = swept(record, batch_sizes, seeds, given)
            asked = record.merged(asked, given, epochs_grow=False)
        device = asked.resolve_device()
        with reading(console, asked) as progress:
            data = experiment.load_data(asked, progress)
        if record is not None:
            record.check_data(data)
        each = [asked.resolve(data.train, device, size) for size in batch_sizes]
        if len(seeds) > 1:  # each with all batch sizes, so that a sweep cut short has all of these
            each = [replace(one, seed=seed, among_seeds=True) for seed in seeds for one in each]
        if tensorboard:
            open_tensorboard(claim.new)  # its library is missed now
        announce(console, each[0], data)
        if record is None:
            study_of = {"batch_sizes": list(batch_sizes), "seeds": [seeds[0], len(seeds)]}
            written = run_record.record_bytes(asked, each[0], data, sweep=study_of)
            try:
                write_file(claim.live / run_folder.SWEEP_RECORD, written)
            except OSError as error:
                told = f"--out: cannot write to {str(claim.folder)!r}: {error.strerror or error}"
                raise CommandError(told) from error
        elif record.changed(each[0]):
            note(f"{each[0].model_label} has changed since the sweep began")
        study = Study(claim, asked, data, console, tensorboard)
        with CtrlC("this batch size") as ctrl_c:
            with leaving(study, ctrl_c):
                ending = study.run_each(each, ctrl_c)
            if not study.runs:
                place = study.leave()
                more = f"; the checkpoint is in {place}{goes_on(place)}" if place else ""
                text = f"no batch size had finished{more or ', nothing was written'}"
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
        more = goes_on(folder) if isinstance(ending, Interrupted) else ""
        parts = filter(None, (str(ending), drawing.problem(), study.where(folder) + more))
        ending.args = ("; ".join(parts),)
        raise ending
    check_shown(study.where(folder), drawing)


def claimed(asked: TrainSettings, out: Path | None, overwrite: bool, resume: Path | None) -> Claim:
    """The folder to write, for this process alone."""
    if resume is not None:
        return run_folder.claim_again(resume, AT_ONCE)
    return run_folder.claim(out, f"sweep-{asked.folder_name}", overwrite, AT_ONCE)


def swept(
    record: Record, batch_sizes: Sequence[int], seeds: Sequence[int], given: Collection[str]
) -> tuple[list[int], range]:
    """Batch sizes and seeds of a sweep that goes on.

    Raises `UsageError` where others are given now, and `CommandError` for a sweep.json that says
    no such.
    """
    try:
        sizes = [int(size) for size in record.sweep["batch_sizes"]]
        first, count = map(int, record.sweep["seeds"])
        if min(sizes) < 1 or count < 1:
            raise ValueError("its batch sizes are none")
    except (ValueError, TypeError, KeyError) as error:
        text = f"cannot read {str(record.path)!r}: {printable(error) or repr(error)}"
        raise CommandError(text) from error
    for name, now, then in (
        ("batch_sizes", ",".join(map(str, batch_sizes)), ",".join(map(str, sizes))),
        ("seeds", len(seeds), count),
    ):
        if name in given and now != then:
            raise UsageError(
                f"--{name.replace('_', '-')}: {now} now, and {then} when the sweep in "
                f"{str(record.path.parent)!r} began"
            )
    return sizes, range(first, first + count)


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
