"""A program as an ONNX file: optimised, checked, with the dimensions that vary under their names.

A file can be written a second time with other values for the model's tensors. Where the model's own values hide
its inputs, as zero-initialised layers do, only such a twin shows whether the operators are right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graphprune.capture.inputs import registered_tensors
from graphprune.capture.program import Program
from graphprune.exporting.conversion import convert
from graphprune.exporting.fixed_dtypes import with_fixed_dtypes
from graphprune.exporting.initializers import Names, replace_initializers
from graphprune.exporting.layer_times import name_nodes, note_layers
from graphprune.exporting.optimising import optimise
from graphprune.exporting.refusals import UNKNOWN, quiet
from graphprune.exporting.serialised import LARGEST_FILE, Serialised, digest_of
from graphprune.exporting.translation import translate
from graphprune.ground.errors import ExportError, first_line
from graphprune.ground.garbage import collected_later

__all__ = ["OnnxFile", "OnnxProgram", "check_file", "export_onnx"]


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
        fixed: dimensions of inputs that vary in the program, and are fixed in the file → why.
    """

    path: Path
    bytes: int
    opset: int
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    operators: str
    fixed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OnnxProgram:
    """A converted program, to be written once or more.

    Attributes:
        model: an `onnx_ir.Model`, not optimised and never changed.
        names: what its tensors are called.
        sizes: of every input its sizes, the names of those that vary.
        fixed: see `OnnxFile`.
    """

    model: Any
    names: Names
    sizes: tuple[tuple[int | str, ...], ...]
    fixed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, program: Program, module: nn.Module | None = None) -> OnnxProgram:
        """Converts ``program``, with the values that the tensors of ``module`` have now.

        Args:
            module: what `raise_program` made of it, in eval mode.

        Raises:
            ExportError: the program cannot be exported, or the module is in training mode.
        """
        if module is not None and module.training:
            raise ExportError("the model is in training mode", "call model.eval() before exporting")
        converted = _translated(program)
        if module is not None:
            with quiet(), torch.no_grad():
                replace_initializers(converted.model.graph, converted.names, registered_tensors(module))
        return converted

    @collected_later()
    def finished(self, tensors: Mapping[str, torch.Tensor] | None = None) -> Serialised:
        """The program optimised, in memory.

        Args:
            tensors: values in the place of the model's parameters and buffers, by name, of their shapes and
                dtypes. Each is read once per name.

        Raises:
            ExportError: a tensor that the model reads cannot be replaced.
        """
        with quiet(), torch.no_grad():
            draft = self.model.clone()
            if tensors is not None:
                replace_initializers(draft.graph, self.names, tensors)
            note_layers(draft.graph)
            draft = optimise(draft)
            _tidy(draft)
            made = Serialised.of(draft)
        _check_sizes(made.proto.graph.input, self.sizes)
        return made

    def write(self, path: Path, tensors: Mapping[str, torch.Tensor] | None = None) -> OnnxFile:
        """Optimise the program, write it to `path` and check the file.

        Args:
            path: where to write; weights go into the file itself unless they exceed protobuf's 2 GB, and into
                one beside it whose name begins with `path`'s if they do.
            tensors: as for `finished`.

        Raises:
            InputError: the file cannot be written.
            ExportError: a tensor that the model reads cannot be replaced, or the file does not pass ONNX's checker.
        """
        made = self.finished(tensors)
        made.write(path)
        if made.size > LARGEST_FILE:
            return replace(check_file(path), fixed=self.fixed)
        _run_checker(path)
        return replace(_facts(path, made.proto, path.stat().st_size), fixed=self.fixed)


def export_onnx(program: Program, path: Path, module: nn.Module | None = None) -> OnnxFile:
    """Write ``program`` to the ONNX file `path` and check the file; see `OnnxProgram`.

    Raises:
        ExportError: the program has an operation that cannot be exported; or the file does not pass ONNX's checker.
    """
    return OnnxProgram.of(program, module).write(path)


def _translated(program: Program) -> OnnxProgram:
    """Node by node; where that cannot be, by torch's own exporter, for any batch size or for the example's.

    Raises:
        ExportError: the reason why there is no translation, where torch's exporter has none either.
    """
    program = with_fixed_dtypes(program)
    try:
        return OnnxProgram(*translate(program), _sizes(program, set(program.sizes)))
    except ExportError as error:
        reason = error
    for varying in ({"batch"}, set[str]()) if program.dynamic_batch else (set[str](),):
        try:
            converted = convert(program, bool(varying))
        except ExportError:
            continue
        fixed = {str(at): reason.message for at in program.dimensions if at.name and at.name not in varying}
        return OnnxProgram(*converted, _sizes(program, varying), fixed)
    raise reason


def _sizes(program: Program, varying: set[str]) -> tuple[tuple[int | str, ...], ...]:
    """Of every tensor among the inputs its sizes, the names of those that vary."""
    sizes: dict[int, list[int | str]] = {}
    for at in program.dimensions:
        sizes.setdefault(at.place, []).append(at.name if at.name in varying else at.size)
    leaves = program.flat_inputs(*program.example)
    tensors = [place for place, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
    return tuple(tuple(sizes.get(place, ())) for place in tensors)


def _tidy(model: Any) -> None:
    """Name the nodes, and drop the notes, among them those of torch's exporter, which quote local paths and source.

    What a tensor holds says its type and sizes already. Said a second time they are in the way of tools that change
    the tensor: onnxruntime's quantisation turns weights round, and leaves the second word as it was.
    """
    name_nodes(model.graph)
    for graph in model.graphs():
        for value in graph.initializers.values():
            if not value.is_graph_output():
                value.shape, value.type = None, None
            value.metadata_props.clear()
    values = list(model.graph.inputs)
    _drop_notes(model.graph.metadata_props)
    for node in model.graph.all_nodes():
        _drop_notes(node.metadata_props)
        values.extend(node.outputs)
    for value in values:
        _drop_notes(value.metadata_props)


def _drop_notes(notes: dict[str, str]) -> None:
    for key in [key for key in notes if key.startswith("pkg.")]:
        del notes[key]


def check_file(path: Path, sizes: Sequence[Sequence[int | str]] | None = None) -> OnnxFile:
    """Checks a file, and that its inputs have these ``sizes``, or names of sizes.

    Raises:
        ExportError: it is no valid ONNX, or the sizes are others.
    """
    import onnx

    _run_checker(path)
    model = onnx.load(str(path), load_external_data=False)
    if sizes is not None:
        _check_sizes(model.graph.input, sizes)
    outside = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    size = path.stat().st_size + sum((path.parent / name).stat().st_size for name in outside)
    return _facts(path, model, size)


def _run_checker(path: Path) -> None:
    import onnx

    try:
        onnx.checker.check_model(str(path))
    except Exception as error:  # the checker's errors have no common base class
        raise ExportError(f"the exported file is not valid ONNX: {first_line(error)}", UNKNOWN) from error


def _facts(path: Path, model: Any, size: int) -> OnnxFile:
    """Of a file of ``size`` bytes, and the `onnx.ModelProto` that it holds."""
    return OnnxFile(
        path=path,
        bytes=size,
        opset=next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
        input_names=tuple(value.name for value in model.graph.input),
        output_names=tuple(value.name for value in model.graph.output),
        operators=digest_of(model.graph),
    )


def _check_sizes(inputs: Any, wanted: Sequence[Sequence[int | str]]) -> None:
    for value, sizes in zip(inputs, wanted, strict=True):
        found = [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        if found != list(sizes):
            raise ExportError(
                f"input {value.name!r} of the exported file has sizes {found}, the program {list(sizes)}",
                "report the model",
            )
