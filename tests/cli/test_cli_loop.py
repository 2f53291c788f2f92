"""``graphprune shrink --tune``: rounds on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from cli_pages import data_of

import graphprune as gp
from graphprune.cli.images import DataOptions
from graphprune.cli.training import parse_tuning
from models_zoo.data import read_data
from models_zoo.digits import evaluate


def test_two_rounds(run: Callable[..., Any], tmp_path: Path) -> None:
    output = tmp_path / "slim"
    settings = ("--tuning", "epochs=1", "--tuning", "lr=0.002", "--tuning", "batch=64")
    budget = ("--macs", 0.25, "--align", 1, "--rounds", 2, "--min-metric", 0.9, "--no-latency")
    numpy.save(tmp_path / "some.npy", read_data("digits", (1, 8, 8))[0][:64].numpy())
    mended = ("--repair", "--calibration", tmp_path / "some.npy")
    start = ("shrink", "zoo:digits_resnet", *budget, *mended)
    result = run(*start, "--tune", "zoo:digits", *settings, "-o", output)
    assert result.exit_code == 0, result.stderr
    assert "The loop ended: the budget is met" in result.stdout
    report = json.loads((output / "report.json").read_text())
    rounds = report["loop"]["rounds"]
    assert [item["good"] for item in rounds] == [True, True]
    assert rounds[1]["macs"] <= 0.25 < rounds[0]["macs"]
    assert evaluate(gp.load(output))["accuracy"] == rounds[1]["metric"] > 0.95
    curves = tmp_path / "s.jsonl"
    assert run("sensitivity", "zoo:digits_resnet", "--ratios", "0.25,0.5", "-o", curves).exit_code == 0
    assert run("report", output, "--sensitivity", curves).exit_code == 0
    sensitivity, round_by_round = data_of(output / "report.html")["curves"]
    assert [point["line"] for point in sensitivity["points"]] == [
        g for g in report["groups"] for _ in range(3)
    ]
    assert {point["x"] for point in sensitivity["points"]} == {0, 0.25, 0.5}
    assert [point["y"] for point in round_by_round["points"] if point["line"] == "after tuning"] == [
        item["metric"] for item in rounds
    ]
    curves.unlink()
    assert report["repair"]["batches"] == 2
    assert report["repair"]["after"] < report["repair"]["before"]
    names = [check["name"] for check in report["verdict"]["checks"]]
    assert sum("repaired outputs are no farther" in name for name in names) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["slim", "slim.rounds", "some.npy"]
    assert sorted(path.name for path in (tmp_path / "slim.rounds").iterdir()) == ["round_1", "round_2"]
    assert run("verify", tmp_path / "slim.rounds" / "round_1").exit_code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--macs", 0.5, "--min-metric", 0.9), "have no effect without --tune"),
        (("--lossless", "--tune", "zoo:digits"), "--tune goes with a budget that is met"),
        (("--macs", 0.5, "--tune", "zoo:digits", "--tuning", "speed=3"), "--tuning 'speed=3' is no setting"),
        (("--macs", 0.5, "--tune", "zoo:digits", "--tuning", "lr=fast"), "lr=fast does not fit"),
        (("--macs", 0.5, "--tune", "zoo:digits", "--tuning", "epochs=0"), "epochs=0 is not a positive"),
        (("--macs", 0.5, "--tune", "zoo:nothing"), "the zoo has no data 'nothing'"),
    ],
)
def test_refusals(
    refused: Callable[..., str], tmp_path: Path, options: tuple[object, ...], said: str
) -> None:
    assert said in refused("shrink", "zoo:digits_resnet", *options, "-o", tmp_path / "slim")
    assert not list(tmp_path.iterdir())


def test_settings_of_every_kind() -> None:
    texts = ("epochs=3", "lr=1e-4", "freeze-norms=true", "feature_layers=a*,b", "steps=7", "precision=bf16")
    settings, options = parse_tuning((*texts, "batch=8", "mean=0.5,0.5,0.5"))
    assert settings == gp.Tuning(
        epochs=3, lr=1e-4, freeze_norms=True, feature_layers=("a*", "b"), steps=7, precision="bf16"
    )
    assert options == DataOptions(batch=8, mean=(0.5, 0.5, 0.5))


def test_trials_are_judged_by_the_evaluation(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text("def judge(model):\n    return type(model).__name__\n")
    options = ("--macs", 0.5, "--trials", 2, "--evaluate", f"{tmp_path / 'judge.py'}:judge")
    said = refused("shrink", "zoo:mlp", "--weights", "none", *options, "-o", tmp_path / "slim")
    assert "evaluate returns str, not a number" in said
