"""A file's module beside onnxruntime: where outputs differ, the nodes tell whether one is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import graphprune as gp
from graphprune.importing.comparing import check_values
from graphprune.importing.interpreter import module_of
from graphprune.importing.node import free
from graphprune.importing.operators.counting import COUNTING
from graphprune.importing.operators.table import OPERATORS
from graphprune.importing.values import as_numbers
from tests.importing.building import graph_of, node
from tests.importing.test_tracing import normal

X = torch.from_numpy(normal(3, 4))


def rounded() -> onnx.ModelProto:
    """A step of the bytes is 0.5, and becomes 50 of the output."""
    nodes = [
        node("QuantizeLinear", ["x", "step", "zero"], ["bytes"], name="round"),
        node("DequantizeLinear", ["bytes", "step", "zero"], ["back"], name="back"),
        node("Mul", ["back", "hundred"], ["y"], name="enlarge"),
    ]
    constants = {"step": np.float32(0.5), "zero": np.uint8(128), "hundred": np.float32(100)}
    return graph_of(nodes, {"x": ["n", 4]}, ["y"], constants)


def compared(model: onnx.ModelProto) -> None:
    check_values(module_of(model), [X], Path("model.onnx"))


def _shifted(by: int) -> Any:
    def quantise(x: torch.Tensor, step: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
        return (torch.round(x / step) + 128 + by).to(torch.uint8)

    return free(quantise)


def test_bytes_may_be_rounded_the_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATORS, "QuantizeLinear", _shifted(1))
    compared(rounded())


def test_two_steps_are_an_error_of_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATORS, "QuantizeLinear", _shifted(2))
    with pytest.raises(gp.CaptureError, match=r"^bytes, of node round \(QuantizeLinear\), is not what"):
        compared(rounded())


def test_the_first_wrong_node_is_named_and_not_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATORS, "Mul", free(lambda x, y: x * y * 1.01))
    with pytest.raises(gp.CaptureError, match=r"^y, of node enlarge \(Mul\), is not what"):
        compared(rounded())


def test_sizes_are_compared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [node("Shape", ["x"], ["s"]), node("Add", ["s", "one"], ["y"], name="count")]
    model = graph_of(nodes, {"x": ["n", 4]}, ["y"], {"one": np.array([1])})
    compared(model)
    monkeypatch.setitem(COUNTING, "Add", lambda node, x, y: as_numbers(x.array, x.dtype))
    with pytest.raises(gp.CaptureError, match=r"^y, of node count \(Add\), is not what"):
        compared(model)
