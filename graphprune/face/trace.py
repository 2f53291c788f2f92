"""``trace``: a model as a graph of operators, tensors and axes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from graphprune.axes.dependency import DependencyGraph, build_graph
from graphprune.capture import capture
from graphprune.capture.asked import is_as_asked
from graphprune.capture.casting import not_under_modes
from graphprune.face.opening import noted, opened, sizes_asked
from graphprune.ground.clock import Clock
from graphprune.ground.dynamic import AUTO, Dynamic, read_dynamic
from graphprune.ground.errors import InputError
from graphprune.importing.reading import Tidying

__all__ = ["trace", "traced"]


def trace(
    model: nn.Module | str | Path,
    example_inputs: Any = None,
    strict: bool = False,
    outputs: Sequence[str] = (),
    dynamic: Dynamic = AUTO,
    keep_denormals: bool = False,
    simplify: bool = False,
) -> DependencyGraph:
    """Captures ``model`` and solves its axes.

    Args:
        model: the model, or the path of an ONNX file.
        example_inputs: a tensor, a tuple of arguments, a dict of keywords, or ``(args, kwargs)``. Of a file: tensors,
            arrays or shapes, in order or by the names of its inputs; what is not given is made.
        strict: raise where an operator has no rule, instead of pinning its axes.
        outputs: those outputs that the slim model shall return, such as "logits", "0" or "hidden_states.1", or
            patterns; all if none is named. The width of an output cannot change, since others read it. So an output
            that nobody reads keeps layers from being pruned, and is better left out.
        dynamic: which sizes of the inputs may vary: "auto" for all that the model lets vary, False for none, or names,
            such as ``{"x": {2: "height", 3: "width"}}``. What is named must vary; what is not named is found by
            itself. Tensors within an argument are called as in "past.0"; "past.*" is all of them.
        keep_denormals: of an ONNX file, keep numbers below the smallest normal one, with which processors compute
            slowly. Without it they become zeros where no output changes.
        simplify: of an ONNX file, put constants in the place of nodes that read nothing else, and drop what nobody
            reads.

    Raises:
        InputError: the model does not run on these inputs, or has no such output or input; a file cannot be read.
        CaptureError: the model cannot be captured; the message names the line.
        RuleError: in strict mode, an operator has no rule.
    """
    module, inputs = opened(model, example_inputs, Tidying(keep_denormals, simplify))
    with not_under_modes(module):
        asked = sizes_asked(module, read_dynamic(dynamic))
        return build_graph(noted(capture(module, inputs, outputs, asked)), strict)


def traced(
    model: nn.Module | DependencyGraph,
    example_inputs: Any,
    outputs: Sequence[str],
    dynamic: Dynamic,
    clock: Clock,
) -> DependencyGraph:
    """The graph of a model, or the one that was given.

    Raises:
        InputError: other outputs, or sizes, are asked for than the graph was traced with; its tensors have no values.
    """
    graph = _traced(model, example_inputs, outputs, dynamic, clock)
    if not graph.program.has_values:
        raise InputError(
            "the model's tensors are on the meta device and have no values",
            "load its weights; trace alone needs none",
        )
    return graph


def _traced(
    model: nn.Module | DependencyGraph,
    example_inputs: Any,
    outputs: Sequence[str],
    dynamic: Dynamic,
    clock: Clock,
) -> DependencyGraph:
    if isinstance(model, DependencyGraph):
        if tuple(outputs) not in ((), model.program.wanted):
            raise InputError("outputs are given for a model that is traced already", "give them to trace")
        if not is_as_asked(dynamic, model.program.dimensions):
            raise InputError(
                f"dynamic={dynamic!r} is given for a model that is traced already", "give it to trace"
            )
        return model
    with clock("capture"):
        program = noted(capture(model, example_inputs, outputs, sizes_asked(model, dynamic)))
    with clock("analyse"):
        return build_graph(program)
