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

Files from public packages, of several producers and opsets, as their users have them. Each is shrunk to half of its
multiply-accumulates, without data, proved in onnxruntime, and written. `python tools/coverage_onnx.py` downloads and
measures, `python tools/coverage_onnx.py --table` writes this page.

- *understood*: of the tensors that the file's nodes compute, how many PyTorch computes like onnxruntime, to 1e-4 of the
  largest value, at all sizes that were tried together.
- *varies*: of the sizes that the file calls variable, how many vary in the captured program.
- *reachable*: the share of parameters, and of multiply-accumulates, with at least one group.
- *kept*: parameters, weights of 8 bits among them, and bytes of the file, that are left at half of the
  multiply-accumulates.
- *proved*: how many values were compared node by node with the masked original in onnxruntime, at two values of each
  size that varies and on random weights; and the largest error, relative to the largest number of the value.
- *identical*: the share of nodes, Constants apart, that are in the smaller file byte by byte.
- *planted*: of up to 20 errors that were put into the smaller file one by one, how many the proof found.
- *latency*: of the smaller file, relative to the original's without denormal numbers, in onnxruntime with one thread.
- *at 0.3*: weights that are left when three tenths of all channels are to go, beside those that onnxsim 0.8.1 leaves
  (`apply_structured_pruning`, sparsity 0.3). A result that does not run, or none, is said.
- *seconds*: CPU seconds of one thread to trace, shrink, prove and write, without timing.
"""
COLUMNS = [
    *"file opset nodes understood varies groups reachable kept proved identical planted latency".split(),
    "at 0.3",
    "seconds",
    "remarks",
]
TIMED = ("trace", "shrink", "write")


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The last line of every file by its name."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {record["name"]: record for record in map(json.loads, lines)}


def row(entry: Mapping[str, Any], record: Mapping[str, Any]) -> list[str]:
    """The cells of one file; what was not reached stays empty."""
    name = f"{entry['name']} ({entry['package'].partition('==')[0]}, {entry['kb']} kB)"
    if "opset" not in record:
        return [name, *[""] * 13, f"{record.get('stage', 'not measured')}: {record.get('failure', '')}"]
    equal = [sum(counts) for counts in zip(*record.get("equal", ()), strict=True)]
    reach = record.get("reachable")
    done = "planted" in record
    remarks = [
        record[key] for key in ("failure", "remark", "flushed", "differs") if record.get(key)
    ] + record.get("missed", [])
    return [
        name,
        str(record["opset"]),
        str(record["nodes"]),
        "{} of {}".format(*equal) if equal else "",
        f"{len(record['varies'])} of {record['declared']}" if "varies" in record else "",
        str(record.get("groups", "")),
        f"{reach['params']:.0%}, {reach['macs']:.0%}" if reach else "",
        f"{record['params']:.0%}, {record['bytes']:.0%}" if done else "no",
        f"{record['compared']}, {record['error']:.0e}" if done else "no",
        f"{record['identical']:.1%}" if done else "",
        f"{record['planted'] - len(record['missed'])} of {record['planted']}" if done else "",
        f"{record['latency']:.2f}" if "latency" in record else "",
        _peer(record.get("peer") or {}),
        f"{sum(record['seconds'].get(stage, 0) for stage in TIMED):.0f}",
        "; ".join(remarks),
    ]


def _peer(found: Mapping[str, Any]) -> str:
    shares = [
        f"{value:.0%}" if isinstance(value, float) else f"({value})"
        for value in (found.get("ours"), found.get("onnxsim"))
        if value is not None
    ]
    return ", ".join(shares)


def _better(records: Sequence[Mapping[str, Any]]) -> str:
    """On how many of the files that both prune ours leaves fewer weights."""
    both = [found["peer"] for found in records if found.get("peer")]
    pairs = [
        (pair["ours"], pair["onnxsim"])
        for pair in both
        if isinstance(pair.get("ours"), float) and isinstance(pair.get("onnxsim"), float)
    ]
    fewer, alike = (
        sum(test(*pair) for pair in pairs)
        for test in (lambda ours, theirs: ours < theirs, lambda ours, theirs: ours == theirs)
    )
    if not pairs:
        return ""
    return (
        f" At 0.3 ours leaves fewer weights than onnxsim on {fewer} of {len(pairs)} files that both give, and as many "
        f"on {alike}."
    )


def _share(numbers: Sequence[float]) -> str:
    return f"{sum(numbers) / max(len(numbers), 1):.1%}"


def write_table(
    entries: Sequence[Mapping[str, Any]], records: Mapping[str, Mapping[str, Any]], page: Path = PAGE
) -> None:
    """Writes the page."""
    rows = [row(entry, records.get(entry["name"], {})) for entry in entries]
    done = [found for entry in entries if "planted" in (found := records.get(entry["name"], {}))]
    lines = [
        INTRODUCTION,
        f"Of {len(entries)} files {len(done)} are shrunk, every node of them proved; of "
        f"{sum(found['planted'] for found in done)} planted errors {sum(len(found['missed']) for found in done)} were "
        f"missed; {_share([found['identical'] for found in done])} of the nodes are identical."
        f"{_better(done)}",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"| {' | '.join('---' for _ in COLUMNS)} |",
        *(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |" for cells in rows),
    ]
    page.write_text("\n".join(lines) + "\n")
