"""What a configuration says of widths, and what changes in it, as plain data for messages and reports."""

from __future__ import annotations

from typing import Any

from graphprune.cutting.fitting import kind_of
from graphprune.pretrained.blueprint import Blueprint, Place, at, numbers, shown
from graphprune.pretrained.opened import Model

__all__ = ["changed", "changed_fields", "said"]


def changed_fields(model: Model, slim: Blueprint) -> dict[Place, tuple[int | None, int]]:
    """Fields of the configuration that say something else than the original's: from what, to what."""
    before, said = numbers(model.folder.blueprint.values), numbers(model.shaping.blueprint.values)
    after = {
        place: at(slim.values, place) for place in said
    }  # a width may have become 1, which is no width elsewhere
    return {
        place: (before.get(place), number) for place, number in after.items() if before.get(place) != number
    }


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
    }
