"""``graphprune inspect`` and ``graphprune explain``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import graphprune as gp


def test_inspect_shows_groups_and_pins(run: Callable[..., Any]) -> None:
    result = run("inspect", "zoo:mtcnn_rnet")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert max(map(len, result.stdout.splitlines())) <= 80
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["conv1.weight:0", "28", "4", "12.9%", "87.9%"] in rows
    assert "100.2 k parameters (>99.9% in reach), 1.531 M MACs (100% in reach)" in result.stdout
    assert "an output of the model" in result.stdout


def test_inspect_as_json(run: Callable[..., Any]) -> None:
    found = json.loads(run("inspect", "mtcnn_rnet", "--json").stdout)
    assert (found["model"], found["params"]) == ("zoo:mtcnn_rnet", 100_178)
    assert found["groups"][0]["name"] == "conv1.weight:0"
    assert {"tensor": "prelu1.weight", "dim": 0, "role": "carries"} in found["groups"][0]["members"]


def test_inspect_at_another_shape(run: Callable[..., Any]) -> None:
    small, large = (
        json.loads(run("inspect", "zoo:digits_resnet", "--json", "--input-shape", shape).stdout)["macs"]
        for shape in ("1,1,8,8", "1,1,16,16")
    )
    assert large > 3.5 * small


def test_inspect_tells_operators_without_rule_and_notes(run: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "odd.py"
    file.write_text(
        "import torch\n"
        "@torch.library.custom_op('odd::doubled', mutates_args=())\n"
        "def doubled(x: torch.Tensor) -> torch.Tensor: return 2 * x\n"
        "doubled.register_fake(lambda x: torch.empty_like(x))\n"
        "class Odd(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc = torch.nn.Linear(4, 4)\n"
        "    def forward(self, x, y):\n"
        "        return doubled(self.fc(x)) + y\n"
        "def make(): return Odd(), (torch.zeros(2, 4, 4), torch.zeros(4, 4, 4)[:1])\n"
    )
    result = run("inspect", f"{file}:make")
    assert result.exit_code == 0, result.stderr
    said = " ".join(result.stdout.split())
    assert "No rule fits odd.doubled.default, at doubled: its axes are pinned" in said
    assert "x (batch, sequence, 4)" in said
    assert "y (1, sequence, 4)" in said
    assert "0 groups" in said


def test_explain_is_what_the_library_says(run: Callable[..., Any]) -> None:
    result = run("explain", "zoo:mlp", "2")
    model = nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 10))
    said = gp.trace(model, torch.zeros(1, 784)).explain("2")
    assert result.stdout.split() == said.split()
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_explain_as_json(run: Callable[..., Any]) -> None:
    found = json.loads(run("explain", "zoo:mlp", "2.weight", "--json").stdout)
    outputs, inputs = found["tensors"]["2.weight"]
    assert outputs["axes"][0]["pins"][0]["reason"] == "an output of the model"
    assert inputs["axes"][0]["group"] == "0.weight:0"
    assert {row["tensor"]: row["path"] for row in inputs["axes"][0]["coupled"]} == {
        "0.weight": ["linear (2)", "relu (1)", "linear (0)"],
        "0.bias": ["linear (2)", "relu (1)", "linear (0)"],
    }


def test_explain_unknown_layer(refused: Callable[..., str]) -> None:
    line = refused("explain", "zoo:digits_resnet", "block.0.conv1")
    assert line.startswith(
        "there is no layer 'block.0.conv1' with tensors of its own — did you mean blocks.0.conv1"
    )
