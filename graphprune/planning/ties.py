"""Ties: sets of groups that keep the same share of their units. Which ones stays free for each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from math import gcd

from graphprune.axes.dependency import DependencyGraph
from graphprune.ground.errors import InputError

__all__ = ["Ties", "find_ties", "read_ties"]

Ties = Mapping[str, tuple[str, ...]]


def read_ties(given: str | Sequence[str | Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """Ties as they may be written, each as its patterns: a text with commas, or a list.

    >>> read_ties(["up,gate", ["q", "k"], "blocks.*.fc1"])
    (('up', 'gate'), ('q', 'k'), ('blocks.*.fc1',))
    """
    ties = [given] if isinstance(given, str) else given
    return tuple(tuple(tie.replace(" ", "").split(",") if isinstance(tie, str) else tie) for tie in ties)


def find_ties(
    graph: DependencyGraph, ties: Sequence[Sequence[str]], produced: Callable[[str], Sequence[str]]
) -> Ties:
    """Group → all groups of its tie, in the order of the graph; groups without a tie are left out.

    Ties that share a group are one.

    Args:
        ties: names of groups, or patterns (``fnmatch``) of names of groups or layers.
        produced: pattern of layers → the groups that they produce.

    Raises:
        InputError: a pattern matches no layer, a tie has one group only, or its groups can keep no common share.
    """
    found: dict[str, tuple[str, ...]] = {}
    for tie in ties:
        named = {name for pattern in tie for name in _matched(graph, pattern, produced)}
        _check(graph, tie, [name for name in graph.by_name if name in named])
        joined = named.union(*(found.get(name, ()) for name in named))
        names = tuple(name for name in graph.by_name if name in joined)
        found |= dict.fromkeys(names, names)
    return found


def _matched(graph: DependencyGraph, pattern: str, produced: Callable[[str], Sequence[str]]) -> Sequence[str]:
    return [name for name in graph.by_name if fnmatchcase(name, pattern)] or produced(pattern)


def _check(graph: DependencyGraph, tie: Sequence[str], names: Sequence[str]) -> None:
    said = ",".join(tie)
    if len(names) < 2:
        found = f"{names[0]} alone" if names else "nothing that can be removed"
        raise InputError(
            f"the tie {said!r} names {found}", "name two groups or more; `graphprune inspect` lists them"
        )
    sizes = {name: graph.by_name[name].size for name in names}
    if gcd(*sizes.values()) == 1:
        other = next(name for name in names if gcd(sizes[names[0]], sizes[name]) < sizes[names[0]])
        raise InputError(
            f"the tie {said!r} has groups that cannot keep the same share: {names[0]} of {sizes[names[0]]} units, "
            f"{other} of {sizes[other]}",
            "tie groups of the same size, or of sizes with a common divisor",
        )
