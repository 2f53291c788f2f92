"""The table of whole shrinks, from rows that were measured one by one; and a model that is measured."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "bench_whole.py"
sys.path.insert(0, str(TOOL.parent))


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_whole", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def row(side: str, model: str = "resnet18", **values: Any) -> dict[str, Any]:
    stages = {"begin": 2.0, "capture": 0.5, "score": 0.1, "plan": 0.2, "verify": 1.0, "time": 1.5}
    return {"side": side, "model": model, "seconds": 6.0, "peak": 800.4, "stages": stages, **values}


def test_losses_and_failures_are_in_the_tables(tool: ModuleType) -> None:
    rows = [
        row("bare", seconds=5.0, peak=650.0),
        row("whole"),
        row("bare", "swin_t", seconds=5.0),
        {"side": "whole", "model": "swin_t", "failure": "ExportError: it has no operator"},
        row("bare", "bert"),
        row("whole", "100 layers", stages={"begin": 2.0, "verify": 3.0, "nodes": 4705}),
        row("graphprune", stages={"graph": 0.5, "prune": 0.1}),
        row("torch-pruning", stages={"graph": 0.2, "prune": 0.1}),
        row("torch-kirigami", stages={"graph": 0.25}),
        row("graphprune", "swin_t", stages={"graph": 1.5, "prune": 0.5}),
        {"side": "torch-pruning", "model": "swin_t", "failure": "over 60 s"},
        {"side": "torch-kirigami", "model": "swin_t", "failure": "CaptureError: no"},
    ]
    lines = tool.table(rows).splitlines()
    assert "| resnet18 | 5.0 | 6.0 | 1.20 | 0.90 | 650 | 800 |" in lines
    assert "| swin_t | whole: ExportError: it has no operator | – | – | – | – | – |" in lines
    assert "| resnet18 | 2.00 | 0.50 | 0.30 | 1.00 | 0.00 | 0.00 | 0.00 | 1.50 |" in lines
    assert "| 4,705 | 2.00 | 0.00 | 0.00 | 3.00 | 0.00 | 0.00 | 0.00 | 0.00 |" in lines
    assert "| resnet18 | 0.50 | 0.20 | 0.25 | 2.00 | 0.60 | 0.30 | 2.00 |" in lines
    assert "| swin_t | 1.50 | over 60 s | CaptureError | – | 2.00 | over 60 s | – |" in lines
    assert not [line for line in lines if line.startswith("| bert")]


def test_a_small_model_is_measured(tool: ModuleType) -> None:
    found = tool.measured(tool.WHOLE, "bert")
    assert found["stages"]["begin"] > 0
    assert sum(value for name, value in found["stages"].items() if name != "nodes") <= found["seconds"]
    assert found["peak"] > 100
    assert {"verify", "export", "time"} <= set(found["stages"])
