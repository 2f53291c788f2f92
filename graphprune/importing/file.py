"""Reads ONNX files, of which nothing is run and nothing outside their folder is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphprune.exporting.received import check_received
from graphprune.ground.errors import InputError, first_line
from graphprune.importing.nested import graphs, inputs_of
from graphprune.importing.writing import is_large

__all__ = ["NEWEST", "OLDEST", "read_model"]

OLDEST, NEWEST = 7, 25  # versions of ONNX's own operators


def read_model(path: str | Path) -> Any:
    """The onnx.ModelProto of a file, with its external data, and its functions replaced by what they hold.

    Raises:
        InputError: it is no ONNX file, is broken, too large or of another version, or its external data are missing,
            or lie outside its folder.
    """
    import onnx
    import onnx.inliner

    place = Path(path)
    if not place.exists():
        raise InputError(f"there is no file {place}", "check the path of the ONNX file")
    try:
        model = check_received(place)
    except InputError as error:
        raise InputError(f"{place} cannot be read: {error.message}", "export the model again") from error
    _check_version(model, place)
    try:
        onnx.load_external_data_for_model(model, str(place.parent))
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        _sort(model)
        _check(str(place) if is_large(model) else model)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        ValueError,
        OSError,
        RuntimeError,
    ) as error:
        raise InputError(f"{place} is broken: {first_line(error, 200)}", "export the model again") from error
    return model


# what onnxruntime takes all the same, and its own tools write: operators that came later, or were replaced since
_TAKEN = ("is deprecated", "No Op registered")


def _check(model: Any) -> None:
    """Raises what onnx.checker does, unless onnxruntime takes the file: an onnx.ModelProto, or a path."""
    import onnx

    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        if not any(taken in str(error) for taken in _TAKEN):
            raise


def _sort(model: Any) -> None:
    """Puts nodes behind those that they read, as onnxruntime does: some tools append nodes at the end."""
    for _, graph in reversed(list(graphs(model.graph))):  # inner ones first, since nodes are copied
        makers = {name: place for place, node in enumerate(graph.node) for name in node.output if name}
        reads = {
            place: {makers[name] for name in inputs_of(node) if name in makers}
            for place, node in enumerate(graph.node)
        }
        if all(maker < place for place, made in reads.items() for maker in made):
            continue
        import networkx as nx

        before = nx.DiGraph((maker, place) for place, made in reads.items() for maker in made)
        before.add_nodes_from(reads)
        try:
            order = list(nx.lexicographical_topological_sort(before))
        except nx.NetworkXUnfeasible as error:
            raise ValueError("its nodes read each other in a circle") from error
        nodes = [graph.node[place] for place in order]
        del graph.node[:]
        graph.node.extend(nodes)


def _check_version(model: Any, place: Path) -> None:
    versions = [item.version for item in model.opset_import if item.domain in ("", "ai.onnx")]
    if not model.graph.node:
        raise InputError(f"{place} holds no graph", "name a file that was exported as ONNX")
    if not versions or not OLDEST <= versions[0] <= NEWEST:
        have = f"opset {versions[0]}" if versions else "no opset"
        raise InputError(
            f"{place} has {have}, and {OLDEST} to {NEWEST} are known", "export it with such an opset"
        )
