"""The accuracy table says who lost, without training and after it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from accuracy_table import TUNED, write_table


def row(tool: str, choice: str, share: float, accuracy: float) -> dict[str, Any]:
    figures = {"accuracy": accuracy, "kl": 0.1}
    stamp = {"date": "2026-01-01", "data": "some", "versions": {"torch": "1"}}
    return {
        "model": "net",
        "tool": tool,
        "choice": choice,
        "share": share,
        "macs": share,
        "figures": figures,
        **stamp,
    }


@pytest.mark.parametrize(
    ("ours", "theirs", "cut", "tuned"),
    [(0.89, 0.86, "won", "ahead"), (0.86, 0.89, "**lost**", "**lost**"), (0.87, 0.87, "equal", "equal")],
)
def test_outcomes(tmp_path: Path, ours: float, theirs: float, cut: str, tuned: str) -> None:
    rows = [row("original", "", 1.0, 0.9)]
    for share, choice in ((0.7, "repaired"), (TUNED, "tuned")):
        rows += [row("graphprune", choice, share, ours)]
        # of several the one counts that does best on the test data
        rows += [
            row("torch-pruning", "weak, global", share, 0.1),
            row("torch-pruning", "good, global", share, theirs),
        ]
    write_table(rows, tmp_path / "table.md")
    untrained, _, trained = (tmp_path / "table.md").read_text().partition("## Fine-tuned")
    for part, outcome in ((untrained, cut), (trained, tuned)):
        (line,) = [line for line in part.splitlines() if line.startswith("| net ")]
        assert line.endswith(f"| {outcome} |")
        assert "good, global" in line
        assert "weak" not in line
