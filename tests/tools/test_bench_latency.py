"""The tables of measured latency, from rows that were measured one by one."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "tools"))
    return importlib.import_module("bench_latency")


def row(**values: Any) -> dict[str, Any]:
    figures = {"macs": 0.5, "ratio": 0.54, "original_ms": 80.0, "slim_ms": 43.2, "trials": 2, "seconds": 61.7}
    return {"table": "latency", "model": "resnet50", "case": "0.5", **figures, **values}


def test_a_row_replaces_an_earlier_one(tool: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.jsonl"
    items = (row(ratio=0.9), row(case="0.3"), row(ratio=0.5))
    tool.keep(path, items, ("table", "model", "case"))
    assert tool.read(path) == [row(case="0.3"), row(ratio=0.5)]


def test_losses_and_failures_are_in_the_tables(tool: ModuleType) -> None:
    rows = [
        row(),
        row(case="0.1", failure="latency=0.1 cannot be reached"),
        row(table="half", case="graphprune, default", ratios=[0.54, 0.5]),
        row(table="half", model="vit_b_16", case="torch-pruning, any width", failure="IndexError: 3"),
    ]
    lines = tool.table(rows).splitlines()
    assert "| resnet50 | 0.5 | 0.540 | +8.0% | 0.500 | 80.00 → 43.20 | 2 | 62 |" in lines
    assert "| resnet50 | 0.1 | latency=0.1 cannot be reached | – | – | – | – | – |" in lines
    assert "| resnet50 | graphprune, default | 0.500 | 1.85, 2.00 | 0.93, 1.00 |" in lines
    assert "| vit_b_16 | torch-pruning, any width | – | IndexError: 3 | – |" in lines
