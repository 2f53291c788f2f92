"""Tables fit 80 columns and show what the dictionaries hold, whatever is in them."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console, RenderableType

from graphprune.report.tables import (
    check_table,
    group_table,
    pin_table,
    shrink_table,
    verdict_line,
    zoo_table,
)

LONG = "backbone.encoder.layers.11.self_attention.projection_of_the_values.weight:0/1"


def text(part: RenderableType) -> str:
    file = StringIO()
    Console(file=file, width=80, color_system=None).print(part, markup=False)
    assert max(map(len, file.getvalue().splitlines())) <= 80
    return file.getvalue()


def squeezed(part: RenderableType) -> str:
    return "".join(text(part).split())


def test_report_with_everything() -> None:
    report: dict[str, Any] = {
        "before": {"params": 25_557_032, "macs": 4_089_184_256, "onnx_bytes": 102_000_000},
        "after": {"params": 12_000_000, "macs": 2_044_592_128, "onnx_bytes": 48_000_000},
        "latency": {
            "batch": 1,
            "threads": 2,
            "original_ms": 31.4,
            "slim_ms": 17.2,
            "ratio": 0.5478,
            "interval": [0.544, 0.55],
        },
        "evaluation": {"before": {"[accuracy]": 0.9}, "after": {"[accuracy]": 0.89}},
    }
    shown = text(shrink_table(report))
    for part in (
        "25.56 M",
        "12.00 M",
        "4.089 G",
        "50.0%",
        "102.0 MB",
        "2 threads",
        "31.40 ms",
        "54.8% ± 0.4%",
    ):
        assert part in shown
    assert "[accuracy]" in shown
    assert "0.8900" in shown


def test_report_without_latency() -> None:
    report = {"before": {"params": 10, "macs": 0}, "after": {"params": 5, "macs": 0, "onnx_bytes": 900}}
    rows = [line.split() for line in text(shrink_table(report)).splitlines()]
    assert ["ONNX", "file", "–", "900", "B", "–"] in rows
    assert ["multiply-accumulates", "0", "0", "–"] in rows


def test_verdicts() -> None:
    checks = [
        {"name": "own parameters, every node", "passed": True, "figure": 1e-6},
        {"name": "random parameters, every node", "passed": True, "figure": 1e-12},
        {"name": "onnxruntime equals PyTorch, batch 1", "passed": True, "figure": 2e-5},
    ]
    good = text(verdict_line({"passed": True, "checks": checks}))
    assert good == "Verified, 3 checks: masked original within 1e-06, onnxruntime within 2e-05\n"
    bad = text(
        verdict_line({"passed": False, "checks": [*checks, {"name": "x", "passed": False, "figure": 1}]})
    )
    assert bad == "NOT VERIFIED, 1 of 4 checks failed\n"


def test_long_names_are_folded_and_not_cut() -> None:
    group = {"name": LONG, "size": 64, "each_of": 12, "params": 0.123, "macs": 1.0, "members": [1, 2]}
    rows = text(group_table({"groups": [group]})).splitlines()[3:]
    assert "64 × 12" in rows[0]
    assert "".join(row.split()[0] for row in rows if row.strip()) == LONG


def test_other_tables_fit() -> None:
    pin = {"reason": f"{LONG} [bold]", "axes": 12, "params": 10_000, "unreachable": 0}
    assert "[bold]" in squeezed(pin_table({"pins": [pin]}))
    rows = [
        {"name": LONG, "passed": passed, "figure": 1e-7, "detail": LONG} for passed in (True, False, None)
    ]
    shown = text(check_table(rows))
    assert all(mark in shown for mark in ("passed", "FAILED", "not checked"))
    entry = {"name": "a_model", "summary": LONG, "licence": "Apache-2.0", "weights": "pip install " + LONG}
    assert "a_model" in text(zoo_table([entry]))
