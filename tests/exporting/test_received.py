"""ONNX files that come in: bounded before a checker or a runtime reads them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from graphprune.exporting import check_received
from graphprune.exporting.received import DEPTH
from graphprune.ground.errors import InputError

VALUE = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])


def model_of(
    nodes: list[Any], initializers: list[Any] | None = None, functions: list[Any] | None = None
) -> Any:
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    graph = helper.make_graph(nodes, "main", [VALUE], [out], initializers or [])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, functions=functions or [], opset_imports=opsets)


def relu(_: Path) -> Any:
    return model_of([helper.make_node("Relu", ["x"], ["y"])])


def tensor(**changes: Any) -> Any:
    made = numpy_helper.from_array(numpy.zeros(2, numpy.float32), "w")
    for name, value in changes.items():
        if name == "dims":
            del made.dims[:]
            made.dims.extend(value)
        else:
            setattr(made, name, value)
    return made


def with_tensor(made: Any) -> Any:
    return model_of([helper.make_node("Add", ["x", "w"], ["y"])], [made])


def external(**entries: str) -> Callable[[Path], Any]:
    """A tensor in w.data, which has 8 bytes."""

    def make(folder: Path) -> Any:
        (folder / "w.data").write_bytes(bytes(8))
        (folder.parent / "outside.data").write_bytes(bytes(8))
        os.symlink(folder.parent / "outside.data", folder / "link.data")
        made = tensor(data_location=TensorProto.EXTERNAL)
        made.ClearField("raw_data")
        for key, value in {"location": "w.data", **entries}.items():
            made.external_data.add(key=key, value=value)
        return with_tensor(made)

    return make


def nested(levels: int) -> Callable[[Path], Any]:
    def make(_: Path) -> Any:
        out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
        body = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "body", [], [out])
        for _level in range(levels):
            node = helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)
            body = helper.make_graph([node], "body", [], [out])
            del body.node[0].attribute[1]
        return model_of(list(body.node))

    return make


def doubling(count: int, cycle: bool = False) -> Callable[[Path], Any]:
    """Each function calls the next one four times; of a cycle, once."""

    def make(_: Path) -> Any:
        functions = []
        for place in range(count):
            last = place == count - 1
            name, domain = ("Relu", "") if last and not cycle else (f"f{(place + 1) % count}", "own")
            nodes = [helper.make_node(name, ["x"], ["y"], domain=domain)] * (1 if cycle else 4)
            functions.append(
                helper.make_function("own", f"f{place}", ["x"], ["y"], nodes, [helper.make_opsetid("", 20)])
            )
        return model_of([helper.make_node("f0", ["x"], ["y"], domain="own")], functions=functions)

    return make


@pytest.mark.parametrize("make", [relu, external(), external(offset="0", length="8"), nested(3), doubling(4)])
def test_what_holds_what_it_says_is_let_in(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    onnx.save(make(folder), folder / "model.onnx")
    check_received(folder / "model.onnx")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (external(location="../outside.data"), "outside of its folder"),
        (external(location="/etc/passwd"), "outside of its folder"),
        (external(location="link.data"), "outside of its folder"),
        (external(location=""), "outside of its folder"),
        (external(location="none.data"), "which is no file"),
        (external(offset="4"), "beyond the end"),
        (external(offset="-4"), "beyond the end"),
        (external(length="9"), "beyond the end"),
        (external(length="4"), "beyond the end"),
        (external(length="x"), "no number"),
        (lambda _: with_tensor(tensor(dims=[2**40, 2**20])), "holds 8 bytes"),
        (lambda _: with_tensor(tensor(dims=[-2])), "negative size"),
        (lambda _: with_tensor(tensor(dims=[1])), "holds 8 bytes, not 4"),
        (lambda _: with_tensor(tensor(data_type=99)), "unknown type 99"),
        (nested(DEPTH + 1), "graphs inside each other"),
        (doubling(12), "more than 200,000 nodes"),
        (doubling(30), "more than 200,000 nodes"),
        (doubling(2, cycle=True), "call each other"),
    ],
)
def test_what_does_not_is_refused(tmp_path: Path, make: Callable[[Path], Any], why: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(make(folder).SerializeToString())
    with pytest.raises(InputError, match=why):
        check_received(folder / "model.onnx")


def test_what_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(InputError, match=r"there is no model\.onnx"):
        check_received(path)
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(InputError, match="it is no ONNX file"):
        check_received(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match="no regular file"):
        check_received(path)
