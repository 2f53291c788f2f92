"""Bounds on an ONNX file that may come from anyone, before a checker or a runtime reads it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from graphprune.ground.documents import check_regular
from graphprune.ground.errors import InputError, first_line

__all__ = ["check_received"]

BYTES = 2**31  # of a protobuf message; larger models hold their weights beside the file
NODES = 200_000  # of all graphs, with what functions of the file stand for
DEPTH = 16  # of graphs in each other, and of functions that call others


def check_received(path: Path) -> Any:
    """The onnx.ModelProto of a file, without its external data, unless it does not hold what it says.

    Raises:
        InputError: it is none, has too many nodes or levels, its tensors have other sizes than their data, or external
            data lie elsewhere or are not there.
    """
    import onnx

    if not path.exists():
        raise InputError(f"there is no {path.name}")
    check_regular(path, BYTES)
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # whatever protobuf raises
        raise InputError(f"it is no ONNX file: {first_line(error, 120)}") from error
    _check_count(model)
    for graph, _ in _graphs(model):
        for tensor in _tensors(graph):
            _check_tensor(tensor, path.parent)
    return model


def _graphs(model: Any) -> Iterator[tuple[Any, int]]:
    """All graphs and functions, with their depth.

    Raises:
        InputError: they are too deep.
    """
    left = [(graph, 1) for graph in (model.graph, *model.functions)]
    while left:
        graph, depth = left.pop()
        if depth > DEPTH:
            raise InputError(f"it has more than {DEPTH} graphs inside each other")
        yield graph, depth
        for node in graph.node:
            for attribute in node.attribute:
                left += [(body, depth + 1) for body in attribute.graphs]
                if attribute.HasField("g"):
                    left.append((attribute.g, depth + 1))


def _check_count(model: Any) -> None:
    """Functions may call each other twice each, so that a short file stands for an endless graph."""
    functions = {(function.domain, function.name): function for function in model.functions}
    known: dict[tuple[str, str], int] = {}
    for _ in range(DEPTH):  # one more level of calls each time
        deeper = {name: _count(function, known, functions) for name, function in functions.items()}
        if deeper == known:
            break
        known = deeper
    else:
        raise InputError(f"its functions call each other, or more than {DEPTH} inside each other")
    total = sum(_count(graph, known, functions) for graph, _ in _graphs(model))
    if total > NODES:
        raise InputError(f"it has more than {NODES:,} nodes, with those of its functions")


def _count(graph: Any, known: Mapping[tuple[str, str], int], functions: Mapping[tuple[str, str], Any]) -> int:
    calls = ((node.domain, node.op_type) for node in graph.node)
    return min(sum(1 + (known.get(call, 0) if call in functions else 0) for call in calls), NODES + 1)


def _tensors(graph: Any) -> Iterator[Any]:
    """Those that stand in the graph itself."""
    yield from getattr(graph, "initializer", ())
    sparse = list(getattr(graph, "sparse_initializer", ()))
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
    for tensor in sparse:
        yield from (tensor.values, tensor.indices)


def _check_tensor(tensor: Any, folder: Path) -> None:
    from onnx.helper import tensor_dtype_to_np_dtype

    if min(tensor.dims, default=0) < 0:
        raise InputError(f"tensor {tensor.name!r} has a negative size")
    if tensor.data_location != tensor.EXTERNAL and not tensor.HasField("raw_data"):
        return  # its numbers are counted by the checker
    try:
        bits = 8 * tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except KeyError:
        raise InputError(f"tensor {tensor.name!r} has the unknown type {tensor.data_type}") from None
    wanted = math.prod(tensor.dims) * bits // 8
    if tensor.data_location == tensor.EXTERNAL:
        _check_external(tensor, folder.resolve(), wanted)
    elif len(tensor.raw_data) > wanted or (bits >= 16 and len(tensor.raw_data) != wanted):
        # numbers of less than a byte are packed
        raise InputError(f"tensor {tensor.name!r} holds {len(tensor.raw_data):,} bytes, not {wanted:,}")


def _check_external(tensor: Any, folder: Path, wanted: int) -> None:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    place = (folder / entries.get("location", "")).resolve()
    if place == folder or not place.is_relative_to(folder):
        raise InputError(
            f"tensor {tensor.name!r} is read from {entries.get('location')!r}, outside of its folder"
        )
    if not place.is_file():
        raise InputError(f"tensor {tensor.name!r} is read from {place.name}, which is no file")
    try:
        offset, size = int(entries.get("offset", 0)), place.stat().st_size
        length = int(entries.get("length", size - offset))
    except ValueError:
        raise InputError(f"tensor {tensor.name!r} has a place that is no number") from None
    if min(offset, length) < 0 or offset + length > size or length < wanted:
        raise InputError(f"tensor {tensor.name!r} is read beyond the end of {place.name}")
