"""Outputs of single layers: the slim model's, and the same units of the original's."""

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
    """A layer whose output is compared in both models.

    Args:
        layer: its name, the same in both.
        kept: for every dimension that was cut, which indices of the original's output the slim model still has.
            ``{1: tensor([0, 2])}`` says that the slim channels 0 and 1 are the original's channels 0 and 2.
    """

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
    """Layers whose tensors are read by one operation, which gives one floating tensor: that operation by name."""
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
    """The indices kept of every dimension that is cut. None where they differ along another dimension, as the units
    of each attention head do: then no list of indices can say what was kept."""
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
    """A module that shares the layers of ``model`` and returns its outputs, and beside them those of every tap."""
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
