"""The same ONNX program on random tensors: none is missed, and what a model's own tensors hide is seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import onnx
import onnx_ir
import pytest
import torch
from onnx import numpy_helper
from torch import nn

import graphprune as gp
from graphprune.capture import Program, capture
from graphprune.exporting import OnnxProgram, onnx_file, parity
from graphprune.exporting.initializers import Names, replace_initializers
from graphprune.exporting.parity import Valued
from graphprune.exporting.translation import translate
from graphprune.ground.clock import Clock
from graphprune.ground.errors import ExportError, VerificationError
from graphprune.results import onnx_checks
from graphprune.verifying import Check, Lively

from .zoo import CASES, traced

NAMES = ["conv", "attention", "double", "nested"]
TOLERANCE = 1e-5  # a handful of layers: some units in the last place of the largest value


def converted(name: str) -> tuple[nn.Module, OnnxProgram]:
    case = CASES[name]
    model = case.build()
    return model, OnnxProgram.of(capture(model, (case.args, case.kwargs)))


def own_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers())


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_is_replaced(name: str) -> None:
    model, program = converted(name)
    own = own_tensors(model)
    values = {key: tensor + 7 if tensor.is_floating_point() else ~tensor for key, tensor in own.items()}
    graph = program.model.clone().graph
    before = {key: value.const_value for key, value in graph.initializers.items()}
    replace_initializers(graph, program.names, values)
    for key, initializer in graph.initializers.items():
        wanted = values[key].detach().numpy() if key in values else before[key].numpy()
        assert numpy.array_equal(initializer.const_value.numpy(), wanted), key
        assert program.model.graph.initializers[key].const_value is before[key], "the original stays"
    # a tied tensor has one initializer, under one of its names; a counter of batches is not read
    used = {node.target for node in model.graph.nodes if node.op in ("get_attr", "call_module")}
    reads = {key for key in own if key in used or key.rpartition(".")[0] in used}
    missed = {id(own[key]) for key in reads} - {
        id(own[key]) for key in graph.initializers.keys() & own.keys()
    }
    assert missed == {id(own[key]) for key in reads if key.endswith("num_batches_tracked")}
    assert {id(own[key]) for key in program.names.reads} == {id(own[key]) for key in reads} - missed


@pytest.mark.parametrize("name", NAMES)
def test_the_twin_agrees_with_the_model_on_the_same_values(name: str, tmp_path: Path) -> None:
    model, program = converted(name)
    case, drawn = CASES[name], Lively(model, 3)
    file = program.write(tmp_path / "model.onnx")
    twin = program.write(tmp_path / "twin.onnx", drawn)
    assert twin.operators == file.operators
    rows = parity(twin.path, Valued(model, drawn), (case.args, case.kwargs))
    assert [row.sizes for row in rows] == [{"batch": 1}, {"batch": 3}]
    assert all(row.max_rel < TOLERANCE and row.change > 1e-2 for row in rows)
    # the values do matter, and the model has kept its own
    assert all(row.max_rel > 0.01 for row in parity(twin.path, model, (case.args, case.kwargs)))
    assert all(row.max_rel < TOLERANCE for row in parity(file.path, model, (case.args, case.kwargs)))


@pytest.mark.parametrize("name", ["conv", "attention", "nested"])
def test_a_twin_with_one_wrong_tensor_is_caught(name: str, tmp_path: Path) -> None:
    model, program = converted(name)
    case, drawn = CASES[name], Lively(model, 0)
    good = onnx.load(program.write(tmp_path / "twin.onnx", drawn).path)
    floating = [i for i, t in enumerate(good.graph.initializer) if t.data_type == onnx.TensorProto.FLOAT]
    weights = [i for i in floating if numpy_helper.to_array(good.graph.initializer[i]).size > 1]
    assert len(weights) >= 3
    for index in weights:
        wrong = onnx.ModelProto.FromString(good.SerializeToString())
        tensor = wrong.graph.initializer[index]
        values = numpy_helper.to_array(tensor).copy()
        values += 0.3 * numpy.abs(values).max()
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        onnx.save(wrong, tmp_path / "wrong.onnx")
        rows = parity(tmp_path / "wrong.onnx", Valued(model, drawn), (case.args, case.kwargs))
        assert max(row.max_rel for row in rows) > onnx_checks.ONNX_TOLERANCE[torch.float32], tensor.name


def test_a_tensor_that_cannot_be_replaced_is_refused() -> None:
    model, program = converted("nested")
    values = own_tensors(model)

    def refused(change: Callable[[onnx_ir.Graph, dict[str, torch.Tensor]], object], text: str) -> None:
        graph, given = program.model.clone().graph, dict(values)
        change(graph, given)
        with pytest.raises(ExportError, match=text):
            replace_initializers(graph, program.names, given)

    def rename(graph: onnx_ir.Graph, given: dict[str, torch.Tensor]) -> None:
        graph.initializers["norm.weight"].name = "val_3"

    refused(rename, "no initializer for the tensor 'norm.weight'")
    refused(lambda graph, given: given.pop("norm.weight"), "no value for the tensor 'norm.weight'")
    refused(
        lambda graph, given: given.update({"norm.weight": torch.ones(5)}),
        r"'norm.weight' is FLOAT \[4\], the tensor FLOAT \[5\]",
    )
    refused(
        lambda graph, given: given.update({"norm.weight": torch.ones(4).double()}),
        r"'norm.weight' is FLOAT \[4\], the tensor DOUBLE \[4\]",
    )


class Unused(nn.Module):
    """A tensor that nothing is computed from has no initializer, and needs none."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)
        self.register_buffer("spare", torch.ones(2))

    def forward(self, x):
        return self.norm(self.fc(x))


def test_unread_tensors_are_not_missed() -> None:
    model = traced(Unused())
    model.register_buffer("spare", torch.ones(2))
    program = OnnxProgram.of(capture(model, torch.ones(2, 3)))
    names = ("fc.weight", "fc.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var")
    assert program.names.reads == set(names)


# -- what a saved result says ---------------------------------------------------------------------------------


class ZeroHead(nn.Module):
    """As initialised, the branch with the activation function adds nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.skip = nn.Linear(6, 16), nn.Linear(16, 6), nn.Linear(6, 6)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, x):
        return self.skip(x) + self.down(self.up(x).relu())


class Constant(ZeroHead):
    """The input is multiplied by nought, whatever the parameters."""

    def forward(self, x):
        return super().forward(x * 0)


def checks_of(model: nn.Module, folder: Path) -> dict[str, Check]:
    torch.manual_seed(0)
    result = gp.shrink(model, torch.zeros(2, 6), ratio=0.5, importance="random")
    clock = Clock(lambda stage: None)
    _, checks = onnx_checks.write_checked(result.slim, result.model, folder / "model.onnx", clock)
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]
    return {check.name.removeprefix("onnxruntime equals PyTorch, "): check for check in checks}


def with_wrong_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the exporter takes every Relu for an Abs."""

    def wrong(program: Program) -> tuple[Any, Names]:
        model, names = translate(program)
        relus = [node for node in model.graph if node.op_type == "Relu"]
        assert relus
        for node in relus:
            node.op_type = "Abs"
        return model, names

    monkeypatch.setattr(onnx_file, "translate", wrong)


def test_an_operator_that_is_wrong_where_weights_are_zero_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_wrong_operator(monkeypatch)
    checks = checks_of(ZeroHead(), tmp_path)
    assert {name for name, check in checks.items() if check.passed} == {"batch 1"}
    assert all(check.figure > 0.01 for name, check in checks.items() if "random" in name)


def test_nothing_is_saved_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_wrong_operator(monkeypatch)
    result = gp.shrink(ZeroHead(), torch.zeros(2, 6), ratio=0.5)
    with pytest.raises(VerificationError, match="random parameters, batch 1: FAILED"):
        result.save(tmp_path / "slim", latency=False)
    assert not list(tmp_path.iterdir())


def test_right_operators_pass_without_remarks(tmp_path: Path) -> None:
    checks = checks_of(ZeroHead(), tmp_path)
    assert list(checks) == ["batch 1", *(f"random parameters, batch {size}" for size in (1, 3))]
    assert all(check.passed and not check.detail for check in checks.values())


def test_outputs_that_hide_the_input_are_reported(tmp_path: Path) -> None:
    model = ZeroHead()
    nn.init.zeros_(model.skip.weight)
    checks = checks_of(model, tmp_path)
    assert all(
        ("hardly depend on the input" in check.detail) == ("random" not in name)
        for name, check in checks.items()
    )
    checks = checks_of(Constant(), tmp_path)
    assert all(
        check.passed and "outputs hardly depend on the input: by 0e+00" in check.detail
        for check in checks.values()
    )


class OneGate(ZeroHead):
    """A gate of exactly one is optimised away, in the file but not in its twin, which says nothing of the file then."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return super().forward(x) * self.gate


def test_a_twin_of_other_operators_is_reported(tmp_path: Path) -> None:
    checks = checks_of(OneGate(), tmp_path)
    assert list(checks)[:2] == ["batch 1", "batch 3"]
    assert all(
        (check.detail == "optimised to other operators than the file") == ("random" in name)
        for name, check in checks.items()
    )
    assert all(check.passed for check in checks.values())


class Ids(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(9, 4), nn.Parameter(torch.randn(3, 4))

    def forward(self, ids):
        return (self.embed(ids) * self.place).sum(1)


@pytest.mark.parametrize(("ids", "known"), [([[1, 2, 3]], True), ([[4, 4, 4]], False)])
def test_integers_are_turned_round_to_see_whether_they_matter(
    ids: list[list[int]], known: bool, tmp_path: Path
) -> None:
    model, args = traced(Ids()), (torch.tensor(ids),)
    file = OnnxProgram.of(capture(model, args)).write(tmp_path / "model.onnx")
    for row in parity(file.path, model, (args, {})):
        assert (row.change is not None) == known
        assert not known or row.change > 0.01
