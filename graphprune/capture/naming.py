"""What the sizes of inputs are called: by the user, or by the rank and type of the tensor they stand in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from graphprune.capture.dimensions import Dimension
from graphprune.capture.trial import Place
from graphprune.capture.varying import Vary, Varying, together
from graphprune.ground.errors import InputError

__all__ = ["assignments", "described"]

# what dimensions beyond the first of a tensor of so many dimensions are called
_FLOATING = {
    3: ("", "sequence", "length"),
    4: ("", "", "height", "width"),
    5: ("", "", "depth", "height", "width"),
}
_SEQUENCES = {2: ("", "sequence")}


def described(
    dimensions: Sequence[Dimension], given: Mapping[Place, str], varying: Varying, must_vary: bool = True
) -> tuple[Dimension, ...]:
    """The dimensions with names where they vary, and with reasons where they do not.

    Raises:
        InputError: one that the user named does not vary, and ``must_vary``.
    """
    names: dict[Place, str] = {}
    for vary in varying.sizes:
        name = next((given[place] for place in vary.places if place in given), "")
        if not name:
            taken = {*names.values(), *given.values()}
            first = vary is varying.batch and "batch" not in taken
            name = "batch" if first else _name(vary, dimensions, varying.trial.leaves, taken)
        names |= dict.fromkeys(vary.places, name)
    multiples = {place: vary.multiple for vary in varying.sizes for place in vary.places}
    for at in dimensions:
        place = (at.place, at.dim)
        if must_vary and place in given and place not in names:
            why = varying.fixed.get(place) or "the model runs at this size only"
            raise InputError(f"{at} cannot vary as {given[place]!r}: {why}", "leave it out of dynamic")
    return tuple(
        dataclasses.replace(
            at,
            name=names.get((at.place, at.dim), ""),
            multiple=multiples.get((at.place, at.dim), 1),
            reason=varying.fixed.get((at.place, at.dim), ""),
        )
        for at in dimensions
    )


def _name(vary: Vary, dimensions: Sequence[Dimension], leaves: Sequence[object], taken: Iterable[str]) -> str:
    place, dim = vary.places[0]
    tensor = leaves[place]
    assert isinstance(tensor, Tensor)
    table = _FLOATING if tensor.is_floating_point() else _SEQUENCES
    label = next(at.input for at in dimensions if at.place == place)
    argument, _, within = label.partition(".")
    if within and f"{argument}_length" not in taken:  # what is kept within an argument is no image
        return f"{argument}_length"
    usual = dict(enumerate(table.get(tensor.dim(), ()))).get(dim, "")
    if usual and usual not in taken:
        return usual
    return f"{label.replace('.', '_')}_{usual or dim}"


def assignments(
    dimensions: Iterable[Dimension], varying: Varying, more: Iterable[Mapping[Place, int]] = ()
) -> tuple[dict[str, int], ...]:
    """The sizes at which the program was compared with the model, by name: all small, all large, and ``more``."""
    names = {(at.place, at.dim): at.name for at in dimensions}
    corners = (together(varying.tried, which) for which in ("small", "large"))
    return tuple({names[place]: size for place, size in sizes.items()} for sizes in (*corners, *more))
