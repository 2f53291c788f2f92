"""Without the packages that draw the page, a result has all but the page, and says what installs them."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.ground.documents import parse_toml
from graphprune.report.page import lacks_packages

ROOT = Path(__file__).parents[2]
EXTRA = re.compile(r"graphprune\[(\w+)\]")


@pytest.fixture
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def find(name: str, *rest: Any) -> Any:
        return None if name == "vl_convert" else real(name, *rest)

    monkeypatch.setattr("graphprune.report.page.find_spec", find)


@pytest.mark.usefixtures("_bare")
def test_a_result_without_its_page(tmp_path: Path) -> None:
    result = gp.shrink(
        nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), torch.zeros(2, 6), ratio=0.5
    )
    with pytest.warns(UserWarning, match="no report.html was written: the package vl-convert-python is not"):
        result.save(tmp_path / "slim", latency=False)
    report = json.loads((tmp_path / "slim" / "report.json").read_text())
    assert any("pip install 'graphprune[report]'" in note for note in report["notes"])
    assert not (tmp_path / "slim" / "report.html").exists()
    assert (tmp_path / "slim" / "model.onnx").exists()


@pytest.mark.usefixtures("_bare")
def test_the_remedy_names_the_extra() -> None:
    missing = lacks_packages()
    assert missing is not None
    assert missing.remedy == "pip install 'graphprune[report]'"


def test_every_extra_that_a_message_names_exists() -> None:
    known = parse_toml((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    texts = [path.read_text() for path in (ROOT / "graphprune").rglob("*.py")]
    named = {extra for text in texts for extra in EXTRA.findall(text)}
    assert named >= {"report", "hf", "tune", "lora", "tables"}
    assert named <= set(known)
