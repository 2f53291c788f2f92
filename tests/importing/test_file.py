"""Files that are read, and those that are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from graphprune.ground.errors import InputError
from graphprune.importing.file import read_model
from tests.importing.building import graph_of, node


def model(opset: int = 17) -> onnx.ModelProto:
    weight = np.ones((40, 40), dtype=np.float32)
    return graph_of([node("MatMul", ["x", "w"], ["y"])], {"x": ["n", 40]}, ["y"], {"w": weight}, opset)


def test_a_file_with_external_data_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(model(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert onnx.numpy_helper.to_array(read_model(path).graph.initializer[0]).sum() == 1600


def refused(path: Path, why: str) -> None:
    with pytest.raises(InputError, match=why):
        read_model(path)


def test_external_data_outside_the_folder_are_not_read(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    path = inner / "model.onnx"
    onnx.save(model(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (inner / "weights.bin").rename(tmp_path / "weights.bin")
    refused(path, "which is no file")
    (inner / "weights.bin").symlink_to(tmp_path / "weights.bin")
    refused(path, "outside of its folder")
    text = path.read_bytes().replace(b"weights.bin", b"../weights.")
    path.write_bytes(text)
    refused(path, "outside of its folder")


def test_what_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    refused(path, "there is no file")
    path.write_text("no model")
    refused(path, "it is no ONNX file")
    path.write_bytes(b"")
    refused(path, "holds no graph")


def test_an_old_opset_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(model(6), path)
    refused(path, "has opset 6, and 7 to 25 are known")


def test_a_broken_graph_is_refused(tmp_path: Path) -> None:
    broken = model()
    broken.graph.node[0].input[1] = "nothing"
    onnx.save(broken, tmp_path / "model.onnx")
    refused(tmp_path / "model.onnx", "is broken")


def test_functions_are_read(tmp_path: Path) -> None:
    made = model()
    function = onnx.helper.make_function(
        "own", "twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], [onnx.helper.make_opsetid("", 17)]
    )
    made.functions.append(function)
    made.opset_import.append(onnx.helper.make_opsetid("own", 1))
    made.graph.node.append(node("twice", ["y"], ["z"], domain="own"))
    made.graph.output[0].name = "z"
    onnx.save(made, tmp_path / "model.onnx")
    assert [item.op_type for item in read_model(tmp_path / "model.onnx").graph.node] == ["MatMul", "Add"]
