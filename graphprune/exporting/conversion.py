"""The other way to ONNX: torch's own exporter, which traces a model anew, for what `translate` cannot translate.

Of the sizes that vary only the batch does so here.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from graphprune.capture.operators import module_path
from graphprune.capture.program import Program
from graphprune.capture.raising import raise_program
from graphprune.exporting.initializers import Names
from graphprune.exporting.refusals import NO_OPERATOR, UNKNOWN, quiet
from graphprune.ground.errors import ExportError, first_line

__all__ = ["convert"]

BATCH = "batch"

FIXED_BATCH = "export with a fixed batch size, or let the model take the batch size from its input"


def convert(program: Program, any_batch: bool) -> tuple[Any, Names]:
    """The `onnx_ir.Model` of `program`, not optimised: optimising folds tensors into others, without their names.

    Args:
        program: what to convert; sizes that vary are the example's.
        any_batch: the batch varies all the same.

    Raises:
        ExportError: the program does not run at any batch size, or has an operation that cannot be exported.
    """
    module = raise_program(program, as_bits=False)
    # at least two samples: torch.export takes a size of 1 for a constant
    args, kwargs = program.example_at({BATCH: max(2, program.sizes[BATCH])}) if any_batch else program.example
    # torch.export would guard on the sizes of a view's base
    args, kwargs = tree_map_only(torch.Tensor, torch.clone, (args, kwargs))
    shapes = torch.export.ShapesCollection()
    leaves = program.flat_inputs(args, kwargs)
    batches: dict[int, dict[int, Any]] = {}
    for at in program.dimensions:
        if any_batch and at.name == BATCH:
            batches.setdefault(at.place, {})[at.dim] = torch.export.Dim.DYNAMIC
    for place, dynamic in batches.items():
        shapes[leaves[place]] = dynamic
    with quiet(), torch.no_grad():
        try:
            found = shapes.dynamic_shapes(module, args, kwargs) if any_batch else None
            exported = torch.export.export(module, args, kwargs, dynamic_shapes=found, strict=False)
        except Exception as error:  # torch.export raises whatever the model's code or its own passes raise
            raise _failure(error, None) from error
        converted = _converted(exported)
    _name_batch(converted.model)
    constants = {name for name, item in program.stored.items() if item.kind == "constant"}
    return converted.model, Names(_read_tensors(converted) - constants)


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


def _name_batch(model: Any) -> None:
    """Calls the one dimension of the inputs that is symbolic "batch", wherever it is mentioned."""
    values = list(model.graph.inputs)
    symbols = {str(size) for value in values for size in value.shape if not isinstance(size, int)}
    for node in model.graph.all_nodes():
        values.extend(node.outputs)
    for value in values:
        value.shape = _renamed(value.shape, symbols)


def _renamed(shape: Any, symbols: set[str]) -> Any:
    import onnx_ir

    if shape is None or not symbols:
        return shape
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, sorted(symbols)))})\b")
    return onnx_ir.Shape(
        [
            size if isinstance(size, int) or size.value is None else pattern.sub(BATCH, size.value)
            for size in shape
        ]
    )


def _read_tensors(converted: torch.onnx.ONNXProgram) -> frozenset[str]:
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
