"""Reads ONNX files, of which nothing is run and nothing outside their folder is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from graphprune.ground.errors import InputError, first_line

__all__ = ["NEWEST", "OLDEST", "read_model"]

OLDEST, NEWEST = 7, 23  # versions of ONNX's own operators
MOST_BYTES = 2**31  # what protobuf reads; larger models hold their weights beside the file
MOST_NODES = 100_000


def read_model(path: str | Path) -> Any:
    """The onnx.ModelProto of a file, with its external data, and its functions replaced by what they hold.

    Raises:
        InputError: it is no ONNX file, is broken, too large or of another version, or its external data are missing,
            or lie outside its folder.
    """
    import onnx
    import onnx.inliner
    from google.protobuf.message import DecodeError

    place = Path(path)
    if not place.is_file():
        raise InputError(f"there is no file {place}", "check the path of the ONNX file")
    if (size := place.stat().st_size) > MOST_BYTES:
        raise InputError(
            f"{place} has {size / 2**30:.1f} GiB, and 2 can be read", "save it with external data"
        )
    try:
        model = onnx.load(place, load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise InputError(
            f"{place} is no ONNX file: {first_line(error, 200)}", "export the model again"
        ) from error
    _check_version(model, place)
    _check_external(model, place)
    try:
        onnx.load_external_data_for_model(model, str(place.parent))
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        onnx.checker.check_model(model)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        ValueError,
        OSError,
        RuntimeError,
    ) as error:
        raise InputError(f"{place} is broken: {first_line(error, 200)}", "export the model again") from error
    return model


def _check_version(model: Any, place: Path) -> None:
    versions = [item.version for item in model.opset_import if item.domain in ("", "ai.onnx")]
    if not model.graph.node:
        raise InputError(f"{place} holds no graph", "name a file that was exported as ONNX")
    if not versions or not OLDEST <= versions[0] <= NEWEST:
        have = f"opset {versions[0]}" if versions else "no opset"
        raise InputError(
            f"{place} has {have}, and {OLDEST} to {NEWEST} are known", "export it with such an opset"
        )
    if len(model.graph.node) > MOST_NODES:
        raise InputError(
            f"{place} has {len(model.graph.node)} nodes, and {MOST_NODES} are read", "take a smaller model"
        )


def _check_external(model: Any, place: Path) -> None:
    folder = place.parent.resolve()
    for tensor in _tensors(model.graph):
        if tensor.data_location != tensor.EXTERNAL:
            continue
        location = {item.key: item.value for item in tensor.external_data}.get("location", "")
        data = (folder / location).resolve()
        if not location or folder not in data.parents:
            raise InputError(
                f"{place} reads {tensor.name} from {location!r}, outside its folder",
                "move the data beside it",
            )
        if not data.is_file():
            raise InputError(
                f"{place} reads {tensor.name} from {location!r}, which is not there", "put it beside the file"
            )


def _tensors(graph: Any) -> Iterator[Any]:
    """All tensors of a graph and those within."""
    yield from graph.initializer
    for node in graph.node:
        for item in node.attribute:
            yield from (item.t, *item.tensors)
            for body in (item.g, *item.graphs):
                yield from _tensors(body)
