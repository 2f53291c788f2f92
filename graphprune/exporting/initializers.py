"""Other values for the tensors of a converted ONNX program, none of them missed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.export.graph_signature import InputKind

from graphprune.ground.errors import ExportError

__all__ = ["read_tensors", "replace_initializers"]

REPORT = "report the model: its ONNX file cannot be compared on random weights"


def replace_initializers(
    graph: Any, converted: torch.onnx.ONNXProgram, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Put `tensors` in the place of every parameter and buffer that the model reads.

    Args:
        graph: an `onnx_ir.Graph` of the program, to be changed.
        converted: the program before optimisation, with the `torch.export` program it comes from.
        tensors: values by the model's names, of the shapes and dtypes that the graph has.

    Raises:
        ExportError: the graph has no initializer of the name, shape and dtype of a tensor that the model reads,
            or there is no value for it.
    """
    import onnx_ir

    initializers = graph.initializers
    for name in sorted(read_tensors(converted)):
        if name not in initializers:
            raise ExportError(f"the ONNX program has no initializer for the tensor {name!r}", REPORT)
        if name not in tensors:
            raise ExportError(f"there is no value for the tensor {name!r} of the ONNX program", REPORT)
    for name in initializers.keys() & tensors.keys():
        value = onnx_ir.tensor(tensors[name].detach().cpu().contiguous(), name=name)
        there, given = _form(initializers[name].const_value), _form(value)
        if given != there:
            raise ExportError(f"the initializer {name!r} is {there}, the tensor {given}", REPORT)
        initializers[name].const_value = value


def _form(tensor: Any) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"


def read_tensors(converted: torch.onnx.ONNXProgram) -> frozenset[str]:
    """Names of the parameters and buffers from which something is computed."""
    exported = converted.exported_program
    assert exported is not None
    kinds = (InputKind.PARAMETER, InputKind.BUFFER)
    specs = {spec.arg.name: spec for spec in exported.graph_signature.input_specs if spec.kind in kinds}
    return frozenset(
        str(specs[node.name].target)
        for node in exported.graph.nodes
        # an assertion about a tensor computes nothing
        if node.op == "placeholder" and node.name in specs and any(_is_used(user) for user in node.users)
    )


def _is_used(node: torch.fx.Node) -> bool:
    return bool(node.users) or node.op == "output"
