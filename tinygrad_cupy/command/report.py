"""The report of a batch-size study: Markdown whose sentences follow from the measured figures."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Sequence

import numpy as np

from ..printing import printable
from . import run_folder
from .by_size import BySize, by_size, spread
from .experiment import Run
from .settings import RunSettings
from .settings_file import options_of


def run_name(settings: RunSettings) -> str:
    """The folder of one run inside the study's."""
    seed = f"-seed-{settings.seed}" if settings.among_seeds else ""
    return f"batch-{settings.batch_size}{seed}"


def report(runs: Sequence[Run]) -> str:
    """The whole report on at least one run, in ascending order of batch size and seed."""
    first = runs[0]
    model, data = first.settings.model_label, _name(first.data.name)
    parts = [
        f"# What the batch size changes: {model} on {data}",
        _setup(runs),
        f"To repeat it: `{_command(runs)}`",
        "## Results",
        _table(runs),
        f"![Accuracy, time and epochs by batch size]({run_folder.SWEEP_SUMMARY})",
        "## Findings",
        "\n".join(f"- {finding}" for finding in findings(runs)),
        "## Validation curves",
        "The validation images come out of the training set; the test images steered nothing. "
        "The dot is the epoch whose weights were kept and tested.",
        f"![Validation loss and accuracy over the epochs]({run_folder.SWEEP_CURVES})",
        "## Confusion matrices",
        *(_confusion(run) for run in runs),
    ]
    return "\n\n".join(parts) + "\n"


def _setup(runs: Sequence[Run]) -> str:
    settings, data = runs[0].settings, runs[0].data
    sizes = _list([str(one.batch_size) for one in by_size(runs)])
    versions = ", ".join(
        f"{name} {version}" for name, version in runs[0].metrics["versions"].items()
    )
    patience = (
        f"until the validation loss had not improved for {_count(settings.patience, 'epoch')}, "
        if settings.patience
        else ""
    )
    seeds = sorted({run.settings.seed for run in runs})
    which = "seeds" if len(seeds) > 1 else "seed"
    each = "of each seed " if settings.among_seeds else ""
    if settings.among_seeds:
        times = (
            f"Each batch size was trained from {_count(len(seeds), 'seed')}, {_list(seeds)}: a "
            "seed gives the initial weights, the shuffles and which training images validate. "
            "Figures are means over the seeds; what follows ± is the standard deviation between "
            "them."
        )
    else:
        times = "Each batch size was trained once: another seed would move every figure a little."
    return (
        f"The net `{settings.model_label}` ({runs[0].metrics['parameters']:,} parameters) was "
        f"trained from the same initial weights {each}at batch size {sizes}, {patience}for at most "
        f"{_count(settings.epochs, 'epoch')}. Optimizer {settings.optimizer}, "
        f"learning rate {settings.lr:g} at every batch size, {which} {_list(seeds)}, on "
        f"{settings.device}. Images: {len(data.train):,} for training, {len(data.val):,} for "
        f"validation, {len(data.test):,} for the test. {times}\n\n"
        f"Data: {_name(data.reason)} Versions: {versions}."
    )


def _command(runs: Sequence[Run]) -> str:
    """The command line that gives these figures, times apart, on any machine."""
    sizes = ",".join(str(one.batch_size) for one in by_size(runs))
    options = {"batch_sizes": sizes} | options_of(runs[0].settings, runs[0].data)
    del options["data_dir"]
    if runs[0].settings.among_seeds:
        options["seeds"] = len({run.settings.seed for run in runs})
    words = (
        f"--{name.replace('_', '-')} {shlex.quote(printable(value))}"
        for name, value in options.items()
        if value is not None
    )
    return " ".join(["tinygrad-cupy sweep", *words])


def _table(runs: Sequence[Run]) -> str:
    lines = [
        "| batch size | test accuracy | test loss | seconds per epoch | images per second "
        "| epochs | best epoch | training time |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in by_size(runs):
        links = [f"{run_name(run.settings)}/{run_folder.CURVES}" for run in one.runs]
        size = f"[{one.batch_size}]({links[0]})"
        accuracy = f"{one.accuracy:.2%}"
        if one.runs[0].settings.among_seeds:
            seeds = (
                f"[{run.settings.seed}]({link})" for run, link in zip(one.runs, links, strict=True)
            )
            size = f"{one.batch_size} (seeds {', '.join(seeds)})"
            accuracy = f"{100 * one.accuracy:.2f} ± {100 * spread(one.accuracies):.2f}%"
        lines.append(
            f"| {size} | {accuracy} | {one.loss:.4f} "
            f"| {_figure(one.seconds_per_epoch, '.2f')} | {_figure(one.images_per_second, ',.0f')} "
            f"| {one.epochs:.4g} | {one.kept_epoch:.4g} | {one.seconds:.1f} s |"
        )
    return "\n".join(lines)


def findings(runs: Sequence[Run]) -> list[str]:
    """What the figures say, one sentence or two each."""
    sound = [run for run in runs if run.problem is None]
    sentences = [
        f"Batch size {_shown(run.settings)} failed: {run.problem}."
        for run in runs
        if run.problem is not None
    ]
    sizes = by_size(sound)
    if len(sizes) > 1:
        sentences += [_accuracy(sizes), _speed(sizes), _epochs(sizes), _choice(sizes)]
    elif sizes:
        sentences.append(
            f"Only batch size {sizes[0].batch_size} finished, with "
            f"{sizes[0].accuracy:.2%}: there is nothing to compare it with."
        )
    sentences += _confusions(sound)
    return sentences


def _accuracy(sizes: Sequence[BySize]) -> str:
    best, worst = _extremes(sizes, lambda one: one.accuracy)
    gap = best.accuracy - worst.accuracy
    if gap == 0:
        return f"All batch sizes reach the same test accuracy, {best.accuracy:.2%}."
    seeds = min(len(best.runs), len(worst.runs))
    if seeds > 1:
        error = math.hypot(best.standard_error, worst.standard_error)
        among, few = f"over {seeds} seeds", "these seeds do not"
    else:
        images = _count(len(best.runs[0].data.test), "test image")
        error = math.sqrt(2) * best.standard_error
        among, few = f"on {images}", "one seed does not"
    verdict = (
        f"more than twice the standard error of such a difference ({100 * error:.2f} points): it "
        "is unlikely to be chance alone"
        if gap > 2 * error
        else f"within twice the standard error of such a difference ({100 * error:.2f} points "
        f"{among}): {few} tell these batch sizes apart"
    )
    return (
        f"Accuracy: batch size {best.batch_size} is the most accurate with "
        f"{best.accuracy:.2%}, {worst.batch_size} the least with "
        f"{worst.accuracy:.2%}. The difference of {100 * gap:.2f} points is {verdict}."
    )


def _speed(sizes: Sequence[BySize]) -> str:
    slow, fast = _extremes(sizes, lambda one: one.seconds_per_epoch or 0.0)
    a, b = slow.seconds_per_epoch or 0.0, fast.seconds_per_epoch or 0.0
    ratio = a / b if b else 1.0
    if ratio < 1.05:
        return f"Speed: an epoch takes about {a:.2f} seconds at every batch size."
    return (
        f"Speed: an epoch takes {b:.2f} seconds at batch size {fast.batch_size} and "
        f"{a:.2f} at {slow.batch_size}, {ratio:.1f} times as long."
    )


def _epochs(sizes: Sequence[BySize]) -> str:
    many, few = _extremes(sizes, lambda one: one.epochs)
    if many.epochs == few.epochs:
        text = f"Epochs: every batch size ran for {_epoch_count(many.epochs)}."
    else:
        text = (
            f"Epochs: batch size {few.batch_size} stopped after "
            f"{_epoch_count(few.epochs)}, {many.batch_size} after {many.epochs:.4g}."
        )
    limited = [
        str(one.batch_size)
        for one in sizes
        if any(run.history.stopped == "finished" for run in one.runs)
    ]
    if limited and sizes[0].runs[0].settings.patience:
        text += (
            f" At {_list(limited)} the limit of epochs came before the patience ran out: more "
            "epochs may do better."
        )
    return text


def _choice(sizes: Sequence[BySize]) -> str:
    """The shortest training among the sizes that the test cannot tell from the best."""
    best = max(one.accuracy for one in sizes)
    margin = max(one.standard_error for one in sizes)
    good = [one for one in sizes if one.accuracy >= best - margin]
    chosen = min(good, key=lambda one: one.seconds)
    return (
        f"Choice: of the batch sizes within one standard error of the best accuracy "
        f"({_list([str(one.batch_size) for one in good])}), "
        f"{chosen.batch_size} was trained in the shortest time: "
        f"{chosen.seconds:.1f} seconds for {chosen.accuracy:.2%}."
    )


def _confusions(runs: Sequence[Run]) -> list[str]:
    """The pair of classes that all runs together confuse most."""
    if not runs:
        return []
    total = np.sum([run.confusion for run in runs], axis=0)
    np.fill_diagonal(total, 0)
    if not total.any():
        return ["Mistakes: none, at any batch size."]
    truth, guess = np.unravel_index(int(total.argmax()), total.shape)
    taken, given = (_name(runs[0].data.classes[index]) for index in (truth, guess))
    return [
        f"Mistakes: the most frequent one over all batch sizes is to take {taken} for "
        f"{given}, {int(total.max())} of "
        f"{int(sum(run.confusion[truth].sum() for run in runs))} times."
    ]


def _confusion(run: Run) -> str:
    name, shown = run_name(run.settings), _shown(run.settings)
    return (
        f"### Batch size {shown}\n\n"
        f"![Confusion matrix at batch size {shown}]"
        f"({name}/{run_folder.CONFUSION})\n\n"
        f"[Curves]({name}/{run_folder.CURVES}) · [worst mistakes]({name}/{run_folder.MISTAKES})"
    )


def _shown(settings: RunSettings) -> str:
    seed = f", seed {settings.seed}" if settings.among_seeds else ""
    return f"{settings.batch_size}{seed}"


def _extremes(sizes: Sequence[BySize], key: Callable[[BySize], float]) -> tuple[BySize, BySize]:
    """Those with the largest and the smallest value."""
    return max(sizes, key=key), min(sizes, key=key)


def _epoch_count(mean: float) -> str:
    return _count(int(mean), "epoch") if mean == int(mean) else f"{mean:.4g} epochs"


def _name(text: str) -> str:
    """Of somebody else's choosing: neither control characters nor Markdown."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", printable(text))


def _figure(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _list(things: Sequence[object]) -> str:
    words = [str(one) for one in things]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
