"""The latency of a model as a function of the sizes of its atoms, learned from a few widths of each of its layers.

A layer's time is modelled as its multiply-accumulates at some rate plus the elements that it reads and makes at some
rate, as in the roofline model (Williams et al., 2009), except that the two are added. Both rates are fitted for
every layer to its time alone at a few widths. How much of the whole model's time goes to such layers, and how much to
all other operators, the runtime's profile says; the others' part is put down to the elements that they make. So the
latency is a polynomial too, and any budget of it is searched as others are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod
from statistics import median

import numpy

from graphprune.axes.cost import Polynomial
from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.kinds import Layer, layers
from graphprune.axes.terms import Atom, Term, size_of
from graphprune.capture.operators import makes_view
from graphprune.exporting import NodeTime
from graphprune.profiling.lone_layers import OPERATORS, lone_layer, time_alone

__all__ = ["TimedLayer", "fitted_rates", "latency_cost", "layer_rates", "other_elements", "timed_layers"]

SHARES = (1.0, 0.75, 0.5, 0.25)
BLOCK = 16  # timed widths are multiples of it where they can be, as those of plans will be


@dataclass(frozen=True)
class TimedLayer:
    """A layer, and what its time is made of: products of sizes, each a tuple of factors."""

    layer: Layer
    macs: tuple[tuple[Term, ...], ...]
    elements: tuple[tuple[Term, ...], ...]

    def amounts(self, sizes: Mapping[Atom, int]) -> tuple[float, float]:
        """Multiply-accumulates and elements."""
        macs, elements = (
            sum(prod(size_of(term, sizes) for term in terms) for terms in products)
            for products in (self.macs, self.elements)
        )
        return macs, elements


def latency_cost(graph: DependencyGraph, nodes: Sequence[NodeTime], threads: int, batch: int) -> Polynomial:
    """Milliseconds of one run.

    Args:
        nodes: the original's profile.
    """
    free = {group.atom for group in graph.groups}
    unit = graph.batch_sizes(dict.fromkeys(graph.program.batch_primes, batch))
    timed = timed_layers(graph)
    scales = [{**unit, **{atom: _scaled(atom.size, share) for atom in free}} for share in SHARES]
    rates = layer_rates(graph, timed, scales, threads)
    alone = sum(numpy.dot(item.amounts(unit), rate) for item, rate in zip(timed, rates, strict=True))
    within, rest = _parts(nodes, timed)
    # alone a layer finds other things in the cache than within the model, and the machine in another mood
    scale = within / alone if alone else 1.0
    products: list[tuple[str, tuple[Term, ...]]] = []
    prices: dict[str, float] = {}
    for item, (per_mac, per_element) in zip(timed, rates, strict=True):
        name = item.layer.operation.name
        products += [(f"{name} macs", terms) for terms in item.macs]
        products += [(f"{name} elements", terms) for terms in item.elements]
        prices |= {f"{name} macs": per_mac * scale, f"{name} elements": per_element * scale}
    others = other_elements(graph, {item.layer.operation.name for item in timed})
    made = Polynomial.of([("others", terms) for terms in others], free, unit).value({})
    products += [("others", terms) for terms in others] if made else [("others", ())]
    prices["others"] = rest / (made or 1)
    return Polynomial.of(products, free, unit, prices)


def _parts(nodes: Sequence[NodeTime], timed: Sequence[TimedLayer]) -> tuple[float, float]:
    """Milliseconds that the whole model spends on layers that are timed alone, and on everything else."""
    attention = any(item.layer.kind == "attention" for item in timed)
    operators = (*OPERATORS, "Softmax") if attention else OPERATORS
    spent = {node: median(node.milliseconds) for node in nodes}
    within = sum(time for node, time in spent.items() if node.operator in operators)
    return within, sum(spent.values()) - within


def _scaled(size: int, share: float) -> int:
    if share == 1:
        return size
    wanted = round(size * share)
    return max(wanted // BLOCK * BLOCK, min(BLOCK, wanted), 1)


def timed_layers(graph: DependencyGraph) -> list[TimedLayer]:
    """The layers that multiply and accumulate, in the order of the program."""
    terms = graph.analysis.terms
    loops: dict[str, list[tuple[Term, ...]]] = {}
    for loop in graph.analysis.loops:
        loops.setdefault(loop.operation, []).append(loop.terms)
    return [
        TimedLayer(
            layer,
            tuple(loops[layer.operation.name]),
            tuple(terms[v.name] for v in (*layer.operation.inputs, *layer.operation.outputs)),
        )
        for layer in layers(graph.program.operations, terms)
        if layer.operation.name in loops
    ]


def layer_rates(
    graph: DependencyGraph, timed: Sequence[TimedLayer], scales: Sequence[Mapping[Atom, int]], threads: int
) -> list[tuple[float, ...]]:
    """Milliseconds per multiply-accumulate and per element of every layer."""
    alone = [[lone_layer(graph, item.layer.operation, sizes) for sizes in scales] for item in timed]
    times = time_alone([layer for row in alone for layer in row], threads)
    return [
        fitted_rates([item.amounts(sizes) for sizes in scales], [times[layer] for layer in row])
        for item, row in zip(timed, alone, strict=True)
    ]


def fitted_rates(amounts: Sequence[Sequence[float]], times: Sequence[float]) -> tuple[float, ...]:
    """A rate for each column of the amounts, none negative, that leave the least squared error relative to the times.

    The columns are few: every subset of them is tried.
    """
    weights = 1 / numpy.maximum(times, 1e-6)
    table = numpy.array(amounts, dtype=float) * weights[:, None]
    target = numpy.array(times) * weights
    scale = numpy.maximum(numpy.abs(table).max(0), 1e-300)  # milliseconds for one, and for a billion
    best, least = numpy.zeros(len(scale)), float("inf")
    for count in range(len(scale), 0, -1):
        for chosen in map(list, combinations(range(len(scale)), count)):
            found = numpy.linalg.lstsq(table[:, chosen] / scale[chosen], target, rcond=None)[0]
            error = float(numpy.square(table[:, chosen] / scale[chosen] @ found - target).sum())
            if found.min() >= 0 and error < least:
                best, least = numpy.zeros(len(scale)), error
                best[chosen] = found / scale[chosen]
    return tuple(map(float, best))


def other_elements(graph: DependencyGraph, known: Collection[str]) -> list[tuple[Term, ...]]:
    """What operators that are not timed by themselves write to memory.

    Args:
        known: operators that are.
    """
    return [
        graph.analysis.terms[value.name]
        for operation in graph.program.operations
        if operation.name not in known and not makes_view(operation.op)
        for value in operation.outputs
    ]
