"""The tool that shrinks public ONNX files, on a small file of our own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import coverage_onnx
from coverage_onnx_planted import caught, planted
from coverage_onnx_table import COLUMNS, row, write_table

import graphprune as gp
from graphprune.slicing.matching import match_values
from graphprune.slicing.proof import FileProof
from graphprune.slicing.slice import sliced
from tests.importing.test_tracing import network

ENTRY: dict[str, Any] = {
    "name": "small",
    "package": "small==1.0",
    "licence": "MIT",
    "kb": 3,
    "feed": {
        "sizes": {"batch.size": 1, "rows": 16, "columns": 16},
        "others": [{"batch.size": 2, "rows": 24}],
    },
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network(tmp_path_factory.mktemp("file"))


def test_a_file_becomes_a_row(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage_onnx, "fetched", lambda entry: file)
    facts = coverage_onnx.measured(ENTRY)
    assert "failure" not in facts
    assert facts["exact"]
    assert facts["macs"] <= 0.505
    assert facts["identical"] == 1.0
    assert (facts["planted"], facts["missed"]) == (20, [])
    assert all(equal == count for equal, count in facts["equal"])
    cells = dict(zip(COLUMNS, row(ENTRY, facts), strict=True))
    assert cells["varies"] == "3 of 3"
    assert cells["planted"] == "20 of 20"
    page = tmp_path / "page.md"
    write_table([ENTRY], {"small": dict(facts)}, page)
    assert "Of 1 files 1 are shrunk" in page.read_text()


def test_a_failure_is_a_row_too(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage_onnx, "fetched", lambda entry: file.with_name("none.onnx"))
    facts = coverage_onnx.measured(ENTRY)
    assert "there is no file" in facts["failure"]
    assert "read: there is no file" in row(ENTRY, facts)[-1]


def test_every_planted_error_is_one(file: Path) -> None:
    """None is the cut file itself, and the proof that finds them passes that."""
    graph = gp.trace(file, {"image": (1, 3, 16, 16)})
    plan = gp.plan(graph, macs=0.5).plan
    match = match_values(graph, coverage_onnx.module_in(graph))
    model, proof = sliced(graph, plan, match), FileProof(graph, plan, match)
    runs = list(proof.runs(0))
    assert not caught(proof, runs, model)
    wrong = dict(planted(model, coverage_onnx.module_in(graph).source, count=5))
    assert len(wrong) == 5
    assert all(broken != model and caught(proof, runs, broken) for broken in wrong.values())
