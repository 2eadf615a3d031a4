"""A kernel that is ready for its arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend import CudaSource


class Launch(NamedTuple):
    """A kernel that is ready for its arrays: all the rest follows from their shapes."""

    file: CudaSource
    name: str
    grid: int | tuple[int, ...]
    numbers: tuple[Any, ...]
    defines: tuple[str, ...]
    shared: int = 0
    threads: int | None = None  # the file's

    def __call__(self, *arrays: Any) -> None:
        """Run it on these arrays, which come before the numbers."""
        arguments = (*arrays, *self.numbers)
        self.file.launch(self.name, self.grid, arguments, self.threads, self.shared, self.defines)

    def prepare(self) -> None:
        """Have it compiled in another thread."""
        self.file.prepare(self.defines)
