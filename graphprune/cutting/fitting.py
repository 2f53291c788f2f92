"""Finds what the user's own ``forward`` asks of a plan, so that it runs with slim layers: the same class comes back.

Code reads sizes in ways that no graph shows: halves of a chunk, numbers of heads in attributes, literals. So widths are
tried. A group is free where the forward gives what the slim model gives when it is narrower. Where it does not, moves
are made one after the other, each the one that brings the forward farthest: a tie with groups that stand beside it, or
an attribute that follows the size of an axis. What no moves can mend keeps its width.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.terms import Atom, Sum, Term, atoms
from graphprune.capture.grafting import Place, whole_numbers
from graphprune.cutting.trial import Trials

__all__ = ["Fit", "find_fit", "kind_of"]

DRAWS = (1, 2, 3)  # widths are drawn so many times, lest some fit by chance


@dataclass(frozen=True)
class Fit:
    """What a model's own code asks of a plan.

    Args:
        ties: groups that must keep the same number of units.
        held: groups that must keep all of them → what failed otherwise.
        numbers: attributes of the model that follow the size of an axis.
    """

    ties: tuple[tuple[str, ...], ...] = ()
    held: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[Place, Term] = field(default_factory=dict)


@dataclass(frozen=True)
class _Move:
    """One change of the conditions under which a set of groups is tried."""

    kind: str
    ties: tuple[tuple[str, ...], ...] = ()
    numbers: tuple[tuple[Place, Term], ...] = ()


def find_fit(graph: DependencyGraph, seed: int = 0) -> Fit:
    """What the code of the model that was captured asks of a plan."""
    model = graph.program.model
    assert model is not None
    search = _Search(graph, Trials(graph, model, seed))
    search.settle([group.name for group in graph.groups])
    return Fit(tuple(search.ties), dict(search.held), dict(search.numbers))


class _Search:
    """Groups are settled one kind after the other; what has been settled is part of every further trial."""

    def __init__(self, graph: DependencyGraph, trials: Trials) -> None:
        self.graph = graph
        self.trials = trials
        self.free: list[str] = []
        self.ties: list[tuple[str, ...]] = []
        self.held: dict[str, str] = {}
        self.numbers: dict[Place, Term] = {}

    # -- settling -----------------------------------------------------------------------------------------
    def settle(self, names: Sequence[str]) -> None:
        """Finds for each of these groups whether it is free, tied or held."""
        names = [name for name in names if name not in self.free and name not in self.held]
        if not names:
            return
        reached = self._reached(names, ())
        if reached.fits:
            self.free += names
            return
        kinds = list(dict.fromkeys(map(kind_of, names)))
        if len(kinds) > 1:
            first = set(kinds[: len(kinds) // 2])
            self.settle([name for name in names if kind_of(name) in first])
            self.settle([name for name in names if kind_of(name) not in first])
        elif not self._mended(names):
            self._apart(names, reached.problem)

    def _apart(self, names: Sequence[str], problem: str) -> None:
        """Of groups of one kind that could not be mended together: each half alone, if the first group can be."""
        if len(names) == 1 or not self._mended(names[:1]):
            self.held |= dict.fromkeys(names, problem)
            return
        self.settle(names[1 : len(names) // 2 + 1])
        self.settle(names[len(names) // 2 + 1 :])

    def _mended(self, names: Sequence[str]) -> bool:
        """Whether moves were found under which these groups are free; they are made then."""
        made: tuple[_Move, ...] = ()
        reached = self._reached(names, made)
        while not reached.fits:
            tried = [(self._reached(names, (*made, move)), move) for move in self._moves(names, made)]
            best, move = max(tried, key=lambda pair: pair[0].key, default=(reached, None))
            if move is None or best.key <= reached.key:
                return False
            made, reached = (*made, move), best
        for move in made:
            fewer = tuple(other for other in made if other is not move)
            made = fewer if self._reached(names, fewer).fits else made
        groups = {name for move in made for tie in move.ties for name in tie}
        self.free += [n for n in self.graph.by_name if n in groups.union(names) and n not in self.free]
        self.ties = _joined([*self.ties, *(tie for move in made for tie in move.ties)])
        self.numbers |= {place: term for move in made for place, term in move.numbers}
        return True

    # -- moves --------------------------------------------------------------------------------------------
    def _moves(self, names: Sequence[str], made: Sequence[_Move]) -> Iterator[_Move]:
        used = {move.kind for move in made}
        changed = {*names, *(name for move in made for tie in move.ties for name in tie)}
        for move in (*self._tie_moves(names), *self._number_moves(changed)):
            if move.kind not in used:
                yield move

    def _tie_moves(self, names: Sequence[str]) -> Iterator[_Move]:
        """With each kind of neighbour alone, with all of them, and all of these groups with each other."""
        pairs = [(name, other) for name in names for other in self._neighbours(name)]
        kinds = dict.fromkeys(kind_of(other) for _, other in pairs)
        for kind in kinds:
            yield _Move(f"tie {kind}", tuple(pair for pair in pairs if kind_of(pair[1]) == kind))
        if len(kinds) > 1:
            yield _Move("tie all", tuple(pairs))
        sizes: dict[int, list[str]] = {}
        for name in names:
            sizes.setdefault(self.graph.by_name[name].size, []).append(name)
        alike = tuple(tuple(each) for each in sizes.values() if len(each) > 1)
        if alike:
            yield _Move("tie alike", alike)

    def _neighbours(self, name: str) -> list[str]:
        """Groups of the same size that stand in a sum with this one, or that layers of the same module make."""
        group = self.graph.by_name[name]
        owners = self._owners(name)
        return [
            other.name
            for other in self.graph.groups
            if other.name != name
            and other.size == group.size
            and other.name not in self.held
            and (owners & self._owners(other.name) or frozenset((group.atom, other.atom)) in self._in_sums)
        ]

    def _owners(self, name: str) -> set[str]:
        """The modules whose forward calls the layers that make this group's units."""
        members = self.graph.by_name[name].members
        return {m.layer.rpartition(".")[0] for m in members if m.role == "produces"} or {
            members[0].layer.rpartition(".")[0]
        }

    @cached_property
    def _in_sums(self) -> set[frozenset[Atom]]:
        """Pairs of atoms that are parts of one concatenation."""
        found: set[frozenset[Atom]] = set()
        for terms in self.graph.analysis.terms.values():
            for term in terms:
                if isinstance(term, Sum):
                    free = list(dict.fromkeys(atom for atom in atoms(term) if atom in self.graph.by_atom))
                    found |= {frozenset((one, other)) for one in free for other in free if one is not other}
        return found

    def _number_moves(self, changed: set[str]) -> Iterator[_Move]:
        """Attributes of one kind follow a term that has their value: one move for each kind and choice of terms."""
        choices: dict[tuple[str, int], list[tuple[Place, Term]]] = {}
        moved = {self.graph.by_name[name].atom for name in changed}
        for place, value in self._numbers.items():
            fitting = [t for t in self._terms(str(place[0])).get(value, ()) if moved.intersection(atoms(t))]
            for index, term in enumerate(fitting[:4]):
                choices.setdefault((kind_of(".".join(map(str, place))), index), []).append((place, term))
        for (kind, index), numbers in choices.items():
            yield _Move(f"number {kind} {index}", numbers=tuple(numbers))

    @cached_property
    def _numbers(self) -> dict[Place, int]:
        return whole_numbers(self.trials.model)

    def _terms(self, path: str) -> Mapping[int, Sequence[Term]]:
        """Terms of what a module, and those within it, compute and keep, by size; each of them once."""
        return self._all_terms.get(path, {})

    @cached_property
    def _all_terms(self) -> dict[str, dict[int, list[Term]]]:
        found: dict[str, dict[int, dict[str, Term]]] = {}
        terms = self.graph.analysis.terms
        named = [
            (operation.layer, value.name)
            for operation in self.graph.program.operations
            for value in (*operation.inputs, *operation.outputs)
        ]
        for path, value in dict.fromkeys(named):
            for term in terms[value]:
                for part in (term, *getattr(term, "parts", ())):
                    if any(atom in self.graph.by_atom for atom in atoms(part)):
                        for above in _above(path):
                            found.setdefault(above, {}).setdefault(part.size, {}).setdefault(str(part), part)
        return {
            path: {size: list(one.values()) for size, one in sizes.items()} for path, sizes in found.items()
        }

    # -- trying -------------------------------------------------------------------------------------------
    def _reached(self, names: Sequence[str], made: Sequence[_Move]) -> _Reached:
        """How far the forward comes where these groups are narrower, with the moves that were made."""
        ties = _joined([*self.ties, *(tie for move in made for tie in move.ties)])
        numbers = {**self.numbers, **{place: term for move in made for place, term in move.numbers}}
        tied = {name for move in made for tie in move.ties for name in tie}
        groups = [name for name in self.graph.by_name if name in tied.union(self.free, names)]
        for draw in DRAWS:
            calls, problem = self.trials.progress(self._sizes(groups, ties, draw), numbers)
            if problem:
                return _Reached(draw, calls, problem)
        problem = self.trials.problem(self._sizes(groups, ties, DRAWS[0]), numbers)
        return _Reached(len(DRAWS) + (2 if not problem else 1), 0, problem)

    def _sizes(self, names: Sequence[str], ties: Sequence[Sequence[str]], draw: int) -> dict[str, int]:
        """Widths between a half and all, drawn so that each differs from most others; ties have one."""
        first = {name: tie[0] for tie in ties for name in tie}
        sizes = {}
        for index, name in enumerate(names):
            size = self.graph.by_name[name].size
            at = names.index(first[name]) if first.get(name) in names else index
            least = max(size // 2, 1)
            # 7 and 11 are prime to most widths; the last draw leaves some groups whole
            less = (7 * at + 11 * draw + at // 3) % max(size - least, 1) + 1
            whole = draw == DRAWS[-1] and (at % 3 == 1) and len(names) > 1
            sizes[name] = size if whole else max(size - less, 1)
        return sizes


@dataclass(frozen=True)
class _Reached:
    """How far a trial came: the draw that failed, and after how many calls."""

    draw: int
    calls: int
    problem: str

    @property
    def fits(self) -> bool:
        return not self.problem

    @property
    def key(self) -> tuple[int, int]:
        return (self.draw, self.calls)


def kind_of(name: str) -> str:
    """A name without its numbers, but for what follows a colon: layers that repeat each other are of one kind."""
    path, colon, place = name.partition(":")
    return re.sub(r"\d+", "#", path) + colon + place


def _above(path: str) -> list[str]:
    """A module and those that it stands in, the model itself last."""
    parts = path.split(".") if path else []
    return [".".join(parts[:count]) for count in range(len(parts), -1, -1)]


def _joined(ties: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Ties that share a group as one."""
    joined: list[set[str]] = []
    for tie in ties:
        touching = [other for other in joined if other & set(tie)]
        joined = [other for other in joined if other not in touching] + [set(tie).union(*touching)]
    return [tuple(sorted(tie)) for tie in joined]
