"""The arguments of nodes and layers as JSON, and back.

Numbers, text, true, false, null and lists are themselves; everything else is an object with one key that says
what it is, as `{"tuple": [1, 2]}`, `{"dtype": "float32"}` or, for another node, `{"node": "conv1"}`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

from graphprune.ground.errors import InputError

__all__ = ["DTYPES", "Json", "decode", "encode"]

Json = Any
Nodes = Mapping[str, fx.Node]
UNCHECKED = re.compile(r"u?int[1-7]|float4.*|q?u?int\dx\d|qu?int\d+|bits.*|sparse.*|_mkldnn|jagged")


def encode(value: Any) -> Json:
    """`value` as plain JSON data.

    Raises:
        InputError: the value is none of node, list, tuple, dict, slice, number, text, bool, None, Ellipsis,
            dtype, device, memory format or layout.
    """
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, list):
        return [encode(item) for item in value]
    for tag, (kind, content, _) in KINDS.items():
        if isinstance(value, kind) and (kind is not tuple or type(value) in (tuple, torch.Size)):
            return {tag: content(value)}
    raise InputError(
        f"a graph argument of type {type(value).__module__}.{type(value).__qualname__} cannot be stored",
        "use numbers, text, None, dtypes, devices, slices and plain lists, tuples or dicts of them",
    )


def decode(data: Json, nodes: Nodes) -> Any:
    """The value that `encode` wrote, with nodes looked up by name in `nodes`.

    Raises:
        InputError: the data is not of that form, or names an unknown node.
    """
    if data is None or isinstance(data, (bool, int, float, str)):
        return data
    if isinstance(data, list):
        return [decode(item, nodes) for item in data]
    if not isinstance(data, dict) or len(data) != 1:
        raise InputError(f"a stored argument has the unknown form {str(data)[:60]}")
    ((tag, content),) = data.items()
    if tag not in KINDS:
        raise InputError(f"a stored argument has the unknown kind {tag!r}")
    return KINDS[tag][2](content, nodes)


def _look_up(kind: str, name: Any, table: Mapping[str, Any]) -> Any:
    if not isinstance(name, str) or name not in table:
        raise InputError(f"the stored graph uses the unknown {kind} {name!r}")
    return table[name]


def _slice(content: Json, nodes: Nodes) -> slice:
    start, stop, step = decode(content, nodes)
    return slice(start, stop, step)


def _dict(content: Json, nodes: Nodes) -> dict[Any, Any]:
    return {decode(key, nodes): decode(item, nodes) for key, item in content}


def _short(value: Any) -> str:
    return str(value).removeprefix("torch.")


def _by_name(kind: type) -> dict[str, Any]:
    """Those whose kernels check what they are given: of dense tensors of plain numbers."""
    values = [value for value in vars(torch).values() if isinstance(value, kind)]
    return {_short(value): value for value in values if not UNCHECKED.fullmatch(_short(value))}


def _named(kind: type) -> tuple[type, Callable[[Any], Json], Callable[[Json, Nodes], Any]]:
    """One of torch's types by the short names of its values."""
    table, called = _by_name(kind), kind.__name__.replace("_", " ")

    def name(value: Any) -> str:
        _look_up(called, _short(value), table)
        return _short(value)

    return kind, name, lambda content, _: _look_up(called, content, table)


def _device(content: Json, nodes: Nodes) -> torch.device:
    device = torch.device(content)
    if device.type == "meta":
        raise InputError("the stored graph makes tensors without values, on the device meta")
    return device


DTYPES = _by_name(torch.dtype)

# what says the kind of a value → its type, its content as JSON, and the value of such content
KINDS: Mapping[str, tuple[type, Callable[[Any], Json], Callable[[Json, Nodes], Any]]] = {
    "node": (fx.Node, lambda node: node.name, lambda content, nodes: _look_up("node", content, nodes)),
    "float": (float, lambda value: repr(float(value)), lambda content, _: float(content)),
    "complex": (complex, repr, lambda content, _: complex(content)),
    "tuple": (tuple, lambda value: encode(list(value)), lambda content, nodes: tuple(decode(content, nodes))),
    "dict": (dict, lambda value: encode(list(map(list, value.items()))), _dict),
    "slice": (slice, lambda value: encode([value.start, value.stop, value.step]), _slice),
    "ellipsis": (type(Ellipsis), lambda _: True, lambda *_: ...),
    **{kind.__name__: _named(kind) for kind in (torch.dtype, torch.memory_format, torch.layout)},
    "device": (torch.device, str, _device),
}
