"""The dependency graph of a slim program, from the original's: nothing is traced or solved again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from torch import fx

from graphprune.axes.analysis import Analysis, Loops
from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.groups import Group
from graphprune.axes.terms import Atom, Permuted, Product, Sum, Term
from graphprune.capture.describe import describe
from graphprune.capture.operators import call
from graphprune.capture.program import Program
from graphprune.capture.sizes import reads_size
from graphprune.planning.masks import Masks
from graphprune.planning.plan import Plan, make_masks
from graphprune.rewriting.sizes import reordered

__all__ = ["slim_graph"]


def slim_graph(graph: DependencyGraph, plan: Plan, slim: Program) -> DependencyGraph:
    """The graph of ``slim``, which `rewrite` made of ``graph`` by ``plan``.

    Groups keep their names and members, atoms their pins; only sizes and literals differ, so a plan for it can be
    read as one for what is left of the original. A group of one unit is still one.
    """
    sizes = {graph.by_name[name].atom: kept.shape[-1] for name, kept in plan.groups.items()}
    resized = _Resized(sizes, make_masks(graph, plan.groups))
    terms = {name: tuple(map(resized, dims)) for name, dims in graph.analysis.terms.items()}
    program = _described(slim, terms)
    return DependencyGraph(
        program, _analysis(graph.analysis, terms, resized), tuple(map(resized.group, graph.groups))
    )


class _Resized:
    """Terms with new sizes; equal parts stay equal."""

    def __init__(self, sizes: Mapping[Atom, int], masks: Masks) -> None:
        self.sizes = sizes
        self.masks = masks
        self.known: dict[Term, Term] = {}

    def __call__(self, term: Term) -> Term:
        if term not in self.known:
            self.known[term] = self._made(term)
        return self.known[term]

    def _made(self, term: Term) -> Term:
        if isinstance(term, Atom):
            return Atom(term.number, self.sizes.get(term, term.size), term.pins)
        parts = tuple(map(self, term.parts))
        if isinstance(term, Permuted):
            return Permuted((parts[0],), reordered(term, self.masks), parts[0].size)
        if isinstance(term, Sum):
            return Sum(parts, sum(part.size for part in parts))
        return Product(parts, prod(part.size for part in parts))

    def atom(self, atom: Atom) -> Atom:
        resized = self(atom)
        assert isinstance(resized, Atom)
        return resized

    def group(self, group: Group) -> Group:
        fibre = None if group.fibre is None else self.atom(group.fibre)
        return dataclasses.replace(group, atom=self.atom(group.atom), fibre=fibre)


def _analysis(old: Analysis, terms: Mapping[str, tuple[Term, ...]], resized: _Resized) -> Analysis:
    return dataclasses.replace(
        old,
        terms=terms,
        loops=tuple(Loops(loop.operation, loop.layer, tuple(map(resized, loop.terms))) for loop in old.loops),
        across=frozenset((resized.atom(one), resized.atom(other)) for one, other in old.across),
        points={name: resized(term) for name, term in old.points.items()},
        sizes={
            name: {argument: resized(term) for argument, term in sizes.items()}
            for name, sizes in old.sizes.items()
        },
    )


def _described(slim: Program, terms: Mapping[str, tuple[Term, ...]]) -> Program:
    """The program with values and operations of the new shapes."""
    for node in slim.graph.nodes:
        node.meta = {**node.meta, "val": _sized(node, terms, slim)}
    described = describe(slim.graph)
    return dataclasses.replace(slim, operations=described.operations, values=described.values, model=None)


def _sized(node: fx.Node, terms: Mapping[str, tuple[Term, ...]], slim: Program) -> Any:
    """What the node makes, with new shapes; primes stand for the batch as in `Value.shape`."""
    if reads_size(node):
        return node.args[0].meta["val"].shape[node.args[1]]  # type: ignore[union-attr]
    if "val" not in node.meta and node.op == "call_function":
        return call(node, lambda number: number.meta["val"])  # a literal that is computed from sizes

    def sized(name: str, old: Any) -> Any:
        if not isinstance(old, torch.Tensor):
            return old
        sizes = [term.size for term in terms[slim.values[name].name]]
        return torch.empty(sizes, dtype=old.dtype, device="meta")

    meta = node.meta.get("val")
    if isinstance(meta, tuple | list):
        return tuple(sized(f"{node.name}.{index}", item) for index, item in enumerate(meta))
    return sized(node.name, meta)
