"""Makes an exported graph functional: constants folded, in-place operators replaced, dead code dropped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from graphprune.capture.nodes import arguments, call, draws_random, family, mutates

__all__ = ["fix_squeezes", "fold_constants", "functionalise", "relax_views", "remove_dead"]

_CREATORS = ("aten.new_zeros", "aten.new_ones", "aten.new_full", "aten.new_empty")


def fold_constants(graph: fx.Graph, constants: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Computes what depends on constants alone, such as a causal mask, and stores the results in its place.

    Args:
        constants: tensors by the names under which ``get_attr`` nodes read them.

    Returns:
        The results that are still read, by the names of the ``get_attr`` nodes that now stand for them.
    """
    known: dict[fx.Node, Any] = {}
    for node in _constant_nodes(graph, constants):
        if node.op == "get_attr":
            known[node] = constants[str(node.target)]
        else:
            known[node] = call(node, lambda source: known[source] if source in known else _like(source))
    folded: dict[str, torch.Tensor] = {}
    for node, value in known.items():
        read = [user for user in node.users if user not in known]
        if node.op == "call_function" and isinstance(value, torch.Tensor) and read:
            _hold(graph, node, value, folded)
    for node in reversed(known):
        if not node.users:
            graph.erase_node(node)
    return folded


def _constant_nodes(graph: fx.Graph, constants: Mapping[str, torch.Tensor]) -> list[fx.Node]:
    """Nodes that depend on nothing but constants, except memory that data is later written into."""
    root = _memory(graph)
    written: set[fx.Node] = set()
    while True:
        known: dict[fx.Node, None] = {}
        for node in graph.nodes:
            held = node.op == "get_attr" and node.target in constants
            if root[node] not in written and (held or _is_constant(node, known)):
                known[node] = None
        found = {root[n.args[0]] for n in graph.nodes if mutates(n) and n not in known and n.args[0] in known}
        if not found:
            return list(known)
        written |= found


def _memory(graph: fx.Graph) -> dict[fx.Node, fx.Node]:
    """The node that made the memory each node's result lies in."""
    root: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        base = _viewed(node)
        root[node] = root[base] if base is not None else node
    return root


def _is_constant(node: fx.Node, known: Mapping[fx.Node, Any]) -> bool:
    name = family(node)
    if node.op != "call_function" or draws_random(node) or _has_symbols(node.meta.get("val")):
        return False
    if not name.startswith("aten.") and not isinstance(node.meta.get("val"), torch.Tensor):
        return False
    if name in _CREATORS:
        return all(source in known for source in node.all_input_nodes if source is not node.args[0])
    return all(source in known for source in node.all_input_nodes)


def _has_symbols(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(_has_symbols(item) for item in value)
    if isinstance(value, torch.Tensor):
        return any(not isinstance(size, int) for size in value.shape)
    return not isinstance(value, int | float | bool | None)


def _like(node: fx.Node) -> torch.Tensor:
    """All that a creator takes from its first argument is dtype and device."""
    value = node.meta["val"]
    return torch.empty((), dtype=value.dtype, device=value.device)


def _hold(graph: fx.Graph, node: fx.Node, value: torch.Tensor, folded: dict[str, torch.Tensor]) -> None:
    name = f"_constant_{len(folded)}"
    with graph.inserting_before(node):
        held = graph.create_node("get_attr", name, name=name)
    held.meta = dict(node.meta)
    node.replace_all_uses_with(held)
    folded[name] = value.clone().contiguous()


def functionalise(graph: fx.Graph) -> None:
    """Replaces in-place operators by functional ones where no other view of the tensor is read afterwards.

    Where one is, or where the model writes into an input or a tensor it keeps, the operator stays as it is.
    """
    position = {node: index for index, node in enumerate(graph.nodes)}
    root = _memory(graph)
    views: dict[fx.Node, list[fx.Node]] = defaultdict(list)
    for node in list(graph.nodes):
        views[root[node]].append(node)
        functional = _functional(node) if mutates(node) else None
        target = node.args[0] if node.args else None
        if functional is None or not isinstance(target, fx.Node) or root[node].op != "call_function":
            continue
        others = [view for view in views[root[node]] if view not in (target, node)]
        if any(position[user] > position[node] for view in others for user in view.users):
            continue
        node.target = functional
        for user in [user for user in target.users if position.get(user, 0) > position[node]]:
            user.replace_input_with(target, node)


def _viewed(node: fx.Node) -> fx.Node | None:
    """The tensor whose memory the result may share."""
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function":
        return None
    if schema is None or str(node.target) in ("aten.reshape.default", "aten.contiguous.default"):
        return node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None
    for argument, value in zip(schema.arguments, node.args, strict=False):
        if argument.alias_info is not None and isinstance(value, fx.Node):
            return value
    return None


def _functional(node: fx.Node) -> Any:
    """The functional twin of an in-place operator such as ``aten.relu_``; none for others."""
    library, name, overload = str(node.target).split(".")
    written = library == "aten" and name.endswith("_")
    packet = getattr(torch.ops.aten, name.removesuffix("_"), None) if written else None
    return getattr(packet, overload, None)


def relax_views(graph: fx.Graph) -> None:
    """Replaces ``view`` by ``reshape``, since the strides of a slim tensor may not allow a view.

    Where operators still write in place, nothing changes: what is written must reach the tensor that is viewed.
    """
    if any(mutates(node) for node in graph.nodes):
        return
    for node in graph.nodes:
        if node.target is torch.ops.aten.view.default:
            node.target = torch.ops.aten.reshape.default


def fix_squeezes(graph: fx.Graph, batch: int) -> None:
    """Writes into every ``squeeze`` which dimensions it drops, those that have size 1 now.

    ``squeeze()`` of ``[batch, 8, 1]`` drops the last dimension. Were it left as it is, it would drop the channels too
    once a single one is kept. Multiples of ``batch`` stay in the list, since the model drops them for one example.
    """
    for node in graph.nodes:
        if family(node) != "aten.squeeze" or mutates(node):
            continue
        shape = node.args[0].meta["val"].shape
        named = arguments(node).get("dim", range(len(shape)))
        given = [named] if isinstance(named, int) else list(named)
        dims = [dim for dim in given if shape and (shape[dim] == 1 or (batch and shape[dim] % batch == 0))]
        if not dims:
            node.replace_all_uses_with(node.args[0])
        elif dims != [named]:
            node.target, node.args, node.kwargs = torch.ops.aten.squeeze.dims, (node.args[0], dims), {}


def remove_dead(graph: fx.Graph) -> None:
    """Drops what nobody reads, assertions on shapes included."""
    for node in reversed(list(graph.nodes)):
        if node.op not in ("placeholder", "output") and not node.users and not mutates(node):
            graph.erase_node(node)
