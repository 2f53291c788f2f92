"""What a report says of a network and its groups, so that it can be drawn from the report alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from graphprune.axes.dependency import DependencyGraph
from graphprune.report.inspection import inspection
from graphprune.report.picture import layer_graph

__all__ = ["distribution", "network_facts"]

BINS = 24


def network_facts(
    graph: DependencyGraph,
    kept: Mapping[str, Tensor] | None = None,
    scores: Mapping[str, Tensor | None] | None = None,
) -> dict[str, Any]:
    """Layers, edges, groups and pins, ready for `json.dumps`.

    Args:
        kept: group → kept units, of a plan; everything, if None.
        scores: group → its units' scores, where units were scored.
    """
    kept, scores = kept or {}, scores or {}
    sizes = {name: units.shape[-1] for name, units in kept.items()}
    layers = layer_graph(graph, sizes)
    groups = {}
    inspected = inspection(graph)
    for row in inspected["groups"]:
        name = row.pop("name")
        units, values = kept.get(name), scores.get(name)
        groups[name] = {"size": row.pop("size"), "kept": sizes.get(name, graph.by_name[name].size), **row}
        if units is not None and values is not None:
            groups[name]["scores"] = distribution(values, units)
    return {
        "groups": groups,
        "pins": inspected["pins"],
        "layers": [data for _, data in layers.nodes(data=True)],
        "edges": [list(edge) for edge in layers.edges],
    }


def distribution(scores: Tensor, kept: Tensor) -> dict[str, Any]:
    """How the scores of one group, ``[size]`` or ``[fibre size, size]``, are spread over what went and what stayed.

    Returns:
        ``quantiles`` at 0, ¼, ½, ¾ and 1, the number of ``removed`` and ``kept`` units in equal bins between the first
        and the last of them, and ``cut``, a score between both kinds, or None where they overlap.
    """
    values = scores.detach().double().cpu()
    stays = torch.zeros(values.shape, dtype=torch.bool).scatter(-1, kept.cpu(), True)
    finite = values.isfinite()
    values, stays = values[finite], stays[finite]
    if not len(values):
        return {"quantiles": [0.0] * 5, "removed": [0] * BINS, "kept": [0] * BINS, "cut": None}
    quantiles = values.quantile(torch.linspace(0, 1, 5, dtype=torch.float64)).tolist()
    low, high = quantiles[0], max(quantiles[-1], quantiles[0] + 1e-12)
    counts = [torch.histc(values[which], BINS, low, high).long().tolist() for which in (~stays, stays)]
    cut = None
    if len(set(stays.tolist())) == 2 and values[~stays].max() <= values[stays].min():
        cut = float(values[~stays].max() + values[stays].min()) / 2
    return {"quantiles": quantiles, "removed": counts[0], "kept": counts[1], "cut": cut}
