"""Tries a class with slim tensors against the slim program, on lively random weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.grafting import plain_weights
from graphprune.capture.program import Program
from graphprune.capture.raising import raise_program
from graphprune.cutting.trial import drawn_plan, lively_program
from graphprune.pretrained.blueprint import Blueprint, Refused, numbers, tied
from graphprune.pretrained.move import Move, fields_at
from graphprune.rewriting import rewrite
from graphprune.verifying.differences import TOLERANCE
from graphprune.verifying.grafted import outputs_differ
from graphprune.verifying.nodes import coarsest_dtype
from graphprune.verifying.samples import checked_sizes, random_inputs

__all__ = ["DIFFER", "TwinTrial", "filled", "own_tensors", "slim_tensors"]

DIFFER = "outputs differ"


class TwinTrial:
    """A twin at one choice of widths after the other."""

    def __init__(self, blueprint: Blueprint, graph: DependencyGraph, seed: int = 0) -> None:
        assert graph.program.model is not None
        self.blueprint = blueprint
        self.graph = replace(graph, program=lively_program(graph.program, graph.program.model, seed))
        self.seed = seed

    def differs(self, sizes: Mapping[str, int], moves: Sequence[Move]) -> str:
        """What is wrong where groups have these ``sizes`` and the configuration says so; empty if nothing is."""
        program = self.graph.program
        slim = rewrite(self.graph, drawn_plan(self.graph, sizes, self.seed))
        if made := self._computed(slim):
            return f"{DIFFER}: {made} is in no file, and the class computes it for each width"
        fields = fields_at(numbers(self.blueprint.values), moves, sizes)
        try:
            tensors = {**own_tensors(self.graph), **slim_tensors(slim)}
            module = filled(self.blueprint.with_numbers(fields), tensors)
        except Refused as error:
            return str(error)
        inputs = random_inputs(program, self.seed, checked_sizes(program)[0])
        distance, problem = outputs_differ(program, raise_program(slim), module, inputs)
        limit = TOLERANCE[coarsest_dtype(program)]
        return problem or ("" if distance <= limit else f"{DIFFER} by {distance:.1e}")

    def _computed(self, slim: Program) -> str:
        """A tensor that would have to be cut, and that the class makes itself; empty if there is none."""
        before = slim_tensors(self.graph.program)
        cut = (name for name, tensor in slim_tensors(slim).items() if tensor.shape != before[name].shape)
        return next((name for name in cut if self.blueprint.computes(name)), "")


def slim_tensors(slim: Program) -> dict[str, Tensor]:
    """The tensors of a slim program by all their names."""
    return {name: item.tensor for item in slim.stored.values() for name in item.names}


def own_tensors(graph: DependencyGraph) -> dict[str, Tensor]:
    """The tensors of the twin itself: some are in no program, such as those that a weight is computed from."""
    assert graph.program.model is not None
    return {name: tensor.detach() for name, tensor in graph.program.model.state_dict().items()}


def filled(blueprint: Blueprint, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The class with these tensors, which it shares; buffers that no file holds are its own.

    Raises:
        Refused: it cannot be built, or has tensors of other shapes.
    """
    module = blueprint.built()
    given = {}
    for name, tensor in module.state_dict().items():
        if name not in tensors or tensors[name].shape != tensor.shape:
            raise Refused(f"{name} is {tuple(tensor.shape)}, and no such tensor is in the slim model")
        given[name] = tensors[name]
    module.load_state_dict(given, assign=True)
    for path, inner in list(module.named_modules()):
        plain_weights(path, inner, tensors)
    return tied(module)
