"""Makes an exported graph functional: constants folded, in-place operators replaced, dead code dropped.

Weights that a model computes from others at each call become plain weights, under the name the layer has for them.
`torch.nn.utils.parametrize` (weight_norm, spectral_norm, orthogonal …), the older hooks of `torch.nn.utils` and the
masks of `torch.nn.utils.prune` all keep originals and compute the weight from nothing but stored tensors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Reversible
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphprune.capture.memory import Memory
from graphprune.capture.operators import arguments, call, draws_random, family, mutates
from graphprune.capture.program import Stored
from graphprune.ground.arguments import require

__all__ = [
    "HOOKED",
    "fix_squeezes",
    "fold_constants",
    "fold_parametrised",
    "functionalise",
    "is_pure",
    "make_differentiable",
    "relax_views",
    "remove_dead",
]

# layer.parametrizations.weight.original0, .0._u; layer.weight_g, weight_v; weight_orig with weight_u or weight_mask
_ORIGINAL = re.compile(r"(?P<layer>.*?)\.?parametrizations\.(?P<name>\w+)\.(original\d*|\d+\..+)")
HOOKED = ("orig", "mask", "g", "u", "v")
_HOOKED = re.compile(rf"(?P<layer>.*?)\.?(?P<name>\w+)_({'|'.join(HOOKED)})")


def fold_constants(graph: fx.Graph, constants: Mapping[str, Tensor]) -> dict[str, Tensor]:
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
            known[node] = call(node, known.__getitem__)
    folded: dict[str, Tensor] = {}
    for node, value in known.items():
        read = [user for user in node.users if user not in known]
        if node.op == "call_function" and isinstance(value, Tensor) and read:
            name = f"_constant_{len(folded)}"
            node.replace_all_uses_with(_held(graph, node, name))
            folded[name] = value.clone().contiguous()
    _erase_unread(graph, known)
    return folded


def _constant_nodes(graph: fx.Graph, constants: Mapping[str, Tensor]) -> list[fx.Node]:
    """Nodes that depend on nothing but constants, except memory that data is later written into."""
    root = Memory(graph).root
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


def _is_constant(node: fx.Node, known: Mapping[fx.Node, Any]) -> bool:
    name = family(node)
    if node.op != "call_function" or draws_random(node) or _has_symbols(node.meta.get("val")):
        return False
    if not name.startswith("aten.") and not isinstance(node.meta.get("val"), Tensor):
        return False
    return all(source in known for source in node.all_input_nodes)


def _has_symbols(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(_has_symbols(item) for item in value)
    if isinstance(value, Tensor):
        return any(not isinstance(size, int) for size in value.shape)
    return not isinstance(value, int | float | bool | None)


def _held(graph: fx.Graph, node: fx.Node, name: str) -> fx.Node:
    """A node that reads the stored tensor ``name``, to stand for ``node``, which computed it."""
    with graph.inserting_before(node):
        held = graph.create_node("get_attr", name, name=name.replace(".", "_"))
    held.meta = dict(node.meta)
    return held


def _erase_unread(graph: fx.Graph, nodes: Reversible[fx.Node]) -> None:
    for node in reversed(nodes):
        if not node.users:
            graph.erase_node(node)


def fold_parametrised(graph: fx.Graph, stored: Mapping[str, Stored], model: nn.Module) -> dict[str, Stored]:
    """Replaces every computed weight in ``graph`` by a stored one; returns the tensors that are stored then.

    A weight is folded if it has the shape of an original and depends on originals of one weight only. What is folded
    is a copy at today's values: a program does not follow a model that is trained further.
    """
    weights = {name: weight for name in stored if (weight := _weight_of(name, model))}
    values = _computed(graph, stored, weights)
    folded: dict[str, Stored] = {}
    held: dict[str, fx.Node] = {}
    for node, (weight, value) in values.items():
        used = [user for user in node.users if user not in values]
        originals = [stored[name] for name, of in weights.items() if of == weight]
        shapes = [item.tensor.shape for item in originals]
        if node.op != "call_function" or not used or value.shape not in shapes:
            continue
        if weight not in folded:
            trainable = any(item.tensor.requires_grad for item in originals)
            folded[weight] = Stored(weight, "parameter", nn.Parameter(value.detach().clone(), trainable))
            held[weight] = _held(graph, node, weight)
        for user in used:
            user.replace_input_with(node, held[weight])
    remove_dead(graph)
    read = {node.target for node in graph.nodes if node.op == "get_attr"}
    return {n: item for n, item in stored.items() if n in read or weights.get(n) not in folded} | folded


def _weight_of(name: str, model: nn.Module) -> str:
    """The weight that a stored tensor is an original of; empty if of none."""
    match = _ORIGINAL.fullmatch(name) or _HOOKED.fullmatch(name)
    if match is None:
        return ""
    try:
        owner = model.get_submodule(match["layer"])
    except AttributeError:
        return ""
    own = match["name"] in owner._parameters or match["name"] in owner._buffers
    return (
        f"{match['layer']}.{match['name']}".lstrip(".") if hasattr(owner, match["name"]) and not own else ""
    )


def _computed(
    graph: fx.Graph, stored: Mapping[str, Stored], weights: Mapping[str, str]
) -> dict[fx.Node, tuple[str, Tensor]]:
    """Nodes that depend on stored tensors alone, originals of one weight among them: that weight, and the value."""
    known: dict[fx.Node, tuple[str, Any]] = {}
    for node in graph.nodes:
        if node.op == "get_attr" and node.target in stored:
            known[node] = (weights.get(node.target, ""), stored[node.target].tensor.detach())
        elif node.op == "call_function" and is_pure(node, known):
            of = {known[source][0] for source in node.all_input_nodes} - {""}
            if len(of) <= 1 and (of or _cheap(node)):
                with torch.no_grad():
                    known[node] = (next(iter(of), ""), call(node, lambda source: known[source][1]))
    return {node: item for node, item in known.items() if item[0] and isinstance(item[1], Tensor)}


def _cheap(node: fx.Node) -> bool:
    """Whether a value that may never be needed can be made all the same: a number, or one made of nothing."""
    value = node.meta.get("val")
    return not node.all_input_nodes or (isinstance(value, Tensor) and value.numel() <= 1)


def is_pure(node: fx.Node, known: Container[fx.Node]) -> bool:
    """Whether a node reads ``known`` ones alone, and gives the same each time without writing anywhere."""
    changes = mutates(node) or draws_random(node)
    return not changes and all(source in known for source in node.all_input_nodes)


def functionalise(graph: fx.Graph) -> None:
    """Replaces in-place operators by functional ones where no other view of the tensor is read afterwards.

    Where one is, or where the model writes into an input or a tensor it keeps, the operator stays as it is.
    """
    memory = Memory(graph)
    position, root = memory.position, memory.root
    for node in list(graph.nodes):
        functional = _functional(node) if mutates(node) else None
        target = node.args[0] if node.args else None
        if functional is None or not isinstance(target, fx.Node) or root[node].op != "call_function":
            continue
        earlier = (view for view in memory.sharing[root[node]] if position[view] < position[node])
        if memory.read_after((view for view in earlier if view is not target), node):
            continue
        node.target = functional
        for user in [user for user in target.users if position.get(user, 0) > position[node]]:
            user.replace_input_with(target, node)


_LIKE = ("aten.empty_like", "aten.zeros_like", "aten.ones_like", "aten.full_like", "aten.clone")


def make_differentiable(graph: fx.Graph) -> None:
    """Replaces functional operators that have no derivative, though the in-place ones that they stand for have one."""
    for node in list(graph.nodes):
        if (replaced := _DIFFERENTIABLE.get(family(node))) is not None:
            node.target, node.args = replaced(node)
            node.kwargs = {}


def _copied(node: fx.Node) -> tuple[Any, tuple[Any, ...]]:
    """``copy(self, src)`` is ``src`` in the dtype and shape of ``self``."""
    target, source = node.args[:2]
    assert isinstance(target, fx.Node)
    assert isinstance(source, fx.Node)
    same = family(target) in _LIKE and target.args[0] is source and not target.kwargs.get("dtype")
    for function in () if same else (torch.ops.aten.type_as.default, torch.ops.aten.expand_as.default):
        with node.graph.inserting_before(node):
            made = node.graph.call_function(function, (source, target))
        value = source.meta["val"] if made.target is torch.ops.aten.type_as.default else node.meta["val"]
        made.meta = {**node.meta, "val": value.to(node.meta["val"].dtype)}
        source = made
    return torch.ops.aten.clone.default, (source,)


# of all operators with an in-place twin, those whose twin alone has a derivative
_DIFFERENTIABLE: Mapping[str, Callable[[fx.Node], tuple[Any, tuple[Any, ...]]]] = {
    "aten.copy": _copied,
    "aten.zero": lambda node: (torch.ops.aten.zeros_like.default, node.args[:1]),
}


def _functional(node: fx.Node) -> Any:
    """The functional twin of an in-place operator such as ``aten.relu_``; none for others."""
    library, name, overload = str(node.target).split(".")
    written = library == "aten" and name.endswith("_")
    packet = getattr(torch.ops.aten, name.removesuffix("_"), None) if written else None
    return getattr(packet, overload, None)


def relax_views(graph: fx.Graph) -> None:
    """Replaces ``view`` by ``reshape``, since the strides of another batch or a slim tensor may not allow a view.

    A view stays one where operators write in place, and what they write must be seen through it.
    """
    views = graph.find_nodes(op="call_function", target=torch.ops.aten.view.default)
    memory = Memory(graph)
    for view in [view for view in views if memory.can_copy(view)]:
        view.target = torch.ops.aten.reshape.default


def fix_squeezes(graph: fx.Graph, varies: Callable[[fx.Node, int], bool]) -> None:
    """Writes into every ``squeeze`` which dimensions it drops, those that have size 1 now.

    ``squeeze()`` of ``[batch, 8, 1]`` drops the last dimension. Were it left as it is, it would drop the channels too
    once a single one is kept. Sizes that vary stay in the list, since the model drops them where they are 1.
    """
    for node in graph.nodes:
        if family(node) != "aten.squeeze" or mutates(node):
            continue
        shape = node.args[0].meta["val"].shape
        named = arguments(node).get("dim", range(len(shape)))
        given = [named] if isinstance(named, int) else list(named)
        dims = [dim for dim in given if shape and (shape[dim] == 1 or varies(node.args[0], dim))]
        if not dims:
            node.replace_all_uses_with(node.args[0])
        elif dims != [named]:
            node.target, node.args, node.kwargs = torch.ops.aten.squeeze.dims, (node.args[0], dims), {}


def remove_dead(graph: fx.Graph) -> None:
    """Drops what nobody reads, torch's own assertions on shapes included; what `require` demands stays."""
    kept = ("placeholder", "output")
    dead = [n for n in graph.nodes if n.op not in kept and not mutates(n) and n.target is not require]
    _erase_unread(graph, dead)
