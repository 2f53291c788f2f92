"""Fields that stand for nothing until they are set: what a class then derives from others is said by itself.

``head_dim`` of many classes is read if it is there, and is otherwise the width of the model over the number of heads.
If it is said, the width can change alone.
"""

from __future__ import annotations

from graphprune.axes.dependency import DependencyGraph
from graphprune.pretrained.blueprint import Blueprint, Place, Shapes, shapes_of
from graphprune.pretrained.families import parts_of

__all__ = ["with_open_fields"]

ODD = 7  # no class has this width by itself


def with_open_fields(blueprint: Blueprint, graph: DependencyGraph) -> Blueprint:
    """The blueprint with each open field at the number that changes nothing, where another one would."""
    shapes = blueprint.shapes()
    sizes = {part.size for dims in graph.analysis.terms.values() for term in dims for part in parts_of(term)}
    for place in _open(blueprint):
        if not _governs(blueprint, place, shapes):
            continue
        for size in sorted(size for size in sizes if size > 1):
            said = blueprint.with_numbers({place: size})
            if shapes_of(said) == shapes:
                blueprint = said
                break
    return blueprint


def _open(blueprint: Blueprint) -> list[Place]:
    """Places that hold None, and fields that are asked for and missing."""
    unset = [(name,) for name, value in blueprint.values.items() if value is None]
    parts = [
        (part, name)
        for part, values in blueprint.values.items()
        if isinstance(values, dict)
        for name, value in values.items()
        if value is None
    ]
    return [*unset, *parts, *((name,) for name in blueprint.missing())]


def _governs(blueprint: Blueprint, place: Place, shapes: Shapes) -> bool:
    """Whether some number there changes shapes."""
    changed = [shapes_of(blueprint.with_numbers({place: number})) for number in (ODD, 4 * ODD)]
    return any(other is not None and other != shapes for other in changed)
