"""What layers give: in the slim model, and in the original on the units that were kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, fx

from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.terms import Term
from graphprune.capture.operations import Operation
from graphprune.ground.errors import InputError
from graphprune.planning import Masks, Plan
from graphprune.planning.plan import make_masks

__all__ = ["Tap", "find_taps", "kept_part", "with_features"]


@dataclass(frozen=True)
class Tap:
    """The output of ``layer``; ``kept`` are the indices that the slim model's output has of the original's."""

    layer: str
    kept: Mapping[int, Tensor]


def find_taps(
    graph: DependencyGraph, plan: Plan, patterns: Sequence[str], *models: fx.GraphModule
) -> tuple[Tap, ...]:
    """The layers of those names that all ``models`` call exactly once.

    Raises:
        InputError: there are none.
    """
    masks = make_masks(graph, plan.groups)
    makers = _makers(graph)
    shared = [layer for layer in makers if all(len(_calls(model, layer)) == 1 for model in models)]
    chosen = [layer for layer in shared if any(fnmatchcase(layer, pattern) for pattern in patterns)]
    taps = [
        Tap(layer, kept)
        for layer in chosen
        if (kept := _kept(graph.analysis.terms[makers[layer].outputs[0].name], masks)) is not None
    ]
    if not taps:
        raise InputError(
            f"no layer that both models run once is called {' or '.join(map(repr, patterns))}",
            f"choose among {', '.join(shared[:8])}" if shared else "set features to 0",
        )
    return tuple(taps)


def _makers(graph: DependencyGraph) -> dict[str, Operation]:
    """By the name of a layer, the one operation that reads its tensors, if that gives one tensor."""
    attributes = graph.program.attributes
    readers: dict[str, list[Operation]] = {}
    for operation in graph.program.operations:
        held = [attributes[value.name] for value in operation.inputs if value.name in attributes]
        for layer in dict.fromkeys(name.rpartition(".")[0] for name in held):
            readers.setdefault(layer, []).append(operation)
    return {
        layer: found[0]
        for layer, found in readers.items()
        if len(found) == 1 and len(found[0].outputs) == 1 and "float" in found[0].outputs[0].dtype
    }


def _kept(terms: tuple[Term, ...], masks: Masks) -> dict[int, Tensor] | None:
    """None where units were chosen anew along another dimension, so that indices do not tell which."""
    kept = {}
    for dim, term in enumerate(terms):
        if masks.touches(term):
            mask, fibre = masks.opened(term)
            if fibre is not None:
                return None
            kept[dim] = mask.nonzero().flatten()
    return kept


def _calls(model: fx.GraphModule, layer: str) -> list[fx.Node]:
    return [node for node in model.graph.nodes if node.op == "call_module" and node.target == layer]


def with_features(model: fx.GraphModule, taps: Sequence[Tap]) -> fx.GraphModule:
    """A module with the layers and tensors of ``model`` that returns its outputs and what each tap sees."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    outputs: Any = graph.graph_copy(model.graph, copies)
    graph.output((outputs, tuple(copies[_calls(model, tap.layer)[0]] for tap in taps)))
    return fx.GraphModule(model, graph)


def kept_part(value: Tensor, tap: Tap) -> Tensor:
    """The original's ``value`` on the units that were kept."""
    for dim, indices in tap.kept.items():
        value = value.index_select(dim, indices.to(value.device))
    return value
