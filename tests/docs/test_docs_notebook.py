"""The notebook runs from its first cell to its last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tour.ipynb"


def test_it_runs_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    names: dict[str, Any] = {"__name__": "__main__"}
    document = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert document["nbformat"] == 4
    cells = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells)
    try:
        for place, cell in enumerate(cells):
            exec(compile("".join(cell["source"]), f"{NOTEBOOK.name}, code cell {place}", "exec"), names)
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr().out
    figures = [float(line.split()[-1]) for line in said.splitlines() if line.startswith("accuracy")]
    assert len(figures) == 3
    assert min(figures) > 0.9
    assert names["result"].verdict.passed
