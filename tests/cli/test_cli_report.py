"""``graphprune report`` and the files of ``graphprune inspect``."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
from cli_pages import data_of
from typer.main import get_command

from graphprune.cli.app import app
from graphprune.cli.declared import command_line, run_settings
from graphprune.cli.request import ShrinkRequest
from graphprune.face.shrink_and_tune import Round


@pytest.fixture
def folder(result_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(result_folder, tmp_path / "slim"))


def test_the_page_is_made_again_from_the_directory_alone(run: Callable[..., Any], folder: Path) -> None:
    page = folder / "report.html"
    before = page.read_bytes()
    page.unlink()
    result = run("report", folder)
    assert result.exit_code == 0, result.output
    assert "".join(result.stdout.split()) == "".join(f"Written to {page}".split())  # a long path is broken
    assert page.read_bytes() == before
    assert json.loads(run("report", folder, "--json").stdout)["bytes"] == len(before)


def test_the_page_holds_what_the_report_says(folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    text, data = (folder / "report.html").read_text(), data_of(folder / "report.html")
    assert {row["name"]: row["kept"] for row in data["groups"]} == {
        name: row["kept"] for name, row in report["groups"].items()
    }
    assert all(row["scores"] for row in data["groups"])
    assert report["source"]["command"].replace("'", "&#39;") in text
    assert "graphprune shrink zoo:digits_resnet --plan plan.json --seed 0 --output again" in text
    for check in report["verdict"]["checks"]:
        assert check["name"] in text
    for figure in ("accuracy", "0.9"):
        assert figure in text


def test_curves_of_sensitivity(run: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "curves.json"
    file.write_text(
        json.dumps({"metric": "accuracy", "groups": {"stem.0.weight:0": [[0.0, 1.0], [0.5, 0.4]]}})
    )
    assert run("report", folder, "--sensitivity", file).exit_code == 0
    (chart,) = data_of(folder / "report.html")["curves"]
    assert chart["y"] == "accuracy"
    assert chart["points"][1] == {"line": "stem.0.weight:0", "x": 0.5, "y": 0.4}


def test_rounds_and_times_of_layers(run: Callable[..., Any], folder: Path) -> None:
    path = folder / "report.json"
    report = json.loads(path.read_text())
    rounds = [Round(1, 0.6, 0.7, 0.5, 0.9, True), Round(2, 0.4, 0.5, None, 0.8, True)]
    times = {
        "batch": 1,
        "threads": 1,
        "original_ms": 2,
        "slim_ms": 1,
        "ratio": 0.5,
        "layers": {"stem.0": [1, 0.4]},
    }
    path.write_text(
        json.dumps({**report, "loop": {"rounds": [asdict(row) for row in rounds]}, "latency": times})
    )
    assert run("report", folder).exit_code == 0
    data = data_of(folder / "report.html")
    assert [tuple(point.values()) for point in data["curves"][0]["points"]] == [
        ("before tuning", 1, 0.5),
        ("after tuning", 1, 0.9),
        ("after tuning", 2, 0.8),
    ]
    assert data["latency"] == [{"id": 1, "place": 0, "name": "stem.0", "before": 1, "after": 0.4}]


def test_refusals(refused: Callable[..., str], folder: Path, tmp_path: Path) -> None:
    assert "cannot be read" in refused("report", tmp_path / "nowhere")
    (tmp_path / "odd.json").write_text("[]")
    assert "holds no curves" in refused("report", folder, "--sensitivity", tmp_path / "odd.json")
    (tmp_path / "odd.json").write_text("neither")
    assert "cannot be read" in refused("report", folder, "--sensitivity", tmp_path / "odd.json")
    report = json.loads((folder / "report.json").read_text())
    (folder / "report.json").write_text(json.dumps({**report, "layers": [{"name": "x"}]}))
    assert "it has no layers.0.kind" in refused("report", folder)
    del report["layers"]
    (folder / "report.json").write_text(json.dumps(report))
    assert "it has no layers" in refused("report", folder)
    (folder / "report.json").write_text("[]")
    assert "it is not a JSON object" in refused("report", folder)


def test_files_of_inspect(run: Callable[..., Any], tmp_path: Path) -> None:
    files = {kind: tmp_path / f"net.{kind}" for kind in ("html", "dot", "graphml", "mermaid")}
    options = [word for kind, path in files.items() for word in (f"--{kind}", path)]
    result = run("inspect", "zoo:mtcnn_rnet", *options)
    assert result.exit_code == 0, result.output
    data = data_of(files["html"])
    assert not data["shrunk"]
    assert [row["name"] for row in data["groups"]] == [
        "conv1.weight:0",
        "conv2.weight:0",
        "conv3.weight:0",
        "dense4.weight:0",
    ]
    assert "100.2 k" in files["html"].read_text()
    assert files["dot"].read_text().startswith("digraph network {")
    assert files["mermaid"].read_text().startswith("flowchart TD")
    assert "<graphml" in files["graphml"].read_text()


def test_a_file_that_cannot_be_written(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "cannot be written" in refused("inspect", "zoo:mtcnn_rnet", "--dot", tmp_path / "no" / "net.dot")


def test_the_command_is_what_was_asked_for() -> None:
    request = ShrinkRequest(
        "my net.py:make",
        Path("out"),
        {"macs": "0.5", "protect": ["head*", "stem"]},
        input_shape=["1,3,8,8"],
        no_latency=True,
        quiet=True,
    )
    assert command_line(request, "shrink") == (
        "graphprune shrink 'my net.py:make' --output out --macs 0.5 --protect 'head*' --protect stem "
        "--input-shape 1,3,8,8 --no-latency"
    )
    assert (
        command_line(ShrinkRequest("net", asked={"lossless": True}), "shrink")
        == "graphprune shrink net --lossless"
    )


def test_the_command_asks_for_the_same_whatever_it_is() -> None:
    values: dict[type, Callable[[Any], Any]] = {
        bool: lambda old: not old,
        int: lambda old: old + 1,
        float: lambda old: old / 2,
        list: lambda old: ["x", "y z"],
        type(None): lambda old: "0.25",
    }
    skipped = {"model", "output", "json", "quiet", "debug"}
    shown = {**run_settings(ShrinkRequest("net", Path("out"))), "align": "auto", "repair": False}
    shown |= {"opset": 17}  # what may be left out, and is a whole number
    wanted = {
        name: values.get(type(old), lambda old: "x")(old)
        for name, old in shown.items()
        if name not in skipped
    }
    own = {item.name for item in fields(ShrinkRequest)}
    asked = {name: value for name, value in wanted.items() if name not in own}
    request = ShrinkRequest(
        "net", Path("out"), asked, **{name: value for name, value in wanted.items() if name in own}
    )
    words = shlex.split(command_line(request, "shrink"))
    context = get_command(app).commands["shrink"].make_context("shrink", words[2:])
    given = {name: value for name, value in context.params.items() if name in wanted}
    assert {name: str(value) for name, value in given.items()} == {name: str(v) for name, v in wanted.items()}
