"""``graphprune shrink`` with several budgets, and ``graphprune pick``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from graphprune.cli.app import app

BUDGETS = "0.6,30%,0.0001"


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A sweep of digits_resnet, and what was printed. Copy it before you change it."""
    folder = tmp_path_factory.mktemp("sweep") / "curve"
    arguments = ["shrink", "zoo:digits_resnet", "--macs", BUDGETS, "--no-latency", "-o", str(folder)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return folder, done.stdout


@pytest.fixture
def folder(sweep: tuple[Path, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(sweep[0], tmp_path / "curve"))


def test_a_table_a_picture_and_why_one_is_missing(sweep: tuple[Path, str]) -> None:
    folder, said = sweep
    rows = [line.split() for line in said.splitlines()]
    assert ["macs", "MACs", "parameters", "accuracy"] in rows
    accuracies = {row[0]: float(row[3]) for row in rows if row[:1] in (["0.6"], ["0.3"])}
    for budget, accuracy in accuracies.items():
        report = json.loads((folder / f"macs-{budget}" / "report.json").read_text())
        assert report["evaluation"]["after"]["accuracy"] == pytest.approx(accuracy, abs=1e-4)
        assert f"--macs {budget}" in report["source"]["command"]
    assert len(set(accuracies.values())) == 2
    assert "macs=0.0001 cannot be reached" in said
    assert "ask for macs=" in said
    assert said.count("○") == 1
    assert "MACs left" in said
    assert max(map(len, said.splitlines())) <= 80 + len(str(folder))


def test_as_json(sweep: tuple[Path, str], run: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("shrink", "--config", sweep[0] / "shrink.toml", "--no-latency", "--json", "-o", out)
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed.pop("directory") == str(out)
    assert printed == json.loads((out / "sweep.json").read_text())
    assert printed["source"]["model"] == "zoo:digits_resnet"
    assert "--macs 0.6,0.3,0.0001" in printed["source"]["command"]
    for name in ("macs-0.6", "macs-0.3"):  # the file makes the same sweep again
        assert (out / name / "plan.json").read_text() == (sweep[0] / name / "plan.json").read_text()


def test_the_plans_alone(run: Callable[..., Any]) -> None:
    arguments = ("shrink", "zoo:digits_resnet", "--macs", BUDGETS, "--dry-run")
    said = run(*arguments).stdout
    rows = [line.split() for line in said.splitlines()]
    assert [row[0] for row in rows if row[:1] in (["0.6"], ["0.3"])] == ["0.6", "0.3"]
    assert ["the", "least"] in [row[:2] for row in rows]
    assert "macs=0.0001 cannot be reached" in said
    assert "Nothing was cut or written." in said
    points = json.loads(run(*arguments, "--json").stdout)["points"]
    assert [point["budget"] for point in points] == [0.6, 0.3, 0.0001]
    assert points[0]["after"]["macs"] > points[1]["after"]["macs"] > points[1]["smallest"]["macs"]
    assert "refused" in points[2]


def test_pick(folder: Path, run: Callable[..., Any]) -> None:
    result = run("pick", folder, "0.3")
    assert result.exit_code == 0, result.output
    assert "Verified" in result.stdout
    assert not (folder / "macs-0.3").exists()
    assert run("verify", folder, "--quiet").exit_code == 0
    assert run("report", folder, "--quiet").exit_code == 0
    assert "this one" in (folder / "report.html").read_text()  # the curve is still there


def test_pick_elsewhere_as_json(folder: Path, run: Callable[..., Any]) -> None:
    printed = json.loads(run("pick", folder, "60%", "-o", folder.parent / "slim", "--json").stdout)
    assert printed["directory"] == str(folder.parent / "slim")
    assert printed["sweep"]["picked"] == 0.6
    assert (folder / "macs-0.6").is_dir()


def test_the_page_of_a_sweep_is_made_again(folder: Path, run: Callable[..., Any]) -> None:
    before = (folder / "report.html").read_text()
    (folder / "report.html").unlink()
    assert run("report", folder, "--quiet").exit_code == 0
    assert (folder / "report.html").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("shrink", "zoo:mlp", "--macs", "0.9,0.5", "--params", "0.9,0.5", "-o", "FOLDER.new"),
            "several values each",
        ),
        (
            ("shrink", "zoo:mlp", "--macs", "0.9,0.5", "--tune", "zoo:digits", "-o", "FOLDER.new"),
            "--tune trains for one",
        ),
        (
            ("shrink", "hf:nowhere", "--params", "0.9,0.5", "-o", "FOLDER.new"),
            "a folder of transformers takes one",
        ),
        (("shrink", "zoo:mlp", "--macs", "0.9,", "-o", "FOLDER.new"), "macs='' is not understood"),
        (("shrink", "zoo:mlp", "--macs", "0.0001,0.0002", "-o", "FOLDER.new"), "cannot be reached"),
        (("pick", "FOLDER", "0.5"), "pick one of 0.6, 0.3"),
        (("pick", "FOLDER/macs-0.3", "0.3"), "is no sweep"),
        (("verify", "FOLDER"), "it is a sweep: name one of the folders in it"),
        (("tune", "FOLDER", "--data", "zoo:digits"), "it is a sweep"),
        (("diff", "FOLDER", "FOLDER/macs-0.3"), "it is a sweep"),
        (("report", "FOLDER", "--sensitivity", "x"), "it is a sweep"),
    ],
    ids=lambda item: " ".join(item) if isinstance(item, tuple) else "",
)
def test_refusals(
    folder: Path, refused: Callable[..., str], tmp_path: Path, arguments: Sequence[str], said: str
) -> None:
    assert said in refused(*(word.replace("FOLDER", str(folder)) for word in arguments))
    assert [path.name for path in tmp_path.iterdir()] == ["curve"]
