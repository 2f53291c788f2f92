"""A model as an ONNX program in memory, before optimisation: its tensors still have the model's names.

So they can be given other values, none of them missed.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from graphprune.capture.inputs import input_dimensions, with_sizes
from graphprune.capture.operators import module_path
from graphprune.ground.arguments import tensor_leaves
from graphprune.ground.errors import ExportError, first_line
from graphprune.ground.unlogged import unlogged

__all__ = ["FIXED_BATCH", "UNKNOWN", "convert", "quiet", "read_tensors", "replace_initializers"]

FIXED_BATCH = "export with a fixed batch size, or let the model take the batch size from its input"
NO_OPERATOR = "replace that operation by one that ONNX has, or leave ONNX out: save(..., onnx=False)"
REPORT = "report the model: its ONNX file cannot be compared on random weights"
UNKNOWN = "if the model runs in PyTorch on the same input, leave ONNX out and report the model"


def convert(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], dynamic_batch: bool
) -> torch.onnx.ONNXProgram:
    """The program of `model`, not optimised: optimising folds tensors into others, without their names.

    Args:
        model: a model in eval mode.
        args: example positional arguments; tensors anywhere inside them become inputs, everything else is a
            constant.
        kwargs: example keyword arguments, likewise.
        dynamic_batch: make dimension 0 of every input symbolic.

    Raises:
        ExportError: the model is in training mode, fixes its batch size, or has an operation that cannot be
            exported.
    """
    if model.training:
        raise ExportError("the model is in training mode", "call model.eval() before exporting")
    # torch.export would guard on the sizes of a view's base
    inputs = tree_map_only(torch.Tensor, torch.clone, (args, dict(kwargs)))
    if dynamic_batch:
        # at least two samples: torch.export takes a size of 1 for a constant
        batch = max([2, *(leaf.shape[0] for leaf in tensor_leaves(inputs) if leaf.dim())])
        every = input_dimensions(inputs, [str(place) for place in range(len(inputs[0]))])
        first = [replace(item, name="batch") for item in every if not item.dim]
        inputs = with_sizes(inputs, first, {"batch": batch})
    with quiet(), torch.no_grad():
        return _converted(_exported(model, inputs[0], dict(inputs[1]), dynamic_batch))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporter, which prints, warns and logs about every model."""
    with unlogged(), contextlib.redirect_stdout(io.StringIO()):
        yield


def _exported(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic_batch: bool
) -> torch.export.ExportedProgram:
    shapes = torch.export.ShapesCollection()
    for tensor in tensor_leaves((args, kwargs)):
        if dynamic_batch and tensor.dim() > 0:
            shapes[tensor] = {0: torch.export.Dim.DYNAMIC}
    try:
        dynamic = shapes.dynamic_shapes(model, args, kwargs) if dynamic_batch else None
        exported = torch.export.export(model, args, kwargs, dynamic_shapes=dynamic, strict=False)
    except Exception as error:  # torch.export raises whatever the model's code or its own passes raise
        raise _failure(error, None) from error
    for number, output in enumerate(exported.graph_signature.output_specs):
        if getattr(output.arg, "value", None) is not None:
            raise ExportError(
                f"output {number} of the model is the constant {output.arg.value!r}, not a tensor",
                "leave that output out, or return it as a tensor",
            )
    return exported


def _converted(exported: torch.export.ExportedProgram) -> torch.onnx.ONNXProgram:
    try:
        program = torch.onnx.export(exported, dynamo=True, verbose=False, optimize=False)
    except Exception as error:  # the exporter wraps any error of its translations
        raise _failure(error, exported) from error
    if program is None:
        raise ExportError("torch.onnx gave no program", UNKNOWN)
    return program


def _failure(error: BaseException, exported: torch.export.ExportedProgram | None) -> ExportError:
    """The innermost cause, the operator and the layer it is in, in one line."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    text = "\n".join(str(link) for link in reversed(chain))
    where = _where(text, exported)
    if specialized := re.search(
        r"You marked (.*?) as dynamic but your code specialized it to be a constant.*?\)", text
    ):
        tensor = re.sub(r"L\['(\w+)'\]", r"\1", specialized[1])
        return ExportError(f"the model fixes its batch size: {tensor} is a constant{where}", FIXED_BATCH)
    if missing := re.search(r"No ONNX function found for <OpOverload\(op='(.*?)', overload='(.*?)'\)>", text):
        return ExportError(f"ONNX has no operator for {missing[1]}.{missing[2]}{where}", NO_OPERATOR)
    cause = f"{type(chain[-1]).__name__}: {first_line(chain[-1], 300)}"
    return ExportError(f"the model cannot be exported to ONNX{where}: {cause}", UNKNOWN)


def _where(text: str, exported: torch.export.ExportedProgram | None) -> str:
    found = re.search(r"(?:translating node|While executing) %(\w+) .*?target=([\w.]+)", text)
    if not found:
        return ""
    nodes = exported.graph.nodes if exported else ()
    path = next((module_path(node) for node in nodes if node.name == found[1]), "")
    layer = f" of layer {path!r}" if path else ""
    return f", at node {found[1]} ({found[2]}){layer}"


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
    signature = exported.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    return frozenset(
        names[node.name]
        for node in exported.graph.find_nodes(op="placeholder")
        # an assertion about a tensor computes nothing
        if node.name in names and any(user.users or user.op == "output" for user in node.users)
    )
