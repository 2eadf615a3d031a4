"""The curves of a training run, drawn with Matplotlib into a figure that is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .history import History

BLUE, VERMILLION, GRAY = "#0072B2", "#D55E00", "#666666"  # Okabe and Ito's, apart for all eyes
PARTS = (("train", "training", BLUE), ("val", "validation", VERMILLION))
PANELS = 3  # in a row


def draw_history(figure: Figure, history: History) -> list[Axes]:
    """A panel for the loss, the accuracy of classes and each metric, over the epochs.

    Training and validation; the kept epoch is marked. Returns the panels' axes.
    """
    from matplotlib.ticker import MaxNLocator

    names = history.measured()
    columns = min(len(names), PANELS)
    rows = -(-len(names) // columns)
    every = figure.subplots(rows, columns, squeeze=False).ravel()
    epochs = [record.epoch for record in history]
    for axes, name in zip(every, names, strict=False):
        scale, label = (100, "accuracy (%)") if name == "accuracy" else (1, name)
        for part, called, colour in (
            ("train", "training", BLUE),
            ("val", "validation", VERMILLION),
        ):
            values = [record.figures().get(f"{part}_{name}") for record in history]
            known = [one for one in zip(epochs, values, strict=True) if one[1] is not None]
            if known or not epochs:
                axes.plot(
                    [epoch for epoch, _ in known],
                    [scale * (value or 0) for _, value in known],
                    "o-", color=colour, label=called, markersize=4,
                )  # fmt: skip
        axes.set_xlabel("epoch", fontsize=11)
        axes.set_ylabel(label, fontsize=11)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.8)
        axes.set_axisbelow(True)
        if history.kept_epoch and history.kept_epoch != len(history):
            axes.axvline(history.kept_epoch, color=GRAY, linestyle=":", label="kept weights")
        if epochs:
            axes.legend(frameon=False)
    for axes in every[len(names) :]:
        axes.remove()
    return list(every[: len(names)])
