"""The ONNX file that a model was read from, cut by a plan: proved, and written beside the slim model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

from graphprune import exporting
from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.inputs import registered_tensors
from graphprune.exporting import OnnxFile
from graphprune.ground.clock import Clock
from graphprune.importing.file import read_model
from graphprune.importing.interpreter import OnnxModule
from graphprune.importing.writing import write_model
from graphprune.planning import Plan
from graphprune.planning.region import narrowed
from graphprune.results.onnx_checks import compare_saved
from graphprune.slicing.matching import match_values
from graphprune.slicing.proof import checks_of_file
from graphprune.slicing.slice import sliced
from graphprune.slicing.tensors import arrays_of, sources_of, with_tensors
from graphprune.verifying import Check
from graphprune.verifying.samples import checked_sizes, distinct

__all__ = ["cut_file", "file_plan", "from_file", "shapes_of_file", "write_cut_file"]


def from_file(graph: DependencyGraph) -> bool:
    """Whether the model was read from an ONNX file."""
    return isinstance(graph.program.model, OnnxModule)


def file_plan(graph: DependencyGraph, plan: Plan) -> Plan:
    """The plan with the names that the constants have in the file, if the model was read from one."""
    module = graph.program.model
    return plan.renamed(sources_of(module)) if isinstance(module, OnnxModule) else plan


def shapes_of_file(path: Path) -> dict[str, tuple[int, ...]]:
    """Constant of an ONNX file → its shape.

    Raises:
        InputError: it cannot be read.
    """
    return {name: array.shape for name, array in arrays_of(read_model(path)).items()}


def cut_file(graph: DependencyGraph, plan: Plan, model: fx.GraphModule) -> Any:
    """The file (onnx.ModelProto) that ``graph`` was traced from, cut, with the values that ``model``'s tensors have.

    Raises:
        CaptureError: it cannot be cut; the message names the node.
    """
    module = graph.program.model
    assert isinstance(module, OnnxModule)
    changed = _changed(graph, plan, module, model)
    file = sliced(graph, plan, match_values(graph, module))
    return with_tensors(file, changed) if changed else file


def write_cut_file(
    graph: DependencyGraph, plan: Plan, model: fx.GraphModule, path: Path, clock: Clock
) -> tuple[OnnxFile, tuple[Check, ...]]:
    """Cuts the file that ``graph`` was traced from, proves it, and writes it to ``path``.

    Tensors of ``model`` that are not the original's at the kept places, as after a repair, are put into the file when
    it is proved without them; then the file is compared with ``model``.

    Args:
        model: the slim model in PyTorch.

    Raises:
        CaptureError: the file cannot be cut; the message names the node.
        VerificationError: a file does not run.
    """
    module = graph.program.model
    assert isinstance(module, OnnxModule)
    with clock("cut the file"):
        match = match_values(graph, module)
        file = sliced(graph, plan, match)
    with clock("prove the file in onnxruntime"):
        checks = [*checks_of_file(graph, plan, match, file)]
    changed = _changed(graph, plan, module, model)
    write_model(with_tensors(file, changed) if changed else file, path)
    if changed:
        with clock("run in onnxruntime"):
            sizes = distinct(checked_sizes(graph.program))
            checks += compare_saved(path, model, graph.program.example, sizes, None)
    return exporting.check_file(path), tuple(checks)


def _changed(
    graph: DependencyGraph, plan: Plan, module: OnnxModule, model: fx.GraphModule
) -> dict[str, Tensor]:
    """Constant of the file → the slim model's, where it is not what the plan keeps of the original's."""
    own, found = graph.program.tensors, dict[str, Tensor]()
    held = registered_tensors(model)
    for name, source in sources_of(module).items():
        if name in held and name in own:
            kept = narrowed(own[name].detach(), plan.kept.get(name, {}))
            if not torch.equal(kept, held[name].detach()):
                found[source] = held[name].detach()
    return found
