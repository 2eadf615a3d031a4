"""The pictures of a run folder, drawn with Matplotlib into PNG files.

Figures are made without pyplot, so nothing global changes and no display is needed. Colours are
Okabe and Ito's, which stay apart for colour-blind eyes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..nn import History
from ..nn.plots import draw_history
from ..printing import printable, shortened
from .by_size import spread

BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY, VERMILLION, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#56B4E9", "#D55E00", "#222222",
)  # fmt: skip
CYCLE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
GRAY = "#666666"
BROWN = "#B04A00"  # vermillion, dark enough for small text
RIGHT = LinearSegmentedColormap.from_list("right", ["#FFFFFF", "#9CC9E3"])
WRONG = LinearSegmentedColormap.from_list("wrong", ["#FFFFFF", "#FBE3D0", "#D55E00"])
MISTAKES_SHOWN = 25
SHORT_NAME, LONG_NAME = 3, 16  # letters: from one on names take a line, from the other they are cut
LONG_TITLE = 100
MISTAKEN_NAME = 12  # letters that have room above one of the mistakes
NUMBERS_UP_TO = 20  # classes; with more, the numbers of a confusion matrix cannot be read,
NAMES_UP_TO = 150  # and with more than these, no names beside it either: it counts them from 0


@contextmanager
def default_settings() -> Iterator[None]:
    """Matplotlib's own, whatever its user has set: LaTeX that is not there, white on white."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def draw_curves(path: Path, history: History, title: str) -> None:
    """Loss and accuracy over the epochs, training and validation; the kept epoch is marked."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    figure.suptitle(_plain(title), fontsize=12)
    draw_history(figure, history)[0].set_ylabel("loss (cross-entropy)")
    _save(figure, path)


def draw_confusion(path: Path, matrix: np.ndarray, classes: Sequence[str], title: str) -> None:
    """Counts per true and guessed class: right answers in blue, mistakes in orange.

    The two have colour scales of their own (shares of the true class), or the few mistakes of a
    good model would be invisible beside its many right answers.
    """
    count = len(classes)
    names = [_plain(name, LONG_NAME) for name in classes]
    longest = max(map(len, names))
    side = min(max(5.5, 0.55 * count + 0.1 * longest), 20.0)
    figure = Figure(figsize=(side + 0.5, side), layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    diagonal = np.eye(count, dtype=bool)
    wrong = np.where(diagonal, np.nan, shares)
    axes.imshow(np.where(diagonal, shares, np.nan), cmap=RIGHT, vmin=0, vmax=1)
    axes.imshow(wrong, cmap=WRONG, vmin=0, vmax=max(float(wrong[~diagonal].max(initial=0)), 0.02))
    axes.spines[:].set_color("#CCCCCC")
    if count <= NAMES_UP_TO:
        axes.set_xticks(range(count), names, rotation=90 if longest > SHORT_NAME else 0)
        axes.set_yticks(range(count), names)
        axes.tick_params(length=0, labelsize=10 if count <= NUMBERS_UP_TO else 7)
        axes.set_xticks(np.arange(count - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(count - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="#EEEEEE", linewidth=0.8)
        axes.tick_params(which="minor", length=0)
    axes.set_xlabel("guess", fontsize=11)
    axes.set_ylabel("truth", fontsize=11)
    figure.suptitle(_plain(title), fontsize=12)
    if count <= NUMBERS_UP_TO:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            axes.text(column, row, f"{matrix[row, column]}", ha="center", va="center", fontsize=9)
    _save(figure, path)


def draw_mistakes(
    path: Path,
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    title: str,
) -> None:
    """The images (N, C, H, W) whose truth was thought least likely, with truth and guess."""
    worst = np.argsort(probabilities[np.arange(len(labels)), labels], kind="stable")
    worst = worst[:MISTAKES_SHOWN]
    columns = min(5, len(worst))
    rows = math.ceil(len(worst) / columns)
    width, height = _proportions(images)
    pitch = height + 0.3  # from row to row, with the text above an image
    figure = Figure(figsize=(2 * columns + 0.4, 2.4 / 1.3 * pitch * rows + 0.7))
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    figure.suptitle(_plain(title), fontsize=12)
    long = max(map(len, classes)) > SHORT_NAME
    for position, index in enumerate(worst):
        row, column = divmod(position, columns)
        left, top = 1.08 * column, pitch * row
        sides = left + (1 - width) / 2, left + (1 + width) / 2
        axes.imshow(_shown(images[index]), extent=(*sides, top + height, top))
        truth, guess = labels[index], probabilities[index].argmax()
        names = (_plain(classes[one], MISTAKEN_NAME) for one in (truth, guess))
        form = "truth {}\nguess {} ({:.0%})" if long else "truth {} · guess {}\n{:.0%} sure"
        axes.text(
            left + 0.5,
            top - 0.03,
            form.format(*names, probabilities[index, guess]),
            ha="center",
            va="bottom",
            fontsize=9,
            color=BLACK if truth == guess else BROWN,
        )
    axes.set_xlim(0, 1.08 * columns - 0.08)
    axes.set_ylim(pitch * rows - 0.25, -0.25)
    axes.axis("off")
    _save(figure, path)


def _proportions(images: np.ndarray) -> tuple[float, float]:
    """Width and height of images (N, C, H, W), the longer one 1 and neither too small to see."""
    height, width = images.shape[2:]
    longer = max(height, width)
    return max(width / longer, 0.1), max(height / longer, 0.1)


def _shown(image: np.ndarray) -> np.ndarray:
    """(C, H, W) with one channel or three as (H, W, 3)."""
    return np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0)


def draw_overlaid(path: Path, histories: Mapping[str, Sequence[History]], title: str) -> None:
    """Validation loss and accuracy over the epochs, the kept epochs marked.

    Each name has a colour, and a line for each of its runs.
    """
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    figure.suptitle(_plain(title), fontsize=12)
    kinds = (("val_loss", "validation loss", 1), ("val_accuracy", "validation accuracy (%)", 100))
    for axes, (column, label, scale) in zip(figure.subplots(1, 2), kinds, strict=True):
        for number, (name, runs) in enumerate(histories.items()):
            colour, dash = CYCLE[number % len(CYCLE)], ("-", "--", ":")[number // len(CYCLE) % 3]
            for index, history in enumerate(runs):
                values = [scale * (value or 0) for value in history.column(column)]
                axes.plot(
                    range(1, len(values) + 1), values, dash, color=colour,
                    label=None if index else name, linewidth=1.5 if len(runs) == 1 else 0.8,
                )  # fmt: skip
                if history.kept_epoch:
                    kept = history.kept_epoch
                    axes.plot(kept, values[kept - 1], "o", color=colour, markersize=6)
        _style(axes, "epoch (dot: the weights kept)", label)
    figure.axes[0].legend(frameon=False)
    _save(figure, path)


def draw_by_batch_size(
    path: Path, sizes: Sequence[int], panels: Mapping[str, Sequence[Sequence[float]]], title: str
) -> None:
    """One panel per figure (its name is the label) over the batch sizes.

    Of each size the values of its runs: their mean, and where there are several an error bar of
    one standard deviation to each side. A size without a value is left out.
    """
    figure = Figure(figsize=(3.7 * len(panels), 3.6), layout="constrained")
    figure.suptitle(_plain(title), fontsize=12)
    every = np.ravel(figure.subplots(1, len(panels), squeeze=False))
    for axes, (label, values), colour in zip(every, panels.items(), CYCLE, strict=False):
        known = [(size, found) for size, found in zip(sizes, values, strict=True) if found]
        axes.set_xscale("log", base=2)
        axes.errorbar(
            [size for size, _ in known],
            [float(np.mean(found)) for _, found in known],
            yerr=[spread(found) for _, found in known]
            if any(len(found) > 1 for _, found in known)
            else None,
            fmt="o-",
            color=colour,
            capsize=4,
        )
        _style(axes, "batch size", label)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.set_xlim(0.8 * min(sizes), 1.25 * max(sizes))
        if "%" not in label:  # times and counts compare by their ratio, unlike accuracies
            axes.set_ylim(bottom=0)
    _save(figure, path)


def _style(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=11)
    axes.set_ylabel(y, fontsize=11)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)


def _plain(text: str, most: int = LONG_TITLE) -> str:
    """Class names are names: a dollar sign starts no formula, and all stands on one line."""
    return shortened(printable(text), most).replace("$", r"\$")


def _save(figure: Figure, path: Path) -> None:
    with warnings.catch_warnings():
        # A class name in a script that the font lacks is no disaster.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(path, dpi=120)
