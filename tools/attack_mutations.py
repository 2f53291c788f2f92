"""Mutations of the files of a result: of their bytes, of what they say, and of what kind of file they are."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

__all__ = ["FILES", "mutate"]

VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2,
        7,
        10**6,
        2**31,
        2**62,
        2**63,
        2**70,
        -(2**70),
        0.5,
        1e-300,
        1e300,
        float("nan"),
    ),
    *(
        float("inf"),
        "",
        "x",
        "a.b",
        "0",
        "../x",
        "/dev/zero",
        "\x1b[2J",
        "\ud800",
        "x" * 10**5,
        "self",
        "__class__",
    ),
    *([], {}, [[]], [0], [0, 0], [-1], [10**9], [2**62], {"node": "x"}, {"tuple": [1]}, {"dtype": "float64"}),
    *(
        {"dtype": "qint8"},
        {"device": "meta"},
        {"slice": [0, -1, 0]},
        {"float": "nan"},
        {"layout": "sparse_coo"},
    ),
    *([0] * 1000, "zoo:nothing", "net.py:make", "zoo:crepe_full", {"x": {"y": {"z": []}}}),
)
NAMES = (
    "",
    "x",
    "Loop",
    "Expand",
    "Gather",
    "ConstantOfShape",
    "Reshape",
    "input",
    "../x",
    "Gemm",
    "Conv",
    "Relu",
)
OPERATORS = (
    "add cat conv2d embedding gather index_select matmul reshape view scatter_add topk unfold where zeros repeat "
    "expand as_strided take batch_norm layer_norm linear pad roll stack transpose squeeze pow empty arange one_hot "
    "cumsum sort interpolate max_pool2d grid_sample bincount searchsorted bucketize einsum"
).split()


def mutate(folder: Path, file: str, random: Random) -> str:
    """Changes one file of the folder; what was done."""
    path = folder / file
    kinds: list[tuple[str, Callable[[Path, Random], None]]] = [
        ("bytes", _bytes),
        ("another kind of file", _other_kind),
        *[("content", CONTENT[file])] * 6,
    ]
    name, change = random.choice(kinds)
    content = path.read_bytes()
    path.unlink()  # it may be a link to one that others have
    path.write_bytes(content)
    while True:
        try:
            change(path, random)
            return name
        except ValueError:  # no file can say this, such as a value of a kind that has no such number
            continue


def _bytes(path: Path, random: Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        place = random.randrange(len(content)) if content else 0
        if random.random() < 0.3:  # the beginning says how the rest is read
            place = min(place, random.randrange(1, 2000))
        action = random.randrange(4)
        if action == 0 and content:
            content[place] = random.randrange(256)
        elif action == 1:
            content[place:place] = random.choice((b"[", b"{", b"\x00" * 8, b"\xff" * 8, b'"', b"9" * 40))
        elif action == 2:
            del content[place : place + random.choice((1, 2, 100))]
        else:
            other = random.randrange(len(content)) if content else 0
            content[place : place + 16] = content[other : other + 16]
    if random.random() < 0.15:
        del content[random.randrange(len(content) + 1) :]
    path.write_bytes(content)


def _other_kind(path: Path, random: Random) -> None:
    path.unlink()
    action = random.randrange(6)
    if action == 0:
        os.mkfifo(path)
    elif action == 1:
        path.symlink_to("/dev/zero")
    elif action == 2:
        path.mkdir()
    elif action == 3:
        path.write_bytes(b"")
    elif action == 4:
        path.write_text(random.choice(("[", '{"a":')) * 10**6)
    # else it is missing


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    left = [data]
    while left:
        item = left.pop()
        keys = list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ()
        for key in keys:
            yield item, key
            left.append(item[key])


def edit_json(data: Any, random: Random) -> str:
    """The text of a JSON document in which some places were changed."""
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        places = list(_places(data))
        if not places:
            break
        holder, key = random.choice(places)
        action = random.randrange(6)
        if action == 0:
            del holder[key]
        elif action == 1 and isinstance(holder, list):
            holder.insert(key, random.choice(VALUES))
        elif action == 2:
            other, name = random.choice(places)
            holder[key] = json.loads(json.dumps(other[name])) if _has(other, name) else None
        elif action == 3 and isinstance(holder[key], int):
            holder[key] += random.choice((-1, 1, 10, 2**31))
        else:
            # what has the right type goes further
            alike = [value for value in VALUES if type(value) is type(holder[key])]
            holder[key] = random.choice(alike if alike and random.random() < 0.6 else VALUES)
    text = json.dumps(data)
    if random.random() < 0.05:
        text = text.replace("{", '{"format": 1, "format": 1, ', 1)
    if random.random() < 0.03:
        depth = random.choice((70, 1000, 10**5))
        text = text.replace(": [", ": " + "[" * depth + "]" * depth + ', "z": [', 1)
    return text


def _has(holder: Any, key: Any) -> bool:
    return key in holder if isinstance(holder, dict) else key < len(holder)


def _json(path: Path, random: Random) -> None:
    path.write_text(edit_json(json.loads(path.read_text()), random))


def _weights(path: Path, random: Random) -> None:
    """The stored graph, or the header that says where tensors are."""
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    if random.random() < 0.15:
        text = edit_json(header, random)
    else:
        graph = json.loads(header["__metadata__"]["graphprune_graph"])
        if random.random() < 0.5:
            _other_call(graph, random)
        header["__metadata__"]["graphprune_graph"] = edit_json(graph, random)
        text = json.dumps(header)
    packed = text.encode("utf-8", "surrogatepass")
    path.write_bytes(struct.pack("<Q", len(packed)) + packed + data)


def _other_call(graph: dict[str, Any], random: Random) -> None:
    """A node more, or another target: what the operators get is not what they were made for."""
    known = [node["name"] for node in graph["nodes"][:-1]]
    arguments = [*({"node": name} for name in known), *VALUES[:14], [0, 1], [2**31, 2**31]]
    space = random.choice(("torch", "torch.nn.functional", "torch.ops.aten"))
    name = random.choice(OPERATORS)
    target = f"{space}.{name}.default" if space.endswith("aten") else f"{space}.{name}"
    args = [random.choice(arguments) for _ in range(random.randrange(5))]
    made = {"name": "made", "op": "call_function", "target": target, "args": args, "kwargs": {}}
    graph["nodes"].insert(-1, made)
    if random.random() < 0.8:
        graph["nodes"][-1]["args"] = [{"node": "made"}]


def _toml(path: Path, random: Random) -> None:
    lines = path.read_text().splitlines()
    for _ in range(random.choice((1, 2, 3))):
        place = random.randrange(len(lines))
        name = lines[place].partition(" = ")[0]
        value = random.choice(
            (
                '"x"',
                "-1",
                "0",
                "nan",
                "inf",
                "[]",
                "{}",
                "9" * 30,
                "true",
                '"net.py:make"',
                '""',
                "1e300",
                "[" * 500,
            )
        )
        lines[place] = random.choice(
            (f"{name} = {value}", f"{name}.x = {value}", value, f"[{name}]", lines[-1])
        )
    path.write_text("\n".join(lines))


def _onnx(path: Path, random: Random) -> None:
    """A number, a name or a list anywhere in the protobuf message."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    for _ in range(random.choice((1, 1, 2, 4))):
        _edit_message(model, random)
    path.write_bytes(model.SerializeToString())


def _edit_message(message: Any, random: Random) -> None:
    """Goes down to a random field, and changes it."""
    for _ in range(12):
        fields = [
            (field, value)
            for field, value in message.ListFields()
            if field.name != "raw_data" or random.random() < 0.3
        ]
        if not fields:
            return
        field, value = random.choice(fields)
        many = hasattr(value, "add") or hasattr(value, "append")
        if many and len(value) and random.random() < 0.15:
            del value[random.randrange(len(value))]
            return
        if field.message_type is None:
            _edit_field(message, field.name, value, many, random)
            return
        if many and random.random() < 0.1:
            value.add().CopyFrom(random.choice(list(value)))
            return
        message = random.choice(list(value)) if many else value


def _edit_field(message: Any, name: str, value: Any, many: bool, random: Random) -> None:
    numbers = (0, -1, 1, 2, 3, 7, 16, 99, 2**20, 2**31 - 1)
    item = value[0] if many and len(value) else value
    if isinstance(item, float):
        new: Any = random.choice((0.0, -1.0, 1e30, float("nan")))
    elif isinstance(item, int):
        new = random.choice(numbers)
    elif isinstance(item, bytes):
        new = item[: random.randrange(len(item) + 1)] + b"\xff" * random.randrange(3)
    else:
        new = random.choice(
            ("", "x", "Loop", "Expand", "Gather", "ConstantOfShape", "Reshape", "input", "../x", "Gemm")
        )
    if many:
        value[random.randrange(len(value))] = new
    else:
        setattr(message, name, new)


CONTENT: dict[str, Callable[[Path, Random], None]] = {
    "plan.json": _json,
    "report.json": _json,
    "model.safetensors": _weights,
    "shrink.toml": _toml,
    "model.onnx": _onnx,
}
FILES = tuple(CONTENT)
