"""Bad input: exit code, one line with cause and remedy, and nothing written."""

from __future__ import annotations

import importlib.util
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

Refused = Callable[..., str]
HUGE = 99_999_999_999_999_999_999

BUDGETS = (
    "give any of macs, params, onnx_bytes, memory, latency, or exactly one of ratio, keep, lossless and plan"
)


def needs(package: str) -> pytest.MarkDecorator:
    # not importorskip: torchvision cannot be imported beside a CPU torch before the zoo has stepped in
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


@pytest.fixture
def out(tmp_path: Path) -> Any:
    """Where a result must not appear, nor anything beside it."""
    place = tmp_path / "place"
    place.mkdir()
    yield place / "out"
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), f"no budget is given — {BUDGETS}"),
        (("--macs", 0.5, "--ratio", 0.5), f"macs and ratio are given together — {BUDGETS}"),
        (("--params", 0.5, "--plan", "p.json"), f"params and plan are given together — {BUDGETS}"),
        (("--macs", 1.5), "macs=1.5 is out of range — give the share to keep, between 0 and 1"),
        (("--params", 0), "params=0.0 is out of range — give the share to keep, between 0 and 1"),
        (("--ratio", 1), "ratio=1.0 is out of range — give the share of units to remove, between 0 and 1"),
        (("--macs", "nan"), "macs=nan is out of range"),
        (("--keep", 0.5, "--ratio", 0.5), "keep and ratio are given together — give one of them: keep=0.7"),
        (("--keep", 0), "keep=0.0 is out of range — give the share of units to keep, between 0 and 1"),
        (
            ("--keep", "fc"),
            "keep='fc' is no share — write it as 0.5 or 50%; several values are for ratio, layers",
        ),
        (("--keep", 0.5, "--macs", 0.5), f"macs and ratio are given together — {BUDGETS}"),
        (("--macs", 0.5, "--align", 0), "align=0 is not a positive whole number — give align=1 or more"),
        (("--macs", 0.5, "--min-keep", -2), "min_keep=-2 is not a positive whole number"),
        (
            ("--macs", 0.5, "--align", HUGE),
            f"align={HUGE} is out of range — it lies between 1 and 2147483647",
        ),
        (
            ("--macs", 0.5, "--align", "1e3"),
            "align='1e3' is no number — give a multiple, 1 for any width, or",
        ),
        (("--macs", 0.5, "--min-keep", HUGE), f"min_keep={HUGE} is out of range"),
        (("--macs", 0.5, "--seed", -1), "seed=-1 is not a whole number — give seed=0 or more"),
        (("--macs", 0.5, "--seed", HUGE), f"seed={HUGE} is out of range — it lies between 0 and"),
        (("--macs", 0.5, "--seed", "-1e23"), "Invalid value for '--seed': Input should be a valid integer"),
        (("--macs", 0.5, "--threads", HUGE), f"threads={HUGE} is out of range"),
        (("--macs", 0.5, "--batch", -HUGE), f"batch=-{HUGE} is not a positive whole number"),
        (("--macs", 0.5, "--trials", HUGE), f"trials={HUGE} is out of range"),
        (("--macs", 0.5, "--rounds", HUGE), f"rounds={HUGE} is out of range"),
        (("--macs", f"{HUGE**20}M"), "macs=inf is out of range"),
        (("--macs", 0.5, "--min-metric", "nan", "--tune", "zoo:digits"), "min_metric=nan is out of range"),
        (("--macs", 0.5, "--input-shape", f"1,{HUGE}"), f"--input-shape '1,{HUGE}' is not a shape"),
        (
            ("--macs", 0.5, "--importance", "wanda", "--calibration", ".", "--std", "0,1,1"),
            "std=0 is out of range — it lies between",
        ),
        (
            ("--macs", 0.5, "--importance", "wanda", "--calibration", ".", "--mean", "inf,1,1"),
            "mean=inf is out of range",
        ),
        (("--macs", 0.5, "--importance", "l3"), "unknown importance 'l3' — use one of l1, l2, linf"),
        (("--macs", 0.5, "--input-shape", "1,x"), "--input-shape '1,x' is not a shape — give positive whole"),
        (("--macs", 0.5, "--input-shape", "0,784"), "--input-shape '0,784' is not a shape"),
        (
            ("--plan", "nowhere.json"),
            "the plan nowhere.json cannot be read: No such file or directory — give",
        ),
        (("--plan", "p.json", "--align", 8), "--align has no effect on --plan — leave it out"),
    ],
)
def test_options(refused: Refused, out: Path, options: tuple[object, ...], said: str) -> None:
    assert said in refused("shrink", "zoo:mlp", *options, "-o", out)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("zoo:mtcnn_rnte", "the zoo has no model 'mtcnn_rnte' — did you mean mtcnn_rnet"),
        ("tf:bert", "MODEL 'tf:bert' has no known prefix 'tf' — use zoo:NAME, torchvision:NAME, timm:NAME"),
        (
            "weights.pth",
            "there is no file weights.pth — check the path; weights go to their model with --weights",
        ),
        ("nowhere.py", "there is no file nowhere.py — check the path in MODEL"),
        ("nowhere.py:make", "there is no file nowhere.py — check the path in MODEL"),
    ],
)
@pytest.mark.parametrize("command", ["shrink", "inspect", "explain"])
def test_models(refused: Refused, out: Path, command: str, model: str, said: str) -> None:
    options = {"shrink": ("--macs", 0.5, "-o", out), "explain": ("layer",)}.get(command, ())
    assert said in refused(command, model, *options)


@needs("timm")
def test_unknown_bare_name_is_looked_up_everywhere(refused: Refused, out: Path) -> None:
    line = refused("shrink", "resnte50", "--macs", 0.5, "-o", out)
    assert line.startswith(
        "there is no model 'resnte50' in the zoo, torchvision or timm — did you mean resnet50"
    )


def test_unreachable_budget_names_the_smallest(refused: Refused, out: Path) -> None:
    line = refused("shrink", "zoo:digits_resnet", "--macs", 0.001, "--align", 16, "-o", out)
    assert "the smallest model keeps 0.16" in line
    assert "ask for macs=0.17 or more, or loosen align, min_keep or protect" in line


@pytest.mark.parametrize("shape", ["1,3,8,8", "1,64"])
def test_wrong_input_shape(refused: Refused, out: Path, shape: str) -> None:
    line = refused("shrink", "zoo:digits_resnet", "--macs", 0.5, "--input-shape", shape, "-o", out)
    assert f"the model does not run on the example inputs ({shape.replace(',', ', ')})" in line
    assert "--input-shape" in line


def test_two_shapes_for_one_input(refused: Refused, out: Path) -> None:
    options = ("--input-shape", "1,784", "--input-shape", "1,784")
    line = refused("shrink", "zoo:mlp", "--macs", 0.5, *options, "-o", out)
    assert "2 input shapes are given for a model of 1 input tensors — give --input-shape once" in line


def test_pattern_that_matches_nothing(refused: Refused, out: Path) -> None:
    line = refused("shrink", "zoo:digits_resnet", "--macs", 0.5, "--protect", "blok.0.*", "-o", out)
    assert line.startswith("protect='blok.0.*' matches no layer — did you mean blocks.")


def test_plan_of_another_model(refused: Refused, out: Path, result_folder: Path) -> None:
    refused("shrink", "zoo:mlp", "--plan", result_folder / "plan.json", "-o", out)


def test_plan_that_is_none(refused: Refused, out: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    for content in (b"hello", b"[]", b"\xff\xfe"):
        plan.write_bytes(content)
        assert "give a plan.json that graphprune wrote" in refused(
            "shrink", "zoo:mlp", "--plan", plan, "-o", out
        )


def test_directories_are_refused_before_the_model_is_built(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*_: object) -> None:
        raise AssertionError("the model is built first")

    monkeypatch.setattr("graphprune.cli.shrink.resolve", build)
    file = tmp_path / "file"
    file.write_text("mine")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    for place, said in (
        (file, "is a file — choose a new or empty directory"),
        (file / "out", f"{file} cannot be written: Not a directory"),
        (mine, "is not empty and no earlier result — choose a new or empty directory"),
    ):
        assert said in refused("shrink", "zoo:mlp", "--macs", 0.5, "-o", place)
    assert (mine / "thesis.txt").read_text() == file.read_text() == "mine"


def test_weights_that_do_not_fit(refused: Refused, out: Path, tmp_path: Path) -> None:
    file = tmp_path / "other.pt"
    state = {
        "0.weight": torch.zeros(3, 3),
        "0.bias": torch.zeros(300),
        **dict.fromkeys("abcd", torch.zeros(1)),
    }
    torch.save(state, file)
    line = refused("shrink", "zoo:mlp", "--macs", 0.5, "--weights", file, "-o", out)
    assert f"the weights {file} do not fit zoo:mlp: " in line
    assert "2 tensors missing (2.weight, 2.bias)" in line
    assert "4 tensors not in the model (a, b, c, …)" in line
    assert "1 tensor of another shape (0.weight [3, 3] instead of [300, 784])" in line


def test_pickles_are_not_loaded(refused: Refused, out: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    for save in (
        lambda: torch.save(nn.Linear(2, 2), file),
        lambda: torch.save(nn.Linear(2, 2), file, _use_new_zipfile_serialization=False),
        lambda: file.write_bytes(pickle.dumps({"weight": print})),
    ):
        save()
        line = refused("shrink", "zoo:mlp", "--macs", 0.5, "--weights", file, "-o", out)
        assert "pickles are not loaded, since unpickling can run any code — " in line
        assert "torch.save(model.state_dict(), 'weights.pt')" in line


@pytest.mark.parametrize("content", [b"", b"hello, world", b"PK\x03\x04 no archive"])
def test_files_that_hold_no_weights(refused: Refused, out: Path, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(content)
    line = refused("shrink", "zoo:mlp", "--macs", 0.5, "--weights", file, "-o", out)
    assert "give a .safetensors file, or what torch.save(model.state_dict(), …) wrote" in line


def test_missing_weights(refused: Refused, out: Path) -> None:
    line = refused("shrink", "zoo:mlp", "--macs", 0.5, "--weights", "nowhere.pt", "-o", out)
    assert line == "there is no weights file nowhere.pt — give a file, or --weights published or none"
    line = refused("shrink", "zoo:mlp", "--macs", 0.5, "--weights", "published", "-o", out)
    assert line == "the model mlp has no published weights — use --weights none for random ones"


@needs("torchvision")
def test_weights_that_cannot_be_downloaded(
    refused: Refused, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    line = refused("shrink", "torchvision:squeezenet1_1", "--macs", 0.5, "-o", out)
    assert line.endswith("give the file with --weights FILE, or take random weights with --weights none")


def test_export_and_verification_failures_have_their_own_codes(
    refused: Refused, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graphprune import exporting
    from graphprune.ground.errors import ExportError, VerificationError
    from graphprune.results import result

    wrong, lacking = VerificationError("wrong", "report it"), ExportError("no such operator", "leave it out")
    for error, module, place in ((wrong, result, "write_checked"), (lacking, exporting, "save_model")):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(module, place, fail)
            line = refused("shrink", "zoo:mlp", "--macs", 0.5, "-o", out, code=error.exit_code)
        assert line == str(error)


def test_errors_as_json(run: Callable[..., Any], out: Path) -> None:
    result = run("shrink", "zoo:mlp", "--macs", 2, "--json", "-o", out)
    assert result.exit_code == 2
    assert json.loads(result.stdout) == {
        "error": {
            "type": "InputError",
            "message": "macs=2.0 is out of range",
            "remedy": "give the share to keep, between 0 and 1",
            "exit_code": 2,
        }
    }
    assert result.stderr.count("\n") == 1
