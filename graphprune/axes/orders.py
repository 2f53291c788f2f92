"""Permutations as lists of positions: position p of the result is position ``order[p]`` of what is permuted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, groupby
from math import prod

__all__ = ["cycles_by_length", "inverse", "is_identity", "orders_of_factors", "orders_of_segments"]


def is_identity(order: Sequence[int]) -> bool:
    """Whether everything stays where it is."""
    return all(place == at for place, at in enumerate(order))


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """The order that puts everything back.

    >>> inverse((2, 0, 1))
    (1, 2, 0)
    """
    back = [0] * len(order)
    for place, at in enumerate(order):
        back[at] = place
    return tuple(back)


def orders_of_segments(sizes: Sequence[int], order: Sequence[int]) -> list[tuple[int, list[int]]]:
    """The segments of a concatenation as they come in the result, with the order within each.

    Empty if the positions of two segments are mixed.

    >>> orders_of_segments([2, 3], [4, 3, 2, 0, 1])
    [(1, [2, 1, 0]), (0, [0, 1])]
    >>> orders_of_segments([2, 2], [0, 2, 1, 3])
    []
    """
    starts = [0, *accumulate(sizes)]
    segment = [place for place, size in enumerate(sizes) for _ in range(size)]
    runs = [(place, list(run)) for place, run in groupby(order, key=segment.__getitem__)]
    if len(runs) > len({place for place, _ in runs}):
        return []
    return [(place, [at - starts[place] for at in run]) for place, run in runs]


def orders_of_factors(sizes: Sequence[int], order: Sequence[int]) -> list[list[int]]:
    """The order of each factor of a product; empty if what happens to one depends on another.

    >>> orders_of_factors([2, 3], [5, 4, 3, 2, 1, 0])
    [[1, 0], [2, 1, 0]]
    >>> orders_of_factors([2, 2], [0, 2, 1, 3])
    []
    """
    found: list[list[int]] = []
    for place, size in enumerate(sizes):
        inner = prod(sizes[place + 1 :])
        own = [order[at * inner] // inner % size for at in range(size)]
        if any(to // inner % size != own[at // inner % size] for at, to in enumerate(order)):
            return []
        found.append(own)
    return found


def cycles_by_length(one: Sequence[int], other: Sequence[int]) -> list[list[list[int]]]:
    """The cycles of the permutation that takes ``one[p]`` to ``other[p]``, those of one length together.

    >>> cycles_by_length((0, 1, 2, 3), (1, 0, 2, 3))
    [[[2], [3]], [[0, 1]]]
    """
    to = dict(zip(one, other, strict=True))
    cycles: dict[int, list[list[int]]] = {}
    left = dict.fromkeys(sorted(to))
    while left:
        cycle = [next(iter(left))]
        while to[cycle[-1]] != cycle[0]:
            cycle.append(to[cycle[-1]])
        for unit in cycle:
            del left[unit]
        cycles.setdefault(len(cycle), []).append(cycle)
    return [cycles[length] for length in sorted(cycles)]
