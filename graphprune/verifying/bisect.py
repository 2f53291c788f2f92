"""Finds the group whose removal a program gets wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["guilty_groups"]


def guilty_groups(names: Sequence[str], fails: Callable[[Sequence[str]], bool]) -> tuple[str, ...]:
    """The smallest set of groups found by halving for which ``fails`` holds; they fail together.

    >>> guilty_groups(["a", "b", "c", "d"], lambda names: "c" in names)
    ('c',)
    >>> guilty_groups(["a", "b", "c", "d"], lambda names: "a" in names and "d" in names)
    ('a', 'b', 'c', 'd')
    """
    if len(names) > 1:
        middle = len(names) // 2
        for half in (names[:middle], names[middle:]):
            if fails(half):
                return guilty_groups(half, fails)
    return tuple(names)
