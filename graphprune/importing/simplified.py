"""What a file computes of constants alone, and what nobody reads."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from graphprune.importing.nested import inputs_of, places
from graphprune.importing.operators.foreign import is_computed
from graphprune.importing.running import values_of

__all__ = ["simplified"]

LARGE = 1 << 16  # bytes: what is larger, and was not before, is computed while the file runs


def simplified(model: Any) -> Any:
    """The file (onnx.ModelProto) with constants in the place of nodes that read nothing else, and without dead nodes.

    What is left keeps its names and its order. A constant bears the name of the value that it stands for.
    """
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    _fold(made)
    _drop_unread(made.graph)
    return made


def _fold(model: Any) -> None:
    """Replaces the nodes that read constants alone."""
    from onnx import numpy_helper

    graph = model.graph
    given = {item.name for item in graph.input}  # which whoever calls may replace
    constant = {item.name for item in graph.initializer} - given
    folded = []
    for node in graph.node:
        if node.op_type == "Constant":
            constant |= set(node.output)
        elif is_computed(node) and inputs_of(node) <= constant and any(node.input):
            constant |= set(node.output)
            folded.append(node)
    made = {name for node in folded for name in node.output if name}
    read = {name for node in graph.node if node not in folded for name in inputs_of(node)}
    wanted = sorted(made & (read | {item.name for item in graph.output}))
    if not wanted:
        return
    values = values_of(_alone(model, folded, given), {}, wanted, "what the file computes of constants")
    read_there = {name for node in folded for name in node.input}
    most = max(LARGE, sum(place.ByteSize() for name, place in places(graph).items() if name in read_there))
    small = {name: array for name, array in values.items() if array.nbytes <= most}
    for node in graph.node:
        for place, name in enumerate(node.output):
            if name in small:
                node.output[place] = f"{name}/unread"
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in small.items())


def _alone(model: Any, nodes: Collection[Any], given: Collection[str]) -> Any:
    """The nodes and constants that read no input."""
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:], made.graph.input[:], made.graph.output[:], made.graph.value_info[:]
    made.graph.node.extend([*(node for node in model.graph.node if node.op_type == "Constant"), *nodes])
    kept = [item for item in model.graph.initializer if item.name not in given]
    del made.graph.initializer[:]
    made.graph.initializer.extend(kept)
    return made


def _drop_unread(graph: Any) -> None:
    """Removes nodes whose results nobody reads, and constants likewise; not those that are inputs of old files."""
    read = {item.name for item in graph.output}
    nodes = []
    for node in reversed(graph.node):
        if read & set(node.output):
            nodes.append(node)
            read |= inputs_of(node)
    del graph.node[:]
    graph.node.extend(reversed(nodes))
    read |= {item.name for item in graph.input}
    held = [item for item in graph.initializer if item.name in read]
    del graph.initializer[:]
    graph.initializer.extend(held)
    known = [item for item in graph.value_info if item.name in read]
    del graph.value_info[:]
    graph.value_info.extend(known)
