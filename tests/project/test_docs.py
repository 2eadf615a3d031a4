"""The code in docs/ runs as it stands."""

from __future__ import annotations

import re
import tempfile
import textwrap
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from support.command_runs import skip_drawing, train_quietly
from tinygrad_cupy import nn, special
from tinygrad_cupy.datasets import digits

DOCS = Path(__file__).parents[2] / "docs"


# Pages whose prints say behind them what is printed: test_what_a_page_prints.
SHOWN = (
    *("index.md", "first-steps.md", "tensor-to-cnn.md", "your-pictures.md", "saving.md"),
    *("tasks.md", "from-chainer.md", "from-numpy.md", "how-gradients.md"),
    *("how-convolution.md", "how-kernels.md", "convolution.md"),
)


def blocks(page: str) -> list[str]:
    """The examples of a page; those in a list are indented."""
    text = (DOCS / page).read_text("utf-8")
    found = re.findall(r"^( *)```python\n(.*?)^\1```", text, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(code) for _, code in found]


def run(page: str) -> dict[str, Any]:
    """Runs the examples of a page, one after the other, and gives their names."""
    names: dict[str, Any] = {}
    for block in blocks(page):
        exec(block, names)
    return names


@pytest.fixture
def own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a page writes goes into a folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_the_example_of_mixed_precision(capsys: pytest.CaptureFixture[str]) -> None:
    run("mixed-precision.md")
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("own_folders")
@pytest.mark.parametrize("page", SHOWN)
def test_what_a_page_prints(
    page: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each print stands before a comment with what it prints, and maybe a colon and a remark."""
    names = run(page)
    printed = capsys.readouterr().out.splitlines()
    shown = re.findall(r"print\(.*  # (.*)", "\n".join(blocks(page)))
    assert len(printed) == len(shown)
    for line, comment in zip(printed, shown, strict=True):
        assert comment == line or comment.startswith(f"{line}: ")
    if page == "tasks.md":
        load_what_the_command_leaves(names["classify"], monkeypatch)


def load_what_the_command_leaves(classify: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run folder, as the page loads it."""
    skip_drawing(monkeypatch)
    folder = train_quietly(Path(tempfile.gettempdir()) / "run")
    _, test = digits()
    picture = folder / "digit.png"
    Image.fromarray(test.images[0, 0]).save(picture)
    assert classify(folder, picture) in [str(digit) for digit in range(10)]


def test_every_page_with_code_is_run() -> None:
    named = set(re.findall(r'run\("([\w-]+\.md)"\)', Path(__file__).read_text("utf-8")))
    named |= {*SHOWN, "from-pytorch.md"}  # the last: test_coming_from.py, test_coming_from_torch.py
    assert {page.name for page in DOCS.glob("*.md") if blocks(page.name)} == named


def test_many_gpus_is_one_process_here(capsys: pytest.CaptureFixture[str]) -> None:
    names = run("many-gpus.md")
    assert capsys.readouterr().out == "1\n"
    assert names["names"] == [{"rank": 0}]


def test_the_examples_of_jit(capsys: pytest.CaptureFixture[str]) -> None:
    run("jit.md")
    *losses, last = capsys.readouterr().out.split()
    assert float(losses[-1]) < float(losses[0])
    assert last == "True"


def test_the_examples_of_modules(capsys: pytest.CaptureFixture[str]) -> None:
    run("modules.md")
    names, layers, trained, last = capsys.readouterr().out.splitlines()
    assert names == "['layer.bias', 'layer.weight', 'mean', 'scale']"
    assert layers == "['0', 'body', 'act', 'head'] (1, 8)"
    assert trained == "['head.weight', 'head.bias']"
    assert last == "True"


def test_the_examples_of_resuming(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.warns(UserWarning, match="there is no checkpoint"):
        run("resuming.md")
    assert capsys.readouterr().out == "[1, 2, 3, 4, 5, 6] finished\n6 (64, 2)\n"


def test_the_examples_of_training(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run("training.md")
    names, r2, labels, line = capsys.readouterr().out.splitlines()
    assert names == "['train_mae', 'train_r2']"
    assert float(r2) > 0.9
    assert labels == "['loss', 'mae', 'r2', 'worst']"
    assert line.startswith('{"step": 1, "epoch": 1, "loss": ')


@pytest.mark.slow
def test_the_examples_of_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run("command.md")
    assert capsys.readouterr().out == "3 (1, 28, 28) ('0', '1', '2')\nTrue\n"


def test_the_examples_of_layers(capsys: pytest.CaptureFixture[str]) -> None:
    run("layers.md")
    assert capsys.readouterr().out.splitlines() == [
        "(5, 16) ['stem.weight', 'stem.bias']",
        "0.5209",
    ]


def test_every_layer_and_loss_is_on_a_page() -> None:
    pages = [page.read_text("utf-8") for page in DOCS.glob("*.md")]
    words = set(re.findall(r"\w+", " ".join(pages)))
    kinds = [vars(module) for module in (nn.layers, nn.losses, nn.class_losses)]
    names = {name for kind in kinds for name in kind if name in nn.__all__} - {"Buffer", "Module"}
    assert len(names) > 120
    spelled = {name: {name, name[:-2], f"{name[:-2]}1d"} for name in names}
    assert not {name for name, ways in spelled.items() if not ways & words}


def test_the_example_of_writing_in_place(capsys: pytest.CaptureFixture[str]) -> None:
    run("in-place.md")
    assert capsys.readouterr().out == "[ 1.  -2.   0.5]\n[7.0, 7.0]\n"


def test_the_examples_of_transforms(capsys: pytest.CaptureFixture[str]) -> None:
    run("transforms.md")
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "[3.0, 12.0]"
    assert out[2:6] == ["[6.0, 0.0]", "[[6.0, 0.0], [0.0, 12.0]]", "(2, 2)", "[2.0, 0.0]"]
    assert "'0.weight': (8, 8, 1, 3, 3)" in out[6]


def test_the_example_of_pictures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run("pictures.md")
    assert capsys.readouterr().out == "('blue', 'red') (2, 3, 24, 40)\n(2, 1, 16, 16)\n"


def test_the_examples_of_grids(capsys: pytest.CaptureFixture[str]) -> None:
    run("grids.md")
    assert capsys.readouterr().out == "[-0.2, 0.1]\n(1, 1, 16, 16)\n(4,)\n-0.54 -0.54\n"


@pytest.mark.slow
def test_the_examples_of_optimizers(capsys: pytest.CaptureFixture[str]) -> None:
    run("optimizers.md")
    assert capsys.readouterr().out.splitlines() == [
        *("True", "[2, 4] 300", "[0.005, 0.05]", "True", "True 0.9"),
        "[0.8999999761581421, -0.8999999761581421]",
    ]


def test_the_examples_of_functions_of_layers(capsys: pytest.CaptureFixture[str]) -> None:
    run("layer-functions.md")
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["(2, 4, 16) (10, 16)", "[0.0, 5.0, 5.0]"]


@pytest.mark.slow
def test_the_examples_of_attention_and_recurrence(capsys: pytest.CaptureFixture[str]) -> None:
    run("attention-and-recurrence.md")
    out = capsys.readouterr().out.splitlines()
    assert out == ["True", "(3, 7, 16)", "(3, 7, 7) 0.0", "(2, 4, 30, 16) (2, 4, 30, 16)"]


@pytest.mark.slow
def test_the_examples_of_models(capsys: pytest.CaptureFixture[str]) -> None:
    run("models.md")
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["True", "(4, 3)"]
    assert out[2:] == ["('fc.weight (5, 512)', 'fc.bias (5,)')", "(2, 2, 20, 30)"]


def test_the_examples_of_custom_operations(capsys: pytest.CaptureFixture[str]) -> None:
    run("custom-operations.md")
    assert capsys.readouterr().out.splitlines()[:2] == ["[gradcheck] order 1, cr", "True"]


def test_the_examples_of_linear_algebra(capsys: pytest.CaptureFixture[str]) -> None:
    run("linalg.md")
    assert capsys.readouterr().out.splitlines() == [
        "()",
        "(8, 3, 2) True",
        "(8, 3, 3)",
        "[0.333, 0.25, 0.25]",
    ]


def test_the_examples_of_solvers(capsys: pytest.CaptureFixture[str]) -> None:
    run("solvers.md")
    assert capsys.readouterr().out.splitlines() == [
        "[1.0, 0.0, 0.0]",
        "(148,) 148",
        "0 True",
        "True [0.3536, 0.2887]",
        "(2, 2)",
        "-0.7358 [0.1839, 0.0, -0.1839]",
    ]


def test_the_examples_of_numpy(capsys: pytest.CaptureFixture[str]) -> None:
    run("numpy.md")
    out = capsys.readouterr().out.splitlines()
    assert out == [
        "[[0.245, 0.0], [-0.245, 0.0], [0.0, 0.0]]",
        "-0.06",
        "[0.25, 0.0, 0.5]",
        "[14.0, 24.0] Tensor([ True, False,  True])",
    ]


def test_the_examples_of_complex_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    run("complex.md")
    out = capsys.readouterr().out.splitlines()
    assert out == ["True", "(6+8j)", "True", "(33, 14)", "True"]


def test_the_examples_of_the_array_api(capsys: pytest.CaptureFixture[str]) -> None:
    run("array-api.md")
    out = capsys.readouterr().out.splitlines()
    assert out == ["[[0.0081, 0.0108], [-0.0081, -0.0108]]", "float64 True", "[1, 0, 2]"]


def test_the_example_of_special_functions(capsys: pytest.CaptureFixture[str]) -> None:
    run("special.md")
    assert capsys.readouterr().out == "3.0 2.0\n0.06\n"


def test_the_page_of_special_functions_has_them_all() -> None:
    page = (DOCS / "special.md").read_text("utf-8")
    words = set(re.findall(r"\w+", page))
    assert set(special.__all__) <= words


def test_the_example_of_hooks(capsys: pytest.CaptureFixture[str]) -> None:
    run("hooks.md")
    assert capsys.readouterr().out == "shape of the gradient: (3, 8)\n1 (3, 8)\n"


def test_the_example_of_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    run("on-a-cpu.md")
    assert capsys.readouterr().out == "True\n"


def test_the_example_of_science(capsys: pytest.CaptureFixture[str]) -> None:
    run("science.md")
    assert capsys.readouterr().out == "[1.0, 1.0, 1.0, 1.0, 1.0]\n"


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_the_example_of_pytorch(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    run("pytorch.md")
    expected = ["torch.Size([4, 3, 3, 3])", "True", "torch.Size([4, 4])"]
    assert capsys.readouterr().out.splitlines() == expected


def test_the_examples_of_data(capsys: pytest.CaptureFixture[str]) -> None:
    run("data.md")
    loss, *out = capsys.readouterr().out.splitlines()
    assert float(loss) < 0.03
    assert out == ["(3,) 3 3 2", "(4, 5) [1, 4, 2, 5]", "True", "True", "(16, 3, 32, 32) True"]


def test_links_lead_somewhere() -> None:
    for page in DOCS.glob("*.md"):
        for target, place in re.findall(r"\]\(([^)#]*)(#[^)]*)?\)", page.read_text("utf-8")):
            assert "://" in target or (DOCS / target).exists(), (page.name, target)
            if place and (target or page.name).endswith(".md"):
                assert place[1:] in headings(DOCS / (target or page.name)), (
                    page.name,
                    target,
                    place,
                )


def headings(page: Path) -> set[str]:
    """The places of a page, as GitHub names them."""
    titles = re.findall(r"^#+ (.*)", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("drawing", sorted(DOCS.glob("*.svg")), ids=lambda path: path.stem)
def test_drawings_can_be_read_in_light_and_dark(drawing: Path) -> None:
    """They bring their own ground, change with the scheme, say what they show, and are used."""
    text = drawing.read_text("utf-8")
    root = ElementTree.fromstring(text)
    ground = next(part for part in root if part.tag.endswith("rect"))
    assert ground.get("class") == "ground"
    assert "prefers-color-scheme: dark" in text
    assert next(part for part in root if part.tag.endswith("title")).text
    assert any(f"]({drawing.name})" in page.read_text("utf-8") for page in DOCS.glob("*.md"))
