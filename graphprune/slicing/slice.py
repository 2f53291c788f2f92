"""The file cut by a plan: its constants narrowed, numbers and attributes that mention a cut dimension renewed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphprune.axes.dependency import DependencyGraph
from graphprune.ground.errors import CaptureError
from graphprune.importing.interpreter import OnnxModule, Turn, module_of
from graphprune.importing.step import Step
from graphprune.importing.values import Numbers
from graphprune.planning.masks import Masks
from graphprune.planning.plan import Plan, make_masks
from graphprune.planning.region import narrowed
from graphprune.slicing.literals import LITERALS, Changes, Literal, Site, marked
from graphprune.slicing.matching import Match, match_values

__all__ = ["sliced", "sources_of", "with_tensors"]


def sources_of(module: OnnxModule) -> dict[str, str]:
    """Name of a tensor of the module → the initializer that it is, or the value of a Constant node."""
    return {
        f"{path}.{held.attribute}": held.source
        for path, step in module.named_modules()
        if isinstance(step, Step)
        for held in step.held.values()
    }


def sliced(graph: DependencyGraph, plan: Plan, match: Match | None = None) -> Any:
    """The onnx.ModelProto that holds what ``plan`` keeps of the file that ``graph`` was traced from. It is not proved.

    Raises:
        CaptureError: a node says a size in a way that cannot be renewed; the message names it.
    """
    module = graph.program.model
    assert isinstance(module, OnnxModule)
    kept = _by_source(plan, sources_of(module))
    model = with_tensors(
        module.source, {name: narrowed(tensor, dims) for name, (tensor, dims) in _cut(module, kept).items()}
    )
    fitting = _Fitting(graph, make_masks(graph, plan.groups), match or match_values(graph, module), model)
    fitting.run()
    return fitting.finished()


def _by_source(plan: Plan, sources: Mapping[str, str]) -> dict[str, Mapping[int, Tensor]]:
    """Initializer → dimension → kept indices.

    Raises:
        CaptureError: two nodes that read one initializer keep different parts, or a tensor is none of the file's.
    """
    found: dict[str, Mapping[int, Tensor]] = {}
    for name, dims in plan.kept.items():
        if name not in sources:
            raise CaptureError(
                f"{name} is cut, and is no tensor of the file", "protect the layers that read it"
            )
        other = found.setdefault(sources[name], dims)
        if set(other) != set(dims) or any(not torch.equal(other[dim], dims[dim]) for dim in dims):
            raise CaptureError(f"{sources[name]} would be cut in two ways", "protect the layers that read it")
    return found


def _cut(
    module: OnnxModule, kept: Mapping[str, Mapping[int, Tensor]]
) -> dict[str, tuple[Tensor, Mapping[int, Tensor]]]:
    tensors = {
        held.source: getattr(step, held.attribute).detach()
        for step in module.modules()
        if isinstance(step, Step)
        for held in step.held.values()
    }
    return {name: (tensors[name], dims) for name, dims in kept.items()}


def with_tensors(model: Any, tensors: Mapping[str, Tensor]) -> Any:
    """A copy of a file with other constants under these names."""
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    inputs = {item.name: item.type.tensor_type.shape for item in made.graph.input}
    places = {item.name: item for item in made.graph.initializer}
    places |= {node.output[0]: node.attribute[0].t for node in made.graph.node if node.op_type == "Constant"}
    for name, tensor in tensors.items():
        _put(places[name], tensor.numpy())
        for dim, size in zip(inputs[name].dim if name in inputs else (), tensor.shape, strict=False):
            dim.dim_value = size  # old files list their constants among the inputs
    return made


def _put(proto: Any, array: np.ndarray[Any, Any]) -> None:
    """Other numbers in a tensor of a file, under its own name, and laid out as before."""
    from onnx import numpy_helper

    made = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), proto.name)
    made.doc_string = proto.doc_string
    proto.CopyFrom(made)


class _Fitting:
    """Runs the nodes of a cut file in order, and renews what each says of sizes before it runs."""

    def __init__(self, graph: DependencyGraph, masks: Masks, match: Match, model: Any) -> None:
        self._graph, self._masks, self._match, self._model = graph, masks, match, model
        self._module = module_of(model)
        self._values: dict[str, Any] = dict(zip(self._module.inputs, graph.program.example[0], strict=True))
        self._numbers: dict[tuple[str, int], int] = {}
        self._nodes = {node.output[0]: node for node in model.graph.node}
        for step in self._module.steps:
            for place, held in step.held.items():
                if held.numbers is not None:
                    step.held[place] = replace(held, numbers=marked(held.numbers, held.source))

    def run(self) -> None:
        """Raises CaptureError where a node gives another shape than planned."""
        values = self._values
        with torch.no_grad():
            for turn in self._module.turns:
                if turn.step.node.operator in LITERALS:
                    self._renew(turn, self._given(turn))
                values.update(zip(turn.outputs, turn.step(self._given(turn), values), strict=False))
                self._check(turn, values)

    def _given(self, turn: Turn) -> list[Any]:
        return [self._values.get(name) if name else None for name in turn.given]

    def _renew(self, turn: Turn, given: list[Any]) -> None:
        step, sizes = turn.step, [self._sizes(name) for name in turn.outputs]
        terms = self._match.terms(self._graph, step.node.inputs[0])
        rank = len(self._match.terms(self._graph, turn.outputs[0]) or ())

        def term(dim: int) -> Any:
            return None if terms is None else terms[dim % len(terms)]

        changes = Changes({}, {})
        LITERALS[step.node.operator](
            Site(step, step.arguments(given), sizes, term, self._masks, rank), changes
        )
        for (source, place), number in changes.numbers.items():
            self._set(step, source, place, number)
        if changes.attributes:
            step.node = replace(step.node, attributes={**step.node.attributes, **changes.attributes})
            _set_attributes(self._nodes[turn.outputs[0]], changes.attributes)

    def _set(self, step: Step, source: str, place: int, number: int) -> None:
        if self._numbers.setdefault((source, place), number) != number:
            raise step.node.refusal(f"{source} would be {number} here, and another number elsewhere")
        known = [*self._values.values()]
        for other in self._module.steps:
            for held in other.held.values():
                known.append(held.numbers)
                if held.source == source:
                    getattr(other, held.attribute).view(-1)[place] = number
        for item in known:  # what was computed of it so far knows where it comes from
            for at, old in enumerate(item.array.flat) if isinstance(item, Numbers) else ():
                if isinstance(old, Literal) and (old.source, old.place) == (source, place):
                    item.array.flat[at] = Literal(number, source, place, old.original)

    def _sizes(self, name: str) -> dict[int, tuple[int, int]]:
        """The dimensions of a value that are cut, with their old and new sizes."""
        terms = self._match.terms(self._graph, name) or ()
        touched = ((dim, term) for dim, term in enumerate(terms) if self._masks.touches(term))
        return {dim: (term.size, self._masks.size(term)) for dim, term in touched}

    def _check(self, turn: Turn, values: Mapping[str, Any]) -> None:
        for name in turn.outputs:
            value = values.get(name)
            for dim, (old, new) in self._sizes(name).items():
                if isinstance(value, Tensor) and value.shape[dim] == old != new:
                    raise turn.step.node.refusal(f"it gives {old} in dimension {dim}, and {new} is planned")

    def finished(self) -> Any:
        """The file with its new numbers, and the sizes that it notes of its values."""
        changed = {source for source, _ in self._numbers}
        tensors = {
            held.source: getattr(step, held.attribute)
            for step in self._module.steps
            for held in step.held.values()
            if held.source in changed
        }
        model = with_tensors(self._model, tensors)
        for item in model.graph.value_info:
            dims = item.type.tensor_type.shape.dim
            for dim, (old, new) in self._sizes(item.name).items():
                if dim < len(dims) and dims[dim].dim_value == old:
                    dims[dim].dim_value = new
        return model


def _set_attributes(node: Any, attributes: Mapping[str, Any]) -> None:
    from onnx import helper

    for name, value in attributes.items():
        kept = [item for item in node.attribute if item.name != name]
        place = next((at for at, item in enumerate(node.attribute) if item.name == name), len(kept))
        kept.insert(place, helper.make_attribute(name, value))
        del node.attribute[:]
        node.attribute.extend(kept)
