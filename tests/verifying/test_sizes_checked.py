"""Programs are compared at two values of each size that varies, and where they do not refuse."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.axes.dependency import build_graph
from graphprune.capture import Program, capture
from graphprune.capture.dimensions import Dimension
from graphprune.ground.arguments import require
from graphprune.verifying.samples import checked_sizes, distinct, random_inputs, shown


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.i, self.o = nn.Linear(6, 16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.i(x).relu())


def program(model: nn.Module, example: Tensor | tuple[Tensor, ...], names: Mapping[str, str]) -> Program:
    """Captured, with ``names`` for dimensions such as "x[1]", and tried where every size is three."""
    found = capture(model.eval(), example)
    dimensions = tuple(dataclasses.replace(d, name=names.get(str(d), "")) for d in found.dimensions)
    three = dict.fromkeys([name for name in names.values()], 3)
    large = {name: 2 * size for name, size in three.items()}
    return dataclasses.replace(found, dimensions=dimensions, tried=(large, three))


STEPS = {"x[0]": "batch", "x[1]": "steps"}


def test_each_size_has_two_values() -> None:
    one, small = checked_sizes(program(Net(), torch.zeros(2, 8, 6), STEPS))
    assert (one, small) == ({"batch": 1}, {"batch": 3, "steps": 3})
    one, small = checked_sizes(program(Net(), torch.zeros(2, 8, 6), {}))
    assert distinct((one, small)) == [{}]


def test_checks_say_at_which_sizes() -> None:
    graph = build_graph(program(Net(), torch.zeros(2, 8, 6), STEPS))
    names = [check.name for check in gp.shrink(graph, ratio=0.5).verdict.checks]
    assert "captured program equals the model, batch 1" in names
    assert "captured program equals the model, batch 3, steps 3" in names


class Divided(Net):
    """Its sum is divided by a number that the program has as a literal."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.sum(1) / int(f"{x.shape[1]}"))


def test_a_literal_that_should_have_been_a_size_is_found() -> None:
    model = Divided()
    dimensions = tuple(
        Dimension("x", 0, dim, size, name)
        for dim, (size, name) in enumerate([(2, "batch"), (8, "steps"), (6, "")])
    )
    found = dataclasses.replace(
        capture(model, torch.zeros(2, 8, 6)), dimensions=dimensions, tried=({"batch": 3, "steps": 5},)
    )
    for guard in found.graph.find_nodes(op="call_function", target=require):
        found.graph.erase_node(guard)
    division = next(node for node in found.graph.nodes if "div" in str(node.target))
    division.args = (division.args[0], 8)
    with pytest.raises(gp.VerificationError, match="equals the model, batch 3, steps 5: FAILED"):
        gp.shrink(build_graph(found), ratio=0.5)


def guarded(found: Program, most: int) -> Program:
    """With the condition that there are at most so many steps."""
    graph = found.graph
    source = graph.find_nodes(op="placeholder")[-1]
    with graph.inserting_after(source):
        size = graph.call_function(torch.ops.aten.sym_size.int, (source, 1))
    size.meta["val"] = source.meta["val"].shape[1]
    with graph.inserting_after(size):
        holds = graph.call_function(operator.le, (size, most))
    with graph.inserting_after(holds):
        graph.call_function(require, (holds, "x[1] is too many"))
    return found


def test_where_the_program_refuses_it_is_checked_as_captured() -> None:
    few = dataclasses.replace(program(Net(), torch.zeros(2, 8, 6), STEPS), tried=({"batch": 3, "steps": 20},))
    assert checked_sizes(guarded(few, 30))[1] == {"batch": 3, "steps": 20}
    assert checked_sizes(guarded(few, 12))[1] == {}


class Gathered(Net):
    """Rows of ``x`` by number."""

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        return super().forward(x)[edges]


def test_integers_stay_valid_where_there_is_less_to_count() -> None:
    names = {"x[0]": "nodes", "edges[0]": "edges"}
    edges = torch.tensor([0, 8, 3, 7])
    found = program(Gathered(), (torch.zeros(9, 6), edges), names)
    assert random_inputs(found, 0, {"nodes": 9, "edges": 4})[1].tolist() == [0, 8, 3, 7]
    assert random_inputs(found, 0, {"nodes": 3, "edges": 4})[1].tolist() == [0, 2, 0, 1]
    assert random_inputs(found, 0, {"nodes": 3, "edges": 1})[1].tolist() == [0]


def test_tokens_stay_what_they_are() -> None:
    model = nn.Sequential(nn.Embedding(40, 8), nn.Linear(8, 8), nn.Linear(8, 4))
    found = program(model, torch.tensor([[7, 39, 3, 8]]), {"input[1]": "sequence"})
    assert random_inputs(found, 0, {"sequence": 3})[0].tolist() == [[7, 39, 3]]


def test_shown() -> None:
    assert shown({}) == ""


class Windows(nn.Module):
    """Rows of windows stand in one dimension with examples and channels; a small image has one row."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        n, c, h, w = y.shape
        rows = y.reshape(n * c * (h // 4), 4, w // 4, 4).transpose(1, 2)
        apart = rows.softmax(-1).reshape(n, c, (h // 4) * (w // 4), 16)
        return self.b(apart)


def test_rows_of_windows_are_followed_where_the_example_has_one() -> None:
    torch.manual_seed(0)
    model = Windows().eval()
    result = gp.shrink(model, torch.randn(1, 3, 4, 4), ratio=0.5, importance="random")
    assert result.verdict.passed
    assert {at.name for at in result.graph.program.dimensions} == {"batch", "", "height", "width"}
    assert result.model.a.out_channels == 4
    (kept,) = result.plan.groups.values()
    x = torch.randn(2, 3, 12, 8)
    with torch.no_grad():
        model.b.weight[:, [unit for unit in range(8) if unit not in kept.tolist()]] = 0
        torch.testing.assert_close(result.model(x), model(x))
