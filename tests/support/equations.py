"""Random equations of `einsum`."""

from __future__ import annotations

from hypothesis import strategies as st

from .sampling import Draw

Shape = tuple[int, ...]
LABELS = "abcZ"


def draw_equation(draw: Draw, least: int = 0, most: int = 3) -> tuple[str, list[Shape]]:
    """An equation with 1 to ``most`` operands, and their shapes with sides from ``least`` to 3.

    With labels that repeat, in one operand or in several, ellipses, axes of one element that are
    broadcast, and a result that is implied or written in any order.
    """
    sizes = {label: draw(st.integers(least, 3)) for label in LABELS}
    around = tuple(draw(st.lists(st.integers(least, 3), max_size=2)))  # what an ellipsis stands for
    terms, shapes = [], []
    for _ in range(draw(st.integers(1, most))):
        term, shape = _operand(draw, sizes, around)
        terms.append(term)
        shapes.append(shape)
    inputs = ",".join(terms)
    if not draw(st.booleans()):
        return inputs, shapes
    used = sorted({label for term in terms for label in term} - {"."})
    kept = draw(st.lists(st.sampled_from(used), unique=True, max_size=3)) if used else []
    if "..." in inputs:
        kept.insert(draw(st.integers(0, len(kept))), "...")
    return f"{inputs}->{''.join(kept)}", shapes


def _operand(draw: Draw, sizes: dict[str, int], around: Shape) -> tuple[str, Shape]:
    labels = draw(st.lists(st.sampled_from(LABELS), max_size=3))
    own = {c: 1 if draw(st.integers(0, 5)) == 0 else sizes[c] for c in dict.fromkeys(labels)}
    shape = [own[c] for c in labels]
    if not draw(st.booleans()):
        return "".join(labels), tuple(shape)
    at = draw(st.integers(0, len(labels)))
    here = around[draw(st.integers(0, len(around))) :]
    here = tuple([1 if draw(st.integers(0, 5)) == 0 else n for n in here])
    return "".join([*labels[:at], "...", *labels[at:]]), (*shape[:at], *here, *shape[at:])
