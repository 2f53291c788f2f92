"""Where an operator comes from: the user's file as it is imported, wherever it lies on this machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

import graphprune as gp

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(48, 96), nn.Linear(96, 3)

    def forward(self, x):
        x = self.one(x)
        return self.two(x.relu())
"""


def test_files_of_packages_and_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "source_lines_package" / "nets"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "small.py").write_text(NET)
    (tmp_path / "source_lines_script.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    names = {
        "source_lines_package.nets.small": "source_lines_package/nets/small.py",
        "source_lines_script": "source_lines_script.py",
    }
    for module, file in names.items():
        __import__(module)
        graph = gp.trace(sys.modules[module].Net(), torch.zeros(2, 48))
        sources = {operation.layer: operation.source for operation in graph.program.operations}
        assert sources == {"one": f"{file}:10", "": f"{file}:11", "two": f"{file}:11"}


def test_a_report_names_no_folder_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source_lines_user.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    __import__("source_lines_user")
    torch.manual_seed(0)
    model, inputs = sys.modules["source_lines_user"].Net(), torch.randn(2, 48)
    report = gp.shrink(model, inputs, ratio=0.5).save(tmp_path / "slim", latency=False)
    details = [check["detail"] for check in report["verdict"]["checks"]]
    assert any("source_lines_user.py:1" in detail for detail in details)
    text = json.dumps(report)
    for folder in (tmp_path, Path(torch.__file__).parents[1], Path(gp.__file__).parents[1]):
        assert str(folder) not in text
    assert str(tmp_path) not in (tmp_path / "slim" / "report.html").read_text()
