"""Searches every rule in both directions, by running the real operator.

    python tools/check_rules.py                          # every operator with a rule
    python tools/check_rules.py --op aten.conv2d --seeds 20

The operators are called as tests/axes/cases*.py call them. One Markdown row per operator with a finding:

- unsound: a coupling is missing, for the operator on restricted operands gives something else;
- needless pin: a pinned axis of which any part could be taken alone;
- needless coupling: two operands share an axis, though each could lose units of its own.

An axis is written as the dimensions it indexes. Exits with 1 if anything is unsound.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "axes"))

from cases import ROWS, rule_name
from draws import Row
from laws import Bench, broken, choose, choose_groups, place, restrictable, separable

FAILURES = (RuntimeError, IndexError, ValueError, TypeError, AssertionError)
# an operand of which only the size counts keeps as many units, though it does not matter which
ONLY_SIZES = ("bernoulli", "bernoulli_", "copy", "copy_", "expand_as", "view_as", "reshape_as")


def outcome(bench: Bench, *choices: Any, **options: Any) -> str:
    """What is wrong under these choices; an operator that cannot run is wrong too."""
    try:
        return broken(bench, *choices, **options)
    except FAILURES as error:
        return (str(error) or type(error).__name__).splitlines()[0]


def unsound(row: Row, seeds: int) -> Iterator[str]:
    """Free axes that break the law: all together first, then each alone, then row by row of fibres."""
    for seed in range(seeds):
        bench = Bench.of(row, seed)
        if bench.analysis.unruled:
            yield f"the rule does not fit at seed {seed}"
            continue
        kept = choose((atom for atom in bench.around if not atom.pins), seed, row.least)
        if problem := outcome(bench, bench.operation, kept):
            alone = [atom for atom in kept if outcome(bench, bench.operation, {atom: kept[atom]})]
            yield from (place(bench, atom) for atom in alone)
            if not alone:
                yield f"together: {problem}"
        bench = Bench.of(row, seed, flat=True)
        kept, fibres = choose_groups(bench, seed)
        if outcome(bench, bench.operation, kept, fibres):
            guilty = [atom for atom in kept if outcome(bench, bench.operation, {atom: kept[atom]}, fibres)]
            yield from (f"{place(bench, atom)} row by row" for atom in guilty or kept)


def needless_pins(row: Row, seeds: int) -> Iterator[str]:
    """Pinned axes that can be restricted alone at two sets of sizes: at some, windows happen to fit."""
    if row.crashes:
        return
    places: list[set[str]] = []
    for bench in (Bench.of(row, 11), Bench.of(row, 12)):
        pinned = [atom for atom in bench.atoms(bench.operation.inputs) if atom.pins and atom.size > 1]
        places.append(
            {place(bench, atom) for atom in pinned if restrictable(bench, atom, range(max(seeds, 6)))}
        )
    yield from sorted(set.intersection(*places))


def needless_couplings(row: Row, seeds: int) -> Iterator[str]:
    """Shared axes of which an operand may keep others than the rest, whatever the sizes."""
    if row.random or row.op.split(".")[1] in ONLY_SIZES:
        return
    bench = Bench.of(row, 0)
    inputs = [value for value in bench.operation.inputs if 0 not in value.shape]
    for atom in bench.atoms(inputs):
        holders = [value.name for value in inputs if atom in bench.atoms([value])]
        if len(holders) > 1 and not atom.pins and atom.size > 1:
            where = place(bench, atom)
            # twelve draws at least: three units must be there before two can differ
            if not all(
                any(needed(row, name, where, seed) for seed in range(max(seeds, 12))) for name in holders
            ):
                yield where


def needed(row: Row, name: str, where: str, seed: int) -> bool:
    """Whether the laws break when one operand keeps others, and the result is no other part either."""
    bench = Bench.of(row, seed)
    atom = next((atom for atom in bench.around if place(bench, atom) == where), None)
    if atom is None or atom.size < 3:
        return False
    kept = choose([atom], seed)
    other = {name: {atom: kept[atom].roll(1)}}
    return bool(outcome(bench, bench.operation, kept, other=other)) and not separable(bench, kept, other)


SEARCHES = {"unsound": unsound, "needless pins": needless_pins, "needless couplings": needless_couplings}


def findings(rows: Iterable[Row], seeds: int) -> dict[str, list[str]]:
    """Search → what it found, over all ways to call an operator."""
    rows = list(rows)
    return {
        name: list(dict.fromkeys(found for row in rows for found in search(row, seeds)))
        for name, search in SEARCHES.items()
    }


def main() -> int:
    """Prints the table and the summary; 1 if anything is unsound."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--op", help="only this operator, as aten.conv2d")
    parser.add_argument("--seeds", type=int, default=3, help="draws of sizes, values and units per call")
    options = parser.parse_args()
    by_operator: dict[str, list[Row]] = {}
    for row in ROWS:
        by_operator.setdefault(rule_name(row.op), []).append(row)
    if options.op:
        if options.op not in by_operator:
            parser.error(f"no operator {options.op} has a rule and a row in tests/axes")
        by_operator = {options.op: by_operator[options.op]}
    print(f"| operator | {' | '.join(SEARCHES)} |\n{'| --- ' * (1 + len(SEARCHES))}|")
    counts = dict.fromkeys(SEARCHES, 0)
    for operator, rows in by_operator.items():
        found = findings(rows, options.seeds)
        if any(found.values()):
            cells = ("; ".join(items) or "–" for items in found.values())
            print(f"| {operator} | {' | '.join(cells)} |", flush=True)
        for name, items in found.items():
            counts[name] += bool(items)
    calls = sum(map(len, by_operator.values()))
    print(
        f"\n{len(by_operator)} operators, {calls} ways to call them, {options.seeds} draws: "
        + ", ".join(
            f"{count} with {name}" if "needless" in name else f"{count} {name}"
            for name, count in counts.items()
        )
    )
    return bool(counts["unsound"])


if __name__ == "__main__":
    raise SystemExit(main())
