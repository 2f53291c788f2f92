"""``graphprune shrink``: each option does what it says, and the report tells how to do it again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import graphprune as gp
from graphprune.cli import models
from graphprune.cli import shrink as command
from graphprune.cli.request import ShrinkRequest

FILES = {
    "model.onnx",
    "model.safetensors",
    "model.py",
    "plan.json",
    "report.json",
    "report.html",
    "shrink.toml",
}


@pytest.fixture
def shrunk(run: Callable[..., Any], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Shrinks into ``tmp_path/out`` and returns the printed report."""

    def shrink(*arguments: object) -> dict[str, Any]:
        result = run("shrink", *arguments, "--no-latency", "--json", "-o", tmp_path / "out")
        assert result.exit_code == 0, result.output
        assert result.stderr == ""
        printed = json.loads(result.stdout)
        assert printed.pop("directory") == str(tmp_path / "out")
        assert printed == json.loads((tmp_path / "out" / "report.json").read_text())
        return dict(printed)

    return shrink


def test_directory_table_and_verdict(run: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    result = run("shrink", "zoo:mtcnn_rnet", "--macs", "0.5", "-o", out)
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.iterdir()} == FILES
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["multiply-accumulates", "1.531", "M", "765.0", "k", "50.0%"] in lines
    labels = {words[0] for words in lines if words}
    assert {"parameters", "ONNX", "latency,", "accuracy", "margin", "Written"} <= labels
    verdict = next(line for line in result.stdout.splitlines() if line.startswith("Verified"))
    assert re.fullmatch(r"Verified, \d+ checks: masked original within \S+, onnxruntime within \S+", verdict)
    assert max(map(len, result.stdout.splitlines())) <= 80 + len(str(tmp_path))
    report = json.loads((out / "report.json").read_text())
    assert report["latency"]["original_ms"] > 0
    assert (
        report["before"]["onnx_bytes"] > report["after"]["onnx_bytes"] == (out / "model.onnx").stat().st_size
    )


def test_no_latency_leaves_out_the_original(shrunk: Callable[..., dict[str, Any]]) -> None:
    report = shrunk("zoo:mlp", "--macs", "0.5")
    assert "latency" not in report
    assert "onnx_bytes" not in report["before"]


def test_params(shrunk: Callable[..., dict[str, Any]]) -> None:
    report = shrunk("zoo:mlp", "--params", "0.5")
    assert 0.45 < report["after"]["params"] / report["before"]["params"] <= 0.5
    assert report["request"]["budget"] == {"params": 0.5}


def test_macs_align_min_keep_and_protect(shrunk: Callable[..., dict[str, Any]]) -> None:
    wishes = ("--align", 8, "--min-keep", 16, "--protect", "stem*", "--protect", "blocks.2.conv1")
    report = shrunk("zoo:digits_resnet", "--macs", "0.6", "--weights", "none", *wishes)
    assert 0.5 < report["after"]["macs"] / report["before"]["macs"] <= 0.6
    kept = {name: group["kept"] for name, group in report["groups"].items()}
    assert all(width % 8 == 0 and width >= 16 for width in kept.values())
    assert (kept["stem.0.weight:0"], kept["blocks.2.conv1.weight:0"]) == (32, 64)
    assert report["request"] == {
        "budget": {"macs": 0.6},
        "importance": "l2",
        "align": 8,
        "min_keep": 16,
        "protect": ["stem*", "blocks.2.conv1"],
        "max_ratio": 1.0,
        "ratios": {},
        "ties": [],
        "ranking": "global",
        "seed": 0,
    }


def test_importance_and_seed(shrunk: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    plans = set()
    for name, seed in (("random", 0), ("random", 1), ("l1", 0)):
        report = shrunk("zoo:mlp", "--ratio", "0.5", "--importance", name, "--seed", seed)
        assert (report["request"]["importance"], report["request"]["seed"]) == (name, seed)
        plans.add((tmp_path / "out" / "plan.json").read_text().split('"groups"')[1])
    assert len(plans) == 3


def test_plan_is_replayed(shrunk: Callable[..., dict[str, Any]], result_folder: Path, tmp_path: Path) -> None:
    shrunk("zoo:digits_resnet", "--plan", result_folder / "plan.json")
    again, first = (load_file(folder / "model.safetensors") for folder in (tmp_path / "out", result_folder))
    assert again.keys() == first.keys()
    assert all(torch.equal(again[name], first[name]) for name in first)


def test_ratio_and_figures_before_and_after(shrunk: Callable[..., dict[str, Any]]) -> None:
    report = shrunk("zoo:digits_resnet", "--ratio", "0.25")
    assert all(group["kept"] == group["size"] * 0.75 for group in report["groups"].values())
    figures = report["evaluation"]
    assert figures["before"]["accuracy"] > 0.98
    assert figures["after"]["accuracy"] <= 1


def test_random_weights_are_not_evaluated_and_shapes_are_recorded(
    shrunk: Callable[..., dict[str, Any]],
) -> None:
    report = shrunk("zoo:digits_resnet", "--ratio", "0.5", "--weights", "none", "--input-shape", "3,1,12,12")
    assert "evaluation" not in report
    assert report["source"]["weights"] == "none"
    assert report["source"]["inputs"]["args"] == [{"shape": [3, 1, 12, 12], "dtype": "float32"}]
    assert report["before"]["macs"] > 2 * 4_475_520


def test_figures_that_cannot_be_had_are_a_note(
    shrunk: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(model: object) -> dict[str, float]:
        raise RuntimeError("no\ndata")

    real = models.resolve
    monkeypatch.setattr(command, "resolve", lambda *given: replace(real(*given), evaluate=fail, weights="x"))
    report = shrunk("zoo:mlp", "--ratio", "0.5")
    assert "not evaluated: no data" in report["source"]["notes"]


def test_without_published_weights_random_ones_are_said(run: Callable[..., Any], tmp_path: Path) -> None:
    result = run("shrink", "zoo:mlp", "--ratio", "0.5", "--no-latency", "-o", tmp_path / "out")
    assert "Note: zoo:mlp has no published weights: random ones are used" in result.stdout
    assert json.loads((tmp_path / "out" / "report.json").read_text())["source"]["weights"] == "none"


def test_quiet_says_nothing(run: Callable[..., Any], tmp_path: Path) -> None:
    result = run("shrink", "zoo:mlp", "--ratio", "0.5", "--no-latency", "--quiet", "-o", tmp_path / "out")
    assert (result.exit_code, result.output) == (0, "")
    assert gp.load(tmp_path / "out")(torch.zeros(1, 784)).shape == (1, 10)


def test_an_earlier_result_is_replaced(shrunk: Callable[..., dict[str, Any]]) -> None:
    first, second = (shrunk("zoo:mlp", "--ratio", ratio) for ratio in (0.5, 0.9))
    assert first["after"]["params"] > second["after"]["params"]


def test_hints() -> None:
    figures = {"before": {"accuracy": 1.0}, "after": {"accuracy": 0.5}}
    report = {"latency": {"ratio": 1.2}, "request": {"align": 1}, "evaluation": figures}
    assert [hint.partition(":")[0] for hint in command.hints(report)] == [
        "smaller, but slower here",
        "nothing has been trained yet",
    ]
    assert list(command.hints({"request": {}})) == []


def test_what_stays_slower_is_said() -> None:
    report = {"latency": {"ratio": 1.2}, "request": {"align": "auto", "not_slower": True}, "evaluation": {}}
    assert [hint.partition(":")[0] for hint in command.hints(report)] == [
        "smaller, but slower here, even with widths four times as coarse as onnxruntime likes"
    ]


def test_the_way_out_of_slower_is_said() -> None:
    report = {"latency": {"ratio": 1.2}, "request": {"align": "auto"}}
    assert list(command.hints(report)) == ["smaller, but slower here: try --not-slower"]


@pytest.mark.default
def test_without_options_the_answers_come_first(run: Callable[..., Any], tmp_path: Path) -> None:
    result = run("shrink", "zoo:mtcnn_rnet", "--macs", "0.5", "--no-latency", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert re.match(
        r"Asked for: keep 50% of the multiply-accumulates, remove 50% "
        r"Answers: accuracy 1\.0000 → \S+; \S+% alike, outputs off by \S+%, on \d+ held-out",
        said,
    )
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["fidelity"]["data"] == "synthetic data (image)"
    assert report["repair"]["kept"]
    assert report["request"]["importance"] in ("l2", "lamp")
    assert "synthetic data (image)" in (tmp_path / "out" / "report.html").read_text()
    again = run(
        "shrink", "--config", tmp_path / "out" / "shrink.toml", "--no-latency", "-o", tmp_path / "again"
    )
    assert again.exit_code == 0, again.output
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "again"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_random_weights_are_called_that(run: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(
        "shrink", "zoo:mtcnn_rnet", "--weights", "none", "--macs", 0.5, "--no-latency", "--fast", "-o", out
    )
    assert result.exit_code == 0, result.output
    assert "The weights are random: the answers of this model mean nothing" in " ".join(result.stdout.split())


def test_the_user_s_own_figure_stands_before_and_after(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "judge.py").write_text("def accuracy(model):\n    return 0.25\n")
    arguments = ("--macs", 0.5, "--no-latency", "--evaluate", "judge.py:accuracy", "-o", "out")
    result = run("shrink", "zoo:mtcnn_rnet", *arguments)
    assert result.exit_code == 0, result.output
    assert "Answers: metric 0.2500 → 0.2500" in result.stdout


def test_a_model_s_own_tokenizer_is_for_data_that_are_made(tmp_path: Path) -> None:
    example = ((torch.zeros(1, 2),), {})
    source = models.Source("zoo:x", torch.nn.Linear(2, 2), example, "none", 0, tokenizer=len)
    file = tmp_path / "data.npy"
    np.save(file, np.zeros((4, 2), np.float32))
    for given, tokenizer in ((None, len), ("synthetic", len), (str(file), None)):
        asked = {} if given is None else {"calibration": given}
        found = command._data(ShrinkRequest("zoo:x", asked=asked), source)
        assert found.get("tokenizer") is tokenizer
