"""What a plan must respect besides pins: alignment, least widths, protected layers, ties."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from math import ceil, gcd, lcm

from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.groups import Group
from graphprune.axes.terms import Atom
from graphprune.ground.errors import InputError
from graphprune.ground.options import COUNTS, check_number
from graphprune.planning.alignment import steps
from graphprune.planning.ties import Ties, find_ties

__all__ = ["Constraints", "Limit", "find_limits"]


@dataclass(frozen=True)
class Constraints:
    """The user's wishes.

    Args:
        align: widths are multiples of this, or stay as they are. Each part of a concatenation is aligned by
            itself; parts narrower than this cannot be. Or multiples by kind of layer (`graphprune.axes.kinds`), as a
            runtime likes them: these are wishes, halved where a budget cannot be met otherwise or a ratio would take
            nothing.
        min_keep: units that every group keeps at least (for every position of its fibre).
        protect: patterns (``fnmatch``) of layers none of whose tensors may change, or names of groups.
        max_ratio: the share of its units that any group may lose.
        ratios: patterns of layers, or names of groups → the share that the groups (that they produce) lose, whatever
            the budget. It covers everything coupled with them, and is as exact as the group's width and ``align``
            permit.
        ties: sets of groups that keep the same share of their units, see `graphprune.planning.ties`. What holds one of
            them (``protect``, ``ratios``, ``align``) holds all.

    Raises:
        InputError: a number is out of range.
    """

    align: int | Mapping[str, int] = 1
    min_keep: int = 1
    protect: Sequence[str] = ()
    max_ratio: float = 1.0
    ratios: Mapping[str, float] = field(default_factory=dict)
    ties: Sequence[Sequence[str]] = ()

    def __post_init__(self) -> None:
        for name in ("align", "min_keep"):
            value = getattr(self, name)
            if not isinstance(value, Mapping):  # multiples by kind of layer
                object.__setattr__(self, name, check_number(name, value, COUNTS))
        if not 0 <= self.max_ratio <= 1:
            raise InputError(f"max_ratio={self.max_ratio} is out of range", "give a share between 0 and 1")
        for pattern, ratio in self.ratios.items():
            if not 0 <= ratio < 1:
                raise InputError(
                    f"the ratio {ratio} of {pattern!r} is out of range",
                    "give the share of units to remove, from 0 to less than 1",
                )


@dataclass(frozen=True)
class Limit:
    """The sizes a group may take: multiples of ``step`` from ``least`` on, or its full ``size``.

    With ``fixed`` it takes that one alone, whatever is wanted. With ``floor`` the step is only a wish, and that is the
    least size whatever the step. With ``most``, which stands in place of the full size, it is no wider than that. With
    ``tie`` it keeps the share of that group, whose limit is the same in proportion.
    """

    size: int
    step: int
    least: int
    fixed: int | None = None
    floor: int | None = None
    most: int | None = None
    tie: str = ""

    def ladder(self) -> Iterator[Limit]:
        """This limit, then with steps of half the width again and again, as far as they are a wish."""
        yield self
        if self.floor is not None and self.fixed is None and self.step > 1:
            step = self.step // 2
            finer = replace(self, step=step, least=min(-(-self.floor // step) * step, self._top))
            yield from finer.ladder()

    def finest(self) -> Limit:
        """With the smallest steps, as far as they are a wish."""
        return list(self.ladder())[-1]

    def within(self, most: int | None) -> Limit:
        """No wider than ``most``, which is permitted itself."""
        return self if most is None else replace(self, most=most, least=min(self.least, most))

    def cuttable(self) -> Limit:
        """With steps as much finer as it takes for the group to lose anything at all."""
        return next((limit for limit in self.ladder() if limit.least != limit.size), self.finest())

    def whole(self) -> Limit:
        """The limit of a group that nothing may be removed from."""
        return Limit(self.size, self.step, self.size, tie=self.tie)

    def at(self, ratio: float) -> Limit:
        """The limit of a group that loses this share."""
        size = self.cuttable().near(self.size * (1 - ratio))
        return Limit(self.size, self.step, size, size, tie=self.tie)

    def near(self, wanted: float) -> int:
        """The permitted size nearest to ``wanted``."""
        if self.fixed is not None:
            return self.fixed
        rounded = int(wanted / self.step + 0.5) * self.step
        return self._top if wanted >= self._top else min(max(rounded, self.least), self._top)

    def above(self, size: int) -> int:
        """The next larger permitted size."""
        return size if self.fixed is not None else min(size + self.step, self._top)

    def held_off(self, size: int) -> Iterator[Limit]:
        """Limits of a group that is to be wider than ``size``, and of one that is to be narrower."""
        if (larger := self.above(size)) > size:
            yield replace(self, least=larger, floor=None)
        if self.fixed is None and size > self.least:
            yield replace(self, most=max((size - 1) // self.step * self.step, self.least), floor=None)

    @property
    def _top(self) -> int:
        return self.size if self.most is None else self.most


def find_limits(graph: DependencyGraph, constraints: Constraints) -> dict[str, Limit]:
    """The limit of every group.

    Raises:
        InputError: a pattern of ``protect``, ``ratios`` or ``ties`` matches no layer; two ratios fall on one group, or
            one on a protected group; a tie has groups without a common share.
    """
    ties = find_ties(graph, constraints.ties, lambda pattern: _groups_of(graph, "ties", pattern, "produces"))
    protected = {
        other
        for pattern in constraints.protect
        for name in _groups_of(graph, "protect", pattern)
        for other in ties.get(name, (name,))
    }
    ratios = _ratios(graph, constraints.ratios, ties)
    multiples = steps(graph, constraints.align)
    limits = {}
    for group in graph.groups:
        wish = not isinstance(constraints.align, int) and group.name not in protected
        tie = ties.get(group.name, ())
        tied = [graph.by_name[name] for name in tie] or [group]
        block = group.size // gcd(*(other.size for other in tied))  # units that go together
        kept = block * max(_blocks(other.size, constraints, group.size // block) for other in tied)
        step = block * lcm(*(_step(other, multiples, group.size // block) for other in tied))
        least = min(-(-kept // step) * step, group.size)
        floor = min(kept, group.size) if wish else None
        limit = Limit(group.size, step, least, floor=floor, tie=tie[0] if tie else "")
        if group.name in protected:
            limit = limit.whole()
        pattern, ratio = ratios.get(group.name, ("", None))
        limits[group.name] = limit if ratio is None else _with_ratio(group, limit, pattern, ratio, protected)
    return limits


def _blocks(size: int, constraints: Constraints, parts: int) -> int:
    """How many of the ``parts`` of a group must stay."""
    # rounded, since 0.7 of 10 units is a little less than 7
    kept = max(constraints.min_keep, ceil(round(size * (1 - constraints.max_ratio), 9)), 1)
    return min(-(-kept * parts // size), parts)


def _step(group: Group, multiples: Mapping[Atom, int], parts: int) -> int:
    """The multiple that the number of its ``parts`` must have, for the group to be as wide as it must."""
    multiple = multiples.get(group.atom, 1)
    return multiple // gcd(multiple, group.size // parts)


def _with_ratio(group: Group, limit: Limit, pattern: str, ratio: float, protected: set[str]) -> Limit:
    if ratio and group.name in protected:
        raise InputError(
            f"ratios has {pattern!r}, which reaches the protected group {group.name}",
            "take it out of ratios, or its layers out of protect",
        )
    fixed = limit.at(ratio)
    if ratio and fixed.least > limit.size * (1 - ratio) + limit.step:
        raise InputError(
            f"the ratio {ratio} of {pattern!r} leaves fewer units of group {group.name} than permitted",
            f"give a smaller one, or loosen min_keep, align or max_ratio: {limit.least} of {limit.size} must stay",
        )
    return fixed


def _ratios(graph: DependencyGraph, ratios: Mapping[str, float], ties: Ties) -> dict[str, tuple[str, float]]:
    """By group, the ratio that falls on it and the pattern that says so: on all groups that a layer produces."""
    found: dict[str, tuple[str, float]] = {}
    for pattern, ratio in ratios.items():
        groups = _groups_of(graph, "ratios", pattern, "produces")
        if not groups:
            raise InputError(
                f"ratios has {pattern!r}, and nothing that these layers produce can be removed",
                "see `graphprune explain` for the reason",
            )
        for name in (other for group in groups for other in ties.get(group, (group,))):
            other, known = found.setdefault(name, (pattern, ratio))
            if known != ratio:
                raise InputError(
                    f"ratios gives group {name} {known} by {other!r} and {ratio} by {pattern!r}",
                    "give coupled layers one ratio",
                )
    return found


def _groups_of(graph: DependencyGraph, option: str, pattern: str, *roles: str) -> list[str]:
    """Groups with a member, of one of ``roles`` if any are named, in layers or tensors of that name or below it.

    The name of a group stands for itself.
    """
    if pattern in graph.by_name:
        return [pattern]
    layers = {name.rpartition(".")[0] for name in graph.tensor_terms} | set(graph.tensor_terms)
    found = {name for name in layers if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")}
    if not found:
        near = get_close_matches(pattern, sorted(layers), 3, 0.4)
        raise InputError(
            f"{option}={pattern!r} matches no layer",
            f"did you mean {', '.join(near)}?" if near else "see `graphprune inspect` for the names",
        )
    return [
        group.name
        for group in graph.groups
        if any((not roles or m.role in roles) and {m.tensor, m.layer} & found for m in group.members)
    ]
