"""Finds everything that can be removed without changing the outputs, and the edits of tensors that this takes.

Stored tensors change where columns were added up, and where biases take constants.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from graphprune.axes.dependency import DependencyGraph, build_graph
from graphprune.capture.describe import describe
from graphprune.capture.operators import arguments, mutates, set_arguments
from graphprune.capture.program import Program
from graphprune.lossless.duplicates import Merger, find_duplicates, merged
from graphprune.lossless.facts import Facts, interpret
from graphprune.lossless.removal import WISHED, Removal, find_removal
from graphprune.lossless.transfer import transfer
from graphprune.planning.constraints import Limit

__all__ = ["Lossless", "find_lossless"]


@dataclass(frozen=True)
class Lossless:
    """What a lossless shrink removes.

    Args:
        graph: the model with edited tensors: it computes what the original computes, and reads none of what goes.
        kept: group name → kept units, boolean ``[size]``, or ``[fibre size, size]``.
        tensors: the edited ones in float64.
        removal: what is gone, and why the rest is not.
        mergers: units that another one replaces.
        facts: what was known of the original's values.
    """

    graph: DependencyGraph
    kept: Mapping[str, Tensor]
    tensors: Mapping[str, Tensor]
    removal: Removal
    mergers: tuple[Merger, ...]
    facts: Facts


def find_lossless(graph: DependencyGraph, limits: Mapping[str, Limit]) -> Lossless:
    """All units of ``graph`` that can be removed without changing what the model computes.

    Found are units whose value is zero wherever it is read, units that nobody reads, units that are constant, where
    a bias can take the constant, and units that repeat another one. ``limits`` are the widths that groups may take.
    """
    program = graph.program
    own = {name: tensor.detach() for name, tensor in program.tensors.items()}
    facts = interpret(program, own, transfer)
    because = WISHED
    if any(mutates(node) for node in program.graph.nodes):
        because = "the model writes in place, so that no value can be followed"
        limits = {name: limit.whole() for name, limit in limits.items()}
    removal = find_removal(graph, facts, limits, because)
    excluded: set[tuple[str, int]] = set()
    mergers: list[Merger] = []
    tensors: dict[str, Tensor] = {}
    while found := _mergers(graph, own, removal, excluded):
        tensors = merged(graph, own, found)
        after = find_removal(graph, interpret(program, {**own, **tensors}, transfer), limits, because)
        useless = {(m.group, m.copy) for m in found if not after.gone[m.group][m.copy]}
        if not useless:
            removal, mergers = after, found
            break
        excluded |= useless
        tensors = {}
    tensors, biases = _fold(program, tensors, removal.amounts)
    return Lossless(
        _edited(graph, tensors, biases) if tensors else graph,
        {group.name: (~removal.gone[group.name]).expand(group.shape) for group in graph.groups},
        tensors,
        removal,
        tuple(mergers),
        facts,
    )


def _mergers(
    graph: DependencyGraph, own: Mapping[str, Tensor], removal: Removal, excluded: set[tuple[str, int]]
) -> list[Merger]:
    """Repeated units, and those that become so once their inputs are merged."""
    known = {
        (name, unit) for name, gone in removal.gone.items() for unit in gone.nonzero().flatten().tolist()
    }
    known |= excluded
    found: list[Merger] = []
    while more := find_duplicates(graph, {**own, **merged(graph, own, found)}, known):
        found += more
        known |= {(merger.group, merger.copy) for merger in more}
    return found


def _fold(
    program: Program, tensors: Mapping[str, Tensor], amounts: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Adds ``amounts``, by operator call, to the calls' biases; a call without one gets one.

    Returns:
        ``tensors`` with the biases that changed, and the new biases: operator call → name of the bias among them.
    """
    changed = dict(tensors)
    biases: dict[str, str] = {}
    nodes = {node.name: node for node in program.graph.nodes}
    for name, amount in amounts.items():
        bias = arguments(nodes[name])["bias"]
        if isinstance(bias, fx.Node):
            tensor = str(bias.target)
            own = changed.get(tensor, program.tensors[tensor].detach().double())
            changed[tensor] = own + amount.to(own.device)
        else:
            tensor = str(arguments(nodes[name])["weight"].target).removesuffix("weight") + "bias"
            changed[tensor] = amount
            biases[name] = tensor
    return changed, biases


def _edited(
    graph: DependencyGraph, tensors: Mapping[str, Tensor], biases: Mapping[str, str]
) -> DependencyGraph:
    """``graph`` with its program edited. The program no longer stands for the user's module, and names none.

    Groups keep their names and units.
    """
    program = graph.program
    stored = dict(program.stored)
    for name, tensor in tensors.items():
        like = stored.get(name) or stored[name.removesuffix("bias") + "weight"]
        new = like.with_tensor(tensor.to(like.tensor.device, like.tensor.dtype).clone())
        stored[name] = dataclasses.replace(new, name=name, ties=like.ties if like.name == name else ())
    program = dataclasses.replace(program, stored=stored, model=None)
    if not biases:
        return dataclasses.replace(graph, program=program)
    return build_graph(_with_biases(program, biases))


def _with_biases(program: Program, biases: Mapping[str, str]) -> Program:
    new = fx.Graph()
    mapping: dict[fx.Node, fx.Node] = {}
    for node in program.graph.nodes:
        copy = mapping[node] = new.node_copy(node, mapping.__getitem__)
        if node.name in biases:
            name = biases[node.name]
            with new.inserting_before(copy):
                held = new.create_node("get_attr", name, name=name.replace(".", "_"))
            held.meta["val"] = torch.empty_like(program.stored[name].tensor, device="meta")
            set_arguments(copy, {"bias": held})
    description = describe(new, program.stored)
    attributes = {node.name: str(node.target) for node in new.nodes if node.op == "get_attr"}
    return dataclasses.replace(
        program,
        graph=new,
        operations=description.operations,
        values=description.values,
        attributes=attributes,
    )
