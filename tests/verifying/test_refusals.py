"""A rule is said to be wrong only where two values differ that both could be computed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.cutting import cut
from graphprune.verifying import Check, Verdict

RULE = "a rule is wrong"


class FloatOnly(nn.Module):
    """An operator of torch that has no kernel for float64."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 16), nn.Linear(16, 4)
        for name, value in {"low": -4.0, "high": 4.0, "scale": 0.1}.items():
            self.register_buffer(name, torch.tensor([value]))
        self.register_buffer("zero", torch.tensor([0], dtype=torch.int32))
        self.register_buffer("on", torch.tensor([1]))
        self.register_buffer("off", torch.tensor([0]))

    def forward(self, x: Tensor) -> Tensor:
        buffers = (self.on, self.off, self.low, self.high, self.scale, self.zero)
        return self.b(
            self.a(x).relu() + torch.fused_moving_avg_obs_fake_quant(x, *buffers, 0.01, -128, 127, 0).sum()
        )


def test_without_a_kernel_for_float64_the_models_own_dtype_is_taken() -> None:
    torch.manual_seed(0)
    model, x = FloatOnly(), torch.randn(2, 6)
    result = gp.shrink(model, x, ratio=0.5)
    (check,) = [check for check in result.verdict.checks if check.name == "random parameters, every node"]
    assert check.passed
    assert check.limit == 1e-4
    kept = result.plan.kept["a.weight"][0]
    with torch.no_grad():
        hidden = (x @ model.a.weight[kept].T + model.a.bias[kept]).relu() + x.sum()
        expected = hidden @ model.b.weight[:, kept].T + model.b.bias
    assert len(kept) == 8
    torch.testing.assert_close(result.model(x), expected)


@pytest.fixture
def graph() -> gp.DependencyGraph:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))
    return gp.trace(model, torch.randn(2, 6))


def refused(
    graph: gp.DependencyGraph, monkeypatch: pytest.MonkeyPatch, check: Check, fails: Any
) -> gp.VerificationError:
    """The error where ``check`` fails, and its repetition on the groups for which ``fails`` holds."""
    again = lambda graph, plan, slim, seed: Check(check.name, not fails(plan), 1.0, 0.0)  # noqa: E731
    monkeypatch.setattr(cut, "check_random", again)
    plan = gp.shrink(graph, ratio=0.5).plan
    with pytest.raises(gp.VerificationError) as caught:
        cut.cut(graph, plan, proof=lambda made: Verdict((check,)))
    return caught.value


def cuts(plan: gp.Plan) -> bool:
    return any(size < 16 for size in plan.sizes.values())


def test_values_that_differ(graph: gp.DependencyGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    differs = Check("every node", False, 0.5, 1e-10, "first difference at aten.relu")
    error = refused(graph, monkeypatch, differs, cuts)
    assert error.message.startswith("the slim model is not what was asked for: every node: FAILED, 0.5")
    assert error.message.endswith("; groups 0.weight:0")
    assert error.remedy == f"nothing was written; protect these layers, and report the model: {RULE}"


def test_what_is_left_does_not_run(graph: gp.DependencyGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Check("every node", False, float("inf"), 1e-10, "cannot run aten.linear: sizes", ran=False)
    error = refused(graph, monkeypatch, stuck, cuts)
    assert error.message.startswith("the slim model cannot be compared with the original: every node")
    assert "groups 0.weight:0" in error.message
    assert error.remedy.endswith("report the model: what is left of it does not run")


def test_what_does_not_run_whatever_is_cut(
    graph: gp.DependencyGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = Check("every node", False, float("inf"), 1e-10, "cannot run aten.matmul: dtypes", ran=False)
    error = refused(graph, monkeypatch, stuck, lambda plan: True)
    assert "cannot run aten.matmul: dtypes" in error.message
    assert "groups" not in error.message
    assert error.remedy == "nothing was written; report the model: it does not run as the check needs it"
