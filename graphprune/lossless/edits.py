"""Changes of stored tensors that leave the model as it is: columns that were added up, biases that take constants."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from graphprune.axes.dependency import DependencyGraph, build_graph
from graphprune.capture.describe import describe
from graphprune.capture.nodes import arguments, given_arguments
from graphprune.capture.program import Program

__all__ = ["Edits", "edited", "fold"]


@dataclass(frozen=True)
class Edits:
    """New values of stored tensors, in float64, and new biases: operator call → name of the bias among them."""

    tensors: Mapping[str, Tensor]
    biases: Mapping[str, str]


def fold(program: Program, tensors: Mapping[str, Tensor], amounts: Mapping[str, Tensor]) -> Edits:
    """Adds ``amounts``, by operator call, to the calls' biases; a call without one gets one."""
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
    return Edits(changed, biases)


def edited(graph: DependencyGraph, edits: Edits) -> DependencyGraph:
    """``graph`` with its program edited. The program no longer stands for the user's module, and names none.

    Groups keep their names and units.
    """
    program = graph.program
    stored = dict(program.stored)
    for name, tensor in edits.tensors.items():
        call = next((call for call, bias in edits.biases.items() if bias == name), None)
        like = stored[_weight(program, call) if call else name]
        new = like.with_tensor(tensor.to(like.tensor.device, like.tensor.dtype).clone())
        stored[name] = dataclasses.replace(new, name=name, ties=like.ties if like.name == name else ())
    program = dataclasses.replace(program, stored=stored, model=None)
    if not edits.biases:
        return dataclasses.replace(graph, program=program)
    return build_graph(_with_biases(program, edits.biases))


def _weight(program: Program, call: str) -> str:
    node = next(node for node in program.graph.nodes if node.name == call)
    return str(arguments(node)["weight"].target)


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
            names = list(arguments(copy))
            given = given_arguments(copy) | {"bias": held}
            copy.args, copy.kwargs = (), {}
            place = names.index("bias")
            if all(name in given for name in names[:place]):
                copy.args = tuple(given.pop(n) for n in names if n in given and names.index(n) <= place)
            copy.kwargs = given
    description = describe(new)
    attributes = {node.name: str(node.target) for node in new.nodes if node.op == "get_attr"}
    return dataclasses.replace(
        program,
        graph=new,
        operations=description.operations,
        values=description.values,
        attributes=attributes,
    )
