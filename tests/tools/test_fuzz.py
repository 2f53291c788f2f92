"""Two hundred random models, and planted errors, each of which the oracles must find."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import graphprune as gp

TOOLS = Path(__file__).parents[2] / "tools"
SHARDS, COUNT = 10, 200
SMALL = (2, 3, 4)  # steps; heads come beside them
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    sys.path.insert(0, str(TOOLS))
    try:
        import fuzz
    finally:
        sys.path.remove(str(TOOLS))
    return fuzz


@pytest.mark.parametrize("shard", range(SHARDS))
def test_random_models_are_exact(tool: ModuleType, shard: int) -> None:
    found = [tool.measured(seed, every=50, lengths=SMALL) for seed in range(shard, COUNT, SHARDS)]
    drawn = [line for line in found if line is not None]
    assert len(drawn) > 0.9 * len(found)
    faults = [line for line in drawn if line["outcome"] not in ("exact", "nothing") or line["flags"]]
    assert not [(line["seed"], line["outcome"], line["reason"], line["flags"]) for line in faults]
    assert sum(line["outcome"] == "exact" for line in drawn) > 0.7 * len(drawn)


@pytest.mark.parametrize("seed", [26, 373])
def test_a_batch_norm_makes_no_zero_of_zero(tool: ModuleType, seed: int) -> None:
    """These have one without weights, whose mean stays where the unit before it is zero."""
    from fuzz_draw import draw

    model = draw(seed)
    assert "affine=False" in model.source
    assert tool.judged(model, 10**9).outcome == "exact"


@dataclass
class Case:
    """A random model that is shrunk without a fault."""

    tool: ModuleType
    model: Any
    module: nn.Module
    result: gp.Result

    def judged(self, result: Any = None) -> tuple[str, dict[str, str]]:
        """What the oracles say: the outcome, and the flags."""
        check = sys.modules["fuzz_check"]
        record = check.Record()
        try:
            check.judge(self.model, self.module, result or self.result, record)
        except check.Finding as finding:
            return finding.kind, {finding.text: ""}
        return "exact", record.flags


def written(tool: ModuleType) -> Any:
    """A model as it may be drawn."""
    layers = {
        "l0": "nn.Conv2d(3, 8, 3, padding=1)",
        "l1": "nn.BatchNorm2d(8)",
        "l2": "nn.Conv2d(8, 8, 3, padding=1)",
        "l3": "nn.Linear(8, 12)",
        "l4": "nn.LayerNorm(12)",
        "l5": "nn.Linear(12, 6)",
        "l6": "nn.Linear(6, 5)",
    }
    steps = {
        "v1": "F.relu(self.l1(self.l0(x0)))",
        "v2": "v1 + self.l2(v1)",
        "v3": "v2.mean((2, 3))",
        "v4": "self.l3(v3)",
        "v5": "self.l4(v4)",
        "v6": "v5.softmax(-1)",
        "v7": "v6 * v4",
        "v8": "F.gelu(self.l5(v7))",
        "v9": "self.l6(v8)",
        "v10": "torch.sigmoid(v9)",
    }
    return tool.Model(
        inputs=(sys.modules["fuzz_model"].Input("x0", (-1, 3, 8, 8)),),
        layers={name: f"self.{name} = {code}" for name, code in layers.items()},
        steps={name: f"{name} = {code}" for name, code in steps.items()},
        outputs=("v9", "v10"),
        form="dict",
        batch=2,
        kinds={name: "written" for name in steps},
        seed=1,
    )


@pytest.fixture(scope="module")
def case(tool: ModuleType) -> Case:
    model = written(tool)
    module = model.build()
    result = gp.shrink(module, model.example(), ratio=0.5, importance="random")
    made = Case(tool, model, module, result)
    assert made.judged() == ("exact", {})
    assert result.plan.kept
    return made


@dataclass
class Planted:
    """A result with something else in the place of its model or plan."""

    model: Any
    plan: Any
    graph: Any


def planted(result: gp.Result, **others: Any) -> Planted:
    return Planted(
        **{"model": copy.deepcopy(result.model), "plan": result.plan, "graph": result.graph, **others}
    )


def cut_weight(case: Case) -> tuple[str, int]:
    """A weight that lost columns."""
    return next((name, 1) for name, dims in case.result.plan.kept.items() if 1 in dims)


@pytest.mark.parametrize("named", [True, False])
def test_a_changed_weight_is_found(case: Case, monkeypatch: pytest.MonkeyPatch, named: bool) -> None:
    """By the slices; and by the outputs alone."""
    wrong = planted(case.result)
    name, _ = cut_weight(case)
    with torch.no_grad():
        wrong.model.get_parameter(name).view(-1)[0] += 0.01
    if not named:
        monkeypatch.setattr(sys.modules["fuzz_check"], "sliced", lambda *_: None)
    outcome, said = case.judged(wrong)
    assert outcome == "wrong"
    assert next(iter(said)).startswith(f"{name} is not" if named else "outputs")


@pytest.mark.parametrize("named", [True, False])
def test_a_wrong_slice_is_found(case: Case, monkeypatch: pytest.MonkeyPatch, named: bool) -> None:
    wrong = planted(case.result)
    name, dim = cut_weight(case)
    with torch.no_grad():
        weight = wrong.model.get_parameter(name)
        weight.copy_(weight.roll(1, dim))
    if not named:
        monkeypatch.setattr(sys.modules["fuzz_check"], "sliced", lambda *_: None)
    assert case.judged(wrong)[0] == "wrong"


def test_a_plan_that_forgets_a_tensor_is_found(case: Case) -> None:
    """The masked original then keeps what the slim model lacks."""
    name, _ = cut_weight(case)
    plan = copy.copy(case.result.plan)
    kept = {tensor: dims for tensor, dims in plan.kept.items() if tensor != name}
    object.__setattr__(plan, "kept", kept)
    assert case.judged(planted(case.result, plan=plan))[0] == "wrong"


def test_frozen_parameters_are_found(case: Case) -> None:
    wrong = planted(case.result)
    wrong.model.get_parameter(cut_weight(case)[0]).requires_grad_(False)
    assert case.judged(wrong)[0] == "wrong"


class Changed(nn.Module):
    """A slim model with something done to what it returns."""

    def __init__(self, slim: nn.Module, change: Callable[..., Any]) -> None:
        super().__init__()
        self.slim, self.change = slim, change
        self._parameters = dict(slim.named_parameters())
        self._buffers = dict(slim.named_buffers())

    def named_parameters(self, *args: Any, **kwargs: Any) -> Any:
        return self.slim.named_parameters(*args, **kwargs)

    def named_buffers(self, *args: Any, **kwargs: Any) -> Any:
        return self.slim.named_buffers(*args, **kwargs)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.change(self.slim, *inputs)


def detached(slim: nn.Module, *inputs: torch.Tensor) -> Any:
    return torch.utils._pytree.tree_map(torch.detach, slim(*inputs))


def scaled(slim: nn.Module, *inputs: torch.Tensor) -> Any:
    """The right numbers, and twice the gradient."""
    return torch.utils._pytree.tree_map(lambda leaf: 2 * leaf - leaf.detach(), slim(*inputs))


def fixed(slim: nn.Module, *inputs: torch.Tensor) -> Any:
    assert inputs[0].shape[0] == BATCH[0], "another batch"
    return slim(*inputs)


BATCH = [0]


@pytest.mark.parametrize(
    ("change", "flag"), [(detached, "untrainable"), (scaled, "untrainable"), (fixed, "batch fixed")]
)
def test_other_faults_are_found(case: Case, change: Callable[..., Any], flag: str) -> None:
    BATCH[0] = case.model.batch
    wrong = planted(case.result, model=Changed(copy.deepcopy(case.result.model), change))
    outcome, flags = case.judged(wrong)
    assert outcome == "exact"
    assert set(flags) == {flag}


def test_a_needless_pin_is_found(case: Case) -> None:
    simple = sys.modules["fuzz_check"].simple_layers(case.model, case.module)
    assert simple == ["l5"]
    graph = gp.trace(case.module, case.model.example())
    name = simple[0]
    result = gp.shrink(graph, None, ratio=0.5, importance="random", protect=[name])
    assert case.judged(result) == ("exact", {"needless pin": name})


def test_a_refusal_of_what_can_surely_be_pruned_is_false(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise gp.CaptureError("not today", "come again")

    monkeypatch.setattr(gp, "trace", refuse)
    record = case.tool.judged(case.model, 50)
    assert (record.outcome, record.reason) == ("false refusal", "CaptureError: not today — come again")


def test_a_crash_is_one(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gp, "shrink", lambda *_, **__: {}["nothing"])
    record = case.tool.judged(case.model, 50)
    assert (record.outcome, record.reason) == ("crash", "KeyError: 'nothing'")


def test_a_failure_is_reduced_to_its_cause(tool: ModuleType) -> None:
    """A wrong softmax, say, is found in a model of a single step."""
    model = written(tool)

    def same(candidate: Any) -> bool:
        return any("softmax" in statement for statement in candidate.steps.values())

    small = sys.modules["fuzz_reduce"].reduced(model, same)
    assert same(small)
    assert len(small.steps) == 2  # and a layer, without which there is nothing to prune
    assert tool.Model.from_dict(json.loads(json.dumps(small.to_dict()))) == small
    small.build()(*small.example())


def test_runs_go_on_and_write_a_table(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, page = tmp_path / "new" / "lines.jsonl", tmp_path / "fuzzing.md"
    calls = []

    def found(seed: int, every: int) -> dict[str, Any] | None:
        calls.append(seed)
        if seed == 4:
            return None
        flags = {"untrainable": "gradient of l3.weight: 0.5"} if seed == 2 else {}
        return {
            "seed": seed,
            "outcome": "exact",
            "reason": "",
            "flags": flags,
            "operators": 20,
            "kinds": ["linear"],
        }

    monkeypatch.setattr(tool, "measured", found)

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["fuzz.py", "--out", str(out), *arguments])
        return tool.main()

    assert run("--count", "6", "--shard", "0/2") == 1  # a fault
    assert run("--count", "6", "--shard", "1/2") == 0
    assert calls == [0, 2, 4, 1, 3, 5]
    assert run("--count", "7") == 0
    assert calls[6:] == [6]
    run("--table", str(page))
    text = page.read_text()
    assert "**6 models**, of 20.0 operators" in text
    assert "| exact | 6 |" in text
    assert "| untrainable | gradient of …: n | 1 | 2 |" in text
    page.write_text(text.replace("# Random models\n", "# Random models\n\nBy hand.\n"))
    run("--table", str(page))
    assert page.read_text().count("By hand.") == 1
    assert page.read_text().count("**6 models**") == 1
