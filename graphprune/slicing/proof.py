"""A cut file in onnxruntime beside the slim program in PyTorch, tensor by tensor, on own and random weights.

This is a first proof: it takes the program, and its proof against the masked original, for granted. One that needs no
PyTorch, the original file with masks behind every cut value, has the same two arguments and may take its place.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphprune.axes.dependency import DependencyGraph
from graphprune.exporting.runtime import session
from graphprune.ground.errors import VerificationError, first_line
from graphprune.importing.interpreter import OnnxModule
from graphprune.planning.plan import Plan
from graphprune.planning.region import narrowed
from graphprune.rewriting import rewrite
from graphprune.slicing.matching import Match, match_values, randomised, run_program
from graphprune.slicing.slice import sliced, sources_of, with_tensors
from graphprune.verifying.differences import TOLERANCE, relative_error

__all__ = ["LIMIT", "proved"]

REPORT = "nothing was written; please report the file"
LIMIT = TOLERANCE[torch.float32]


def proved(graph: DependencyGraph, plan: Plan, seed: int = 1) -> tuple[Any, int]:
    """The cut file, and how many of its tensors were compared.

    Raises:
        CaptureError: it cannot be cut.
        VerificationError: a tensor differs; the message names it.
    """
    module = graph.program.model
    assert isinstance(module, OnnxModule)
    match = match_values(graph, module)
    model = sliced(graph, plan, match)
    own = {name: item.tensor.detach() for name, item in graph.program.stored.items()}
    count = 0
    for tensors in (own, randomised(graph.program, seed)):
        count += _compared(graph, plan, model, match, tensors)
    return model, count


def _compared(
    graph: DependencyGraph, plan: Plan, model: Any, match: Match, tensors: dict[str, Tensor]
) -> int:
    slim, module = rewrite(graph, plan), graph.program.model
    assert isinstance(module, OnnxModule)
    cut = {name: narrowed(tensor, plan.kept.get(name, {})) for name, tensor in tensors.items()}
    with torch.no_grad():
        values = {node.name: value for node, value in run_program(slim, cut, graph.program.example[0])}
    sources = sources_of(module)
    parameters = {name for name, item in graph.program.stored.items() if item.kind == "parameter"}
    file = with_tensors(model, {sources[name]: cut[name] for name in parameters if name in sources})
    names = _observed(file, match)
    feed = {name: item.numpy() for name, item in zip(module.inputs, graph.program.example[0], strict=True)}
    try:
        results = session(file.SerializeToString()).run(names, feed)
    except Exception as error:  # onnxruntime's errors have no common base class
        raise VerificationError(f"the cut file does not run: {first_line(error, 300)}", REPORT) from error
    for name, result in zip(names, results, strict=True):
        off = relative_error(values[match[name].name], torch.from_numpy(result))
        if not off <= LIMIT:
            raise VerificationError(f"the cut file differs at {name} by {off:.1e}", REPORT)
    return len(names)


def _observed(model: Any, match: Match) -> list[str]:
    """Makes outputs of all values that are known in the program, and names them."""
    import onnx

    outputs = {item.name for item in model.graph.output}
    made = [name for node in model.graph.node for name in node.output if name in match]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made if name not in outputs)
    return made
