"""The steps that a run says it will have are those that it has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphprune.cli.progress import Stages

MADE = "--importance l2 --repair --calibration synthetic"


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """Every stage, its number, and how many steps there are to be in all."""
    found: list[tuple[str, int, int]] = []
    begin = Stages.__call__

    def listen(self: Stages, stage: str) -> None:
        begin(self, stage)
        found.append((stage, self.number, self.number + len(self.coming)))

    monkeypatch.setattr(Stages, "__call__", listen)
    return found


@pytest.mark.default
@pytest.mark.parametrize(
    "options",
    [
        "zoo:mtcnn_rnet --macs 0.5 --no-latency --fast",
        "zoo:mtcnn_rnet --macs 0.5 --importance l1 --align 8",
        "zoo:mtcnn_rnet --lossless --no-latency",
        "zoo:mtcnn_rnet --onnx-bytes 0.6 --importance l2",
        f"zoo:mtcnn_rnet --macs 0.5 --no-latency {MADE}",
        "zoo:mtcnn_rnet --macs 0.8,0.5 --importance l2",
        f"zoo:mtcnn_rnet --macs 0.8,0.5 --no-latency {MADE}",
        "zoo:mtcnn_rnet --macs 0.8,0.5 --dry-run --importance l2",
        "zoo:mtcnn_rnet --params 0.8 --dry-run --importance l2",
    ],
)
def test_they_are_foretold(
    run: Callable[..., Any], heard: list[tuple[str, int, int]], tmp_path: Path, options: str
) -> None:
    output = () if "--dry-run" in options else ("-o", tmp_path / "out")
    result = run("shrink", *options.split(), *output)
    assert result.exit_code == 0, result.output
    after = [row for row in heard if row[0] != "build the model"]
    assert [number for _, number, _ in heard] == list(range(1, len(heard) + 1))
    assert {total for _, _, total in after} == {len(heard)}, after


@pytest.mark.default
def test_what_nothing_foretells_is_counted_when_it_comes(
    run: Callable[..., Any], heard: list[tuple[str, int, int]], tmp_path: Path
) -> None:
    result = run("shrink", "zoo:mtcnn_rnet", "--macs", 0.5, "--no-latency", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    tries = [stage for stage, _, _ in heard if stage.startswith("try ")]
    totals = [total for _, _, total in heard[1:]]
    assert totals == sorted(totals)
    assert totals[-1] - totals[0] >= len(tries) > 0
    assert heard[-1][1:] == (len(heard), len(heard))
