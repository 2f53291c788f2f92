"""Where gradients are taken at the sizes at which nodes are compared, one run of the masked original serves both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphprune as gp
from graphprune.capture.raising import raise_program
from graphprune.planning import make_plan
from graphprune.rewriting import rewrite
from graphprune.verifying import Check, Claim, Verdict, verify
from graphprune.verifying.backward import chosen_parameters
from graphprune.verifying.claim import Values
from graphprune.verifying.gradients import NAME
from graphprune.verifying.masked import Masked
from graphprune.verifying.nodes import compare_nodes
from graphprune.verifying.tensors import randomised


@torch.library.custom_op("onerun::plain", mutates_args=())
def plain(x: Tensor) -> Tensor:
    return x * 2


def _refuse(ctx: Any, inputs: Any, output: Any) -> None:
    raise RuntimeError("this runs only where autograd takes no note")


plain.register_fake(torch.empty_like)
plain.register_autograd(lambda ctx, grad: grad * 2, setup_context=_refuse)


class Mixed(nn.Module):
    """A norm that is restricted, attention, a batch norm behind a transpose; ``places`` fix how long a row is."""

    def __init__(self, places: bool) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.places = nn.Parameter(torch.zeros(64, 8)) if places else None
        self.qkv, self.after, self.head = nn.Linear(8, 24), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.stem(x)).flatten(2).transpose(1, 2)
        y = y if self.places is None else y + self.places
        q, k, v = self.qkv(y).chunk(3, -1)
        return self.head(self.after(F.scaled_dot_product_attention(q, k, v))).mean(1)


class Written(nn.Module):
    """Writes in place, into what parameters make."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.one(x)
        y[:, 0] = y[:, 1] * 3
        return self.two(y.relu_())


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.three(torch.ops.onerun.plain(self.two(self.one(x).relu())))


IMAGE, ROWS = torch.zeros(2, 3, 8, 8), torch.zeros(2, 4)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each run of a masked original, whether autograd takes note of it."""
    made: list[bool] = []
    run = Masked.run

    def noted(self: Masked, *args: Any) -> Any:
        made.append(self.learns)
        return run(self, *args)

    monkeypatch.setattr(Masked, "run", noted)
    return made


def _halved(model: nn.Module, inputs: Tensor) -> tuple[Claim, Any]:
    graph = gp.trace(model, inputs)
    plan = make_plan(graph, {group.name: torch.arange(group.size // 2) for group in graph.groups})
    slim = rewrite(graph, plan)
    return Claim(graph, plan, slim), raise_program(slim)


def _verdict(claim: Claim, module: Any) -> tuple[Verdict, Check]:
    verdict = verify(claim.graph, claim.plan, claim.slim, module)
    (check,) = [check for check in verdict.checks if check.name == NAME]
    return verdict, check


@pytest.mark.parametrize(
    ("model", "inputs", "expected"),
    [
        (Mixed(True), IMAGE, [False, True]),  # the own parameters, the random ones
        (Mixed(False), IMAGE, [False, False, True]),  # and gradients at smaller sizes
        (Written(), ROWS, [False, True]),
    ],
)
def test_one_run_where_sizes_cannot_be_smaller(
    model: nn.Module, inputs: Tensor, expected: list[bool], runs: list[bool]
) -> None:
    verdict, check = _verdict(*_halved(model, inputs))
    assert verdict.passed
    assert runs == expected
    assert check.figure < 1e-12
    assert "not compared" not in check.detail


@pytest.mark.parametrize(("model", "inputs"), [(Mixed(True), IMAGE), (Written(), ROWS)])
def test_gradients_are_those_of_a_run_of_their_own(model: nn.Module, inputs: Tensor) -> None:
    claim, _ = _halved(model, inputs)
    program, wide = claim.graph.program, torch.float64
    values = Values.of(claim, randomised(program.stored, 0, wide)).held()
    values = replace(values, chosen=chosen_parameters(program, 0))
    given = [torch.randn(inputs.shape, dtype=wide)]
    shared = compare_nodes("random", claim, values, given, wide).original
    alone = Masked(claim, values, given)
    for _ in alone.run(wide):
        pass
    assert shared is not None
    found, expected = shared.gradients(wide, 0), alone.gradients(wide, 0)
    assert found.keys() == expected.keys()
    assert {name for name, _ in model.named_parameters()} <= found.keys()
    for name, gradient in expected.items():
        assert torch.equal(found[name], gradient), name
        assert gradient.any(), name


def test_a_planted_detach_is_found_by_the_shared_run(runs: list[bool]) -> None:
    claim, module = _halved(Mixed(True), IMAGE)
    (node,) = [node for node in module.graph.nodes if node.target == "qkv"]
    with module.graph.inserting_after(node):
        cut = module.graph.call_method("detach", (node,))
    node.replace_all_uses_with(cut, delete_user_cb=lambda user: user is not cut)
    module.recompile()
    verdict, check = _verdict(claim, module)
    assert runs == [False, True, True]  # what has failed on one image is tried on two
    assert [failed.name for failed in verdict.checks if not failed.passed] == [NAME]
    assert check.figure > 0.1


def test_an_operator_that_autograd_stops_is_compared_without_it(runs: list[bool]) -> None:
    verdict, check = _verdict(*_halved(Plain(), ROWS))
    assert verdict.passed
    assert "autograd takes no note" in check.detail
    (nodes,) = [check for check in verdict.checks if check.name == "random parameters, every node"]
    assert nodes.ran
    assert nodes.limit == 1e-10
    assert runs[:3] == [False, True, False]
