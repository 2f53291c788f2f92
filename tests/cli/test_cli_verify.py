"""``graphprune verify``: what it proves, what it finds, and what it says it did not check."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune import exporting

Verified = Callable[..., tuple[int, dict[str, dict[str, Any]]]]

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
    assert "Verified: 11 passed, 0 failed, 1 not checked" in result.stdout
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
    assert f"{slim}: 1 of 11 checks failed, first {REPLAYED!r} — do not use this result" in result.stderr
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
    edit_report(slim, lambda report: report.update(source=source, after=[]))
    code, rows = verified(slim)
    assert rows[REPLAYED]["passed"] is rows["parameters as reported"]["passed"] is None
    assert code == (4 if isinstance(source, dict) and "inputs" in source else 0)


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
