"""The report of a batch-size study: Markdown whose sentences follow from the measured figures."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Sequence

import numpy as np

from ..printing import printable
from . import run_folder
from .experiment import Data, Run
from .settings import TEST_FRACTION, RunSettings


def run_name(settings: RunSettings) -> str:
    """The folder of one batch size inside the study's."""
    return f"batch-{settings.batch_size}"


def report(runs: Sequence[Run]) -> str:
    """The whole report; `runs` are in ascending order of the batch size, at least one."""
    first = runs[0]
    title = f"# What the batch size changes: {first.settings.model} on {_name(first.data.name)}"
    parts = [
        title,
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
    sizes = _list([str(run.settings.batch_size) for run in runs])
    versions = ", ".join(
        f"{name} {version}" for name, version in runs[0].metrics["versions"].items()
    )
    patience = (
        f"until the validation loss had not improved for {_count(settings.patience, 'epoch')}, "
        if settings.patience
        else ""
    )
    return (
        f"The net `{settings.model}` ({runs[0].metrics['parameters']:,} parameters) was trained "
        f"from the same initial weights at batch size {sizes}, {patience}for at most "
        f"{_count(settings.epochs, 'epoch')}. Optimizer {settings.optimizer}, "
        f"learning rate {settings.lr:g} at every batch size, seed {settings.seed}, on "
        f"{settings.device}. Images: {len(data.train):,} for training, {len(data.val):,} for "
        f"validation, {len(data.test):,} for the test. Each batch size was trained once: another "
        "seed would move every figure a little.\n\n"
        f"Data: {_name(data.reason)} Versions: {versions}."
    )  # fmt: skip


def _command(runs: Sequence[Run]) -> str:
    """The command line that gives these figures, times apart, on any machine."""
    settings, data = runs[0].settings, runs[0].data
    dataset = data.name if settings.dataset == "auto" else settings.dataset
    words = [
        "tinygrad-cupy sweep",
        f"--batch-sizes {','.join(str(run.settings.batch_size) for run in runs)}",
        f"--dataset {shlex.quote(printable(dataset))}",
        *_folder_options(data),
        f"--model {settings.model}",
        f"--epochs {settings.epochs}",
        f"--patience {settings.patience}" if settings.patience else "",
        f"--optimizer {settings.optimizer} --lr {settings.lr!r}",
        f"--val-fraction {settings.val_fraction!r} --seed {settings.seed}",
    ]
    return " ".join(filter(None, words))


def _folder_options(data: Data) -> list[str]:
    """What makes the same of a folder's pictures."""
    if data.folder is None:
        return []
    _, channels, height, width = data.train.images.shape
    form, depth, fraction = data.folder.form, data.folder.class_depth, data.folder.test_fraction
    return [
        f"--image-size {height}x{width} --channels {channels} --resize {form.resize}",
        f"--class-depth {depth}" if depth else "",
        f"--test-fraction {fraction!r}" if fraction != TEST_FRACTION else "",
    ]


def _table(runs: Sequence[Run]) -> str:
    lines = [
        "| batch size | test accuracy | test loss | seconds per epoch | images per second "
        "| epochs | best epoch | training time |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for run in runs:
        metrics = run.metrics
        rate, seconds = metrics["images_per_second"], run.seconds_per_epoch
        lines.append(
            f"| [{run.settings.batch_size}]({run_name(run.settings)}/{run_folder.CURVES}) "
            f"| {run.test.accuracy:.2%} | {run.test.loss:.4f} "
            f"| {_figure(seconds, '.2f')} | {_figure(rate, ',.0f')} "
            f"| {len(run.history)} | {run.history.kept_epoch} | {run.history.seconds:.1f} s |"
        )
    return "\n".join(lines)


def findings(runs: Sequence[Run]) -> list[str]:
    """What the figures say, one sentence or two each."""
    sound = [run for run in runs if run.problem is None]
    sentences = [
        f"Batch size {run.settings.batch_size} failed: {run.problem}."
        for run in runs
        if run.problem is not None
    ]
    if len(sound) > 1:
        sentences += [_accuracy(sound), _speed(sound), _epochs(sound), _choice(sound)]
    elif sound:
        sentences.append(
            f"Only batch size {sound[0].settings.batch_size} finished, with "
            f"{sound[0].test.accuracy:.2%}: there is nothing to compare it with."
        )
    sentences += _confusions(sound)
    return sentences


def _accuracy(runs: Sequence[Run]) -> str:
    best, worst = _extremes(runs, lambda run: run.test.accuracy)
    gap = best.test.accuracy - worst.test.accuracy
    if gap == 0:
        return f"All batch sizes reach the same test accuracy, {best.test.accuracy:.2%}."
    error = math.sqrt(2) * _standard_error(best)
    verdict = (
        f"more than twice the standard error of such a difference ({100 * error:.2f} points): it "
        "is unlikely to be chance alone"
        if gap > 2 * error
        else f"within twice the standard error of such a difference ({100 * error:.2f} points on "
        f"{_count(len(best.data.test), 'test image')}): one seed does not tell these batch sizes "
        "apart"
    )
    return (
        f"Accuracy: batch size {best.settings.batch_size} is the most accurate with "
        f"{best.test.accuracy:.2%}, {worst.settings.batch_size} the least with "
        f"{worst.test.accuracy:.2%}. The difference of {100 * gap:.2f} points is {verdict}."
    )


def _speed(runs: Sequence[Run]) -> str:
    slow, fast = _extremes(runs, lambda run: run.seconds_per_epoch or 0.0)
    a, b = slow.seconds_per_epoch or 0.0, fast.seconds_per_epoch or 0.0
    ratio = a / b if b else 1.0
    if ratio < 1.05:
        return f"Speed: an epoch takes about {a:.2f} seconds at every batch size."
    return (
        f"Speed: an epoch takes {b:.2f} seconds at batch size {fast.settings.batch_size} and "
        f"{a:.2f} at {slow.settings.batch_size}, {ratio:.1f} times as long."
    )


def _epochs(runs: Sequence[Run]) -> str:
    many, few = _extremes(runs, lambda run: len(run.history))
    if len(many.history) == len(few.history):
        text = f"Epochs: every batch size ran for {_count(len(many.history), 'epoch')}."
    else:
        text = (
            f"Epochs: batch size {few.settings.batch_size} stopped after "
            f"{_count(len(few.history), 'epoch')}, {many.settings.batch_size} after "
            f"{len(many.history)}."
        )
    limited = [str(run.settings.batch_size) for run in runs if run.history.stopped == "finished"]
    if limited and runs[0].settings.patience:
        text += (
            f" At {_list(limited)} the limit of epochs came before the patience ran out: more "
            "epochs may do better."
        )
    return text


def _choice(runs: Sequence[Run]) -> str:
    """The shortest training among the runs that the test cannot tell from the best."""
    best = max(run.test.accuracy for run in runs)
    margin = max(_standard_error(run) for run in runs)
    good = [run for run in runs if run.test.accuracy >= best - margin]
    chosen = min(good, key=lambda run: run.history.seconds)
    return (
        f"Choice: of the batch sizes within one standard error of the best accuracy "
        f"({_list([str(run.settings.batch_size) for run in good])}), "
        f"{chosen.settings.batch_size} was trained in the shortest time: "
        f"{chosen.history.seconds:.1f} seconds for {chosen.test.accuracy:.2%}."
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
    name = run_name(run.settings)
    return (
        f"### Batch size {run.settings.batch_size}\n\n"
        f"![Confusion matrix at batch size {run.settings.batch_size}]"
        f"({name}/{run_folder.CONFUSION})\n\n"
        f"[Curves]({name}/{run_folder.CURVES}) · [worst mistakes]({name}/{run_folder.MISTAKES})"
    )


def _standard_error(run: Run) -> float:
    """Of a share p measured on n test images: sqrt(p (1 - p) / n)."""
    p, n = run.test.accuracy, len(run.data.test)
    return math.sqrt(p * (1 - p) / n)


def _extremes(runs: Sequence[Run], key: Callable[[Run], float]) -> tuple[Run, Run]:
    """The runs with the largest and the smallest value."""
    return max(runs, key=key), min(runs, key=key)


def _name(text: str) -> str:
    """Of somebody else's choosing: neither control characters nor Markdown."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", printable(text))


def _figure(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _list(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
