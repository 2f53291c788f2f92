"""Conditions on sizes: who carries a program refuses what it was not captured for, first of all and in clear words."""

from __future__ import annotations

import copy
import importlib.util
import operator
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from size_programs import Sizes, sized_graph, sized_program
from torch import Tensor, fx, nn

import graphprune as gp
from graphprune.capture.raising import raise_program
from graphprune.exporting import load_model, module_source, save_model
from graphprune.exporting.forward import forward_source
from graphprune.ground.arguments import require
from graphprune.ground.errors import InputError

FIXED = "x[2] is fixed at 46, which self.head was made for (net.py:12)"
COARSE = "x[3] must be a multiple of 2, see net.py:9"
LONG = 'x[3] is at most 60, "the rows" of \\table\n' + "in words that take more than a line, " * 4


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(46, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).relu().reshape(x.shape[0], -1, x.shape[2], x.shape[3] // 2, 2).mean(-1).sum(1)
        return self.head(y.transpose(1, 2)) / x.shape[3]


SIZES = Sizes(
    {2: "rows", 3: "width"},
    {29: (operator.floordiv, 58, 2)},
    [
        (operator.eq, 46, 46, FIXED),
        (operator.eq, (operator.mod, 58, 2), 0, COARSE),
        (operator.le, 58, 60, LONG),
    ],
)
X = torch.randn(2, 3, 46, 58)
WRONG = {FIXED: (2, 3, 40, 58), COARSE: (2, 3, 46, 31), LONG: (2, 3, 46, 64)}
FORWARD = """\
    def forward(self, x):
        batch, rows, width = x.shape[0], x.shape[2], x.shape[3]
        if rows != 46:
            raise ValueError(
                "x[2] is fixed at 46, which self.head was made for (net.py:12); capture the model again with "
                "an example of this size"
            )
        if width % 2 != 0:
            raise ValueError(
                "x[3] must be a multiple of 2, see net.py:9; capture the model again with an example of this "
                "size"
            )
"""
BODY = """\
        x = self.conv(x)
        x = torch.relu(x)
        x = x.reshape([batch, -1, rows, width // 2, 2])
        x = x.mean([-1])
        x = x.sum([1])
        x = x.transpose(1, 2)
        x = self.head(x)
        x = x / width
        return x
"""


@pytest.fixture(scope="module")
def slim() -> fx.GraphModule:
    torch.manual_seed(0)
    result = gp.shrink(sized_graph(Net(), X, SIZES), None, ratio=0.5)
    assert result.verdict.passed
    return result.model


def generated(model: fx.GraphModule, folder: Path) -> nn.Module:
    save_model(model, folder / "model.safetensors")
    (folder / "model.py").write_text(module_source(model, "A model", "x"), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("slim_with_conditions", folder / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    loaded: nn.Module = module.load()
    return loaded


def loaded(model: fx.GraphModule, folder: Path) -> nn.Module:
    save_model(model, folder / "model.safetensors")
    return load_model(folder / "model.safetensors")


def without_dead_code(model: fx.GraphModule, folder: Path) -> nn.Module:
    model = copy.deepcopy(model)
    model.graph.eliminate_dead_code()
    model.recompile()
    return model


CARRIERS: dict[str, Callable[[fx.GraphModule, Path], nn.Module]] = {
    "the model": lambda model, _: model,
    "a copy": lambda model, _: copy.deepcopy(model),
    "dead code gone": without_dead_code,
    "traced again": lambda model, _: fx.symbolic_trace(model),
    "transformed": lambda model, _: fx.Transformer(model).transform(),
    "stored": loaded,
    "written as source": generated,
    "exported": lambda model, _: torch.export.export(model, (X,), strict=False).module(),
}


@pytest.mark.parametrize("carrier", CARRIERS)
def test_every_carrier_runs_at_other_sizes_and_refuses_wrong_ones(
    carrier: str, slim: fx.GraphModule, tmp_path: Path
) -> None:
    model = CARRIERS[carrier](slim, tmp_path)
    torch.testing.assert_close(model(X), slim(X))
    if carrier == "exported":  # for the sizes of its own example
        return
    x = torch.randn(3, 3, 46, 34)
    torch.testing.assert_close(model(x), slim(x))
    for message, shape in WRONG.items():
        with pytest.raises((InputError, ValueError)) as caught:
            model(torch.randn(shape))
        assert message in str(caught.value)
        assert "capture the model again with an example of this size" in str(caught.value)


def test_conditions_come_before_any_layer(slim: fx.GraphModule) -> None:
    """Else a user would see what a layer says of a tensor that he does not know."""
    targets = [node.target for node in slim.graph.nodes]
    layers = [place for place, node in enumerate(slim.graph.nodes) if node.op == "call_module"]
    assert targets.count(require) == 3
    assert max(place for place, target in enumerate(targets) if target is require) < min(layers)


def test_source_reads_like_written_code(slim: fx.GraphModule) -> None:
    lines = forward_source(slim.graph)
    assert "\n".join(lines).startswith(FORWARD)
    assert "\n".join(lines).endswith(BODY.rstrip())


def test_a_size_that_only_a_condition_reads_is_written_there() -> None:
    program = sized_program(Net(), X, SIZES)
    for node in program.graph.nodes:
        if node.target is torch.ops.aten.reshape.default:
            node.args = (node.args[0], [-1, 8, 46, 29, 2])
    lines = forward_source(raise_program(program).graph)
    assert lines[1].strip() == "width = x.shape[3]"
    assert lines[2].strip() == "if x.shape[2] != 46:"


def test_exported_again_with_variable_sizes(slim: fx.GraphModule) -> None:
    batch, half = torch.export.Dim("batch"), torch.export.Dim("half", max=30)
    exported = torch.export.export(
        slim, (X,), dynamic_shapes=({0: batch, 3: 2 * half},), strict=False
    ).module()
    x = torch.randn(3, 3, 46, 34)
    torch.testing.assert_close(exported(x), slim(x))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_scripted_by_tracing(slim: fx.GraphModule) -> None:
    traced = torch.jit.trace(slim, X)
    x = torch.randn(3, 3, 46, 34)
    torch.testing.assert_close(traced(x), slim(x))


def test_symbolic_tracing_keeps_conditions() -> None:
    class Caller(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            require(x.shape[0] > 1, "x[0] is more than one")
            return x + 1

    traced = fx.symbolic_trace(Caller())
    assert [node.target for node in traced.graph.nodes].count(require) == 1
    with pytest.raises(InputError, match="x\\[0\\] is more than one — capture the model again"):
        traced(torch.zeros(1))


def test_the_source_of_a_hostile_message_is_text(tmp_path: Path) -> None:
    message = 'a"; import os; """ \\ \' {x} \0 \N{BULLET}\n' * 3
    graph = fx.Graph()
    x = graph.placeholder("x")
    size = graph.call_method("size", (x, 0))
    graph.call_function(require, (graph.call_function(operator.gt, (size, 1)), message))
    graph.output(x)
    model = generated(fx.GraphModule(nn.Module(), graph), tmp_path)
    with pytest.raises(ValueError, match="import os") as caught:
        model(torch.zeros(1))
    assert str(caught.value).startswith(message)


VERBS: dict[str, dict[str, object]] = {
    "repaired": {"ratio": 0.5, "repair": True, "calibration": [X]},
    "by activations": {"ratio": 0.5, "importance": "activation_variance", "calibration": [X]},
    "in rounds": {"ratio": 0.5, "rounds": 2},
    "without loss": {"lossless": True},
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_way_to_shrink_keeps_conditions(verb: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Net().eval()
    net.conv.weight.data[2] = net.conv.bias.data[2] = 0  # of use to nobody
    graph = sized_graph(net, X, SIZES)
    result = gp.shrink(graph, None, **VERBS[verb])
    assert result.verdict.passed
    assert result.after.params < result.before.params
    result.save(tmp_path, onnx=False)
    for model in (result.model, gp.load(tmp_path)):
        torch.testing.assert_close(model(X[..., :34]), result.model(X[..., :34]))
        with pytest.raises(InputError, match=r"x\[2\] is fixed at 46, which self\.head was made for"):
            model(torch.randn(2, 3, 40, 58))


def test_layers_go_back_into_a_model_with_conditions() -> None:
    net = Net().eval()
    grafted = gp.shrink(sized_graph(net, X, SIZES), None, ratio=0.5).graft()
    assert grafted(X).shape == net(X).shape


def test_what_two_conditions_demand_is_checked_once() -> None:
    again = (operator.eq, (operator.mod, 58, 2), 0, "decided in net.py:7")
    program = sized_program(Net(), X, replace(SIZES, conditions=[*SIZES.conditions, again]))
    assert [node.target for node in program.graph.nodes].count(require) == 4
    raised = raise_program(program)
    assert [node.args[1] for node in raised.graph.nodes if node.target is require] == [FIXED, COARSE, LONG]


class Positions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place, self.head = nn.Embedding(9, 8), nn.Embedding(50, 8), nn.Linear(8, 4)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.embed(ids) + self.place(torch.arange(ids.shape[1], device=ids.device)))


@pytest.mark.parametrize("carrier", [name for name in CARRIERS if name != "exported"])
def test_tensors_made_of_sizes_follow_the_inputs_to_another_device(carrier: str, tmp_path: Path) -> None:
    graph = sized_graph(Positions(), torch.zeros(2, 46, dtype=torch.int64), Sizes({1: "sequence"}))
    model = CARRIERS[carrier](gp.shrink(graph, None, ratio=0.5).model, tmp_path)
    ids = torch.zeros(3, 7, dtype=torch.int64)
    assert model(ids).shape == (3, 7, 4)
    assert copy.deepcopy(model).to("meta")(ids.to("meta")).device.type == "meta"
