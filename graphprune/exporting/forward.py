"""The nodes of a graph as the readable body of a `forward` method."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection
from itertools import groupby
from typing import Any

from torch import fx

from graphprune.capture.sizes import is_guard, reads_size
from graphprune.exporting.infix import NEGATED, infix, operand, prefix, sign_of, slice_text
from graphprune.exporting.layout import WIDTH, Bracket, Expression, flat, literal, named, quoted, statement
from graphprune.exporting.naming import Names
from graphprune.exporting.targets import function_name
from graphprune.ground.arguments import (
    OTHER_SIZE,
    count_items,
    device_of,
    dtype_of,
    limit_of,
    read_attribute,
    remedy,
    require_same,
)

__all__ = ["forward_source"]

# ATen overloads, of those that a raised graph still has, whose arguments are those of the tensor's method.
METHODS = {
    f"torch.ops.aten.{overload}": overload.partition(".")[0]
    for overload in ("clone.default", "mean.dim", "sum.dim_IntList", "unbind.int")
}


# ATen operators that make tensors from numbers and take what torch's function of that name takes
FACTORIES = ("arange", "empty", "eye", "full", "linspace", "ones", "scalar_tensor", "zeros")


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
    names = Names(graph, layers)
    body: list[str] = []
    block = ""
    # several sizes of one tensor are read in one statement
    for _, run in groupby(list(graph.nodes), lambda n: (n.args[0], 0) if reads_size(n) else n):
        node, *more = run
        if node.op == "placeholder":
            default = [literal(value) for value in node.args]
            parameters.append(named(f"{node.target}=", default[0]) if default else str(node.target))
        elif node.op != "get_attr":
            if node.op == "call_module" and _block(str(node.target)) not in ("", block):
                block = _block(str(node.target))
                body.append(f"        # {block}")
            body.extend(_sizes([node, *more], names) if reads_size(node) else _statement(node, names))
    return [*statement("def ", Bracket("forward(", parameters, ")"), 4, ":"), *body]


def _block(name: str) -> str:
    """The part of a layer's name up to its last number: "layer1.0" of "layer1.0.conv1"."""
    match = re.match(r"(?:.*\.)?\d+(?=\.)", name)
    return match[0] if match else ""


def _statement(node: fx.Node, names: Names) -> list[str]:
    if node.op == "output":
        return statement("return ", literal(node.args[0], names.of), 8)
    if node.target is require_same:
        return _requirement(node, names)
    if is_guard(node):
        return _guard(node, names)
    expression = _expression(node, names)
    if names.is_within(node):
        names.write(node, flat(expression))
        return []
    return statement(f"{names.bind(node)} = " if node.users else "", expression, 8)


def _sizes(nodes: list[fx.Node], names: Names) -> list[str]:
    """`height, width = x.shape[2], x.shape[3]`."""
    texts = {node: f"{names.of(node.args[0])}.shape[{flat(literal(node.args[1]))}]" for node in nodes}  # type: ignore[arg-type]
    for node in filter(names.is_within, nodes):
        names.write(node, texts.pop(node))
    read = [node for node in texts if node.users]
    left = ", ".join(names.bind(node) for node in read)
    return [f"        {left} = {', '.join(texts[node] for node in read)}"] if read else []


def _guard(node: fx.Node, names: Names) -> list[str]:
    """`if x.shape[2] != 64: raise …`."""
    holds, message = node.args
    sign = names.sign(holds)
    if sign in NEGATED:
        differs = _signed(holds, NEGATED[sign], names)  # type: ignore[arg-type]
    else:
        text = flat(literal(holds, names.of))
        differs = f"not ({text})" if sign else f"not {text}"
    return [f"        if {differs}:", *_raised(f"{message}; {OTHER_SIZE}")]


def _raised(reason: str) -> list[str]:
    """`raise ValueError("…")`, a long reason in several lines."""
    whole = f"            raise ValueError({_text(reason)})"
    if len(whole) <= WIDTH:
        return [whole]
    options = {"drop_whitespace": False, "replace_whitespace": False, "expand_tabs": False}
    for width in range(WIDTH - 18, 0, -10):  # what is escaped needs more room
        inner = [f"                {_text(part)}" for part in textwrap.wrap(reason, width, **options)]  # type: ignore[arg-type]
        if max(map(len, inner)) <= WIDTH:
            break
    return ["            raise ValueError(", *inner, "            )"]


def _requirement(node: fx.Node, names: Names) -> list[str]:
    """`if mask is not None: raise …` in plain Python."""
    name, argument, captured = node.args
    text, wanted = flat(literal(argument, names.of)), flat(literal(captured))
    if captured is None or isinstance(captured, bool):
        differs = f"{text} is not {wanted}"
    else:  # comparing a tensor would give a tensor
        differs = f"isinstance({text}, torch.Tensor) or {text} != {wanted}"
    reason = f"{name} was {captured!r} at capture; {remedy(captured)}"
    return [f"        if {differs}:", *_raised(reason)]


def _text(text: str) -> str:
    """In the quotes in which less has to be escaped, as ruff sets them."""
    return repr(text) if '"' in text and "'" not in text else quoted(text)


def _expression(node: fx.Node, names: Names) -> Expression:
    values = [literal(value, names.of) for value in node.args]
    options = [named(f"{name}=", literal(value, names.of)) for name, value in node.kwargs.items()]
    if node.op == "call_module":
        return Bracket(f"{names.attribute(node)}(", values + options, ")")
    if node.op == "call_method":
        return Bracket(f"{operand(flat(values[0]), '.')}.{node.target}(", values[1:] + options, ")")
    assert callable(node.target)
    if node.target in (device_of, dtype_of):
        return f"{flat(values[0])}.{'device' if node.target is device_of else 'dtype'}"
    if node.target is limit_of:
        return f"torch.finfo({flat(values[0])}).{node.args[1]}"
    if sign := sign_of(node):
        return _signed(node, sign, names)
    return _call(function_name(node.target), node, values, options)


def _signed(node: fx.Node, sign: str, names: Names) -> str:
    """The node's operands with ``sign`` between them, or before a single one."""
    texts = [flat(literal(value, names.of)) for value in node.args]
    inner = [names.sign(value) for value in node.args]
    if len(texts) == 1:
        return prefix(texts[0], sign, inner[0])
    return infix(operand(texts[0], sign, inner[0]), operand(texts[1], sign, inner[1], is_right=True), sign)


def _call(name: str, node: fx.Node, values: list[Expression], options: list[Expression]) -> Expression:
    on_tensor = bool(node.args) and isinstance(node.args[0], fx.Node)
    if node.target is read_attribute:
        return f"{flat(values[0])}.{node.args[1]}"
    if node.target is count_items:
        return Bracket("len(", values, ")")
    if name == "operator.getitem" and on_tensor:
        return Bracket(f"{flat(values[0])}[", _subscripts(node.args[1], values[1]), "]")
    places = values[1] if name == "torch.ops.aten.index.Tensor" else ""
    if isinstance(places, Bracket) and "None" not in places.items:  # `x[i, j]`, in leading dimensions
        return Bracket(f"{flat(values[0])}[", places.items, "]")
    if name in METHODS and on_tensor:
        return Bracket(f"{flat(values[0])}.{METHODS[name]}(", values[1:] + options, ")")
    return Bracket(f"{_function(name)}(", values + options, ")")


def _function(name: str) -> str:
    if any(name.startswith(f"torch.ops.aten.{factory}.") for factory in FACTORIES):
        return f"torch.{name.split('.')[3]}"
    return re.sub(
        r"^(torch\.ops\.(?=aten\.)|builtins\.)", "", re.sub(r"^torch\.nn\.functional\.", "F.", name)
    )


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
    return slice_text(*("" if part == "None" else flat(part) for part in item.items))
