"""``graphprune diff``: two results beside each other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def results(result_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """digits_resnet at half of its units, and at three quarters of its parameters with the stem left alone."""
    from typer.testing import CliRunner

    from graphprune.cli.app import app

    other = tmp_path_factory.mktemp("other") / "wide"
    arguments = [
        "shrink",
        "zoo:digits_resnet",
        "--params",
        "0.75",
        "--protect",
        "stem*",
        "--no-latency",
        "-o",
    ]
    done = CliRunner().invoke(app, [*arguments, str(other)])
    assert done.exit_code == 0, done.output
    return result_folder, other


def report_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "report.json").read_text()))


def test_figures_are_those_of_the_reports(run: Callable[..., Any], results: tuple[Path, Path]) -> None:
    done = run("diff", *results, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    one, other = map(report_of, results)
    rows = {row["name"]: row for row in found["figures"]}
    for name, key in (
        ("parameters", "params"),
        ("multiply-accumulates", "macs"),
        ("ONNX file", "onnx_bytes"),
    ):
        assert rows[name]["original"] == one["before"].get(key)
        assert (rows[name]["one"], rows[name]["other"]) == (one["after"][key], other["after"][key])
    assert rows["parameters"]["ratio"] == other["after"]["params"] / one["after"]["params"]
    assert rows["accuracy"]["one"] == one["evaluation"]["after"]["accuracy"]
    assert "latency" not in rows
    assert found["request"] == {"budget": [{"ratio": 0.5}, {"params": 0.75}], "protect": [[], ["stem*"]]}
    assert found["checks"] == [
        {"passed": n, "of": n, "failed": []} for n in (len(one["verdict"]["checks"]),) * 2
    ]


def test_groups_count_the_units_that_both_keep(run: Callable[..., Any], results: tuple[Path, Path]) -> None:
    found = json.loads(run("diff", *results, "--json").stdout)
    plans = [json.loads((folder / "plan.json").read_text())["groups"] for folder in results]
    assert found["same_original"]
    for group in found["groups"]:
        one, other = (plan[group["name"]] for plan in plans)
        assert (group["one"], group["other"]) == (len(one), len(other))
        assert group["common"] == len(set(one) & set(other))
        assert group["same"] == (one == other)
    assert any(0 < group["common"] < group["size"] for group in found["groups"])


def test_the_table_fits(run: Callable[..., Any], results: tuple[Path, Path]) -> None:
    lines = run("diff", *results).stdout.splitlines()
    assert lines[:2] == [f"A: {results[0]}", f"B: {results[1]}"]
    assert max(map(len, lines[2:])) <= 80
    words = [line.split() for line in lines]
    assert ["stem.0.weight:0", "32", "16", "32", "16"] in words
    assert "budget: ratio 0.5 in A, params 0.75 in B" in lines
    assert "protect: none in A, ['stem*'] in B" in lines
    assert lines[-1] == "0 of 6 groups keep the same units"


def test_a_result_and_itself(run: Callable[..., Any], results: tuple[Path, Path]) -> None:
    found = json.loads(run("diff", results[0], results[0], "--json").stdout)
    assert all(group["same"] for group in found["groups"])
    assert found["request"] == {}
    assert {row["ratio"] for row in found["figures"]} == {1.0}
    assert run("diff", results[0], results[0]).stdout.splitlines()[-1] == "6 of 6 groups keep the same units"


def test_latency_of_one_alone(run: Callable[..., Any], results: tuple[Path, Path], tmp_path: Path) -> None:
    timed = tmp_path / "timed"
    shutil.copytree(results[0], timed)
    report = report_of(timed) | {"latency": {"original_ms": 2.0, "slim_ms": 1.0, "ratio": 0.5}}
    (timed / "report.json").write_text(json.dumps(report))
    rows = {
        row["name"]: row for row in json.loads(run("diff", timed, results[1], "--json").stdout)["figures"]
    }
    assert (rows["latency"]["original"], rows["latency"]["one"], rows["latency"]["other"]) == (2.0, 1.0, None)
    assert rows["latency / original"]["one"] == 0.5


def test_other_originals(run: Callable[..., Any], results: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "mlp"
    assert run("shrink", "zoo:mlp", "--ratio", "0.5", "--no-latency", "-o", other).exit_code == 0
    assert json.loads(run("diff", results[0], other, "--json").stdout)["groups"] == []
    assert "The originals have other tensors" in run("diff", results[0], other).stdout


@pytest.mark.parametrize("text", ["{", "[]", '{"groups": 3}', '{"verdict": {"checks": [{}]}}'])
def test_damaged(refused: Callable[..., str], results: tuple[Path, Path], tmp_path: Path, text: str) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(results[0], damaged)
    (damaged / "report.json").write_text(text)
    refused("diff", damaged, results[1])


def test_no_result(refused: Callable[..., str], results: tuple[Path, Path], tmp_path: Path) -> None:
    line = refused("diff", results[0], tmp_path)
    assert line == (
        f"{tmp_path / 'report.json'} cannot be read: No such file or directory — "
        "give a directory that `graphprune shrink` wrote"
    )
