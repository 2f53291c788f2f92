"""The coverage run on the smallest model of the zoo, and on names that are none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import models_zoo

TOOL = Path(__file__).parents[2] / "tools" / "coverage.py"
MODEL, NOBODY = "zoo:mlp", "zoo:nobody"


def coverage(out: Path, *arguments: str) -> str:
    """What the tool prints; it must succeed."""
    command = [sys.executable, "-W", "ignore", str(TOOL), *arguments, "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def read(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_one_line_per_model_and_a_table(tmp_path: Path) -> None:
    out, page = tmp_path / "new" / "lines.jsonl", tmp_path / "coverage.md"
    said = coverage(out, MODEL, NOBODY, "--no-onnx")
    assert f"[1/2] {MODEL}: exact, 50.0% of the parameters left" in said
    assert f"[2/2] {NOBODY}: FAILED in build: InputError: the zoo has no model 'nobody'" in said
    exact, failed = read(out)
    check_exact(exact)
    assert (failed["list"], failed["name"], failed["ok"], failed["stage"]) == ("zoo", NOBODY, False, "build")
    assert failed["failure"].startswith("InputError: the zoo has no model 'nobody'")

    assert coverage(out, MODEL, NOBODY, "--no-onnx") == ""  # both have a line
    with out.open("a") as file:
        file.write('{"name": "zoo:convnet", "ok"')  # a line that was cut short
    coverage(out, "--table", str(page))
    check_page(page.read_text())


def check_exact(record: dict[str, Any]) -> None:
    assert (record["list"], record["name"], record["ok"]) == ("zoo", MODEL, True)
    assert record["checks"]["random parameters, every node"] <= 1e-10
    assert record["checks"]["own parameters, every node"] <= 1e-4
    assert record["after"]["params"] < record["before"]["params"]
    assert record["reachable"] > 0.99
    assert (record["dynamic_batch"], record["notes"], record["unruled"]) == (True, [], {})
    batch = next(row for row in record["dimensions"] if row["input"].endswith("[0]"))
    assert (batch["original"], batch["name"]) == (True, "batch")
    stages = {"build", "torch.export", "capture", "analyse", "sizes"}
    assert stages < set(record["seconds"])
    assert stages <= set(record["cpu_seconds"])
    assert record["pins"][0]["reason"] == "an output of the model"
    assert record["peak_mb"] > 0
    assert "onnx" not in record


def check_page(page: str) -> None:
    lines = page.splitlines()
    assert (
        f"| zoo | 1 of {len(models_zoo.names())} | 1 of 2 | – | 1 of 2 | 1 of 2 | 1 of 1 | 1 of 1 (100.0%) | – |"
        in lines
    )
    assert any(line.startswith("| mlp | 0.500 | 0.500 | 100.0% | any | 1 of 1 | – |") for line in lines)
    (failed,) = [line for line in lines if line.startswith("| nobody |")]
    assert "**failed** in build: InputError: the zoo has no model 'nobody'" in failed
    assert "torch 2." in page
