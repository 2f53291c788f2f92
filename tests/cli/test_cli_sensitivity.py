"""``graphprune sensitivity``: a table, a file that is gone on with, and refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch


def test_table_and_file(run: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    done = run("sensitivity", "zoo:digits_resnet", "--ratios", "0.25,0.5", "-o", path)
    assert done.exit_code == 0, done.output
    assert "blocks.3.conv1.weight:0" in done.stdout
    assert "25.0%" in done.stdout
    assert str(path) in done.stdout.replace("\n", "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    lines = path.read_text().splitlines()
    assert len(lines) == 1 + 6 * 2
    assert {json.loads(line)["removed"] for line in lines[1:]} == {8, 16, 32}
    # nothing is measured twice, and the document says the same
    again = run("sensitivity", "zoo:digits_resnet", "--ratios", "0.25,0.5", "-o", path, "--json")
    assert path.read_text().splitlines() == lines
    document = json.loads(again.stdout)
    assert document["distance"] == "l2"
    assert [value for curve in document["groups"].values() for _, value in curve] == [
        json.loads(line)["value"] for line in lines[1:]
    ]


def test_the_users_function(run: Callable[..., Any], net: Path) -> None:
    net.write_text(
        net.read_text()
        + "\ndef norm(model):\n    print('hello')\n    return -model(torch.ones(1, 6)).norm()\n"
    )
    done = run("sensitivity", f"{net}:with_inputs", "--evaluate", f"{net}:norm", "--ratios", "0.5", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert (document["sizes"], document["metric"]) == ({"0.weight:0": 8}, "what the evaluation gives")
    ((share, value),) = document["groups"]["0.weight:0"]
    assert share == 0.5
    assert isinstance(value, float)


THREADS_AT_EXIT = """
import atexit, os, pathlib, sys

def names():
    if "RANK" in os.environ:
        found = [path.read_text().strip() for path in pathlib.Path("/proc/self/task").glob("*/comm")]
        print(f"threads at exit of rank {os.environ['RANK']}: {found}", file=sys.stderr)

atexit.register(names)
"""


def test_two_processes_measure_what_one_does(run: Callable[..., Any], net: Path, tmp_path: Path) -> None:
    """Each sees half of the examples; sums in float64 of float32 outputs. One document is printed.

    Threads of gloo that are still there at exit now and then abort the process, so there must be none.
    """
    (tmp_path / "sitecustomize.py").write_text(THREADS_AT_EXIT)
    data, path = tmp_path / "x.npy", tmp_path / "s.jsonl"
    numpy.save(data, numpy.random.default_rng(0).standard_normal((5, 6), dtype="f4"))
    words = ["sensitivity", f"{net}:with_inputs", "--calibration", str(data), "--ratios", "0.5", "--json"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, "-m", "graphprune.cli", *words, "-o", str(path)],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("threads at exit of rank") == 2
    assert "gloo" not in done.stderr
    two, one = json.loads(done.stdout), json.loads(run(*words).stdout)
    assert two["groups"].keys() == one["groups"].keys()
    for name, points in one["groups"].items():
        assert two["groups"][name] == [pytest.approx(point, rel=1e-6) for point in points]
    assert len(path.read_text().splitlines()) == 1 + len(one["groups"])


def test_refusals(refused: Callable[..., str], net: Path, tmp_path: Path) -> None:
    model = f"{net}:with_inputs"
    assert "--ratios='x' is no share" in refused("sensitivity", model, "--ratios", "0.5,x")
    assert "are no shares" in refused("sensitivity", model, "--ratios", "1.5")
    assert "names no function" in refused("sensitivity", model, "--evaluate", "norm")
    assert "cannot be written" in refused("sensitivity", model, "-o", tmp_path / "no" / "s.jsonl")
    torch.save({}, tmp_path / "s.jsonl")
    assert "cannot be read" in refused("sensitivity", model, "-o", tmp_path / "s.jsonl")
