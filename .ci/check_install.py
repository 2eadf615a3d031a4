"""Check an installed wheel against the checkout it was built from: `check_install.py CHECKOUT`.

Run by .ci/run in an environment that has the wheel alone, from an empty folder.
"""

import importlib
import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path


def tracked_files(checkout: Path) -> set[str]:
    """The files of the packages, under the names that an installation gives them."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    )
    names = set()
    for line in listing.stdout.splitlines():
        top = line.split("/")[0]
        if top in ("nn", "datasets"):
            names.add(f"tinygrad_cupy/{line}")
        elif top == "tinygrad_cupy" and not (checkout / line).is_symlink():
            names.add(line)
    return names


def main() -> None:
    """Compare what is installed with the checkout named on the command line."""
    checkout = Path(sys.argv[1]).resolve()
    names = {str(path) for path in importlib.metadata.files("tinygrad-cupy") or ()}
    installed = {name for name in names if name.startswith("tinygrad_cupy/")}
    installed = {name for name in installed if not name.endswith(".pyc")}
    assert installed == tracked_files(checkout), installed ^ tracked_files(checkout)

    tops = {name.split("/")[0] for name in names} - {".."}  # ../../../bin/tinygrad-cupy
    tops = {top for top in tops if not top.endswith(".dist-info")}
    assert tops == {"tinygrad_cupy"}, tops
    for name in ("nn", "datasets"):
        assert importlib.util.find_spec(name) is None, f"a top-level {name} was installed"
        module = importlib.import_module(f"tinygrad_cupy.{name}")
        origin = Path(module.__file__ or "").resolve()
        assert checkout not in origin.parents, f"{origin} is the checkout's"
    assert any(name.endswith(".png") for name in installed), "the digits are missing"
    for suffix in (".cu", ".cuh", ".c", ".h"):
        assert any(name.endswith(suffix) for name in installed), f"sources are missing: {suffix}"
    print(f"{len(installed)} files installed, all of them under tinygrad_cupy")


main()
