"""Imports run one way: `backend → {random, autograd} → kernels → ops → tensor → … → cli`."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.looped import looped

ROOT = Path(__file__).resolve().parents[2]

# A part may import itself and what stands on a lower floor. "__init__" is `import tinygrad_cupy`.
FLOORS = {
    "backend": 0,
    "folders": 0,
    "printing": 0,
    "random": 1,
    "autograd": 1,
    "tracing": 1,
    "kernels": 2,
    "ops": 3,
    "tensor": 4,
    "gradcheck": 4,
    "pytree": 4,
    "custom": 5,
    "array_api": 6,
    "datasets": 5,
    "distributed": 5,
    "fft": 6,
    "integrate": 6,
    "interop": 5,
    "jit": 5,
    "ndimage": 6,
    "numpy": 5,
    "spatial": 6,
    "transforms": 5,
    "linalg": 7,
    "iterative": 6,
    "nn": 6,
    "optimize": 7,
    "signal": 6,
    "sparse": 6,
    "special": 6,
    "__init__": 6,
    "command": 7,
    "cli": 8,
    "__main__": 8,
}
TYPES = "tinygrad_cupy.autograd.typing"  # the one module that may look up, for type checkers only


def sources() -> Iterator[tuple[str, Path]]:
    """Every source file under the name it is imported by, links not followed."""
    for folder, package in (
        ("tinygrad_cupy", "tinygrad_cupy"),
        ("nn", "tinygrad_cupy.nn"),
        ("datasets", "tinygrad_cupy.datasets"),
    ):
        for path in sorted((ROOT / folder).rglob("*.py")):
            inside = path.relative_to(ROOT / folder)
            if not (folder == "tinygrad_cupy" and inside.parts[0] in ("nn", "datasets")):
                yield ".".join((package, *inside.with_suffix("").parts)), path


def names_in(test: ast.expr) -> set[str]:
    nodes = list(ast.walk(test))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return names | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in names_in(node.test):
            for child in node.orelse:
                yield child
                yield from runtime_nodes(child)
        else:
            yield node
            yield from runtime_nodes(node)


@functools.cache
def imports(source: str, module: str) -> tuple[str, ...]:
    """Full names of what a module imports, at any depth, with relative imports resolved."""
    return tuple(found_imports(source, module))


def found_imports(source: str, module: str) -> Iterator[str]:
    package = module.split(".")[:-1]
    for node in runtime_nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            names = [*base, *(node.module or "").split(".")]
            origin = ".".join(filter(None, names))
            # `from tinygrad_cupy import nn` names a module, `from tinygrad_cupy import Tensor` the
            # package: only the longer name tells which.
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def part(name: str) -> str:
    """The part that a full name belongs to; `tinygrad_cupy.Tensor` belongs to "__init__"."""
    first = name.split(".")[1] if "." in name else "__init__"
    return first if first in FLOORS else "__init__"


def floor(name: str) -> int:
    return FLOORS[part(name)]


def broken_arrows(source: str, module: str) -> list[str]:
    inner = [name for name in imports(source, module) if name.split(".")[0] == "tinygrad_cupy"]
    # The package offers nn and datasets, loaded on first use; test_imports.py holds it to that.
    offered = (
        (
            *("array_api", "datasets", "distributed", "fft", "integrate", "interop", "linalg"),
            *("ndimage", "nn", "numpy", "optimize", "signal", "sparse", "spatial", "special"),
        )
        if module == "tinygrad_cupy.__init__"
        else ()
    )
    return [
        f"{module} imports {name}"
        for name in inner
        if part(name) not in (part(module), *offered) and floor(name) >= floor(module)
    ]


def strangers(source: str, module: str) -> list[str]:
    """What a kernel may not import: graphs, rules, and kernels of another family but ``common``."""
    below = ("backend", "random")
    mine = module.split(".")[2]
    found = []
    for name in imports(source, module):
        parts = name.split(".")
        if parts[0] != "tinygrad_cupy" or part(name) in below:
            continue
        if part(name) != "kernels" or (mine != "__init__" and parts[2] not in (mine, "common")):
            found.append(f"{module} imports {name}")
    return found


def test_every_part_has_a_floor() -> None:
    assert {module.split(".")[1] for module, _ in sources()} <= set(FLOORS)


@looped("module, path", [pytest.param(*s, id=s[0]) for s in sources()])
def test_imports_run_down(module: str, path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    if module == TYPES:
        return
    assert broken_arrows(source, module) == []
    assert not any(name.startswith(TYPES) for name in imports(source, module)), "at run time"
    others = {name.split(".")[0] for name in imports(source, module)}
    assert not others & {"nn", "datasets"}, "these are found in a checkout only"
    if part(module) == "kernels":
        assert strangers(source, module) == []
    if part(module) != "backend":
        assert not others & {"cupy", "cupyx"}, "only backend/ imports CuPy"


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("backend.arrays", "from tinygrad_cupy.ops import conv"),
        ("autograd.op", "def f():\n    from tinygrad_cupy.tensor import Tensor"),
        ("ops.conv", "import tinygrad_cupy.tensor"),
        ("ops.conv", "from .. import tensor"),
        ("tensor", "from tinygrad_cupy import nn"),
        ("transforms.batch", "from ..jit import jit"),
        ("nn.init", "from tinygrad_cupy import Tensor"),
        ("tensor", "from tinygrad_cupy import Tensor"),
        ("datasets.loader", "from tinygrad_cupy.nn.module import Module"),
        ("jit.function", "from ..nn import Module"),
        ("nn.trainer", "from tinygrad_cupy.cli import main"),
    ],
)
def test_an_arrow_that_runs_back_is_found(module: str, line: str) -> None:
    assert broken_arrows(line, f"tinygrad_cupy.{module}")


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("conv.cuda", "from ...autograd.mode import mode"),
        ("conv.cuda", "from ..pool import reference"),
        ("common.layout", "from ..conv.plan import Plan"),
        ("loss", "from .reduce import arg_extremum"),
        ("loss", "from ..ops.axes import Axis"),
    ],
)
def test_a_kernel_that_looks_up_or_aside_is_found(module: str, line: str) -> None:
    assert strangers(line, f"tinygrad_cupy.kernels.{module}")


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("command.train", "from tinygrad_cupy import Tensor, no_grad"),
        ("nn.trainer", "from tinygrad_cupy.datasets import DataLoader"),
        ("nn.trainer", "from .module import Module"),
        ("ops.conv", "from tinygrad_cupy.autograd import Op\nfrom .shape import pad"),
        ("autograd.op", "if TYPE_CHECKING:\n    from tinygrad_cupy.tensor import Tensor"),
        ("__init__", "def __getattr__(name):\n    from tinygrad_cupy import nn"),
    ],
)
def test_an_arrow_that_runs_down_is_not(module: str, line: str) -> None:
    assert broken_arrows(line, f"tinygrad_cupy.{module}") == []


def test_there_are_nine_floors_at_most() -> None:
    assert len(set(FLOORS.values())) <= 9


def test_no_circle_is_imported_at_run_time() -> None:
    """Between modules: within a floor, and within a folder."""
    known = {module.removesuffix(".__init__"): path for module, path in sources()}
    graph: dict[str, set[str]] = {}
    for module, path in known.items():
        if module == TYPES:
            continue
        full = module + ".__init__" if path.name == "__init__.py" else module
        found = set()
        for name in imports(path.read_text(encoding="utf-8"), full):
            target = name if name in known else name.rpartition(".")[0]
            inside = (
                module.startswith(target + ".") and known.get(target, path).name == "__init__.py"
            )
            if target in known and target != module and not inside:
                found.add(target)
        graph[module] = found
    done: set[str] = set()
    while ready := {m for m in graph if m not in done and graph[m] <= done | {TYPES}}:
        done |= ready
    assert sorted(set(graph) - done) == []


def test_rules_are_rules_only() -> None:
    folder = ROOT / "tinygrad_cupy" / "ops"
    assert {path.suffix for path in folder.iterdir() if path.is_file()} == {".py"}
    lengths = {
        path.name: len(path.read_text(encoding="utf-8").splitlines())
        for path in folder.glob("*.py")
    }
    assert [name for name, length in lengths.items() if length >= 400] == []
