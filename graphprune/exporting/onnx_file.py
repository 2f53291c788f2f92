"""A model as an ONNX file: optimised, checked, its batch dimension really symbolic.

A file can be written a second time with other values for the model's tensors. Where the model's own values hide
its inputs, as zero-initialised layers do, only such a twin shows whether the operators are right.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graphprune.exporting.conversion import FIXED_BATCH, UNKNOWN, convert, quiet, replace_initializers
from graphprune.exporting.layer_times import name_nodes, note_layers
from graphprune.ground.errors import ExportError, first_line

__all__ = ["OnnxFile", "OnnxProgram", "check_batch", "check_file", "export_onnx"]

BATCH = "batch"


@dataclass(frozen=True)
class OnnxFile:
    """An exported file.

    Attributes:
        path: the file.
        bytes: its size, with that of the weights file beside it if there is one.
        opset: version of the ONNX operator set.
        input_names: names of the inputs, the model's arguments in order.
        output_names: names of the outputs, the tensors among the flattened results.
        operators: digest of the operators and their settings in order, whatever the weights.
    """

    path: Path
    bytes: int
    opset: int
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    operators: str


@dataclass(frozen=True)
class OnnxProgram:
    """A converted model, to be written once or more.

    Attributes:
        converted: the program, not optimised and never changed.
        dynamic_batch: dimension 0 of every input is the symbolic dimension "batch".
    """

    converted: torch.onnx.ONNXProgram
    dynamic_batch: bool

    @classmethod
    def of(
        cls, model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], dynamic_batch: bool
    ) -> OnnxProgram:
        """Converts `model`; see `convert`.

        Raises:
            ExportError: the model cannot be exported.
        """
        return cls(convert(model, args, kwargs, dynamic_batch), dynamic_batch)

    def write(self, path: Path, tensors: Mapping[str, torch.Tensor] | None = None) -> OnnxFile:
        """Optimise the program, write it to `path` and check the file.

        Args:
            path: where to write; weights go into the file itself unless they exceed protobuf's 2 GB, and into
                one beside it whose name begins with `path`'s if they do.
            tensors: values in the place of the model's parameters and buffers, by name, of their shapes and
                dtypes. Each is read once per name.

        Raises:
            ExportError: a tensor that the model reads cannot be replaced, the file cannot be written, or it
                does not pass ONNX's checker.
        """
        with quiet(), torch.no_grad():
            draft = torch.onnx.ONNXProgram(self.converted.model.clone(), None)
            if tensors is not None:
                replace_initializers(draft.model.graph, self.converted, tensors)
            note_layers(draft.model.graph)
            draft.optimize()
            _tidy(draft.model)
            try:
                draft.save(path)
            except OSError as error:
                raise ExportError(
                    f"{path} cannot be written: {error.strerror}", "choose a writable place"
                ) from error
            del draft  # checking loads the file
            return check_file(path, self.dynamic_batch)


def export_onnx(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], path: Path, dynamic_batch: bool
) -> OnnxFile:
    """Write `model` to the ONNX file `path` and check the file; see `convert` and `OnnxProgram.write`.

    Raises:
        ExportError: the model is in training mode, fixes its batch size, or has an operation that cannot be
            exported; or the file does not pass ONNX's checker.
    """
    return OnnxProgram.of(model, args, kwargs, dynamic_batch).write(path)


def _tidy(model: Any) -> None:
    """Name the nodes and the batch dimension, and drop the exporter's notes, which quote local paths and source."""
    name_nodes(model.graph)
    values = list(model.graph.inputs)
    symbols = {str(value.shape[0]) for value in values if value.shape and not isinstance(value.shape[0], int)}
    _drop_notes(model.graph.metadata_props)
    for node in model.graph.all_nodes():
        _drop_notes(node.metadata_props)
        values.extend(node.outputs)
    for value in values:
        _drop_notes(value.metadata_props)
        value.shape = _renamed(value.shape, symbols)


def _drop_notes(notes: dict[str, str]) -> None:
    for key in [key for key in notes if key.startswith("pkg.")]:
        del notes[key]


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


def check_file(path: Path, dynamic_batch: bool) -> OnnxFile:
    import onnx

    try:
        onnx.checker.check_model(str(path))
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # the checker's errors have no common base class
        raise ExportError(f"the exported file is not valid ONNX: {first_line(error)}", UNKNOWN) from error
    if dynamic_batch:
        check_batch(model.graph.input)
    outside = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return OnnxFile(
        path=path,
        bytes=path.stat().st_size + sum((path.parent / name).stat().st_size for name in outside),
        opset=next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
        input_names=tuple(value.name for value in model.graph.input),
        output_names=tuple(value.name for value in model.graph.output),
        operators=_digest(model.graph),
    )


def check_batch(inputs: Any) -> None:
    for value in inputs:
        sizes = value.type.tensor_type.shape.dim
        if len(sizes) > 0 and not sizes[0].dim_param:
            raise ExportError(
                f"the exported file fixes dimension 0 of input {value.name!r} at {sizes[0].dim_value}",
                FIXED_BATCH,
            )


def _digest(graph: Any) -> str:
    """Of the operators and their settings: names and tensors differ between a file and its twin."""
    import onnx

    digest = hashlib.sha256()
    for node in graph.node:
        digest.update(f"{node.domain}.{node.op_type};".encode())
        for attribute in sorted(node.attribute, key=lambda attribute: attribute.name):
            if attribute.type != onnx.AttributeProto.TENSOR:
                digest.update(attribute.SerializeToString(deterministic=True))
    return digest.hexdigest()
