"""The file cut by a plan: its constants narrowed, numbers and attributes that mention a cut dimension renewed."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.inputs import registered_tensors
from graphprune.ground.errors import CaptureError
from graphprune.importing.interpreter import Graph, OnnxModule, Turn, module_of
from graphprune.importing.nested import graphs, nodes_of
from graphprune.importing.step import Step
from graphprune.planning.plan import Plan, make_masks
from graphprune.planning.region import narrowed
from graphprune.slicing.chains import Chains, Computed, changed
from graphprune.slicing.computed import keep_data, original_numbers
from graphprune.slicing.literals import LITERALS
from graphprune.slicing.matching import Match, Terms, match_values
from graphprune.slicing.numbers import Counted
from graphprune.slicing.site import Changes, Site
from graphprune.slicing.tensors import kept_by_source, sources_of, with_tensors
from graphprune.slicing.unshared import together, unshared

__all__ = ["sliced"]


def sliced(graph: DependencyGraph, plan: Plan, match: Match | None = None) -> Any:
    """The onnx.ModelProto that holds what ``plan`` keeps of the file that ``graph`` was traced from. It is not proved.

    Raises:
        CaptureError: a node says a size in a way that cannot be renewed; the message names it.
    """
    module = graph.program.model
    assert isinstance(module, OnnxModule)
    sources = sources_of(module)
    kept, tensors = kept_by_source(plan.kept, sources), registered_tensors(module)
    own = {sources[name]: tensor for name, tensor in tensors.items()}
    if shared := sorted(name for name in module.left.reads if module.constants.source(name) in kept):
        raise CaptureError(
            f"{shared[0]} is cut, and read by a node that is left as it is", "protect the layers that read it"
        )
    file, copies = unshared(module.source)
    file = with_tensors(file, {name: narrowed(own[name], dims) for name, dims in kept.items()})
    fitting = _Fitting(graph, plan, match or match_values(graph, module), file, kept, copies)
    fitting.run()
    model = fitting.finished()
    together(model, copies)
    return model


class _Fitting:
    """Runs the nodes of a cut file in order, and renews what each says of sizes before it runs."""

    def __init__(
        self,
        graph: DependencyGraph,
        plan: Plan,
        match: Match,
        model: Any,
        cut: Container[str],
        copies: Mapping[str, str],
    ) -> None:
        self._cut = cut
        self._graph, self._match, self._model = graph, match, model
        self._masks = make_masks(graph, plan.groups)
        original = graph.program.model
        assert isinstance(original, OnnxModule)
        self._module = module_of(model, original.left.nodes)
        self._inputs = graph.program.flat_inputs(*graph.program.example)
        self._values: dict[str, Any] = {}
        self._ran: set[Step] = set()
        self._counted, self._nodes = Counted(self._module), nodes_of(model.graph)
        copied = {copy: match.numbers[name] for copy, name in copies.items() if name in match.numbers}
        self._before = {**match.numbers, **copied}
        computed = Computed(dict(self._nodes), dict(self._counted.steps), dict(self._before), self._values)
        self._chains = Chains(model, computed)

    def run(self) -> None:
        """Raises CaptureError where a node gives another shape than planned."""
        with torch.no_grad(), self._module.watched(self):
            self._module(*self._inputs)
        for step in self._module.modules():
            if isinstance(step, Step) and step not in self._ran:
                self._check_unseen(step)

    def _check_unseen(self, step: Step) -> None:
        """A node in a branch that the example does not take may hold nothing that is cut."""
        for held in step.held.values():
            if held.source in self._cut:
                raise step.node.refusal(
                    f"it does not run in the example, and reads {held.source}, which is cut",
                    "protect the layers that read it too",
                )

    def before(self, graph: Graph, turn: Turn, inputs: list[Any]) -> None:
        """Renews what the node says of sizes."""
        node = self._nodes[f"{graph.prefix}{turn.outputs[0]}"]
        keep_data(graph, turn, inputs, node, self._before, self._chains)
        if turn.step.node.operator in LITERALS:
            self._renew(graph.constants.scopes, turn, inputs)

    def after(self, graph: Graph, turn: Turn, values: Mapping[str, Any]) -> None:
        """Compares the sizes of what it gave with the planned ones."""
        self._ran.add(turn.step)
        for name in turn.outputs:
            value = self._values[f"{graph.prefix}{name}"] = values.get(name)
            for dim, (old, new) in self._sizes(f"{graph.prefix}{name}").items():
                if isinstance(value, Tensor) and value.shape[dim] == old != new:
                    raise turn.step.node.refusal(f"it gives {old} in dimension {dim}, and {new} is planned")

    def _renew(self, scopes: Sequence[str], turn: Turn, given: list[Any]) -> None:
        step, sizes = turn.step, [self._sizes(f"{scopes[0]}{name}") for name in turn.outputs]
        out = self._terms(scopes, turn.outputs[0])

        def term(dim: int, place: int = 0) -> Any:
            terms = self._terms(scopes, step.node.inputs[place])
            return None if terms is None else terms[dim % len(terms)]

        def made(dim: int) -> Any:
            return None if out is None else out[dim % len(out)]

        changes, args = Changes(), step.arguments(given)
        before = [self._originally(scopes, step, place) for place in range(len(args))]
        site = Site(step, args, before, sizes, term, made, self._masks, len(out or ()))
        LITERALS[step.node.operator](site, changes)
        for literal, number in changes.numbers:
            self._counted.set(literal, number, self._values.values())
        node = self._nodes[f"{scopes[0]}{turn.outputs[0]}"]
        for (place, index), number in changes.computed.items():
            if not self._chains.put(scopes[0], node, place, index, number):
                raise step.node.refusal(
                    f"its input {place} computes sizes, and {number} is needed among them"
                )
            given[place] = changed(given[place], index, number)
        for place, numbers in changes.inputs.items():
            given.extend([None] * (place + 1 - len(given)))
            given[place] = self._chains.added(node, place, numbers, torch.int64)
        if changes.attributes:
            step.node = replace(step.node, attributes={**step.node.attributes, **changes.attributes})
            _set_attributes(node, changes.attributes)

    def _originally(self, scopes: Sequence[str], step: Step, place: int) -> list[int] | None:
        """The numbers of a node's input in the original file."""
        if place in step.held:
            held = step.held[place].numbers
            return None if held is None else [getattr(item, "original", item) for item in held.array.flat]
        computed = original_numbers(self._before, scopes, step.node.inputs[place])
        return None if computed is None else list(computed.array.flat)

    def _terms(self, scopes: Sequence[str], name: str) -> Terms | None:
        """The axes of a value that a graph computes, or reads from one around."""
        found = (self._match.terms(self._graph, f"{prefix}{name}") for prefix in scopes)
        return next((terms for terms in found if terms is not None), None)

    def _sizes(self, name: str) -> dict[int, tuple[int, int]]:
        """The dimensions of a value that are cut, with their old and new sizes."""
        terms = self._match.terms(self._graph, name) or ()
        touched = ((dim, term) for dim, term in enumerate(terms) if self._masks.touches(term))
        return {dim: (term.size, self._masks.size(term)) for dim, term in touched}

    def finished(self) -> Any:
        """The file with its new numbers, and the sizes that it notes of its values."""
        model = self._counted.written(self._model)
        self._chains.write_copies(model)
        for prefix, graph in graphs(model.graph):
            for item in graph.value_info:
                dims = item.type.tensor_type.shape.dim
                for dim, (old, new) in self._sizes(f"{prefix}{item.name}").items():
                    if dim < len(dims) and dims[dim].dim_value == old:
                        dims[dim].dim_value = new
            if prefix and any(self._sizes(f"{prefix}{name}") for node in graph.node for name in node.output):
                _forget_sizes(graph)
        return model


def _forget_sizes(graph: Any) -> None:
    """Of what the graph of a Loop or a Scan is given and gives: they follow from those around it."""
    for item in (*graph.input, *graph.output):
        for dim in item.type.tensor_type.shape.dim:
            if dim.dim_value:
                dim.Clear()


def _set_attributes(node: Any, attributes: Mapping[str, Any]) -> None:
    from onnx import helper

    for name, value in attributes.items():
        kept = [item for item in node.attribute if item.name != name]
        place = next((at for at, item in enumerate(node.attribute) if item.name == name), len(kept))
        if value is not None:
            kept.insert(place, helper.make_attribute(name, value))
        del node.attribute[:]
        node.attribute.extend(kept)
