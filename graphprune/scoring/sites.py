"""Where the activations of a group's units can be seen."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import getitem

import torch
from torch import fx

from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.terms import Atom, atoms
from graphprune.capture.operations import Value

__all__ = ["Site", "find_sites", "tapped"]


# the same numbers with other dimensions
TURNING = tuple(f"aten.{name}" for name in "permute transpose swapaxes swapdims t numpy_T mT movedim".split())


@dataclass(frozen=True)
class Site:
    """A place where the activations of a group's units can be seen: dimension ``dim`` of ``value``.

    Args:
        value: the input of a layer that reads the units, or the output of a layer that makes them.
        weight: the weight of the layer that reads them, such as "fc2.weight"; empty for the output of a layer.
        weight_dim: the dimension of that weight which is multiplied with ``dim`` and summed.
        operation: name of the call that reads them.
    """

    value: str
    dim: int
    weight: str = ""
    weight_dim: int = 0
    operation: str = ""

    @property
    def role(self) -> str:
        """As in `Member`."""
        return "consumes" if self.weight else "produces"


def find_sites(graph: DependencyGraph) -> Mapping[str, tuple[Site, ...]]:
    """By group name, the inputs of the layers that consume the group: after the activation function.

    Where no layer does (queries and keys, which only meet each other), the outputs of those that produce it.
    """
    roles = {
        (member.tensor, member.dim, group.atom): member.role
        for group in graph.groups
        for member in group.members
    }
    consumed: dict[Atom, dict[Site, None]] = {}
    produced: dict[Atom, dict[Site, None]] = {}
    stored = {name: name for name in graph.program.attributes}
    for operation in graph.program.operations:
        held = {value.name: stored[value.name] for value in operation.inputs if value.name in stored}
        if held and operation.family in TURNING:  # what reads the turned weight reads the weight
            stored |= {value.name: next(iter(held.values())) for value in operation.outputs}
            continue
        for tensor, dim, atom in _read(graph, held):
            role = roles.get((tensor, dim, atom))
            made = list(_with(graph, operation.outputs, atom, held))
            # a table of words that is the last layer too makes the units, and reads them in the end
            if role == "consumes" or (role == "produces" and not made):
                for name, place in _with(graph, operation.inputs, atom, held):
                    consumed.setdefault(atom, {})[Site(name, place, tensor, dim, operation.name)] = None
            elif role == "produces":
                for name, place in made:
                    produced.setdefault(atom, {})[Site(name, place)] = None
    return {
        group.name: tuple(consumed.get(group.atom) or produced.get(group.atom) or ())
        for group in graph.groups
    }


def _read(graph: DependencyGraph, held: Mapping[str, str]) -> Iterable[tuple[str, int, Atom]]:
    """Every atom of every dimension of the stored tensors that an operation reads."""
    for name in sorted(set(held.values())):
        for dim, term in enumerate(graph.analysis.terms[name]):
            for atom in dict.fromkeys(atoms(term)):
                yield graph.program.attributes[name], dim, atom


def _with(
    graph: DependencyGraph, values: Iterable[Value], atom: Atom, held: Collection[str]
) -> Iterable[tuple[str, int]]:
    for value in values:
        for dim, term in enumerate(() if value.name in held else graph.analysis.terms[value.name]):
            if atom in set(atoms(term)):
                yield value.name, dim


def tapped(graph: fx.Graph, sites: Sequence[Site]) -> tuple[fx.Graph, dict[Site, str]]:
    """A copy of ``graph`` in which each consumer has an input of its own, and the name of that value by site.

    The gradient of a value sums over all of its uses; that of the copy is of the one consumer alone.
    """
    copy = fx.Graph()
    nodes: dict[fx.Node, fx.Node] = {}
    copy.output(copy.graph_copy(graph, nodes))
    by_name = {old.name: new for old, new in nodes.items()}
    taps: dict[tuple[str, str], str] = {}
    for value, operation in dict.fromkeys((site.value, site.operation) for site in sites):
        consumer = by_name.get(operation)
        inputs = consumer.all_input_nodes if consumer is not None else []
        source = next((node for node in inputs if _is(node, value)), None)
        taps[value, operation] = value
        if consumer is not None and source is not None:
            with copy.inserting_before(consumer):
                tap = copy.call_function(torch.ops.aten.alias.default, (source,))
            consumer.replace_input_with(source, tap)
            taps[value, operation] = tap.name
    return copy, {site: taps[site.value, site.operation] for site in sites}


def _is(node: fx.Node, value: str) -> bool:
    """Whether the node holds ``value``, which may be an item of another node's tuple."""
    if node.name == value:
        return True
    if node.target is not getitem or not isinstance(node.args[0], fx.Node):
        return False
    return f"{node.args[0].name}.{node.args[1]}" == value
