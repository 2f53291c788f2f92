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
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "axes"))

from cases import ROWS, rule_name
from draws import Row
from searches import needless_couplings, needless_pins, unsound

SEARCHES = {"unsound": unsound, "needless pins": needless_pins, "needless couplings": needless_couplings}


def findings(rows: Iterable[Row], seeds: int) -> dict[str, list[str]]:
    """Search → what it found, over all ways to call an operator."""
    rows = list(rows)
    return {
        name: list(dict.fromkeys(found.where for row in rows for found in search(row, seeds)))
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
