"""`graphprune.plan` and ``shrink --dry-run``: what would be done, without doing it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import graphprune as gp
import models_zoo
from graphprune.cli.app import app


@pytest.fixture(scope="module")
def graph() -> gp.DependencyGraph:
    torch.manual_seed(0)
    return gp.trace(models_zoo.load("digits_resnet"), models_zoo.get("digits_resnet").example_inputs(1))


@pytest.mark.parametrize("options", [{"macs": 0.5}, {"ratio": 0.3}, {"params": 0.6, "align": 8}], ids=str)
def test_the_plan_is_what_shrink_does(graph: gp.DependencyGraph, options: dict[str, Any]) -> None:
    proposal, result = gp.plan(graph, **options), gp.shrink(graph, **options)
    assert proposal.plan.to_json() == result.plan.to_json()
    assert proposal.before["macs"] == result.before.macs
    assert proposal.after["params"] == result.after.params
    for name, (size, kept) in proposal.widths.items():
        assert (size, kept) == (graph.by_name[name].size, len(result.plan.groups[name]))


def test_the_smallest_share_can_be_reached_and_nothing_below(graph: gp.DependencyGraph) -> None:
    proposal = gp.plan(graph, macs=0.5, min_keep=4)
    least = proposal.smallest["macs"] / proposal.before["macs"]
    assert 0 < least < 0.1
    assert gp.plan(graph, macs=least * 1.001, min_keep=4).after["macs"] == proposal.smallest["macs"]
    with pytest.raises(gp.BudgetError):
        gp.plan(graph, macs=least * 0.99, min_keep=4)


def test_file_bytes_are_met_in_the_file(graph: gp.DependencyGraph, tmp_path: Path) -> None:
    profile = gp.profile(graph)
    for given, limit in ((0.5, 0.5 * profile.bytes), ("200kB", 200_000)):
        result = gp.shrink(graph, onnx_bytes=given, profile=profile)
        report = result.save(tmp_path / "slim", latency=False)
        assert limit * 0.98 <= report["after"]["onnx_bytes"] <= limit * 1.002
        (check,) = [c for c in report["verdict"]["checks"] if "the bytes that were asked for" in c["name"]]
        assert check["figure"] == pytest.approx(report["after"]["onnx_bytes"] / limit, rel=1e-3)
    assert result.plan.request["budget"] == {"onnx_bytes": "200000"}


def test_a_file_that_is_too_large_is_not_written(graph: gp.DependencyGraph, tmp_path: Path) -> None:
    result = gp.shrink(graph, onnx_bytes=0.6)
    asked = {**result.plan.request, "budget": {"onnx_bytes": 0.5}}
    wrong = replace(result, plan=replace(result.plan, request=asked))
    with pytest.raises(gp.VerificationError, match="bytes that were asked for: FAILED"):
        wrong.save(tmp_path / "slim", latency=False)
    assert not list(tmp_path.iterdir())


def test_a_profile_of_another_model_is_refused(graph: gp.DependencyGraph) -> None:
    other = gp.trace(torch.nn.Linear(3, 4), torch.zeros(2, 3))
    with pytest.raises(gp.InputError, match="another model's"):
        gp.plan(graph, onnx_bytes=0.5, profile=gp.profile(other))


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_dry_run_shows_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("shrink", "zoo:digits_resnet", "--macs", 0.5, "--params", 0.9, "--dry-run")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    macs = next(words for words in lines if words[:1] == ["multiply-accumulates"])
    assert macs[-2] in ("50.0%", "49.9%")
    assert any(words[:3] == ["peak", "activation", "memory"] for words in lines)
    assert any(words[:2] == ["stem.0.weight:0", "32"] for words in lines)
    assert "Nothing was cut or written." in result.stdout
    assert not list(tmp_path.iterdir())


def test_a_dry_run_leaves_the_folder_as_it_is(tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    result = run("shrink", "zoo:mlp", "--params", 0.5, "--dry-run", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert "Nothing was cut or written; --output" in result.stdout
    assert list(tmp_path.iterdir()) == [mine]


def test_dry_run_as_json(tmp_path: Path) -> None:
    result = run("shrink", "zoo:mlp", "--params", 0.5, "--dry-run", "--json")
    document = json.loads(result.stdout)
    assert document["request"]["budget"] == {"params": 0.5}
    assert 0.49 <= document["after"]["params"] / document["before"]["params"] <= 0.5
    assert all(group["kept"] <= group["size"] for group in document["groups"].values())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--macs", "0.5"), "no directory is given"),
        (("--lossless", "--dry-run"), "--dry-run has no effect on --lossless"),
        (("--macs", "0.5", "--align", "wide", "--dry-run"), "align='wide' is no number"),
    ],
)
def test_what_a_dry_run_refuses(arguments: tuple[str, ...], said: str) -> None:
    result = run("shrink", "zoo:mlp", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
