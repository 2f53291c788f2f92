"""--ranking, --max-ratio and --layer-ratio."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_options_reach_the_plan(run: Callable[..., Any], tmp_path: Path) -> None:
    ratios = ("--layer-ratio", "blocks.0.conv1=0.5", "--layer-ratio", "stem*=0")
    options = ("--ranking", "isomorphic", "--max-ratio", 0.8, *ratios, "--weights", "none", "--no-latency")
    done = run("shrink", "zoo:digits_resnet", "--macs", 0.6, *options, "--json", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["request"]["ranking"] == "isomorphic"
    assert report["request"]["max_ratio"] == 0.8
    assert report["request"]["ratios"] == {"blocks.0.conv1": 0.5, "stem*": 0.0}
    groups = report["groups"]
    assert groups["blocks.0.conv1.weight:0"]["kept"] * 2 == groups["blocks.0.conv1.weight:0"]["size"]
    assert groups["stem.0.weight:0"]["kept"] == groups["stem.0.weight:0"]["size"]
    assert all(group["kept"] >= 0.2 * group["size"] for group in groups.values())
    assert report["after"]["macs"] <= 0.6 * report["before"]["macs"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--macs", 0.5, "--ranking", "local"), "unknown ranking 'local' — use one of global, uniform"),
        (
            ("--ratio", 0.5, "--ranking", "uniform"),
            "ranking='uniform' has no effect on a ratio — ask for macs",
        ),
        (("--macs", 0.5, "--max-ratio", 2), "max_ratio=2.0 is out of range — give a share"),
        (("--macs", 0.5, "--layer-ratio", "stem"), "--layer-ratio 'stem' is not PATTERN=F — write it as"),
        (("--macs", 0.5, "--layer-ratio", "stem=half"), "--layer-ratio 'stem=half' is not PATTERN=F"),
        (("--macs", 0.5, "--layer-ratio", "=0.5"), "--layer-ratio '=0.5' is not PATTERN=F"),
        (("--macs", 0.5, "--layer-ratio", "nothing=0.5"), "ratios='nothing' matches no layer — "),
        (("--plan", "p.json", "--ranking", "uniform"), "--ranking has no effect on --plan — leave it out"),
        (("--plan", "p.json", "--layer-ratio", "a=0.5"), "--layer-ratio has no effect on --plan"),
    ],
)
def test_refusals(
    refused: Callable[..., str], tmp_path: Path, options: tuple[object, ...], said: str
) -> None:
    assert said in refused(
        "shrink", "zoo:digits_resnet", *options, "--weights", "none", "-o", tmp_path / "out"
    )
    assert not (tmp_path / "out").exists()
