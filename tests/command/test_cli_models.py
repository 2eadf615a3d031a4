"""`tinygrad-cupy train --model`: every net for pictures as a whole, and its run read again."""

from pathlib import Path

import pytest

from support.command_runs import metrics_of, run, skip_drawing, train_quietly
from tinygrad_cupy.command import options
from tinygrad_cupy.command.stored_run import load_run
from tinygrad_cupy.nn import models


def test_the_help_names_them_all() -> None:
    *words, own = options.MODEL_HELP.split(", ")[: len(models.CLASSIFIERS) + 1]
    assert tuple(words) == models.CLASSIFIERS
    assert own == "or FILE.py:function"
    assert set(models.NAMES) - set(models.CLASSIFIERS) == {"unet"}


@pytest.mark.slow
def test_lenet_is_trained_and_read_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_drawing(monkeypatch)
    folder = train_quietly(tmp_path / "run", "--model", "lenet5")
    assert metrics_of(folder)["model"] == "lenet5"
    description, model = load_run(folder)
    assert description.model == "lenet5"
    assert not model.training


def test_a_net_of_pixels_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, "train", "--model", "unet")
    assert result.code == 2
    assert "--model: expected one of" in result.err
