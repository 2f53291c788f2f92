"""What a configuration says of widths, and what changes in it, as plain data for messages and reports."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from graphprune.axes.terms import Atom
from graphprune.cutting.fitting import kind_of
from graphprune.pretrained.blueprint import Blueprint, Place, at, numbers, shapes_of, shown
from graphprune.pretrained.opened import Model

__all__ = ["changed", "changed_fields", "said"]


def changed_fields(model: Model, slim: Blueprint) -> dict[Place, tuple[int | None, int]]:
    """Fields of the configuration that say something else than the original's: from what, to what.

    An open field that was said for a width to change alone, such as ``head_dim``, is none of them where the class
    derives the same number from what is there.
    """
    before, said = numbers(model.folder.blueprint.values), numbers(model.shaping.blueprint.values)
    # a width may have become 1, which is no width elsewhere
    after = {place: at(slim.values, place) for place in said}
    changed = {place: (before.get(place), n) for place, n in after.items() if before.get(place) != n}
    return {
        place: pair for place, pair in changed.items() if pair[0] is not None or not _is_derived(slim, place)
    }


def _is_derived(slim: Blueprint, place: Place) -> bool:
    values = copy.deepcopy(dict(slim.values))
    at(values, place[:-1]).pop(place[-1])
    return shapes_of(replace(slim, values=values)) == slim.shapes()


def changed(model: Model, slim: Blueprint) -> dict[str, tuple[int | None, int]]:
    """The same by the fields' names as Python writes them."""
    return {shown(place): pair for place, pair in changed_fields(model, slim).items()}


def said(model: Model) -> dict[str, Any]:
    """Which fields rule which groups, and why the other groups are held."""
    known = numbers(model.shaping.blueprint.values)
    return {
        "class": model.folder.blueprint.model.__name__,
        "params": model.graph.cost().params,
        "moves": [
            {
                "fields": [shown(place) for place in move.fields],
                "numbers": [known[place] for place in move.fields],
                "step": move.step,
                "kinds": [f"{family.kind} ({family.size} units)" for family in move.families],
            }
            for move in model.moves
        ],
        "held": {kind_of(name): why for name, why in model.held.items()},
        "fixed": _fixed(model),
    }


def _fixed(model: Model) -> dict[str, str]:
    """Fields that say the size of an axis from which nothing may be removed, such as the number of experts, and why.

    They are found by doubling them, with which whatever divides a number goes on to divide it.
    """
    shaping, graph = model.shaping, model.graph
    moved = {place for move in model.moves for place in move.fields}
    stored = {name: item.name for item in graph.program.stored.values() for name in item.names}
    found: dict[str, str] = {}
    for place, number in shaping.numbers.items():
        shapes = shapes_of(shaping.blueprint.with_numbers({place: 2 * number}))
        if place in moved or shapes is None or set(shapes) != set(shaping.shapes):
            continue
        for name, shape in shapes.items():
            terms = graph.tensor_terms.get(stored.get(name, name), ())
            for term, size in zip(terms, shape, strict=False):
                if isinstance(term, Atom) and term.pins and size == 2 * term.size == 2 * number:
                    found.setdefault(shown(place), str(term.pins[0]))
    return found
