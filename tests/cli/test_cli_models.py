"""Names of models and shapes of inputs."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from graphprune.cli import models
from graphprune.cli.models import resolve
from graphprune.cli.shapes import describe_inputs, reshaped, restore_inputs
from graphprune.ground.errors import InputError

needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")


def test_zoo_first() -> None:
    source = resolve("mlp")
    assert (source.spec, source.weights) == ("zoo:mlp", "none")
    assert source.notes == ("zoo:mlp has no published weights: random ones are used",)
    assert resolve("zoo:mlp", "none").notes == ()
    assert resolve("digits_resnet").weights == "published"


def test_seed_makes_the_same_random_weights() -> None:
    first, again, other = (resolve("mlp", seed=seed).model.state_dict() for seed in (3, 3, 4))
    assert torch.equal(first["0.weight"], again["0.weight"])
    assert not torch.equal(first["0.weight"], other["0.weight"])


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("squeezenet1_1", "torchvision:squeezenet1_1"),
        ("torchvision:squeezenet1_1", "torchvision:squeezenet1_1"),
        ("test_vit", "timm:test_vit"),
        ("test_vit.r160_in1k", "timm:test_vit.r160_in1k"),
        ("timm:test_vit", "timm:test_vit"),
    ],
)
@needs_timm
def test_torchvision_then_timm(name: str, spec: str) -> None:
    source = resolve(name, "none")
    assert (source.spec, source.weights) == (spec, "none")
    assert not source.model.training
    assert source.inputs[0][0].shape[1:] in {(3, 224, 224), (3, 160, 160)}


def test_libraries_that_are_not_installed_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "timm" else real(name, *rest)
    )
    with pytest.raises(InputError, match=r"in the zoo, torchvision or timm \(timm not installed\)"):
        models.resolve("test_vit")


def test_shapes_keep_the_kind_of_each_input() -> None:
    example = ((torch.zeros(1, 4), torch.tensor([[3, 9]])), {"mask": torch.tensor([[True]]), "flag": None})
    args, kwargs = reshaped(example, [(2, 5)], seed=0)
    assert [tuple(tensor.shape) for tensor in (*args, kwargs["mask"])] == [(2, 5)] * 3
    assert args[0].dtype == torch.float32
    assert set(args[1].flatten().tolist()) <= set(range(3, 10))
    assert kwargs["mask"].all()
    assert kwargs["flag"] is None
    args, kwargs = reshaped(example, [(1, 4), (1, 2), (1, 1)], seed=0)
    assert [tuple(tensor.shape) for tensor in (*args, kwargs["mask"])] == [(1, 4), (1, 2), (1, 1)]


def test_inputs_survive_json() -> None:
    args = (torch.randn(2, 3), [torch.tensor([5, 7])], (torch.ones(1, dtype=torch.float16),), 3, None, "a")
    inputs = args, {"x": {"y": torch.tensor([True])}}
    description = json.loads(json.dumps(describe_inputs(inputs)))
    restored = restore_inputs(description)
    assert describe_inputs(restored).keys() == description.keys()
    assert restored[0][0].shape == (2, 3)
    assert set(restored[0][1][0].tolist()) <= {5, 6, 7}
    assert restored[0][2][0].dtype == torch.float16
    assert restored[0][3:] == (3, None, "a")
    assert restored[1]["x"]["y"].tolist() == [True]


@pytest.mark.parametrize("damaged", [{}, {"args": 3, "kwargs": {}}, {"args": [{}], "kwargs": {}}])
def test_damaged_description_of_inputs(damaged: Any) -> None:
    with pytest.raises(InputError, match="the recorded inputs cannot be read"):
        restore_inputs(damaged)


@pytest.mark.parametrize("dtype", ["nothing", "nn", "save"])
def test_dtypes_are_nothing_but_dtypes(dtype: str) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        restore_inputs({"args": [{"shape": [1], "dtype": dtype}], "kwargs": {}})


def test_zoo_table_and_document(run: Callable[..., Any]) -> None:
    table = run("zoo")
    assert table.exit_code == 0
    assert max(map(len, table.stdout.splitlines())) <= 80
    entries = json.loads(run("zoo", "--json").stdout)["models"]
    assert all(entry["name"] in table.stdout for entry in entries)
    weights = {entry["name"]: entry["weights"] for entry in entries}
    assert (weights["mlp"], weights["digits_resnet"]) == ("random", "published")


def test_zoo_evaluates(run: Callable[..., Any], refused: Callable[..., str]) -> None:
    figures = json.loads(run("zoo", "--evaluate", "digits_resnet", "--json").stdout)["figures"]
    assert figures["accuracy"] > 0.98
    assert "accuracy" in run("zoo", "--evaluate", "zoo:digits_resnet").stdout
    assert "zoo:mlp has no data to evaluate it on — try digits_resnet" in refused("zoo", "--evaluate", "mlp")
    assert "did you mean digits_resnet" in refused("zoo", "--evaluate", "digits_rsnet")


def test_zoo_names_what_to_install(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "sklearn" else real(name, *rest)
    )
    entries = json.loads(run("zoo", "--json").stdout)["models"]
    assert {entry["name"]: entry["weights"] for entry in entries}[
        "digits_resnet"
    ] == "pip install scikit-learn"
