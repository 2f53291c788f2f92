"""``graphprune shrink --lossless``: the table, the report, a replay, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import graphprune as gp

MASKED = """
import torch
from torch import nn
from torch.nn.utils import prune

def make():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5), nn.LayerNorm(5), nn.Linear(5, 3))
    prune.ln_structured(net[0], "weight", 3, n=2, dim=0)
    with torch.no_grad():
        net[2].weight[1] = net[2].bias[1] = 0
        net[3].weight[1] = 0
    return net, torch.zeros(2, 6)

def lively():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), torch.zeros(2, 6)
"""


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    path = tmp_path / "masked.py"
    path.write_text(MASKED)
    return path


def test_lossless_table_report_and_replay(run: Callable[..., Any], masked: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("shrink", f"{masked}:make", "--lossless", "--no-latency", "-o", out)
    assert done.exit_code == 0, done.output
    words = " ".join(done.stdout.split())
    assert "dead, but stays because" in words
    assert "1 3 normalises over it" in words
    assert "original within" in words
    report = json.loads((out / "report.json").read_text())
    assert sum(report["lossless"]["groups"][0]["removed"].values()) == 3
    assert report["request"]["lossless"] is True
    names: dict[str, Any] = {}
    exec(MASKED, names)
    x = torch.randn(5, 6)
    assert torch.allclose(names["make"]()[0](x), gp.load(out)(x), atol=1e-6)
    assert run("verify", out, "--model", f"{masked}:make").exit_code == 0


def test_nothing_dead_is_said(run: Callable[..., Any], masked: Path, tmp_path: Path) -> None:
    done = run("shrink", f"{masked}:lively", "--lossless", "--no-latency", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "Nothing is dead: the model stays as it is" in done.stdout


def test_lossless_stands_alone(refused: Callable[..., str], masked: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    text = refused("shrink", f"{masked}:make", "--lossless", "--ratio", "0.5", "-o", out)
    assert "ratio and lossless are given together" in text
    text = refused("shrink", f"{masked}:make", "--lossless", "--importance", "l1", "-o", out)
    assert "--importance has no effect on --lossless" in text
