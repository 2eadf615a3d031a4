"""Vectors for numbers: of words, of classes."""

from __future__ import annotations

from typing import Any, Self

from tinygrad_cupy.backend.capture import observe
from tinygrad_cupy.nn import checks, init
from tinygrad_cupy.nn.module import Module, Parameter
from tinygrad_cupy.tensor import Tensor


class Embedding(Module):
    """The rows of `weight` (num_embeddings, embedding_dim) that integers (...) name: (..., D).

    `weight` starts from N(0, 1). The row `padding_idx` (negative: from the end) starts at 0 and has
    no gradient, so it stays as it is. A number that is no row is an IndexError on the CPU, and is
    taken modulo the number of rows on a GPU.

    >>> embed = nn.Embedding(100, 16, padding_idx=0)
    >>> embed(Tensor([[5, 7, 0], [2, 0, 0]])).shape
    (2, 3, 16)
    >>> abs(embed.weight[0]).sum().item()
    0.0
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None
    ) -> None:
        self.num_embeddings = checks.integer(self, "num_embeddings", num_embeddings)
        self.embedding_dim = checks.integer(self, "embedding_dim", embedding_dim)
        self.padding_idx = self._row(padding_idx)
        weight = init.normal((self.num_embeddings, self.embedding_dim))
        if self.padding_idx is not None:
            weight[self.padding_idx] = 0
        self.weight = Parameter(weight)

    def _row(self, padding_idx: int | None) -> int | None:
        """`padding_idx` counted from the start."""
        if padding_idx is None:
            return None
        rows = self.num_embeddings
        if not isinstance(padding_idx, int) or not -rows <= padding_idx < rows:
            raise ValueError(
                f"[Embedding] padding_idx must be one of {rows} rows, got {padding_idx!r}"
            )
        return padding_idx % rows

    @classmethod
    def from_pretrained(
        cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None
    ) -> Self:
        """An Embedding of a copy of the rows (V, D), which is not trained unless `freeze=False`."""
        rows = embeddings if isinstance(embeddings, Tensor) else Tensor(embeddings)
        if rows.ndim != 2:
            raise ValueError(f"[{cls.__name__}] expected embeddings (V, D), got shape {rows.shape}")
        layer = cls.__new__(cls)
        layer.num_embeddings, layer.embedding_dim = rows.shape
        layer.padding_idx = layer._row(padding_idx)
        layer.weight = Parameter(rows.detach().clone(), requires_grad=not freeze)
        return layer

    def forward(self, x: Tensor) -> Tensor:
        checks.input_tensor(self, x)
        observe(self, "padding_idx")
        return x.embedding(self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        return text if self.padding_idx is None else f"{text}, padding_idx={self.padding_idx}"
