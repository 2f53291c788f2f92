"""The pages on files to deploy and on other devices say what was lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "tools"))


def exported(file: str, ratio: float, error: float, poor: bool = False) -> dict[str, Any]:
    return {
        "model": "net",
        "which": "slim",
        "file": file,
        "bytes": 2e6,
        "ms": 1.5,
        "ratio": ratio,
        "fidelity": {"error": error, "agreement": 0.9, "poor": poor},
        "left": 2,
        "nodes": 9 if "int8" in file else None,
        "date": "2026-12-01",
    }


def test_files_that_are_bad_or_slow_are_named() -> None:
    import bench_export

    page = bench_export.table(
        [
            exported("model.onnx", 0.5, 0.0),
            exported("model_fp16.onnx", 0.6, 0.001),
            exported("model_int8.onnx", 0.2, 0.3, poor=True),
        ]
    )
    assert "| net | slim | 8 bits | 2.00 | 1.5 | 0.20 | 30.00% | 90.0% | 2 of 9 |" in page
    assert "- Not measured for this page: resnet18" in page
    assert "- Answers are poor: net (slim, 8 bits)." in page
    assert "- 8 bits miss the 10 %: net (slim)." in page
    assert "in float32 on this processor: net (slim, float16)." in page


def test_plans_that_miss_are_counted() -> None:
    import bench_device

    rows = [
        {
            "model": "net",
            "device": "1 thread",
            "case": case,
            "macs": 0.4,
            "predicted": 0.5,
            "ratio": 0.51,
            "interval": [0.5, 0.52],
            "original_ms": 4.0,
            "slim_ms": 2.0,
            "kit_bytes": 3e6,
            "date": "2026-12-01",
        }
        for case in ("0.5", "0.3")
    ]
    page = bench_device.table(rows)
    assert "| net | 1 thread | 0.3 | 0.500 | 0.510 ± 0.010 | +70.0% | 0.400 | 4.00 → 2.00 | 3.0 MB |" in page
    assert "1 of 2 plans are within 5 %" in page
    assert "two threads was not measured" in page
