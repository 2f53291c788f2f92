"""``graphprune profile --kit`` and ``shrink --times``: from a folder to a plan for what was timed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_from_kit_to_plan(run: Callable[..., Any], refused: Callable[..., str], tmp_path: Path) -> None:
    kit, times = tmp_path / "kit", tmp_path / "times.json"
    done = run("profile", "zoo:digits_resnet", "--kit", kit)
    assert done.exit_code == 0, done.output
    assert "time_kit.py" in done.stdout
    command = [
        sys.executable,
        str(kit / "time_kit.py"),
        "--threads",
        "1",
        "--seconds",
        "0.1",
        "--name",
        "box",
    ]
    subprocess.run([*command, "--output", str(times)], check=True)
    asked = ("shrink", "zoo:digits_resnet", "--latency", "0.6", "--times", times, "--fast", "--no-latency")
    out = tmp_path / "slim"
    done = run(*asked, "-o", out)
    assert done.exit_code == 0, done.output
    said = " ".join(done.stdout.split())
    assert "predicted from the times of box, onnxruntime" in said
    assert said.count("was not timed there") == 1
    measured = json.loads((out / "report.json").read_text())["request"]["measured"]
    assert 0.4 < measured["ratio"] < 0.65
    assert run("verify", out).exit_code == 0
    assert "another model" in refused(
        "shrink", "zoo:mtcnn_rnet", "--latency", "0.6", "--times", times, "-o", "x"
    )
    (kit / "times.json").write_text("{}")
    assert "times.json" in refused("profile", "zoo:digits_resnet", "--kit", kit)
