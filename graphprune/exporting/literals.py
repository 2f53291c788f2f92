"""The arguments of nodes and layers as JSON, and back.

Numbers, text, true, false, null and lists are themselves; everything else is an object with one key that says
what it is, as `{"tuple": [1, 2]}`, `{"dtype": "float32"}` or, for another node, `{"node": "conv1"}`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

from graphprune.ground.errors import InputError

__all__ = ["DTYPES", "Json", "decode", "encode"]


def _by_name(kind: type) -> dict[str, Any]:
    values = [value for value in vars(torch).values() if isinstance(value, kind)]
    return {str(value).removeprefix("torch."): value for value in values}


DTYPES = _by_name(torch.dtype)
MEMORY_FORMATS = _by_name(torch.memory_format)
LAYOUTS = _by_name(torch.layout)

Json = Any


def encode(value: Any) -> Json:
    """`value` as plain JSON data.

    Raises:
        InputError: the value is none of node, list, tuple, dict, slice, number, text, bool, None, Ellipsis,
            dtype, device, memory format or layout.
    """
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, list):
        return [encode(item) for item in value]
    for kind, encoder in ENCODERS:
        if isinstance(value, kind):
            return encoder(value)
    raise InputError(
        f"a graph argument of type {type(value).__module__}.{type(value).__qualname__} cannot be stored",
        "use numbers, text, None, dtypes, devices, slices and lists, tuples or dicts of them",
    )


def decode(data: Json, nodes: Mapping[str, fx.Node]) -> Any:
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
    if tag == "node":
        return _look_up("node", content, nodes)
    if tag not in DECODERS:
        raise InputError(f"a stored argument has the unknown kind {tag!r}")
    return DECODERS[tag](content, nodes)


def _look_up(kind: str, name: Any, table: Mapping[str, Any]) -> Any:
    if not isinstance(name, str) or name not in table:
        raise InputError(f"the stored graph uses the unknown {kind} {name!r}")
    return table[name]


def _encode_float(value: float) -> Json:
    return float(value) if math.isfinite(value) else {"float": repr(float(value))}


def _encode_tuple(value: tuple[Any, ...]) -> Json:
    if type(value) not in (tuple, torch.Size):
        raise InputError(
            f"a graph argument of type {type(value).__qualname__} cannot be stored",
            "return or pass a plain tuple",
        )
    return {"tuple": [encode(item) for item in value]}


def _encode_dict(value: Mapping[Any, Any]) -> Json:
    return {"dict": [[encode(key), encode(item)] for key, item in value.items()]}


def _encode_slice(value: slice) -> Json:
    return {"slice": [encode(value.start), encode(value.stop), encode(value.step)]}


def _short(tag: str) -> Callable[[Any], Json]:
    return lambda value: {tag: str(value).removeprefix("torch.")}


ENCODERS: tuple[tuple[type, Callable[[Any], Json]], ...] = (
    (fx.Node, lambda node: {"node": node.name}),
    (float, _encode_float),
    (complex, lambda value: {"complex": repr(value)}),
    (tuple, _encode_tuple),
    (dict, _encode_dict),
    (slice, _encode_slice),
    (type(Ellipsis), lambda _: {"ellipsis": True}),
    (torch.dtype, _short("dtype")),
    (torch.memory_format, _short("memory_format")),
    (torch.layout, _short("layout")),
    (torch.device, _short("device")),
)


def _decode_slice(content: Json, nodes: Mapping[str, fx.Node]) -> slice:
    start, stop, step = (decode(item, nodes) for item in content)
    return slice(start, stop, step)


def _decode_dict(content: Json, nodes: Mapping[str, fx.Node]) -> dict[Any, Any]:
    return {decode(key, nodes): decode(item, nodes) for key, item in content}


DECODERS: Mapping[str, Callable[[Json, Mapping[str, fx.Node]], Any]] = {
    "float": lambda content, _: float(content),
    "complex": lambda content, _: complex(content),
    "tuple": lambda content, nodes: tuple(decode(item, nodes) for item in content),
    "dict": _decode_dict,
    "slice": _decode_slice,
    "ellipsis": lambda *_: ...,
    "dtype": lambda content, _: _look_up("dtype", content, DTYPES),
    "memory_format": lambda content, _: _look_up("memory format", content, MEMORY_FORMATS),
    "layout": lambda content, _: _look_up("layout", content, LAYOUTS),
    "device": lambda content, _: torch.device(content),
}
