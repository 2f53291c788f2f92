"""Names of modules and tensors for the names of the file, which may hold any letters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from keyword import iskeyword
from typing import Any

from graphprune.importing.schemas import formal_names

__all__ = ["attribute_names", "identifier", "layers_by_name", "node_paths", "parameter_names"]

# what layers read beside their input "X", what products of matrices and tables do → as torch's layers call it
_STATISTICS = {f"{old}{what}": f"running_{what}" for old in ("", "input_") for what in ("mean", "var")}
_LAYER = {"w": "weight", "b": "bias", "scale": "weight", **_STATISTICS}
_ROLES = {"MatMul": {"b": "weight"}, "Gemm": {"b": "weight", "c": "bias"}, "Gather": {"data": "weight"}}


def identifier(text: str) -> str:
    """A name of Python's that is as near as can be.

    >>> identifier("input:0"), identifier("1"), identifier("class")
    ('input_0', '_1', 'class_')
    """
    name = re.sub(r"\W", "_", text, flags=re.ASCII) or "_"
    name = f"_{name}" if name[0].isdigit() else name
    return f"{name}_" if iskeyword(name) else name


def node_paths(nodes: Iterable[Any]) -> list[str]:
    """A module's path for each node (onnx.NodeProto): its name, where "/" and "." part modules.

    A node without a name is called by its operator and its place.
    """
    inner: set[str] = set()
    taken: set[str] = set()
    paths = []
    for place, node in enumerate(nodes):
        parts = [part for part in re.split(r"[/.]", node.name) if part] or [f"{node.op_type}_{place}"]
        path = ".".join(part if part.isdigit() else identifier(part) for part in parts)
        path = _unused(path, taken | inner)
        while blocked := next((outer for outer in _outer(path) if outer in taken), ""):
            path = _unused(f"{blocked}_{path[len(blocked) + 1 :]}", taken | inner)
        taken.add(path)
        inner |= set(_outer(path))
        paths.append(path)
    return paths


def layers_by_name(graph: Any) -> dict[str, str]:
    """Name of a node of an onnx.GraphProto → its module's path; nodes without a name are left out."""
    return {
        node.name: path for node, path in zip(graph.node, node_paths(graph.node), strict=True) if node.name
    }


def _outer(path: str) -> list[str]:
    """All modules that a module is in."""
    parts = path.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _unused(name: str, taken: Iterable[str]) -> str:
    wanted, number = name, 0
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name


def attribute_names(operator: str, opset: int, places: Sequence[int]) -> dict[int, str]:
    """What a node's module calls the constants at these places of its inputs, as torch's layers do where they can."""
    names: dict[int, str] = {}
    domain, _, op_type = operator.rpartition(".")
    formal = formal_names(op_type, opset, domain)
    roles = _LAYER if formal and formal[0] in ("X", "input") else _ROLES.get(operator, {})
    for place in places:
        own = formal[min(place, len(formal) - 1)].lower() if formal else "constant"
        names[place] = _unused(identifier(roles.get(own, own)), [*names.values(), *_RESERVED])
    return names


_RESERVED = ("training", "forward", "node", "held")


def parameter_names(inputs: Iterable[str]) -> Mapping[str, str]:
    """Names of the inputs as arguments of ``forward``."""
    names: dict[str, str] = {}
    for name in inputs:
        names[name] = _unused(identifier(name), [*names.values(), "self"])
    return names
