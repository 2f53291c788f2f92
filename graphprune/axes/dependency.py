"""The dependency graph of a model: what `graphprune.trace` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import networkx as nx
from torch import Tensor

from graphprune.axes.analysis import Analysis, analyse
from graphprune.axes.cost import Polynomial
from graphprune.axes.explain import Network, build_network
from graphprune.axes.groups import Group, find_groups
from graphprune.axes.memory import PeakMemory, peak_memory
from graphprune.axes.terms import Atom, Term
from graphprune.axes.told import explanation
from graphprune.capture.operations import Value
from graphprune.capture.program import Program

__all__ = ["Cost", "DependencyGraph", "build_graph"]


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates of one example, and parameters (tied ones counted once)."""

    macs: int
    params: int


@dataclass(frozen=True)
class DependencyGraph:
    """Operators, tensors and axes of a captured model, its coupled groups and its cost.

    Args:
        program: the captured model.
        analysis: the axis term of every dimension.
        groups: what can be removed, see `Group`.
    """

    program: Program
    analysis: Analysis
    groups: tuple[Group, ...]

    def __repr__(self) -> str:
        cost, program, axes = self.cost(), self.program, self.analysis.atoms
        varying = ", ".join(program.sizes)
        return (
            f"DependencyGraph({type(program.model).__name__}, operators={len(program.operations)}, axes={len(axes)}, "
            f"groups={len(self.groups)}, params={cost.params:,}, macs={cost.macs:,}, varying=[{varying}])"
        )

    @cached_property
    def by_name(self) -> dict[str, Group]:
        """Groups by name."""
        return {group.name: group for group in self.groups}

    @cached_property
    def by_atom(self) -> dict[Atom, Group]:
        """Groups by their atoms, which are those that a plan can change."""
        return {group.atom: group for group in self.groups}

    @cached_property
    def fibres(self) -> dict[Atom, Atom]:
        """Fibred atoms and their fibres."""
        return {group.atom: group.fibre for group in self.groups if group.fibre is not None}

    @cached_property
    def tensor_terms(self) -> dict[str, tuple[Term, ...]]:
        """The terms of every stored tensor that the graph reads, by the tensor's name."""
        return {tensor: self.analysis.terms[value] for value, tensor in self.program.attributes.items()}

    def batch_sizes(self, batches: Mapping[int, int]) -> dict[Atom, int]:
        """Actual sizes of the atoms that depend on the batch; ``batches`` maps batch primes to batch sizes."""
        sizes: dict[Atom, int] = {}
        for atom in self.analysis.atoms:
            size = atom.size
            for prime, batch in batches.items():
                size = size // prime * batch if size and size % prime == 0 else size
            if size != atom.size:
                sizes[atom] = size
        return sizes

    def macs_of(self, batches: Mapping[int, int]) -> Polynomial:
        """Multiply-accumulates of one call with these batch sizes."""
        products = ((loop.operation, loop.terms) for loop in self.analysis.loops)
        return Polynomial.of(products, self.by_atom, self.batch_sizes(batches))

    @cached_property
    def macs(self) -> Polynomial:
        """Multiply-accumulates of one example (of the captured batch, where that is fixed)."""
        return self.macs_of(dict.fromkeys(self.program.batch_primes, 1))

    @cached_property
    def params(self) -> Polynomial:
        """Parameters; buffers do not count."""
        products = (
            (tensor, terms)
            for tensor, terms in self.tensor_terms.items()
            if self.program.stored[tensor].kind == "parameter"
        )
        return Polynomial.of(products, self.by_atom, {})

    @cached_property
    def memory(self) -> PeakMemory:
        """Peak activation memory of one example (of the captured batch, where that is fixed), in bytes."""
        sizes = self.batch_sizes(dict.fromkeys(self.program.batch_primes, 1))
        return peak_memory(self.program, self.analysis.terms, self.by_atom, sizes)

    def cost(self, sizes: Mapping[str, int] | None = None) -> Cost:
        """The cost of the model, with ``sizes`` (group name → units kept) instead of the original widths."""
        by_atom = {self.by_name[name].atom: size for name, size in (sizes or {}).items()}
        return Cost(int(self.macs.value(by_atom)), int(self.params.value(by_atom)))

    def with_weights(self, weights: Mapping[str, Tensor]) -> DependencyGraph:
        """The same with values for tensors on the meta device, see `Program.with_weights`.

        Raises:
            WeightsError: they lack one.
        """
        return replace(self, program=self.program.with_weights(weights))

    def to_networkx(self) -> nx.Graph:
        """Nodes ("operator", name), ("tensor", name) and ("axis", number).

        Operators are joined to the tensors they read and make, tensors to the axes of their dimensions.
        Attributes: operators have ``op`` and ``layer``; tensors ``shape`` and, if stored, ``stored`` (their
        name in the model); axes ``size``, ``group`` (its name or None) and ``pins`` (texts).
        """
        return self._network.graph

    @cached_property
    def _network(self) -> Network:
        return build_network(self.program, self.analysis, self.by_atom)

    def explain(self, layer: str, paths: bool = False, width: int = 80) -> str:
        """What each dimension of ``layer``'s tensors is coupled with, and why, in the user's layer names.

        Args:
            layer: a layer or tensor; or a group, or a block, whose layers are listed.
            paths: show each tensor that is coupled, and the operators on the way to it.
            width: of the lines, in letters.

        Raises:
            InputError: there is no such layer with tensors of its own, nor such a block.
        """
        return str(self.explanation(layer, paths, width)["text"])

    def explanation(self, layer: str, paths: bool = False, width: int = 80) -> dict[str, Any]:
        """What `explain` says, as a dictionary for `json.dumps`, with the text.

        Raises:
            InputError: as `explain`.
        """
        return explanation(layer, self.tensor_terms, self.by_atom, self._network, paths, width)


def build_graph(program: Program, strict: bool = False) -> DependencyGraph:
    """Analyses a captured program.

    Raises:
        RuleError: in strict mode, an operator has no rule.
    """
    values: Mapping[str, Value] = program.values
    names = ["batch"] * len(program.one_example) + ["data"] * len(program.batch_primes)
    batch = dict(zip(program.batch_primes, names, strict=False))
    analysis = analyse(program.operations, values, program.inputs, program.output_names, batch, strict)
    parameters = {name for name, item in program.stored.items() if item.kind == "parameter"}
    groups = find_groups(analysis, program.operations, program.attributes, parameters)
    return DependencyGraph(program, analysis, groups)
