"""A small twin: the same class with narrower layers and fewer of them, in which the same code runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

from graphprune.pretrained.blueprint import Blueprint, Place, Shapes, at, numbers, shapes_of

__all__ = ["parameters", "small_twin"]

LARGE = 2_000_000  # parameters from which on a twin is worth while
WIDE, NARROW = 64, 48  # numbers from WIDE on are halved down to NARROW
FEW = 4  # smaller ones, such as those of heads, down to this
DEEPEST = 256  # what is more is no depth


def parameters(shapes: Shapes) -> int:
    """How many numbers the tensors hold."""
    return sum(map(prod, shapes.values()))


def small_twin(blueprint: Blueprint, layers: int = 2, narrow: bool = True) -> Blueprint:
    """The same class with at least ``layers`` of its layers, and with widths halved as often as it takes them.

    A field is a depth if less of it means fewer tensors of the same shapes, and a width if the shapes change. A number
    is left as it is where the class does not take a smaller one. Numbers that are equal stay equal, those that differ
    stay different, and a small one that divides another goes on to do so: each is still known by its size.

    Args:
        layers: at least so many of each part.
        narrow: False leaves widths and vocabularies as they are, for inputs that are given and must still fit.
    """
    twin = blueprint
    shapes = twin.shapes()
    if parameters(shapes) <= LARGE:
        return twin
    for place in numbers(twin.values):
        for shallower in _shallower(twin, place, layers):
            fewer = shapes_of(shallower)
            if fewer is not None and _is_part(fewer, shapes):
                twin, shapes = shallower, fewer
                break
    for value in sorted(set(numbers(twin.values).values()), reverse=True) if narrow else ():
        twin = _narrower(twin, value)
    return twin


def _is_part(fewer: Shapes, shapes: Shapes) -> bool:
    return len(fewer) < len(shapes) and all(shapes.get(name) == shape for name, shape in fewer.items())


def _shallower(twin: Blueprint, place: Place, layers: int) -> Iterator[Blueprint]:
    """With fewer layers, and with lists that have an item for each of them cut to these."""
    holder, depth = at(twin.values, place[:-1]), at(twin.values, place)
    if depth > DEEPEST or not isinstance(holder, Mapping):
        return
    for fewer in range(layers, depth):
        changed = twin.with_numbers({place: fewer})
        lists = {
            key: value[:fewer]
            for key, value in holder.items()
            if isinstance(value, list) and len(value) == depth
        }
        at(changed.values, place[:-1]).update(lists)
        yield changed


def _narrower(twin: Blueprint, value: int) -> Blueprint:
    """With all numbers that are ``value`` halved as often as the class takes it, if that changes shapes alone."""
    known = numbers(twin.values)
    places = [place for place, number in known.items() if number == value]
    others = {number for number in known.values() if number != value}
    few = {number for number in known.values() if number < WIDE}
    best, shapes, less = twin, twin.shapes(), value
    while less % 2 == 0 and less // 2 >= (NARROW if value >= WIDE else FEW):
        less //= 2
        if less in others or any(
            _relation(less, other) != _relation(value, other) for other in few - {value}
        ):
            continue
        tried = twin.with_numbers(dict.fromkeys(places, less))
        narrow = shapes_of(tried)
        if narrow is not None and set(narrow) == set(shapes) and narrow != shapes:
            best = tried
    return best


def _relation(number: int, other: int) -> tuple[bool, bool]:
    """Whether one number divides the other, as heads of queries and of keys do."""
    return number % other == 0, other % number == 0
