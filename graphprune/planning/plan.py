"""A plan: which units every group keeps, and what follows for every tensor. A checked JSON document."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.groups import Group
from graphprune.axes.terms import Atom
from graphprune.ground.documents import fitted, parse_json
from graphprune.ground.dynamic import AUTO
from graphprune.ground.errors import InputError, PlanError, first_line
from graphprune.planning.composing import composed
from graphprune.planning.document import PlanDocument
from graphprune.planning.masks import Masks
from graphprune.planning.optimizer import remap_optimizer
from graphprune.planning.region import COUNTED

__all__ = ["Plan", "fingerprint", "make_masks", "make_plan"]

FORMAT = 1


@dataclass(frozen=True)
class Plan:
    """What is kept.

    Args:
        groups: group name → kept units ``[k]``, or ``[fibre size, k]`` for a fibred group.
        kept: tensor name → dimension → kept indices ``[n]``; dimensions that stay whole are not listed. In the place of
            a dimension, -1 lists the positions that are left of the axis whose positions the tensor's numbers are.
        model: a fingerprint of the tensors the plan was made for.
        request: how the plan was asked for, for the record.
    """

    groups: dict[str, Tensor]
    kept: dict[str, dict[int, Tensor]]
    model: str
    request: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        units = sum(self.sizes.values())
        asked = self.request.get("budget", {})
        return f"Plan({asked}, groups={len(self.groups)}, kept_units={units}, cut_tensors={len(self.kept)})"

    @property
    def sizes(self) -> dict[str, int]:
        """Group name → how many units it keeps, in each row where it has a fibre."""
        return {name: kept.shape[-1] for name, kept in self.groups.items()}

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names by which outputs were asked for; empty where all are returned."""
        return tuple(self.request.get("outputs", ()))

    @property
    def dynamic(self) -> str:
        """Which sizes of the inputs may vary, as the option ``dynamic`` says it in a text."""
        return self.request.get("dynamic", AUTO)

    def to_json(self) -> str:
        """The plan as an indented JSON document with one line per list of indices."""
        rows = [
            f'"format": {FORMAT}',
            f'"model": {json.dumps(self.model)}',
            f'"request": {json.dumps(self.request, sort_keys=True)}',
            f'"groups": {_lines({name: json.dumps(kept.tolist()) for name, kept in self.groups.items()})}',
            f'"tensors": {_lines({name: _dimensions(dims) for name, dims in self.kept.items()})}',
        ]
        return "{\n" + ",\n".join(rows) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Reads what `to_json` wrote.

        Raises:
            PlanError: it is not a plan, or of another format.
        """
        try:
            data = parse_json(text)
            if isinstance(data, dict) and data.get("format", FORMAT) != FORMAT:
                raise PlanError(
                    f"the plan has format {data['format']}", f"this version reads format {FORMAT}"
                )
            fitted(PlanDocument, data)
            groups = {name: _indices(kept) for name, kept in data["groups"].items()}
            tensors = {
                name: {int(dim): _indices(kept) for dim, kept in dims.items()}
                for name, dims in data["tensors"].items()
            }
            return cls(groups, tensors, data["model"], data["request"])
        except (ValueError, TypeError, RuntimeError, InputError) as error:
            raise PlanError(
                f"this is not a plan: {first_line(error)}", "give a plan.json that graphprune wrote"
            ) from error

    def remap_optimizer(
        self, optimizer: torch.optim.Optimizer, model: nn.Module, slim: nn.Module
    ) -> torch.optim.Optimizer:
        """A new optimizer of the same class for the slim model, with the state that the old one has come to.

        Every tensor of a parameter's shape (momentum, Adam's moments) loses what the parameter loses, counts are
        copied, and parameter groups keep their options. The old optimizer is left as it was.

        Args:
            optimizer: of ``model``.
            model: the model that the plan was made for.
            slim: `Result.model` of this plan.

        Raises:
            InputError: optimizer or slim model belong to another model, or there is state of another shape.
            PlanError: the slim model is not what this plan makes.
        """
        return remap_optimizer(self.kept, optimizer, model, slim)

    def then(self, other: Plan, graph: DependencyGraph) -> Plan:
        """This plan and then ``other``, which was made for what this one leaves, as one plan for ``graph``.

        Args:
            other: of the graph that `graphprune.rewriting.slim_graph` gives for this plan.
            graph: the one that this plan was made for.

        Raises:
            PlanError: the plans do not follow each other.
        """
        if self.model != fingerprint(graph):
            raise PlanError("the plan was made for another model", "give the graph that it was made for")
        for name, kept in other.groups.items():
            group = graph.by_name.get(name)
            if group is None or int(kept.max()) >= self.sizes.get(name, group.size):
                raise PlanError(
                    f"the second plan keeps units of group {name} that the first one does not leave",
                    "make it for the graph of the slim model",
                )
        return make_plan(graph, composed(graph, self.groups, other.groups), {**self.request, **other.request})

    def renamed(self, names: Mapping[str, str]) -> Plan:
        """The plan with other names of its tensors; those that get none are left out."""
        return replace(self, kept={names[name]: dims for name, dims in self.kept.items() if name in names})

    def check(self, graph: DependencyGraph, names: Mapping[str, str] | None = None) -> Plan:
        """The plan, which fits ``graph``, and whose tensors follow from its groups.

        Args:
            names: the graph's name of a tensor → the plan's, where they differ. What is returned has the graph's.

        Raises:
            PlanError: it does not fit.
        """
        if self.model != fingerprint(graph):
            raise PlanError("the plan was made for another model", "make a new plan for this one")
        derived = make_plan(graph, self.groups, self.request)
        right_kept = derived.kept if names is None else derived.renamed(names).kept
        for name in {**self.kept, **right_kept}:
            given, right = self.kept.get(name, {}), right_kept.get(name, {})
            if set(given) != set(right) or any(not torch.equal(given[dim], right[dim]) for dim in right):
                raise PlanError(
                    f"the kept indices of {name} do not follow from the plan's groups",
                    "edit the groups and remove the tensors' entries by making the plan anew",
                )
        return self if names is None else derived


def _lines(items: Mapping[str, str]) -> str:
    body = ",\n".join(f"  {json.dumps(name)}: {value}" for name, value in items.items())
    return "{\n" + body + "\n}" if items else "{}"


def _dimensions(dims: Mapping[int, Tensor]) -> str:
    return "{" + ", ".join(f'"{dim}": {kept.tolist()}' for dim, kept in dims.items()) + "}"


def _indices(values: Any) -> Tensor:
    tensor = torch.tensor(values)
    if tensor.dtype != torch.int64 or not tensor.dim():
        raise ValueError("indices must be a list of whole numbers")
    return tensor


def fingerprint(graph: DependencyGraph) -> str:
    """A digest of the names and shapes of all tensors and groups, the same on every machine."""
    tensors = [(name, [term.size for term in terms]) for name, terms in graph.tensor_terms.items()]
    groups = [(group.name, group.size) for group in graph.groups]
    return hashlib.sha256(json.dumps([tensors, groups]).encode()).hexdigest()[:16]


def make_plan(
    graph: DependencyGraph, groups: Mapping[str, Tensor], request: Mapping[str, Any] | None = None
) -> Plan:
    """The plan that keeps ``groups`` (kept indices, or boolean masks) and all of every other group.

    Raises:
        PlanError: an unknown group, an index out of range or repeated, nothing kept, unequal rows.
    """
    chosen = {name: _checked(graph, name, kept) for name, kept in groups.items()}
    masks = make_masks(graph, chosen)
    kept: dict[str, dict[int, Tensor]] = {}
    for tensor, terms in graph.tensor_terms.items():
        dims = {
            dim: masks.of(term).nonzero().flatten() for dim, term in enumerate(terms) if masks.touches(term)
        }
        if dims:
            kept[tensor] = dims
    for value, term in graph.analysis.points.items():
        if masks.touches(term):
            kept.setdefault(graph.program.attributes[value], {})[COUNTED] = masks.of(term).nonzero().flatten()
    return Plan(chosen, kept, fingerprint(graph), dict(request or {}))


def _checked(graph: DependencyGraph, name: str, kept: Tensor) -> Tensor:
    group = graph.by_name.get(name)
    if group is None:
        raise PlanError(f"the model has no group {name!r}", "pinned axes and unknown names cannot be cut")
    if kept.dtype == torch.bool:
        kept = _from_mask(group, kept)
    if kept.dim() != (1 if group.fibre is None else 2) or not kept.numel():
        shape = "[k]" if group.fibre is None else f"[{group.fibre.size}, k]"
        raise PlanError(f"group {name} is given {tuple(kept.shape)} indices", f"keep at least one: {shape}")
    if group.fibre is not None and kept.shape[0] != group.fibre.size:
        raise PlanError(f"group {name} needs one row for each of {group.fibre.size}", "give every row")
    ordered = kept.sort(dim=-1).values
    if int(ordered.min()) < 0 or int(ordered.max()) >= group.size or bool((ordered.diff(dim=-1) == 0).any()):
        raise PlanError(f"group {name} has indices outside 0..{group.size - 1} or twice", "correct the plan")
    return ordered


def _from_mask(group: Group, mask: Tensor) -> Tensor:
    if mask.dim() == 1:
        return mask.nonzero().flatten()
    counts = mask.sum(-1)
    if int(counts.min()) != int(counts.max()):
        raise PlanError(f"group {group.name} keeps unequal numbers per row", "keep equally many in each")
    return mask.nonzero()[:, 1].reshape(mask.shape[0], -1)


def make_masks(graph: DependencyGraph, groups: Mapping[str, Tensor]) -> Masks:
    """Kept positions of every axis under a plan's ``groups``."""
    kept: dict[Atom, Tensor] = {}
    for name, indices in groups.items():
        group = graph.by_name[name]
        if indices.shape[-1] == group.size:
            continue
        shape = (*indices.shape[:-1], group.size)
        kept[group.atom] = torch.zeros(shape, dtype=torch.bool).scatter(-1, indices, True)
    return Masks(kept, graph.fibres)
