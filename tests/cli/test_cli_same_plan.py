"""`gp.shrink` and ``graphprune shrink`` with equal options give the same plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import graphprune as gp
import models_zoo

OPTIONS: list[tuple[dict[str, Any], list[str]]] = [
    ({"macs": 0.5}, ["--macs", "0.5"]),
    ({"params": "60%", "align": 8}, ["--params", "60%", "--align", "8"]),
    (
        {"ratio": 0.3, "importance": "random", "seed": 3},
        ["--ratio", "0.3", "--importance", "random", "--seed", "3"],
    ),
    ({"keep": 0.6, "fast": True}, ["--keep", "60%", "--fast"]),
    ({"memory": 0.8, "ranking": "per_cost"}, ["--memory", "0.8", "--ranking", "per_cost"]),
    ({"macs": "2.5M", "min_keep": 6}, ["--macs", "2.5M", "--min-keep", "6"]),
    ({"onnx_bytes": 0.6}, ["--onnx-bytes", "0.6"]),
    ({"lossless": True}, ["--lossless"]),
    (
        {"macs": 0.5, "rounds": 2, "schedule": "geometric"},
        ["--macs", "0.5", "--rounds", "2", "--schedule", "geometric"],
    ),
    (
        {"macs": 0.7, "protect": ["stem*"], "max_ratio": 0.6, "ratios": {"blocks.2.conv1*": 0.25}},
        ["--macs", "0.7", "--protect", "stem*", "--max-ratio", "60%", "--layer-ratio", "blocks.2.conv1*=25%"],
    ),
    (
        {"params": 0.7, "importance": "l1:mean:max", "ranking": "isomorphic"},
        ["--params", "0.7", "--importance", "l1:mean:max", "--ranking", "isomorphic"],
    ),
]


@pytest.mark.parametrize(("options", "words"), OPTIONS, ids=lambda value: " ".join(map(str, value)))
def test_both_doors_lead_to_the_same_plan(
    run: Callable[..., Any], tmp_path: Path, options: dict[str, Any], words: list[str]
) -> None:
    model, inputs = models_zoo.load("digits_resnet"), models_zoo.get("digits_resnet").example_inputs(2)
    plan = gp.shrink(model, inputs, **options).plan
    done = run("shrink", "zoo:digits_resnet", *words, "--no-latency", "-o", tmp_path / "slim")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "slim" / "plan.json").read_text() == plan.to_json()
