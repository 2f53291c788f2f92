"""What was measured: JSON lines on disk, and docs/coverage.md with a summary and one row per model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from math import inf, isfinite
from pathlib import Path
from typing import Any

from coverage_models import LISTS, names

__all__ = ["Record", "append", "parsed", "read", "summary", "write_table"]

Record = dict[str, Any]

MOST_REACHABLE, FEW_SECONDS, SLOWER = 0.95, 5.0, 3.0
MANY_LETTERS = 220
SHARES = (
    "name",
    "onnx",
)  # of a dimension: its name in the program if it varies, whether it does in the ONNX file

INTRODUCTION = """\
# Coverage

Every model in a fresh process with random weights and two examples: captured, analysed, cut by a random half of
every group, verified, exported to ONNX and compared in onnxruntime. `python tools/coverage.py` measures,
`python tools/coverage.py --table` writes this file.

- *exact*: equal to the masked original at every node, in float64 on random parameters (1e-10) and in float32 on
  the model's own (1e-4); the two columns of errors.
- *reachable*: the share of parameters that stand in at least one group.
- *capture + analysis* and *torch.export* are CPU seconds of one thread. torch.export is the plain, static one,
  measured first in the same process; *×* is capture over torch.export. Two models at a time on two cores, and often
  other work beside them: seconds are upper bounds.
- *batch*: whether the slim model runs at any batch size, or at the captured one only.
- *vary* and *in ONNX*: of the dimensions of the inputs that the original lets vary (measured: it runs at a second
  size), how many vary in the slim model and in the ONNX file. Those that do not are listed at the end, with the reason.
- *outputs*, in the remarks: only these were kept; by-products, such as the hidden states of an encoder, cannot
  change their width.
- *timm* is the smallest model of every module (its models for tests left out) and fifty well-known ones; images
  are smaller than published where the architecture permits.
"""

SUMMARY = (
    "list", "measured", "exact", "ONNX equal", f"reachable ≥ {MOST_REACHABLE:.0%}",
    f"capture + analysis < {FEW_SECONDS:.0f} s", f"capture ≤ {SLOWER:.0f} × torch.export", "dimensions vary", "in ONNX",
)  # fmt: skip
COLUMNS = (
    "model", "params left", "MACs left", "reachable", "batch", "vary", "in ONNX", "capture + analysis", "torch.export",
    "×", "verify", "MB", "float64", "float32", "onnxruntime", "remarks",
)  # fmt: skip
FIXED = ("model", "dimension", "size", "why it does not vary")


def read(path: Path) -> dict[str, Record]:
    """The last record of every model by its name. A line that was cut short is no record."""
    records: dict[str, Record] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        record = parsed(line)
        if "ok" in record:
            records[record["name"]] = record
    return records


def append(path: Path, record: Record) -> None:
    """Adds one line at once, so that several processes may share the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text() if path.exists() else ""
    cut_short = "" if before.endswith("\n") or not before else "\n"
    with path.open("a") as file:
        file.write(cut_short + json.dumps(record) + "\n")


def parsed(line: str) -> Record:
    """The JSON object on a line; empty if there is none."""
    try:
        found = json.loads(line)
    except ValueError:  # somebody else's line, or one that was cut short
        return {}
    return found if isinstance(found, dict) else {}


def summary(record: Mapping[str, Any]) -> str:
    """One line for whoever waits."""
    if not record["ok"]:
        return f"{record['name']}: FAILED in {record.get('stage', 'start')}: {record.get('failure')}"
    share = record["after"]["params"] / max(record["before"]["params"], 1)
    onnx = f", ONNX {record['onnx']['failure'] or 'equal'}" if record.get("onnx") else ""
    return (
        f"{record['name']}: exact, {share:.1%} of the parameters left, {record['wall_seconds']:.0f} s{onnx}"
    )


def write_table(records: Sequence[Record], path: Path) -> None:
    """Writes the page. Records come in any order; every one has a row."""
    parts = [INTRODUCTION, _measured(records), _table(SUMMARY, _summaries(records))]
    for which in LISTS:
        rows = sorted((record for record in records if record["list"] == which), key=lambda row: row["name"])
        if rows:
            parts += [f"## {which}\n", _table(COLUMNS, [_row(record) for record in rows])]
    others = [record for record in records if record["list"] not in LISTS]
    if others:
        parts += ["## no list\n", _table(COLUMNS, [_row(record) for record in others])]
    if fixed := [row for record in sorted(records, key=lambda row: row["name"]) for row in _fixed(record)]:
        parts += ["## Dimensions that the original lets vary\n", _table(FIXED, fixed)]
    path.write_text("\n".join(parts))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _measured(records: Sequence[Record]) -> str:
    dates = sorted(record["date"] for record in records if "date" in record)
    if not dates:
        return "Nothing was measured.\n"
    newest = max((record for record in records if "date" in record), key=lambda record: record["date"])
    span = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    versions = ", ".join(f"{name} {number}" for name, number in newest["versions"].items())
    return f"Measured {span} with {versions}.\n"


def _summaries(records: Sequence[Record]) -> list[list[str]]:
    """One line per list that was measured."""
    lines = []
    for which in LISTS:
        rows = [record for record in records if record["list"] == which]
        if rows:
            known = set(names(which))
            measured = f"{sum(row['name'] in known for row in rows)} of {len(known)}"
            lines.append([which, measured, *_counts(rows)])
    return lines


def _counts(rows: Sequence[Record]) -> list[str]:
    exportable = [row for row in rows if row.get("onnx") and row["onnx"].get("unpruned", True)]
    compared = [row for row in rows if isfinite(_ratio(row))]
    return [
        _count(rows, lambda row: row["ok"]),
        _count(exportable, lambda row: not row["onnx"]["failure"]) if exportable else "–",
        _count(rows, lambda row: row.get("reachable", 0) >= MOST_REACHABLE),
        _count(rows, lambda row: _captured(row) < FEW_SECONDS),
        _count(compared, lambda row: _ratio(row) <= SLOWER),
        *(
            _varying([item for row in rows for item in row.get("dimensions", ())], key, True)
            for key in SHARES
        ),
    ]


def _count(rows: Sequence[Record], wanted: Callable[[Record], bool]) -> str:
    return f"{sum(map(wanted, rows))} of {len(rows)}"


def _varying(dimensions: Sequence[Record], key: str, percent: bool = False) -> str:
    """How many of the dimensions that the original lets vary do so too, as ``key`` of a dimension says."""
    known = [item for item in dimensions if item["original"] and key in item]
    if not known:
        return "–"
    found = sum(bool(item[key]) for item in known)
    return f"{found} of {len(known)}" + (f" ({found / len(known):.1%})" if percent else "")


def _fixed(row: Record) -> list[list[str]]:
    """The dimensions that vary in the original alone, and those that vary everywhere but in the ONNX file."""
    cells = []
    for item in row.get("dimensions", ()):
        if item["original"] and not all(item.get(key, True) for key in SHARES):
            onnx_only = f"fixed in the ONNX file alone: {item.get('onnx_reason') or 'no reason is known'}"
            reason = onnx_only if item["name"] else item["reason"]
            cells.append(
                [row["name"], item["input"], str(item["size"]), _line(reason or "no reason is known")]
            )
    return cells


def _captured(row: Record) -> float:
    """CPU seconds of capture and analysis; infinite where they did not succeed."""
    cpu = row.get("cpu_seconds", {})
    return cpu["capture"] + cpu["analyse"] if "reachable" in row else inf


def _ratio(row: Record) -> float:
    """Capture over torch.export; infinite where one of them failed."""
    if "dynamic_batch" not in row or "export_failure" in row:
        return inf
    return row["cpu_seconds"]["capture"] / max(row["cpu_seconds"]["torch.export"], 1e-3)


def _row(row: Record) -> list[str]:
    before, after, checks = row.get("before"), row.get("after"), row.get("checks", {})
    onnx = row.get("onnx") or {}
    exported = None if "export_failure" in row else row.get("cpu_seconds", {}).get("torch.export")
    batch = {True: "any", False: "fixed"}.get(row.get("dynamic_batch"), "–")
    return [
        row["name"].partition(":")[2] or row["name"],
        _number(after and after["params"] / max(before["params"], 1), ".3f"),
        _number(after and after["macs"] / max(before["macs"], 1), ".3f"),
        _number(row.get("reachable"), ".1%"),
        batch,
        *(_varying(row.get("dimensions", ()), key) for key in SHARES),
        _number(_captured(row), ".1f"),
        _number(exported, ".1f"),
        _number(_ratio(row), ".1f"),
        _number(row.get("seconds", {}).get("verify"), ".1f"),
        _number(row.get("peak_mb"), ".0f"),
        _number(checks.get("random parameters, every node"), ".0e"),
        _number(checks.get("own parameters, every node"), ".0e"),
        _number(onnx.get("error"), ".0e"),
        _remarks(row),
    ]


def _number(value: float | None, form: str) -> str:
    return "–" if value is None or value == inf else format(value, form)


def _remarks(row: Record) -> str:
    """Why it failed, what ONNX says, what costs reach, what has no rule, why the batch is fixed."""
    said = []
    if not row["ok"]:
        said.append(f"**failed** in {row.get('stage', 'start')}: {row.get('failure', 'no reason')}")
    if "export_failure" in row:
        said.append(f"torch.export: {row['export_failure']}")
    if row.get("outputs"):
        said.append(f"outputs: {', '.join(row['outputs'])}")
    said.append((row.get("onnx") or {}).get("failure") or "")
    if row.get("pins") and row.get("reachable", 1) < MOST_REACHABLE:
        said.append(f"pinned: {row['pins'][0]['reason']}")
    if row.get("unruled"):
        said.append(f"no rule: {', '.join(row['unruled'])}")
    said += row.get("notes", [])
    return "; ".join(_cell(text) for text in said if text)


def _cell(text: str) -> str:
    return _line(text if len(text) <= MANY_LETTERS else text[: MANY_LETTERS - 1] + "…")


def _line(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
