"""What the values of a graph are called in generated source."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection
from itertools import count
from typing import Any

from torch import fx
from torch.utils._pytree import tree_leaves

from graphprune.capture.sizes import is_guard, reads_size
from graphprune.exporting.infix import sign_of
from graphprune.exporting.layout import flat, literal
from graphprune.exporting.targets import function_name
from graphprune.ground.arguments import device_of, dtype_of, limit_of
from graphprune.ground.errors import InputError

__all__ = ["Names", "attribute"]

# Names that generated code needs for itself, so that no input of the model may have them.
RESERVED = frozenset(
    {"F", "aten", "float", "getattr", "math", "nn", "operator", "put", "self", "slice", "torch"}
)
COUNTING_METHODS = frozenset({"dim", "ndimension", "nelement", "numel", "size"})


def attribute(name: str, layers: Collection[str] = ()) -> str:
    """`self.layer1[0].conv1` for "layer1.0.conv1"; `getattr` for names in `layers` that have no index.

    >>> attribute("layer1.0.conv1")
    'self.layer1[0].conv1'
    >>> attribute("layer1.a-b.conv1")
    'getattr(self.layer1, "a-b").conv1'
    """
    text, owner = "self", ""
    for part in name.split("."):
        if re.fullmatch(r"0|[1-9][0-9]*", part) and owner not in layers:
            text = f"{text}[{part}]"
        elif part.isidentifier() and not keyword.iskeyword(part) and not part.startswith("__"):
            text = f"{text}.{part}"
        else:  # a class body renames attributes that begin with two underscores
            text = f"getattr({text}, {flat(literal(part))})"
        owner = f"{owner}.{part}" if owner else part
    return text


class Names:
    """What each value is called: tensors x, x1, x2 …, a name being used again once its value is done with.

    A number that is computed from sizes for a single reader has no name; it is written within that.
    """

    def __init__(self, graph: fx.Graph, layers: Collection[str]) -> None:
        self._layers = layers
        self._name: dict[fx.Node, str] = {}
        self._counts: set[fx.Node] = set()
        for node in graph.nodes:
            if node.op == "placeholder":
                self._name[node] = _parameter_name(str(node.target))
            elif self._is_count(node):
                self._counts.add(node)
        self._used = set(self._name.values())
        # the nodes that are written within the statement of another one
        self._within: dict[fx.Node, fx.Node] = {}
        for node in reversed(graph.nodes):
            self._place(node)
        self._last_user: dict[fx.Node, fx.Node] = {}
        order = {node: place for place, node in enumerate(graph.nodes)}
        for node in order:
            users = [self._within.get(user, user) for user in node.users]
            self._last_user[node] = max(users, key=order.__getitem__, default=node)

    def _place(self, node: fx.Node) -> None:
        """A condition and what it compares are written in one line, and so is arithmetic in a shape."""
        if node not in self._counts or len(node.users) != 1:
            return
        user = next(iter(node.users))
        times = [leaf for leaf in tree_leaves((user.args, user.kwargs)) if leaf is node]
        statement = self._within.get(user, user)
        if len(times) == 1 and (is_guard(statement) if reads_size(node) else sign_of(node)):
            self._within[node] = statement

    def is_within(self, node: fx.Node) -> bool:
        """Whether the node is written within the statement of another one."""
        return node in self._within

    def write(self, node: fx.Node, text: str) -> None:
        """The text of a node that is written within another one's."""
        self._name[node] = text

    def sign(self, value: Any) -> str:
        """The sign with which the text of an earlier node is made, if any."""
        return sign_of(value) if isinstance(value, fx.Node) and value in self._within else ""

    def of(self, node: fx.Node) -> str:
        """The expression for an earlier node."""
        return self.attribute(node) if node.op == "get_attr" else self._name[node]

    def attribute(self, node: fx.Node) -> str:
        """The layer or tensor that `node` refers to."""
        return attribute(str(node.target), self._layers)

    def bind(self, node: fx.Node) -> str:
        """Name the value of `node`, whose inputs have been read."""
        ended = [n for n in node.all_input_nodes if n in self._name and self._last_user[n] is node]
        freed = [self._name[n] for n in ended if re.fullmatch(r"x\d*", self._name[n])]
        if node in self._counts:
            name = self._unused(node.name)
        else:
            self._used.difference_update(freed)
            names = (f"x{number or ''}" for number in count())
            name = freed[0] if freed else next(n for n in names if n not in self._used)
        self._used.add(name)
        self._name[node] = name
        return name

    def _is_count(self, node: fx.Node) -> bool:
        """Whether the value is surely a number or a shape, and so named after what it is rather than x."""
        if node.op == "call_method":
            return node.target in COUNTING_METHODS
        if is_guard(node) or node.target in (device_of, dtype_of, limit_of):
            return not is_guard(node)
        if node.op != "call_function" or not callable(node.target):
            return False
        name = function_name(node.target)
        inputs = node.all_input_nodes
        return name == "torch.ops.aten.sym_size.int" or (
            name.startswith(("operator.", "torch.sym_")) and bool(inputs) and self._counts.issuperset(inputs)
        )

    def _unused(self, wish: str) -> str:
        while wish in self._used or wish in RESERVED or re.fullmatch(r"x\d*", wish):
            wish += "_"
        return wish


def _parameter_name(name: str) -> str:
    if not name.isidentifier() or keyword.iskeyword(name) or name in RESERVED:
        raise InputError(
            f"an input of the model is called {name!r}, which generated source cannot use",
            "rename that argument of the model's forward",
        )
    return name
