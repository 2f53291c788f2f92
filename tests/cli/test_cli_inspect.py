"""``graphprune inspect`` and ``graphprune explain``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.cli.models import resolve


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


def test_what_is_left_alone_is_said(run: Callable[..., Any], refused: Callable[..., str]) -> None:
    options = ("--protect", "blocks.1.*", "--max-ratio", "50%", "--layer-ratio", "blocks.2.conv1=0.25")
    found = json.loads(run("inspect", "zoo:digits_resnet", *options, "--json").stdout)
    free = json.loads(run("inspect", "zoo:digits_resnet", "--json").stdout)
    least = {group["name"]: (group["least"], group["size"]) for group in found["groups"]}
    assert {row["least"] for row in free["groups"]} == {1}
    assert found["smallest"]["macs"] > free["smallest"]["macs"]
    said = " ".join(run("inspect", "zoo:digits_resnet", *options).stdout.split())
    for name, (fewest, size) in least.items():
        assert fewest >= size / 2
        how = f"all of its {size}" if fewest == size else ""
        assert f"Asked for: {name} keeps {how}" in said
    told = json.loads(run("explain", "zoo:digits_resnet", "blocks.1.conv1", *options, "--json").stdout)
    assert any("keeps all of its" in line for line in told["asked"])
    assert "matches no layer" in refused("explain", "zoo:mlp", "0", "--protect", "head")
    for option in ("--simplify", "--keep-denormals", "--cut-tables"):
        assert "for ONNX files" in refused("inspect", "zoo:mlp", option)
    assert "is for folders of transformers" in refused("inspect", "zoo:mlp", "--trust-remote-code")


def test_explain_lists_the_layers_of_a_block(run: Callable[..., Any]) -> None:
    lines = run("explain", "zoo:digits_resnet", "blocks.0").stdout.splitlines()
    assert lines[0].startswith("blocks.0 holds ")
    assert any(line.startswith("├─ conv1: makes ") for line in lines)
    assert run("explain", "zoo:digits_resnet", "blocks").stdout.count(" layers, ") >= 2


def test_explain_a_group_by_its_name(run: Callable[..., Any]) -> None:
    by_group = run("explain", "zoo:mlp", "0.weight:0").stdout
    assert "makes 300 units of group 0.weight:0" in by_group


@pytest.mark.parametrize("model", ["zoo:digits_resnet", "zoo:crepe_tiny", "zoo:mtcnn_rnet"])
def test_usual_layers_fit_a_screen(model: str) -> None:
    source = resolve(model, "none")
    graph = gp.trace(source.model, source.inputs)
    for layer in {name.rpartition(".")[0] for name in graph.tensor_terms}:
        lines = graph.explain(layer).splitlines()
        assert len(lines) <= 24
        assert max(map(len, lines)) <= 80


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
