"""The dimensions of a model's inputs: which of them vary, under which name, and why the others do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["Dimension", "named_sizes", "shown_shape"]


@dataclass(frozen=True)
class Dimension:
    """Dimension ``dim`` of an input tensor: ``x[2]``.

    Args:
        input: what the user calls the tensor: "x", or "past.0" within a nested argument.
        place: position of the tensor in `Program.inputs`.
        size: its size in the example.
        name: what the size is called where it varies, such as "batch" or "height"; empty where it is fixed. Dimensions
            of one name have one size.
        multiple: the size must be a multiple of it.
        reason: why it is fixed: what was derived from the size, and the user's line.
    """

    input: str
    place: int
    dim: int
    size: int
    name: str = ""
    multiple: int = 1
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.input}[{self.dim}]"


def named_sizes(dimensions: Iterable[Dimension]) -> dict[str, int]:
    """The sizes of the example by the names of the dimensions that vary, in order."""
    sizes: dict[str, int] = {}
    for dimension in dimensions:
        if dimension.name:
            sizes.setdefault(dimension.name, dimension.size)
    return sizes


def shown_shape(dimensions: Iterable[Dimension], sizes: Mapping[str, int] | None = None) -> str:
    """The shape of one tensor in a message: ``(batch, 3, height, width)``, or with ``sizes`` in their place.

    >>> shown_shape([Dimension("x", 0, 0, 8, "batch"), Dimension("x", 0, 1, 3)])
    '(batch, 3)'
    """
    given = sizes or {}
    shown = [str(given.get(d.name, d.name) if d.name else d.size) for d in dimensions]
    return f"({', '.join(shown)})"
