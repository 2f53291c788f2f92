"""The verdict's backward run: a slim model learns as the masked original does, or it is told that it does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import graphprune as gp
from graphprune.capture.program import Program
from graphprune.capture.raising import raise_program
from graphprune.planning import Plan, make_plan
from graphprune.rewriting import rewrite
from graphprune.verifying import Check, verify
from graphprune.verifying.gradients import NAME

ATEN = torch.ops.aten


class Net(nn.Module):
    """Norms that are restricted, attention, a residual stream, a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8)
        self.one, self.two = nn.Conv2d(8, 6, 1), nn.Conv2d(8, 6, 1)
        self.q, self.k, self.v = nn.Linear(12, 8), nn.Linear(12, 8), nn.Linear(12, 8)
        self.after, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.norm(self.stem(x)))
        x = torch.cat([self.one(x), self.two(x).tanh()], 1).flatten(2).transpose(1, 2)
        y = F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))
        return self.head(self.after(y) * y.softmax(-1)).mean(1)


def _halved(model: nn.Module, inputs: Tensor) -> tuple[gp.DependencyGraph, Plan, Program]:
    torch.manual_seed(0)
    graph = gp.trace(model, inputs)
    chosen = {
        group.name: torch.randperm(group.size)[: group.size // 2].sort().values
        for group in graph.groups
        if group.fibre is None
    }
    plan = make_plan(graph, chosen)
    return graph, plan, rewrite(graph, plan)


def _check(graph: gp.DependencyGraph, plan: Plan, slim: Program, module: fx.GraphModule) -> Check:
    (check,) = [check for check in verify(graph, plan, slim, module).checks if check.name == NAME]
    return check


def test_gradients_are_those_of_the_masked_original() -> None:
    """By hand: of a linear network, whose gradients are known in closed form."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 6, bias=False), nn.Linear(6, 2, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x))

    model = Two()
    graph, plan, slim = _halved(model, torch.zeros(2, 4))
    module = raise_program(slim)
    assert _check(graph, plan, slim, module).passed
    kept = plan.kept["a.weight"][0]
    x = torch.randn(5, 4)
    module(x).sum().backward()
    a, b = model.a.weight.detach(), model.b.weight.detach()
    wanted = b.sum(0)[kept][:, None] * x.sum(0)
    torch.testing.assert_close(module.a.weight.grad, wanted)
    torch.testing.assert_close(module.b.weight.grad, (x @ a[kept].T).sum(0).expand(2, -1))


def test_every_kind_of_operator() -> None:
    graph, plan, slim = _halved(Net(), torch.zeros(2, 3, 8, 8))
    check = _check(graph, plan, slim, raise_program(slim))
    assert check.passed
    assert 0 < check.figure < 1e-12
    assert "worst is that of" in check.detail


def _detached(module: fx.GraphModule) -> None:
    node = next(node for node in module.graph.nodes if node.op == "call_module" and node.target == "one")
    with module.graph.inserting_after(node):
        cut = module.graph.call_method("detach", (node,))
    node.replace_all_uses_with(cut, delete_user_cb=lambda user: user is not cut)


def _one_channel_detached(module: fx.GraphModule) -> None:
    """A wrong slice on the way back: the first channel is cut off, and put back as it was."""
    node = next(node for node in module.graph.nodes if node.op == "call_module" and node.target == "stem")
    with module.graph.inserting_after(node):
        first = module.graph.call_function(ATEN.slice.Tensor, (node, 1, 0, 1))
    with module.graph.inserting_after(first):
        cut = module.graph.call_method("detach", (first,))
    with module.graph.inserting_after(cut):
        whole = module.graph.call_function(ATEN.slice_scatter.default, (node, cut, 1, 0, 1))
    node.replace_all_uses_with(whole, delete_user_cb=lambda user: user not in (first, whole))


def _without_derivative(module: fx.GraphModule) -> None:
    node = next(node for node in module.graph.nodes if node.op == "call_module" and node.target == "stem")
    with module.graph.inserting_after(node):
        empty = module.graph.call_function(torch.zeros_like, (node,))
    with module.graph.inserting_after(empty):
        copied = module.graph.call_function(ATEN.copy.default, (empty, node))
    node.replace_all_uses_with(copied, delete_user_cb=lambda user: user not in (empty, copied))


def _doubled(module: fx.GraphModule) -> None:
    """``2 * x - x.detach()``: the value is right, and its gradient is twice what it should be."""
    node = next(node for node in module.graph.nodes if node.op == "call_module" and node.target == "after")
    with module.graph.inserting_after(node):
        twice = module.graph.call_function(torch.mul, (node, 2))
    with module.graph.inserting_after(twice):
        cut = module.graph.call_method("detach", (node,))
    with module.graph.inserting_after(cut):
        same = module.graph.call_function(torch.sub, (twice, cut))
    node.replace_all_uses_with(same, delete_user_cb=lambda user: user not in (twice, cut))


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        (_detached, "one."),
        (_one_channel_detached, "stem."),
        (_without_derivative, "the slim model cannot be differentiated"),
        (_doubled, "worst is that of"),
    ],
)
def test_planted_errors_that_no_output_shows(plant: Callable[[fx.GraphModule], None], says: str) -> None:
    graph, plan, slim = _halved(Net(), torch.zeros(2, 3, 8, 8))
    module = raise_program(slim)
    plant(module)
    module.recompile()
    verdict = verify(graph, plan, slim, module)
    (failed,) = [check for check in verdict.checks if not check.passed]
    assert failed.name == NAME
    assert says in failed.detail


class Unlearnable(nn.Module):
    def __init__(self, of: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.of = nn.Linear(4, 6), nn.Linear(6, 3), of

    def forward(self, x: Tensor) -> Tensor:
        return self.of(self.b(self.a(x).relu()))


@pytest.mark.parametrize(
    "of",
    [
        lambda y: y.argmax(-1),
        lambda y: y.detach(),
        lambda y: (y > 0).float(),
    ],
)
def test_a_model_that_cannot_be_differentiated_is_told_so(of: Callable[[Tensor], Tensor]) -> None:
    graph, plan, slim = _halved(Unlearnable(of), torch.zeros(2, 4))
    verdict = verify(graph, plan, slim, raise_program(slim))
    assert verdict.passed
    (check,) = [check for check in verdict.checks if check.name == NAME]
    assert "not compared: the model cannot be differentiated" in check.detail


def test_a_gradient_that_cancels_is_no_error() -> None:
    """A bias before a norm over the whole row: its gradient is zero but for rounding."""

    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.shift, self.b = nn.Linear(4, 6), nn.Parameter(torch.zeros(1)), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(F.layer_norm(self.a(x) + self.shift, (6,)))

    graph, plan, slim = _halved(Normed(), torch.zeros(3, 4))
    assert _check(graph, plan, slim, raise_program(slim)).passed
