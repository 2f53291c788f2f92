"""``graphprune verify``: what it proves, what it finds, and what it says it did not check."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune import exporting
from graphprune.cli.checks import Checks, check_files

Verified = Callable[..., tuple[int, dict[str, dict[str, Any]]]]

READABLE = "report.json is readable"
REPLAYED = "plan replayed on the original gives the same tensors"


@pytest.fixture
def slim(result_folder: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(result_folder, tmp_path / "slim"))


@pytest.fixture
def verified(run: Callable[..., Any]) -> Verified:
    """The exit code and the checks by name."""

    def verify(*arguments: object) -> tuple[int, dict[str, dict[str, Any]]]:
        result = run("verify", *arguments, "--json")
        document = json.loads(result.stdout)
        assert document["passed"] == (result.exit_code == 0)
        assert result.stderr.count("\n") == (0 if document["passed"] else 1)
        return result.exit_code, {row["name"]: row for row in document["checks"]}

    return verify


def outcome(rows: dict[str, dict[str, Any]], passed: bool | None) -> set[str]:
    return {name for name, row in rows.items() if row["passed"] is passed}


def edit_report(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    report = json.loads((folder / "report.json").read_text())
    change(report)
    (folder / "report.json").write_text(json.dumps(report))


def test_everything_passes(verified: Verified, result_folder: Path) -> None:
    code, rows = verified(result_folder)
    assert code == 0
    assert outcome(rows, False) == set()
    assert outcome(rows, None) == {"model.py is the same model"}
    assert {
        REPLAYED,
        "slim model equals the masked original",
        "tensors have the planned shapes",
        "ONNX file passes the checker",
        "onnxruntime equals the model, batch 1",
        "onnxruntime equals the model, batch 3",
    } <= outcome(rows, True)


def test_table(run: Callable[..., Any], result_folder: Path) -> None:
    result = run("verify", result_folder)
    assert result.exit_code == 0
    assert "Verified: 12 passed, 0 failed, 1 not checked" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    quiet = run("verify", result_folder, "--quiet")
    assert (quiet.exit_code, quiet.output) == (0, "")


def test_other_weights_of_the_same_shape(verified: Verified, run: Callable[..., Any], slim: Path) -> None:
    model = gp.load(slim)
    with torch.no_grad():
        next(model.parameters()).flatten()[0] += 1e-6
    exporting.save_model(model, slim / "model.safetensors")
    code, rows = verified(slim)
    assert code == 4
    assert outcome(rows, False) == {REPLAYED}
    assert rows[REPLAYED]["detail"] == "stem.0.weight"
    result = run("verify", slim)
    assert result.exit_code == 4
    assert f"{slim}: 1 of 12 checks failed, first {REPLAYED!r} — do not use this result" in result.stderr
    assert "NOT VERIFIED" in result.stdout


def test_plan_that_does_not_fit(verified: Verified, slim: Path) -> None:
    text = (slim / "plan.json").read_text()
    head, tail = text.split('"tensors"')
    (slim / "plan.json").write_text(head + '"tensors"' + tail.replace("[0, ", "[", 1).replace("[1, ", "[", 1))
    code, rows = verified(slim)
    assert code == 4
    assert {"tensors have the planned shapes", REPLAYED} <= outcome(rows, False)
    (slim / "plan.json").write_text("{}")
    code, rows = verified(slim)
    assert outcome(rows, False) == {"plan.json is readable"}
    assert {"tensors have the planned shapes", REPLAYED} <= outcome(rows, None)


def test_other_onnx_file(verified: Verified, run: Callable[..., Any], slim: Path, tmp_path: Path) -> None:
    options = ("--ratio", 0.5, "--importance", "random", "--no-latency", "-o", tmp_path / "other")
    assert run("shrink", "zoo:digits_resnet", *options).exit_code == 0
    shutil.copy(tmp_path / "other" / "model.onnx", slim)
    code, rows = verified(slim)
    assert code == 4
    assert outcome(rows, False) == {
        "onnxruntime equals the model, batch 1",
        "onnxruntime equals the model, batch 3",
    }


@pytest.mark.parametrize(
    ("name", "failed"),
    [
        ("model.onnx", "ONNX file passes the checker"),
        ("model.safetensors", "model loads, without pickle"),
        ("plan.json", "plan.json is readable"),
        ("report.json", "report.json is readable"),
    ],
)
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_missing_and_damaged_files(
    verified: Verified, slim: Path, name: str, failed: str, damage: str
) -> None:
    content = (slim / name).read_bytes()
    (slim / name).unlink()
    if damage == "truncated":
        (slim / name).write_bytes(content[: len(content) // 2])
    code, rows = verified(slim)
    assert code == 4
    assert outcome(rows, False) == {failed}


def test_pickle_in_the_place_of_the_model_is_not_loaded(verified: Verified, slim: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), slim / "model.safetensors")
    code, rows = verified(slim)
    assert code == 4
    assert "unpickling can run any code" in rows["model loads, without pickle"]["detail"]


def test_original_that_cannot_be_made_here(
    verified: Verified, refused: Callable[..., str], slim: Path
) -> None:
    edit_report(slim, lambda report: report["source"].update(model="timm:no_such_model"))
    code, rows = verified(slim)
    assert code == 0
    assert rows[REPLAYED]["passed"] is None
    assert rows[REPLAYED]["detail"].startswith("the original cannot be made here: timm has no model")
    assert "the zoo has no model 'nothing'" in refused("verify", slim, "--model", "zoo:nothing")
    code, rows = verified(slim, "--model", "zoo:digits_resnet")
    assert rows[REPLAYED]["passed"]


@pytest.mark.parametrize(
    "source",
    [None, [], "x", {"model": 3}, {"model": "zoo:digits_resnet", "seed": "x"}, {"inputs": {"args": 3}}],
)
def test_report_that_makes_no_sense(verified: Verified, slim: Path, source: object) -> None:
    edit_report(slim, lambda report: report.update(source=source))
    code, rows = verified(slim)
    assert code == 4
    failed = "onnxruntime equals the model" if isinstance(source, dict) and "inputs" in source else READABLE
    assert outcome(rows, False) == {failed}


def sections(report: dict[str, Any]) -> list[str]:
    """Those that every result has."""
    return sorted(set(report) - {"source", "seconds", "opset", "evaluation"})


def test_a_section_that_is_missing_is_a_failed_check(verified: Verified, slim: Path) -> None:
    text = (slim / "report.json").read_text()
    for section in sections(json.loads(text)):
        (slim / "report.json").write_text(text)
        edit_report(slim, lambda report, section=section: report.pop(section))
        rows = checked_files(slim)
        assert rows[READABLE]["passed"] is False, section
        assert rows[READABLE]["detail"] == f"it has no {section}"


def checked_files(folder: Path) -> dict[str, dict[str, Any]]:
    checks = Checks()
    check_files(folder, checks, lambda stage: None, onnx=False)
    return {row["name"]: row for row in checks.rows}


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        (lambda report: report["verdict"].update(checks=[]), READABLE),
        (lambda report: report.update(source=2**70), READABLE),
        (lambda report: report["before"].update(macs=2**70), READABLE),
        (lambda report: report.update(format=2), READABLE),
        (lambda report: report["edges"].append([0, 10**6]), READABLE),
        (
            lambda report: report["verdict"]["checks"][0].update(passed=False),
            "all checks of the report passed",
        ),
        (lambda report: report["verdict"].update(passed=False), "all checks of the report passed"),
        (lambda report: report["after"].update(params=3), "parameters as reported"),
    ],
)
def test_a_report_that_was_edited(slim: Path, change: Callable[[dict[str, Any]], Any], failed: str) -> None:
    edit_report(slim, change)
    assert checked_files(slim)[failed]["passed"] is False


def test_an_example_input_of_the_report_that_is_too_large(verified: Verified, slim: Path) -> None:
    sizes = [10**6] * 3
    edit_report(slim, lambda report: report["source"]["inputs"]["args"][0].update(shape=sizes))
    code, rows = verified(slim)
    assert code == 4
    assert "has more than 268,435,456 numbers" in rows["onnxruntime equals the model"]["detail"]


def test_a_stored_graph_that_takes_all_memory(verified: Verified, slim: Path) -> None:
    """Its operators are harmless, and the numbers in it are sizes; the machine must not suffer."""
    path = slim / "model.safetensors"
    metadata, tensors = exporting.read_tensors(path)
    document = json.loads(metadata["graphprune_graph"])
    large = {
        "name": "large",
        "op": "call_function",
        "target": "torch.zeros",
        "args": [[2**20, 2**20]],
        "kwargs": {},
    }
    document["nodes"].insert(-1, large)
    exporting.write_tensors(path, tensors, {**metadata, "graphprune_graph": json.dumps(document)})
    code, rows = verified(slim)
    assert code == 4
    assert "allocate" in rows["onnxruntime equals the model"]["detail"]


@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors", "plan.json", "report.json"])
def test_only_regular_files_are_read(verified: Verified, slim: Path, name: str) -> None:
    """A pipe that nobody writes would block for ever, and a device never ends."""
    for make in (os.mkfifo, lambda path: os.symlink("/dev/zero", path)):
        (slim / name).unlink()
        make(slim / name)
        code, rows = verified(slim)
        assert code == 4
        assert sum(row["passed"] is False for row in rows.values()) == 1


def test_original_with_other_weights(verified: Verified, refused: Callable[..., str], slim: Path) -> None:
    edit_report(slim, lambda report: report["source"].update(weights="none"))
    code, rows = verified(slim)
    assert (code, rows[REPLAYED]["passed"]) == (0, None)
    assert rows[REPLAYED]["detail"] == "zoo:digits_resnet has other weights here than those that were shrunk"
    assert "name the original with --model" in refused("verify", slim, "--weights", "none")
    code, rows = verified(slim, "--weights", "published")
    assert rows[REPLAYED]["passed"]


def test_weights_file_is_read_again(run: Callable[..., Any], verified: Verified, tmp_path: Path) -> None:
    file, out = tmp_path / "mlp.pt", tmp_path / "out"
    torch.save(
        torch.nn.Sequential(
            torch.nn.Linear(784, 300), torch.nn.ReLU(), torch.nn.Linear(300, 10)
        ).state_dict(),
        file,
    )
    options = ("--weights", file, "--ratio", 0.5, "--no-latency", "-o", out)
    assert run("shrink", "zoo:mlp", *options).exit_code == 0
    assert verified(out)[1][REPLAYED]["passed"]
    file.rename(tmp_path / "moved.pt")
    assert verified(out)[1][REPLAYED]["passed"] is None
    assert verified(out, "--weights", tmp_path / "moved.pt")[1][REPLAYED]["passed"]


def test_result_of_the_library_alone(verified: Verified, tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    gp.shrink(model, torch.zeros(1, 4), ratio=0.5).save(tmp_path / "out", latency=False)
    code, rows = verified(tmp_path / "out")
    assert code == 0
    assert rows["onnxruntime equals the model, batch 3"]["passed"]
    assert rows[REPLAYED]["detail"] == "the report records no model; name it with --model"


def test_what_is_no_result(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "there is no directory" in refused("verify", tmp_path / "nowhere")
    assert "holds no result — give a directory that graphprune shrink wrote" in refused("verify", tmp_path)


def test_a_result_that_was_saved_without_onnx(verified: Verified, tmp_path: Path) -> None:
    torch.manual_seed(0)
    result = gp.shrink(
        nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), torch.zeros(2, 6), ratio=0.5
    )
    result.save(tmp_path / "slim", onnx=False)
    code, rows = verified(tmp_path / "slim")
    assert code == 0
    assert rows["ONNX file passes the checker"]["passed"] is None
    edit_report(tmp_path / "slim", lambda report: report["after"].update(onnx_bytes=1))
    code, rows = verified(tmp_path / "slim")
    assert code == 4
    assert rows["ONNX file passes the checker"]["passed"] is False


def test_a_plan_that_misses_its_budget(
    verified: Verified, run: Callable[..., Any], slim: Path, tmp_path: Path
) -> None:
    """The files agree with one another, but not with what the plan says that it was made for."""
    for kind, said, passes in (
        ("ratio", 0.5, True),
        ("ratio", 0.1, False),
        ("macs", 0.1, False),
        ("params", 0.99, True),
    ):
        plan = json.loads((slim / "plan.json").read_text())
        plan["request"]["budget"] = {kind: said}
        plan["request"].pop("multiples", None)
        plan["request"]["align"] = 1
        (slim / "plan.json").write_text(json.dumps(plan))
        code, rows = verified(slim)
        assert rows[f"{kind} budget of the plan is met"]["passed"] is passes, (kind, said)
        assert code == (0 if passes else 4)
