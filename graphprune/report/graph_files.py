"""The layers of a network as files for other tools: Graphviz, GraphML readers, Mermaid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import networkx as nx

__all__ = ["WRITERS"]


def _dot(network: nx.DiGraph) -> str:
    """A ``digraph`` of Graphviz; what a layer does to its groups stands in attributes of its own."""
    lines = ["digraph network {", "  node [shape=box];"]
    for number, data in network.nodes(data=True):
        attributes = {"label": "\n".join(_label(data)), **_flat(data)}
        listed = ", ".join(f"{name}={_quoted(value)}" for name, value in attributes.items())
        lines.append(f"  n{number} [{listed}];")
    lines += [f"  n{start} -> n{end};" for start, end in network.edges]
    return "\n".join([*lines, "}", ""])


def _quoted(value: object) -> str:
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


def _graphml(network: nx.DiGraph) -> str:
    flat = nx.DiGraph(network.edges)
    flat.add_nodes_from((number, _flat(data)) for number, data in network.nodes(data=True))
    return "\n".join([*nx.generate_graphml(flat), ""])


def _mermaid(network: nx.DiGraph) -> str:
    """A flow chart; every group is a class, named in a comment."""
    lines = ["flowchart TD"]
    for number, data in network.nodes(data=True):
        lines.append(f'  n{number}["{"<br>".join(map(_escaped, _label(data)))}"]')
    lines += [f"  n{start} --> n{end}" for start, end in network.edges]
    members: dict[str, list[str]] = {}
    for number, data in network.nodes(data=True):
        for group in data["roles"]:
            members.setdefault(group, []).append(f"n{number}")
    for number, (group, nodes) in enumerate(members.items()):
        lines += [f"  %% g{number}: {group}", f"  class {','.join(nodes)} g{number}"]
    return "\n".join([*lines, ""])


def _escaped(text: str) -> str:
    """Letters that mean something to Mermaid, as its entities."""
    return "".join(
        letter if letter.isalnum() or letter in " ._-:→" else f"#{ord(letter)};" for letter in text
    )


def _label(data: dict[str, Any]) -> Iterator[str]:
    before, after = data["width"]
    if data["name"]:
        yield data["name"]
    width = f" {before} → {after}" if before != after else f" {before}" if before else ""
    yield data["kind"] + width


def _flat(data: dict[str, Any]) -> dict[str, str | int]:
    """Numbers and texts alone; groups by what the layer does to them."""
    pairs = {
        f"{name}_{when}": data[name][place]
        for name in ("width", "params", "macs")
        for place, when in enumerate(("before", "after"))
    }
    roles = {role: "; ".join(group for group, own in data["roles"].items() if own == role) for role in _ROLES}
    pins = "; ".join(f"{tensor}[{dim}] {reason}" for tensor, dim, _, reason in data["pins"])
    return {
        "layer": data["name"],
        "kind": data["kind"],
        **pairs,
        "groups": "; ".join(data["roles"]),
        **roles,
        "pins": pins,
    }


_ROLES = ("produces", "carries", "consumes", "passes")


# name of the format → what writes a graph of `layer_graph` in it
WRITERS: dict[str, Callable[[nx.DiGraph], str]] = {"dot": _dot, "graphml": _graphml, "mermaid": _mermaid}
