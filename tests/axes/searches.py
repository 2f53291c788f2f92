"""Searches for wrong rules, in both directions: what a rule allows but must not, and what it forbids but need not.

Each search tries one way to call an operator at several seeds (of sizes, values and units) and yields its findings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from draws import Row
from laws import Bench, Kept, broken, choose, choose_groups, place, restrictable, separable, statistics_differ

from graphprune.axes.terms import Atom
from graphprune.verifying.restricted import is_restricted, run_restricted

__all__ = ["Finding", "lawful_pins", "needless_couplings", "needless_pins", "unknown_statistics", "unsound"]

FAILURES = (RuntimeError, IndexError, ValueError, TypeError, AssertionError)
# an operand of which only the size counts keeps as many units, though it does not matter which
ONLY_SIZES = (
    "bernoulli",
    "bernoulli_",
    "copy",
    "copy_",
    "expand_as",
    "view_as",
    "reshape_as",
    "slice_scatter",
)
# units chosen separately for every example, or positions for every head: such plans are refused, not wrong
NOT_BY_FIBRE = ("aten.group_norm", "aten.scaled_dot_product_attention")


@dataclass(frozen=True)
class Finding:
    """A mistake of the rule for ``row``: ``where`` is an axis, as the dimensions it indexes."""

    row: Row
    seed: int
    where: str
    problem: str

    def __str__(self) -> str:
        return f"{self.row.op} {self.row.note}, seed {self.seed}, {self.where}: {self.problem}"


def _outcome(bench: Bench, *choices: Any, **options: Any) -> str:
    """What is wrong under these choices; an operator that cannot run is wrong too."""
    try:
        return broken(bench, *choices, **options)
    except FAILURES as error:
        return (str(error) or type(error).__name__).splitlines()[0]


def _blamed(
    bench: Bench, seed: int, kept: Kept, fibres: Mapping[Atom, Atom], by_row: str = ""
) -> Iterator[Finding]:
    """Axes that break the laws of some operation alone, or what all of them together do."""
    for operation in bench.operations:
        if problem := _outcome(bench, operation, kept, fibres):
            alone = [(atom, _outcome(bench, operation, {atom: kept[atom]}, fibres)) for atom in kept]
            guilty = [
                (f"{place(bench, atom)}{by_row}", own) for atom, own in alone if own and place(bench, atom)
            ]
            for where, own in guilty or [(f"together{by_row}", problem)]:
                yield Finding(bench.row, seed, where, own)


def unsound(row: Row, seeds: int = 3) -> Iterator[Finding]:
    """Free axes that break restriction or contraction: all at once, then row by row of fibres."""
    for seed in range(seeds):
        bench = Bench.of(row, seed)
        if bench.analysis.unruled:
            yield Finding(row, seed, "all axes", "the rule does not fit")
            continue
        free = (atom for atom in bench.around if not atom.pins)
        yield from _blamed(bench, seed, choose(free, seed, row.least), {})
        bench = Bench.of(row, seed, flat=True)
        yield from _blamed(bench, seed, *choose_groups(bench, seed), by_row=" row by row")


def unknown_statistics(row: Row, seeds: int = 3) -> Iterator[Finding]:
    """Where zeros are not the same as removal, the verifier must run the operator on what is kept."""
    if row.masked is None:
        return
    if not is_restricted(row.op):
        yield Finding(row, 0, "all axes", "the verifier runs it on zeros")
        return
    for seed in range(seeds):
        for flat in (False, row.family not in NOT_BY_FIBRE):
            bench = Bench.of(row, seed, flat)
            problem = statistics_differ(
                bench,
                *choose_groups(bench, seed),
                lambda given, masks: run_restricted(row.op, row.overload, given, masks),
            )
            if problem:
                yield Finding(row, seed, "groups", problem)


def needless_pins(row: Row, seeds: int = 6) -> Iterator[Finding]:
    """Pinned axes that can be restricted alone at two sets of sizes: at some, windows happen to fit."""
    if row.crashes:
        return
    places: list[set[str]] = []
    for bench in (Bench.of(row, 11), Bench.of(row, 12)):
        pinned = [atom for atom in bench.atoms(bench.operation.inputs) if atom.pins and atom.size > 1]
        found = {place(bench, atom) for atom in pinned if restrictable(bench, atom, range(max(seeds, 6)))}
        places.append(found)
    for where in sorted(set.intersection(*places)):
        yield Finding(row, 11, where, "it is pinned, and any part of it could be taken")


def lawful_pins(row: Row, seeds: int = 4) -> Iterator[Finding]:
    """The same with the literals rewritten, and every result restricted as its terms say."""
    if row.crashes:
        return
    bench = Bench.of(row, 11)
    for atom in bench.around:
        if atom.pins and atom.size > 1:
            tried = (choose([atom], seed) for seed in range(seeds))
            if not any(_outcome(bench, bench.operation, kept) for kept in tried):
                yield Finding(row, 11, place(bench, atom), "it is pinned, and the laws hold without")


def needless_couplings(row: Row, seeds: int = 12) -> Iterator[Finding]:
    """Shared axes of which an operand may keep others than the rest, whatever the sizes."""
    if row.random or row.op.split(".")[1] in ONLY_SIZES:
        return
    bench = Bench.of(row, 0)
    inputs = [value for value in bench.operation.inputs if 0 not in value.shape]
    for atom in bench.atoms(inputs):
        holders = [value.name for value in inputs if atom in bench.atoms([value])]
        if len(holders) > 1 and not atom.pins and atom.size > 1:
            where = place(bench, atom)
            for name in holders:
                # twelve draws at least: three units must be there before two can differ
                if not any(_needed(row, name, where, seed) for seed in range(max(seeds, 12))):
                    yield Finding(row, 0, where, f"{name} could keep other units than the rest")


def _needed(row: Row, name: str, where: str, seed: int) -> bool:
    """Whether the laws break when one operand keeps others, and the result is no other part either."""
    bench = Bench.of(row, seed)
    atom = next((atom for atom in bench.around if place(bench, atom) == where), None)
    if atom is None or atom.size < 3:
        return False
    kept = choose([atom], seed)
    other = {name: {atom: kept[atom].roll(1)}}
    return bool(_outcome(bench, bench.operation, kept, other=other)) and not separable(bench, kept, other)
