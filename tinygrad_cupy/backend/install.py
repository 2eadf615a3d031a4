"""How the extras of this package are installed, for error texts."""

from __future__ import annotations

import functools


def how_to_install(*extras: str) -> str:
    """The commands that bring the ``extras``, joined by "or".

    By the package's name only where it came from an index; what was installed from a folder, an
    archive or a repository (PEP 610 records that) is installed from there again.
    """
    form = "tinygrad-cupy[{}]" if _from_an_index() else ".[{}]"
    commands = " or ".join(f'pip install "{form.format(extra)}"' for extra in extras)
    return commands if _from_an_index() else f"{commands} in the folder of its source code"


@functools.cache
def _from_an_index() -> bool:
    import importlib.metadata  # slow to import, and wanted by error texts alone

    try:
        installed = importlib.metadata.distribution("tinygrad-cupy")
    except importlib.metadata.PackageNotFoundError:
        return False  # run from a checkout
    return installed.read_text("direct_url.json") is None
