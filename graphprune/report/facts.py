"""What a report says of a network: what can be removed and what cannot, and all that a page draws."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from graphprune.axes.cost import Polynomial
from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.terms import Atom, Term, atoms
from graphprune.report.picture import layer_graph
from graphprune.report.sizes import dimension_rows

__all__ = ["distribution", "inspection", "network_facts"]

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
        del row["least"]
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


def inspection(graph: DependencyGraph, least: Mapping[str, int] = {}) -> dict[str, Any]:
    """Groups, pins, operators without rule, sizes of the inputs and notes of a model, ready for `json.dumps`.

    A parameter or multiply-accumulate is *reachable* when at least one group stands in its tensor or
    operator, so that a plan can remove it. ``smallest`` is the cost with as few units as may be.

    Args:
        least: group → units that it keeps at least; one where nothing is said.
    """
    fewest = {group.name: least.get(group.name, 1) for group in graph.groups}
    cost, smallest = graph.cost(), graph.cost(fewest)
    return {
        "params": cost.params,
        "macs": cost.macs,
        "reachable": {"params": _reachable(graph.params), "macs": _reachable(graph.macs)},
        "smallest": {"params": smallest.params, "macs": smallest.macs},
        "dynamic_batch": graph.program.dynamic_batch,
        "dimensions": dimension_rows(graph.program.dimensions),
        "groups": list(_groups(graph, fewest)),
        "pins": _pins(graph),
        "unruled": {operator: list(names) for operator, names in graph.analysis.unruled.items()},
        "notes": list(graph.program.notes),
    }


def _groups(graph: DependencyGraph, fewest: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    params, macs = _shares(graph.params), _shares(graph.macs)
    for group in graph.groups:
        yield {
            "name": group.name,
            "size": group.size,
            "least": fewest[group.name],
            "each_of": group.fibre.size if group.fibre else None,
            "params": params.get(group.atom, 0.0),
            "macs": macs.get(group.atom, 0.0),
            "members": [
                {"tensor": member.tensor, "dim": member.dim, "role": member.role} for member in group.members
            ],
        }


def _shares(cost: Polynomial) -> dict[Atom, float]:
    """Atom → the share of the cost in which it stands."""
    found: dict[Atom, float] = {}
    for monomial in cost.monomials:
        for atom in {atom for term in monomial.terms for atom in atoms(term)}:
            found[atom] = found.get(atom, 0) + monomial.value({})
    total = max(cost.value({}), 1)
    return {atom: value / total for atom, value in found.items()}


def _reachable(cost: Polynomial) -> float:
    reached = sum(monomial.value({}) for monomial in cost.monomials if monomial.terms)
    return reached / max(cost.value({}), 1)


def _pins(graph: DependencyGraph) -> list[dict[str, Any]]:
    """Reasons, those first that put most parameters out of reach.

    ``axes`` are the dimensions of parameters that the reason pins, ``params`` the parameters in these
    tensors, and ``unreachable`` those of them that have no removable dimension at all.
    """
    found: dict[str, dict[str, Any]] = {}
    for tensor, terms in graph.tensor_terms.items():
        stored = graph.program.stored[tensor]
        if stored.kind != "parameter":
            continue
        size = stored.tensor.numel()
        lost = 0 if any(atom in graph.by_atom for term in terms for atom in atoms(term)) else size
        for text, dims in _pinned_dims(terms).items():
            row = found.setdefault(text, {"reason": text, "axes": 0, "params": 0, "unreachable": 0})
            row["axes"] += len(dims)
            row["params"] += size
            row["unreachable"] += lost
            row.setdefault("examples", []).extend(f"{tensor}:{dim}" for dim in dims)
    rows = sorted(found.values(), key=lambda row: (-row["unreachable"], -row["params"], row["reason"]))
    return [{**row, "examples": row["examples"][:3]} for row in rows]


def _pinned_dims(terms: Iterable[Term]) -> dict[str, list[int]]:
    """Reason → dimensions that it pins, for one tensor. Dimensions of size 1 have nothing to remove."""
    dims: dict[str, list[int]] = {}
    for dim, term in enumerate(terms):
        pins = [reason for atom in atoms(term) if atom.size > 1 for reason in atom.pins]
        # without the place, so that the same reason at many places is one row
        for text in dict.fromkeys(str(getattr(reason, "text", reason)) for reason in pins):
            dims.setdefault(text, []).append(dim)
    return dims
