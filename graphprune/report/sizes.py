"""Which sizes of the inputs vary, and which are fixed and why: the rows of a report, and the lines that say it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from graphprune.capture.dimensions import Dimension
from graphprune.capture.program import Program

__all__ = ["dimension_rows", "input_lines", "listed", "shape_text", "size_lines"]

Row = Mapping[str, Any]
SHOWN = 3  # names in a list, where there are many more


def dimension_rows(dimensions: Iterable[Dimension]) -> list[dict[str, Any]]:
    """Every dimension of every input tensor, for JSON."""
    return [asdict(at) for at in dimensions]


def size_lines(rows: Sequence[Row], dtypes: Mapping[int, str] | None = None) -> Iterator[str]:
    """The shapes of the inputs, the multiples that sizes must be, and what is fixed for a reason.

    A fixed size that has no reason, such as the channels that a convolution reads, is seen in the shape.

    Args:
        rows: of `dimension_rows`.
        dtypes: of the tensors by their places, where they are to be said.
    """
    yield from _shapes(rows, dtypes or {})
    yield from _multiples(rows)
    yield from _fixed(rows)


def input_lines(program: Program) -> Iterator[str]:
    """The same of a program, with the dtype of every tensor, those without dimensions too."""
    leaves = enumerate(pytree.tree_leaves(program.example))
    dtypes = {place: str(leaf.dtype) for place, leaf in leaves if isinstance(leaf, Tensor)}
    yield from size_lines(dimension_rows(program.dimensions), dtypes)
    shaped = {at.place for at in program.dimensions}
    yield from (
        f"{program.inputs[place]} {dtype} ()" for place, dtype in dtypes.items() if place not in shaped
    )


def shape_text(rows: Iterable[Row]) -> str:
    """The shape of one tensor, with the names of the sizes that vary.

    >>> shape_text([{"name": "batch", "size": 1}, {"name": "", "size": 3}])
    '(batch, 3)'
    """
    return _bracketed(row["name"] or row["size"] for row in rows)


def _shapes(rows: Sequence[Row], dtypes: Mapping[int, str]) -> Iterator[str]:
    """One line for all tensors of the same shape."""
    tensors: dict[int, list[Row]] = {}
    for row in rows:
        tensors.setdefault(row["place"], []).append(row)
    alike: dict[str, list[str]] = {}
    for place, dims in tensors.items():
        shape, example = shape_text(dims), _bracketed(row["size"] for row in dims)
        text = " ".join(filter(None, [dtypes.get(place), shape]))
        more = f", captured with {example}" if shape != example else ""
        alike.setdefault(f"{text}{more}", []).append(dims[0]["input"])
    for text, names in alike.items():
        yield f"{listed(names)} {text}"


def _multiples(rows: Iterable[Row]) -> Iterator[str]:
    names: dict[int, list[str]] = {}
    for row in rows:
        if row["name"] and row["multiple"] > 1:
            names.setdefault(row["multiple"], []).append(row["name"])
    for multiple, found in names.items():
        different = list(dict.fromkeys(found))
        are = "is a multiple" if len(different) == 1 else "are multiples"
        yield f"{listed(different)} {are} of {multiple}"


def _fixed(rows: Iterable[Row]) -> Iterator[str]:
    """One line for all dimensions that are fixed at one size for one reason."""
    places: dict[tuple[str, int], list[str]] = {}
    for row in rows:
        if row["reason"] and not row["name"]:
            places.setdefault((row["reason"], row["size"]), []).append(f"{row['input']}[{row['dim']}]")
    for (reason, size), found in places.items():
        yield f"{listed(found)} {'is' if len(found) == 1 else 'are'} fixed at {size}: {reason}"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence; of many the first ones, and how many more there are.

    >>> listed(["x"]), listed(["x", "y"]), listed(list("abcde"))
    ('x', 'x and y', 'a, b, c and 2 more')
    """
    if len(names) > SHOWN + 1:
        return f"{', '.join(names[:SHOWN])} and {len(names) - SHOWN} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _bracketed(sizes: Iterable[Any]) -> str:
    """A shape as Python writes it."""
    texts = [str(size) for size in sizes]
    return f"({texts[0]},)" if len(texts) == 1 else f"({', '.join(texts)})"
