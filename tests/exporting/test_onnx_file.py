"""ONNX files: valid, with a symbolic batch, without traces of the machine, or refused with a reason."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from graphprune.exporting import export_onnx, parity
from graphprune.exporting.onnx_file import check_batch, check_file
from graphprune.ground.errors import ExportError

from .zoo import CASES, traced


@pytest.mark.parametrize("name", ["conv", "attention", "double"])
def test_file_agrees_with_the_model_at_two_batch_sizes(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    model = case.build()
    file = export_onnx(model, case.args, case.kwargs, tmp_path / "model.onnx", dynamic_batch=True)
    results = parity(file.path, model, (case.args, case.kwargs), batch_sizes=(1, 5), seed=3)
    assert [result.batch for result in results] == [1, 5]
    # A handful of layers: some units in the last place of the largest value. In double precision more, since
    # ONNX keeps the epsilon of a batch norm in single precision.
    assert all(result.max_rel < (1e-12 if name == "double" else 1e-5) for result in results)
    assert file.bytes == file.path.stat().st_size
    assert file.opset >= 18


def test_inputs_and_outputs_are_described(tmp_path: Path) -> None:
    case = CASES["double"]
    file = export_onnx(case.build(), case.args, case.kwargs, tmp_path / "model.onnx", dynamic_batch=True)
    assert file.input_names == ("x", "weight")
    assert len(file.output_names) == 1
    graph = onnx.load(file.path).graph
    assert [value.type.tensor_type.shape.dim[0].dim_param for value in graph.input] == ["batch", "batch"]
    assert [value.type.tensor_type.shape.dim[0].dim_param for value in graph.output] == ["batch"]


def test_file_quotes_no_path_of_this_machine(tmp_path: Path) -> None:
    case = CASES["double"]
    path = export_onnx(case.build(), case.args, case.kwargs, tmp_path / "model.onnx", dynamic_batch=True).path
    content = path.read_bytes()
    for folder in (Path(torch.__file__).parent, Path(__file__).parent, tmp_path, Path(sys.prefix)):
        assert str(folder).encode() not in content
    assert b"stack_trace" not in content


def test_export_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    case = CASES["double"]
    export_onnx(case.build(), case.args, case.kwargs, tmp_path / "model.onnx", dynamic_batch=True)
    assert capfd.readouterr() == ("", "")


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(x)


def test_a_single_example_still_gives_a_symbolic_batch(tmp_path: Path) -> None:
    model, args = traced(Small()), (torch.ones(1, 3),)
    file = export_onnx(model, args, {}, tmp_path / "model.onnx", dynamic_batch=True)
    assert [result.batch for result in parity(file.path, model, (args, {}), batch_sizes=(1, 4))] == [1, 4]


def test_a_fixed_batch_is_the_examples(tmp_path: Path) -> None:
    model, args = traced(Small()), (torch.ones(3, 3),)
    file = export_onnx(model, args, {}, tmp_path / "model.onnx", dynamic_batch=False)
    assert onnx.load(file.path).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 3
    assert [result.batch for result in parity(file.path, model, (args, {}), batch_sizes=(1, 4))] == [3]
    with pytest.raises(ExportError, match="fixes dimension 0 of input 'x' at 3 — export with a fixed batch"):
        check_batch(onnx.load(file.path).graph.input)


class FixedBatch(nn.Module):
    def forward(self, image):
        return image.view(2, -1) * 2


def test_a_model_that_fixes_its_batch_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(
        ExportError, match=r"fixes its batch size: image\.size\(\)\[0\].* — export with a fixed"
    ) as caught:
        export_onnx(traced(FixedBatch()), (torch.ones(2, 3),), {}, path, dynamic_batch=True)
    assert "\n" not in str(caught.value)
    assert not path.exists()


class NoOperator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        return torch.igamma(self.fc(x).abs(), x.abs())


def test_an_operator_that_onnx_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ExportError, match=r"no operator for prims\.igamma\.default, at node igamma .* — replace"
    ) as caught:
        export_onnx(
            traced(NoOperator()), (torch.ones(2, 3),), {}, tmp_path / "model.onnx", dynamic_batch=True
        )
    assert "\n" not in str(caught.value)


class Broken(nn.Module):
    def forward(self, x):
        return x.view(x.size(0), 7)


def test_an_error_of_the_model_is_passed_on_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"cannot be exported.*at node view .*view") as caught:
        export_onnx(traced(Broken()), (torch.ones(2, 3),), {}, tmp_path / "model.onnx", dynamic_batch=True)
    assert "\n" not in str(caught.value)


class ConstantOutput(nn.Module):
    def forward(self, x):
        return x + 1, None, 3


def test_constant_outputs_and_training_mode_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(ExportError, match="output 2 of the model is the constant 3"):
        export_onnx(traced(ConstantOutput()), (torch.ones(2, 3),), {}, path, dynamic_batch=True)
    with pytest.raises(ExportError, match=r"training mode — call model\.eval\(\)"):
        export_onnx(traced(Small()).train(), (torch.ones(2, 3),), {}, path, dynamic_batch=True)
    with pytest.raises(ExportError, match=r"missing.* cannot be written"):
        export_onnx(
            traced(Small()), (torch.ones(2, 3),), {}, tmp_path / "missing" / "m.onnx", dynamic_batch=True
        )


def test_weights_outside_count_and_invalid_files_are_refused(tmp_path: Path) -> None:
    path = export_onnx(
        traced(Small()), (torch.ones(2, 3),), {}, tmp_path / "model.onnx", dynamic_batch=True
    ).path
    outside = tmp_path / "outside.onnx"
    options = {"save_as_external_data": True, "location": "outside.onnx.data", "size_threshold": 0}
    onnx.save(onnx.load(path), outside, **options)
    weights = tmp_path / "outside.onnx.data"
    assert weights.stat().st_size > 0
    assert check_file(outside, dynamic_batch=True).bytes == outside.stat().st_size + weights.stat().st_size
    model = onnx.load(path)
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, path)
    with pytest.raises(ExportError, match=r"not valid ONNX: .*NoSuchOperator"):
        check_file(path, dynamic_batch=True)
