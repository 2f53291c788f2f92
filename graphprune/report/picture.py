"""Layers with widths, cost, groups and pins, before and after: the facts that a page or a graph file shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import networkx as nx

from graphprune.axes.cost import Polynomial
from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.terms import Atom, Term, atoms, size_of
from graphprune.report.network import Node, collect_nodes

__all__ = ["layer_graph"]


def layer_graph(graph: DependencyGraph, sizes: Mapping[str, int] | None = None) -> nx.DiGraph:
    """The layers of a model and what flows between them, in the order of the program.

    Args:
        sizes: group → units kept, where something was removed.

    Returns:
        A directed acyclic graph, nodes numbered from 0. Their attributes: ``name`` (the user's layer), ``kind`` (its
        class, or the operator), ``width``, ``params`` and ``macs``, each [before, after], ``tensors`` (what it stores),
        ``roles`` (group → "produces", "carries" or "consumes" by its tensors, else "passes" by its output) and ``pins``
        (rows [tensor, dimension, size, reason]).
    """
    nodes, edges = collect_nodes(graph)
    describe = _Describer(graph, sizes or {})
    result = nx.DiGraph()
    result.add_nodes_from((number, describe(node)) for number, node in enumerate(nodes))
    result.add_edges_from(edges)
    return result


class _Describer:
    """Attributes of one node after another; a tensor's parameters count at the first node that reads it."""

    def __init__(self, graph: DependencyGraph, sizes: Mapping[str, int]) -> None:
        self.graph = graph
        self.free = {group.atom: group.name for group in graph.groups}
        self.sizes = {graph.by_name[name].atom: size for name, size in sizes.items()}
        self.members: dict[str, list[tuple[str, str]]] = {}
        for group in graph.groups:
            for member in group.members:
                self.members.setdefault(member.tensor, []).append((group.name, member.role))
        self.params = self._costs(graph.params)
        self.macs = self._costs(graph.macs)

    def _costs(self, cost: Polynomial) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for monomial in cost.monomials:
            pair = found.setdefault(monomial.name, [0, 0])
            pair[0] += int(monomial.value(cost.unit))
            pair[1] += int(monomial.value({**cost.unit, **self.sizes}))
        return found

    def __call__(self, node: Node) -> dict[str, Any]:
        dims = self.graph.analysis.terms.get(node.outputs[0], ()) if node.outputs else ()
        carried = dict.fromkeys(atom for term in dims for atom in atoms(term))
        return {
            "name": node.name,
            "kind": node.kind,
            "width": self._width(node, dims),
            "params": _total(self.params.pop(tensor, [0, 0]) for tensor in node.tensors),
            "macs": _total(self.macs.pop(operation, [0, 0]) for operation in node.operations),
            "tensors": list(node.tensors),
            "roles": self._roles(node, carried),
            "pins": [row for tensor in node.tensors for row in self._pins(tensor)],
        }

    def _roles(self, node: Node, carried: Iterable[Atom]) -> dict[str, str]:
        own = [member for tensor in node.tensors for member in self.members.get(tensor, ())]
        roles = {self.free[atom]: "passes" for atom in carried if atom in self.free}
        for wanted in ("consumes", "carries", "produces"):
            roles |= {group: role for group, role in own if role == wanted}
        return roles

    def _width(self, node: Node, dims: tuple[Term, ...]) -> list[int]:
        """The size of the output's dimension that the layer's own tensors share, best one that can be pruned."""
        own = {
            atom
            for tensor in node.tensors
            for term in self.graph.tensor_terms[tensor]
            for atom in atoms(term)
            if atom.size > 1
        }
        for wanted in (own & set(self.free), own, set(self.free)):
            fitting = [term for term in dims if not wanted.isdisjoint(atoms(term))]
            if fitting:
                term = fitting[-1]
                return [term.size, size_of(term, self.sizes)]
        return [0, 0]

    def _pins(self, tensor: str) -> Iterable[list[Any]]:
        for dim, term in enumerate(self.graph.tensor_terms[tensor]):
            reasons = {str(reason): atom for atom in atoms(term) if atom.size > 1 for reason in atom.pins}
            yield from ([tensor, dim, atom.size, reason] for reason, atom in reasons.items())


def _total(pairs: Iterable[list[int]]) -> list[int]:
    return [sum(numbers) for numbers in zip([0, 0], *pairs, strict=True)]
