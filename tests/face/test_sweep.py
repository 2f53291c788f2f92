"""`graphprune.sweep` and `graphprune.pick`: what a shrink makes of each budget, with one analysis, and one of them."""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import graphprune as gp
import models_zoo
from graphprune.scoring import Criterion

BUDGETS = (0.7, "50%", 0.0001, 0.2)


@pytest.fixture(scope="module")
def graph() -> gp.DependencyGraph:
    torch.manual_seed(0)
    return gp.trace(models_zoo.load("digits_resnet"), models_zoo.get("digits_resnet").example_inputs(1))


@pytest.fixture(scope="module")
def swept(graph: gp.DependencyGraph) -> gp.Sweep:
    return gp.sweep(graph, macs=BUDGETS)


@pytest.fixture(scope="module")
def saved(swept: gp.Sweep, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy it before you change it."""
    folder = tmp_path_factory.mktemp("sweep") / "curve"
    share = {"macs-0.7": 0.99, "macs-0.5": 0.98, "macs-0.2": 0.5}

    def figures(result: gp.Result) -> dict[str, Any]:
        name = f"macs-{result.plan.request['budget']['macs']}"
        return {"evaluation": {"before": {"accuracy": 1.0}, "after": {"accuracy": share[name]}}}

    swept.save(folder, latency=False, extra=figures)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "curve"))


def test_every_budget_is_what_a_shrink_makes_of_it(graph: gp.DependencyGraph, swept: gp.Sweep) -> None:
    assert swept.kind == "macs"
    assert [point.budget for point in swept.points] == [0.7, 0.5, 0.0001, 0.2]
    for point in swept.points:
        if point.result is None:
            continue
        alone = gp.shrink(graph, macs=point.budget)
        assert point.result.plan.to_json() == alone.plan.to_json()
        assert [str(check) for check in point.result.verdict.checks] == list(map(str, alone.verdict.checks))
        one, other = point.result.model.state_dict(), alone.model.state_dict()
        assert all(torch.equal(one[name], other[name]) for name in other)


def test_a_budget_that_cannot_be_met_says_why_and_the_others_go_on(swept: gp.Sweep) -> None:
    (refused,) = [point for point in swept.points if point.result is None]
    assert refused.budget == 0.0001
    assert "macs=0.0001 cannot be reached" in str(refused.refused)
    assert sum(point.result is not None for point in swept.points) == 3


def test_where_none_can_be_met_the_first_says_why(graph: gp.DependencyGraph) -> None:
    with pytest.raises(gp.BudgetError, match=r"macs=0\.0001 cannot be reached"):
        gp.sweep(graph, macs=(0.0001, 0.0002))


def test_the_analysis_is_made_once(graph: gp.DependencyGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    scored, checked, heard = [], [], list[str]()
    score, check = Criterion.__call__, import_module("graphprune.searching.prepared").captured_checks

    def counted(self: Criterion, *given: Any) -> Any:
        scored.append(self.name)
        return score(self, *given)

    def watched(*given: Any) -> Any:
        checked.append(given)
        return check(*given)

    monkeypatch.setattr(Criterion, "__call__", counted)
    monkeypatch.setattr("graphprune.searching.prepared.captured_checks", watched)
    model, inputs = graph.program.model, graph.program.example
    found = gp.sweep(model, inputs, params=(0.8, 0.5), importance="l1", progress=heard.append)
    assert (scored, len(checked)) == (["l1"], 1)
    assert heard.count("capture") == 1
    assert [stage for stage in heard if stage.endswith("verify")] == [
        "params 0.8: verify",
        "params 0.5: verify",
    ]
    names = {check.name for check in found.points[1].result.verdict.checks}  # type: ignore[union-attr]
    assert {name for name in names if "captured" in name}


@pytest.mark.default
def test_what_auto_chooses_is_what_it_chooses_for_each_budget_alone() -> None:
    model = models_zoo.load("mtcnn_rnet")
    graph = gp.trace(model, models_zoo.get("mtcnn_rnet").example_inputs(1))
    for point in gp.sweep(graph, macs=(0.8, 0.5)).points:
        alone = gp.shrink(graph, macs=point.budget)
        assert point.result is not None
        assert point.result.plan.to_json() == alone.plan.to_json()
        assert point.result.fidelity == alone.fidelity


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"macs": (0.9, 0.5), "params": "0.9,0.5"}, "macs and params have several values each"),
        ({"macs": 0.9, "params": 0.5}, "all budgets have one value"),
        ({"macs": (0.9, 1.5)}, "macs=1.5 is out of range"),
        ({"macs": (0.9, "much")}, "macs='much' is not understood"),
        ({"lossless": True}, "lossless has one value"),
    ],
    ids=str,
)
def test_what_is_no_sweep_is_refused(graph: gp.DependencyGraph, options: dict[str, Any], said: str) -> None:
    with pytest.raises(gp.InputError, match=said):
        gp.sweep(graph, **options)


def test_shrink_takes_one(graph: gp.DependencyGraph) -> None:
    with pytest.raises(gp.InputError, match="macs has several values, and this takes one"):
        gp.shrink(graph, macs=(0.9, 0.5))


def test_other_budgets_are_met_by_all(graph: gp.DependencyGraph) -> None:
    found = gp.sweep(graph, macs=(0.9, 0.5), params=0.6)
    for point in found.points:
        assert point.result is not None
        assert point.result.after.params <= 0.6 * point.result.before.params


def test_the_folder_has_a_result_for_each_and_their_curve(saved: Path) -> None:
    assert {path.name for path in saved.iterdir()} == {
        "macs-0.7",
        "macs-0.5",
        "macs-0.2",
        "sweep.json",
        "report.html",
        "shrink.toml",
    }
    document = json.loads((saved / "sweep.json").read_text())
    assert [point["budget"] for point in document["points"]] == [0.7, 0.5, 0.0001, 0.2]
    assert [point.get("quality") for point in document["points"]] == [0.99, 0.98, None, 0.5]
    assert document["quality"] == {"name": "accuracy", "kind": "figure", "original": 1.0, "higher": True}
    assert document["knee"] == 0.5
    assert "cannot be reached" in document["points"][2]["refused"]
    assert 'macs = "0.7,0.5,0.0001,0.2"' in (saved / "shrink.toml").read_text()
    assert "macs = 0.5" in (saved / "macs-0.5" / "shrink.toml").read_text()
    assert gp.load(saved / "macs-0.2")(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


def test_pick_makes_one_of_them_the_result(folder: Path, saved: Path) -> None:
    report = gp.pick(folder, "50%")
    assert {path.name for path in folder.iterdir()} == {path.name for path in (saved / "macs-0.5").iterdir()}
    assert report == json.loads((folder / "report.json").read_text())
    assert (report["sweep"]["picked"], len(report["sweep"]["points"])) == (0.5, 4)
    one, other = (load_file(each / "model.safetensors") for each in (folder, saved / "macs-0.5"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert "this one" in (folder / "report.html").read_text()
    assert [path.name for path in folder.parent.iterdir()] == ["curve"]


def test_pick_to_another_folder_leaves_the_sweep(folder: Path, saved: Path) -> None:
    gp.pick(folder, 0.2, folder.parent / "slim")
    assert (folder.parent / "slim" / "model.onnx").is_file()
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in saved.iterdir())


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (0.3, "has no result for macs 0.3"),
        (0.0001, "macs 0.0001 has no result: macs=0.0001 cannot be"),
        ("x", "not understood"),
    ],
)
def test_what_cannot_be_picked(folder: Path, budget: Any, said: str) -> None:
    with pytest.raises(gp.InputError, match=said):
        gp.pick(folder, budget)
    with pytest.raises(gp.InputError, match="is no sweep"):
        gp.pick(folder / "macs-0.5", 0.5)


def test_what_was_trained_or_is_foreign_is_not_lost(folder: Path, swept: gp.Sweep) -> None:
    path = folder / "macs-0.7" / "report.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tuning": {"steps": 7}}))
    for replacing in (lambda: gp.pick(folder, 0.5), lambda: swept.save(folder, latency=False)):
        with pytest.raises(gp.InputError, match="was fine-tuned for 7 steps"):
            replacing()
    (folder / "mine").mkdir()
    with pytest.raises(gp.InputError, match="holds 'mine'"):
        gp.pick(folder, 0.7, force=True)
    (folder / "mine").rmdir()
    assert gp.pick(folder, 0.7, force=True)["tuning"] == {"steps": 7}


def test_a_folder_that_leads_elsewhere_is_not_followed(folder: Path) -> None:
    document = json.loads((folder / "sweep.json").read_text())
    document["points"][1]["folder"] = "../../elsewhere/macs-0.7"
    (folder / "sweep.json").write_text(json.dumps(document))
    gp.pick(folder, 0.5, folder.parent / "slim")  # the last part of it alone, within the sweep
    (folder / "sweep.json").write_text('{"points": 3}')
    with pytest.raises(gp.InputError, match=r"sweep\.json cannot be read"):
        gp.pick(folder, 0.5)


def test_an_earlier_sweep_is_replaced(folder: Path, graph: gp.DependencyGraph) -> None:
    gp.sweep(graph, ratio=(0.5, 0.25)).save(folder, latency=False)
    document = json.loads((folder / "sweep.json").read_text())
    assert [point["folder"] for point in document["points"]] == ["ratio-0.5", "ratio-0.25"]
    assert not (folder / "macs-0.5").exists()
    assert document["quality"] is None  # by weights alone; no data have judged the answers
    gp.shrink(graph, macs=0.5).save(folder, latency=False)
    assert not (folder / "ratio-0.5").exists()
