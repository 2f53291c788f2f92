"""ONNX files: valid, with a symbolic batch, without traces of the machine, or refused with a reason."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from graphprune.capture import Program, capture
from graphprune.capture.raising import raise_program
from graphprune.exporting import export_onnx, parity
from graphprune.exporting.onnx_file import check_file
from graphprune.ground.errors import ExportError, InputError

from .zoo import CASES, traced


def program(name: str) -> Program:
    case = CASES[name]
    return capture(case.build(), (case.args, case.kwargs))


@pytest.mark.parametrize("name", ["conv", "attention", "double"])
def test_file_agrees_with_the_model_at_two_batch_sizes(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    model = case.build()
    file = export_onnx(capture(model, (case.args, case.kwargs)), tmp_path / "model.onnx")
    sizes = [{"batch": 1}, {"batch": 5}]
    results = parity(file.path, model, (case.args, case.kwargs), sizes, seed=3)
    assert [result.sizes for result in results] == sizes
    # A handful of layers: some units in the last place of the largest value. In double precision more, since
    # ONNX keeps the epsilon of a batch norm in single precision.
    assert all(result.max_rel < (1e-12 if name == "double" else 1e-5) for result in results)
    assert file.bytes == file.path.stat().st_size
    assert file.opset >= 18


def test_inputs_and_outputs_are_described(tmp_path: Path) -> None:
    file = export_onnx(program("double"), tmp_path / "model.onnx")
    assert file.input_names == ("x", "weight")
    assert len(file.output_names) == 1
    graph = onnx.load(file.path).graph
    assert [value.type.tensor_type.shape.dim[0].dim_param for value in graph.input] == ["batch", "batch"]
    assert [value.type.tensor_type.shape.dim[0].dim_param for value in graph.output] == ["batch"]


def test_file_quotes_no_path_of_this_machine(tmp_path: Path) -> None:
    path = export_onnx(program("double"), tmp_path / "model.onnx").path
    content = path.read_bytes()
    for folder in (Path(torch.__file__).parent, Path(__file__).parent, tmp_path, Path(sys.prefix)):
        assert str(folder).encode() not in content
    assert b"stack_trace" not in content


def test_export_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    export_onnx(program("double"), tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(x)


def test_a_single_example_still_gives_a_symbolic_batch(tmp_path: Path) -> None:
    model, args = traced(Small()), (torch.ones(1, 3),)
    file = export_onnx(capture(model, args), tmp_path / "model.onnx")
    sizes = [{"batch": 1}, {"batch": 4}]
    assert [result.sizes for result in parity(file.path, model, (args, {}), sizes)] == sizes
    assert file.fixed == {}


class FixedBatch(nn.Module):
    def forward(self, image):
        return image.view(2, -1) * 2


def test_a_fixed_batch_is_the_examples(tmp_path: Path) -> None:
    model, args = traced(FixedBatch()), (torch.ones(2, 3),)
    file = export_onnx(capture(model, args), tmp_path / "model.onnx")
    assert onnx.load(file.path).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 2
    rows = parity(file.path, model, (args, {}), [{"batch": 1}, {"batch": 4}])
    assert [(row.sizes, str(row)) for row in rows] == [({}, "as in the example")]


def test_a_file_with_other_sizes_than_the_programs_is_refused(tmp_path: Path) -> None:
    path = export_onnx(capture(traced(Small()), torch.ones(2, 3)), tmp_path / "model.onnx").path
    assert check_file(path, [("batch", 3)]).input_names == ("x",)
    for wrong in (("batch", "width"), (2, 3), ("batch",)):
        with pytest.raises(
            ExportError, match=r"input 'x' of the exported file has sizes \['batch', 3\], the program"
        ):
            check_file(path, [wrong])


class NoOperator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        return torch.igamma(self.fc(x).abs(), x.abs())


def test_an_operator_that_onnx_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ExportError,
        match=r"no operator for aten\.igamma\.default, at node igamma .*test_onnx_file\.py:\d+.* — replace",
    ) as caught:
        export_onnx(capture(NoOperator().eval(), torch.ones(2, 3)), tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)


class ConstantOutput(nn.Module):
    def forward(self, x):
        return x + 1, None, 3


def test_constant_outputs_and_training_mode_are_refused(tmp_path: Path) -> None:
    path, small = tmp_path / "model.onnx", capture(traced(Small()), torch.ones(2, 3))
    with pytest.raises(ExportError, match="output 2 of the model is the constant 3"):
        export_onnx(capture(traced(ConstantOutput()), torch.ones(2, 3)), path)
    with pytest.raises(ExportError, match=r"training mode — call model\.eval\(\)"):
        export_onnx(small, path, raise_program(small).train())
    with pytest.raises(InputError, match=r"missing.* cannot be written"):
        export_onnx(small, tmp_path / "missing" / "m.onnx")


def test_weights_outside_count_and_invalid_files_are_refused(tmp_path: Path) -> None:
    path = export_onnx(capture(traced(Small()), torch.ones(2, 3)), tmp_path / "model.onnx").path
    outside = tmp_path / "outside.onnx"
    options = {"save_as_external_data": True, "location": "outside.onnx.data", "size_threshold": 0}
    onnx.save(onnx.load(path), outside, **options)
    weights = tmp_path / "outside.onnx.data"
    assert weights.stat().st_size > 0
    assert check_file(outside).bytes == outside.stat().st_size + weights.stat().st_size
    model = onnx.load(path)
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, path)
    with pytest.raises(ExportError, match=r"not valid ONNX: .*NoSuchOperator"):
        check_file(path)
