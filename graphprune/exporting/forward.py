"""The nodes of a graph as the readable body of a `forward` method."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection
from itertools import count
from typing import Any

from torch import fx

from graphprune.exporting.layout import Bracket, Expression, flat, literal, named, quoted, statement
from graphprune.exporting.targets import function_name
from graphprune.ground.arguments import count_items, read_attribute, remedy, require_same
from graphprune.ground.errors import InputError

__all__ = ["attribute", "forward_source"]

# Names that generated code needs for itself, so that no input of the model may have them.
RESERVED = frozenset({"F", "aten", "float", "getattr", "nn", "operator", "put", "self", "slice", "torch"})

INFIX = {
    "operator.add": "+",
    "operator.sub": "-",
    "operator.mul": "*",
    "operator.truediv": "/",
    "operator.floordiv": "//",
    "operator.mod": "%",
    "operator.pow": "**",
    "operator.matmul": "@",
    "operator.and_": "&",
    "operator.or_": "|",
    "operator.xor": "^",
    "operator.eq": "==",
    "operator.ne": "!=",
    "operator.lt": "<",
    "operator.le": "<=",
    "operator.gt": ">",
    "operator.ge": ">=",
}
PREFIX = {"operator.neg": "-", "operator.invert": "~", "operator.not_": "not "}

# ATen overloads, of those that a raised graph still has, whose arguments are those of the tensor's method.
METHODS = {
    f"torch.ops.aten.{overload}": overload.partition(".")[0]
    for overload in ("clone.default", "mean.dim", "sum.dim_IntList", "unbind.int")
}
COUNTING_METHODS = frozenset({"dim", "ndimension", "nelement", "numel", "size"})


def forward_source(graph: fx.Graph, layers: Collection[str] = ()) -> list[str]:
    """The lines of the method `forward`, indented as in a class body.

    Args:
        graph: the nodes.
        layers: names of the layers, which unlike groups have no index.

    Raises:
        InputError: an input has a name that generated code needs for itself, or a function is not on the
            allow-list.
    """
    parameters: list[Expression] = ["self"]
    names = _Names(graph, layers)
    body: list[str] = []
    block = ""
    for node in graph.nodes:
        if node.op == "placeholder":
            default = [literal(value) for value in node.args]
            parameters.append(named(f"{node.target}=", default[0]) if default else str(node.target))
        elif node.op != "get_attr":
            if node.op == "call_module" and _block(str(node.target)) not in ("", block):
                block = _block(str(node.target))
                body.append(f"        # {block}")
            body.extend(_statement(node, names))
    return [*statement("def ", Bracket("forward(", parameters, ")"), 4, ":"), *body]


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


class _Names:
    """What each value is called: tensors x, x1, x2 …, a name being used again once its value is done with."""

    def __init__(self, graph: fx.Graph, layers: Collection[str]) -> None:
        self._layers = layers
        self._last_user: dict[fx.Node, fx.Node] = {}
        self._name: dict[fx.Node, str] = {}
        for node in graph.nodes:
            self._last_user.update(dict.fromkeys(node.all_input_nodes, node))
            if node.op == "placeholder":
                self._name[node] = _parameter_name(str(node.target))
        self._used = set(self._name.values())
        self._counts: set[fx.Node] = set()

    def of(self, node: fx.Node) -> str:
        """The expression for an earlier node."""
        return self.attribute(node) if node.op == "get_attr" else self._name[node]

    def attribute(self, node: fx.Node) -> str:
        """The layer or tensor that `node` refers to."""
        return attribute(str(node.target), self._layers)

    def bind(self, node: fx.Node) -> str:
        """Name the value of `node`, whose inputs have been read."""
        ended = [n for n in node.all_input_nodes if n.op != "get_attr" and self._last_user[n] is node]
        freed = [self._name[n] for n in ended if re.fullmatch(r"x\d*", self._name[n])]
        if self._is_count(node):
            self._counts.add(node)
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


def _block(name: str) -> str:
    """The part of a layer's name up to its last number: "layer1.0" of "layer1.0.conv1"."""
    match = re.match(r"(?:.*\.)?\d+(?=\.)", name)
    return match[0] if match else ""


def _statement(node: fx.Node, names: _Names) -> list[str]:
    if node.op == "output":
        return statement("return ", literal(node.args[0], names.of), 8)
    if node.target is require_same:
        return _requirement(node, names)
    expression = _expression(node, names)
    return statement(f"{names.bind(node)} = " if node.users else "", expression, 8)


def _requirement(node: fx.Node, names: _Names) -> list[str]:
    """`if mask is not None: raise …` in plain Python."""
    name, argument, captured = node.args
    text, wanted = flat(literal(argument, names.of)), flat(literal(captured))
    if captured is None or isinstance(captured, bool):
        differs = f"{text} is not {wanted}"
    else:  # comparing a tensor would give a tensor
        differs = f"isinstance({text}, torch.Tensor) or {text} != {wanted}"
    reason = quoted(f"{name} was {captured!r} at capture; {remedy(captured)}")
    return [f"        if {differs}:", *statement("raise ", Bracket("ValueError(", [reason], ")"), 12)]


def _expression(node: fx.Node, names: _Names) -> Expression:
    values = [literal(value, names.of) for value in node.args]
    options = [named(f"{name}=", literal(value, names.of)) for name, value in node.kwargs.items()]
    if node.op == "call_module":
        return Bracket(f"{names.attribute(node)}(", values + options, ")")
    if node.op == "call_method":
        return Bracket(f"{_operand(values[0])}.{node.target}(", values[1:] + options, ")")
    assert callable(node.target)
    return _call(function_name(node.target), node, values, options)


def _call(name: str, node: fx.Node, values: list[Expression], options: list[Expression]) -> Expression:
    on_tensor = bool(node.args) and isinstance(node.args[0], fx.Node)
    if node.target is read_attribute:
        return f"{flat(values[0])}.{node.args[1]}"
    if node.target is count_items:
        return Bracket("len(", values, ")")
    if not options and (on_tensor or name.startswith("operator.")):
        if name == "operator.getitem" and on_tensor:
            return Bracket(f"{flat(values[0])}[", _subscripts(node.args[1], values[1]), "]")
        if name in INFIX and len(values) == 2:
            return _infix(_operand(values[0]), INFIX[name], flat(values[1]))
        if name in PREFIX:
            return f"{PREFIX[name]}{_operand(values[0])}"
    places = values[1] if name == "torch.ops.aten.index.Tensor" else ""
    if isinstance(places, Bracket) and "None" not in places.items:  # `x[i, j]`, in leading dimensions
        return Bracket(f"{flat(values[0])}[", places.items, "]")
    if name in METHODS and on_tensor:
        return Bracket(f"{flat(values[0])}.{METHODS[name]}(", values[1:] + options, ")")
    return Bracket(f"{_function(name)}(", values + options, ")")


def _function(name: str) -> str:
    return re.sub(r"^torch\.ops\.(?=aten\.)", "", re.sub(r"^torch\.nn\.functional\.", "F.", name))


def _operand(value: Expression) -> str:
    """A left operand or receiver, in parentheses where its sign would bind less tightly."""
    text = flat(value)
    return f"({text})" if text.startswith("-") else text


def _infix(left: str, sign: str, right: str) -> str:
    is_plain = all(re.fullmatch(r"-?[\w.]+", side) for side in (left, right))
    return f"{left}{sign}{right}" if sign == "**" and is_plain else f"{left} {sign} {right}"


def _subscripts(index: Any, printed: Expression) -> list[Expression]:
    if not isinstance(index, tuple) or not index:
        return [_subscript(printed)]
    assert not isinstance(printed, str)
    items = [_subscript(item) for item in printed.items]
    return items if len(items) > 1 else [f"{flat(items[0])},"]


def _subscript(item: Expression) -> Expression:
    """`1:3` instead of `slice(1, 3, None)`."""
    if isinstance(item, str) or item.opening != "slice(":
        return item
    start, stop, step = ("" if part == "None" else flat(part) for part in item.items)
    return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"
