"""What a file is called and how it is laid out: names, sizes that are fixed, the operators' version, its notes."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from graphprune.asking.deployment import Deployment
from graphprune.ground.errors import ExportError, InputError, first_line
from graphprune.ground.files import writing

__all__ = ["WEIGHTS", "check_loads", "opened", "quiet", "shaped", "sizes_of", "write_file"]

WEIGHTS = ".data"  # ends the name of a file of weights
LARGE = 1024  # bytes of a tensor that goes into it; runtimes look at smaller ones, such as shapes
BATCH = "batch"
# attributes that older versions lack → the value with which they say nothing
USUAL = {"noop_with_empty_axes": 0, "saturate": 1}


def opened(path: Path) -> Any:
    """The `onnx_ir.Model` of a file that has been checked, with its weights in memory and a name for every node."""
    import onnx_ir

    model = onnx_ir.load(path)
    onnx_ir.external_data.load_to_model(model)
    taken = {str(node.name) for node in model.graph.all_nodes()}
    for place, node in enumerate(model.graph.all_nodes()):
        node.name = node.name or _fresh(f"{node.op_type}_{place}", taken)
    return model


def _fresh(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def sizes_of(model: Any) -> dict[str, tuple[int | str, ...]]:
    """Name of an input → its sizes, the names of those that vary."""
    return {
        value.name: tuple(size if isinstance(size, int) else str(size.value) for size in value.shape or ())
        for value in model.graph.inputs
    }


def shaped(model: Any, options: Deployment, usual: Mapping[str, int]) -> Any:
    """The model with the names, sizes and operators' version that are asked for; ``model`` itself may change.

    Args:
        usual: name of a size that varies → what it is fixed at where nothing else is said.

    Raises:
        InputError: there are other inputs, outputs or sizes than are named.
        ExportError: the operators cannot be said in that version.
    """
    if options.kept is not None:
        model = _fixed(model, options.kept, usual)
    if options.opset is not None and options.opset != model.opset_imports.get(""):
        model = _converted(model, options.opset)
    _rename(model.graph.inputs, options.inputs, "input")
    _rename(model.graph.outputs, options.outputs, "output")
    return model


def _rename(values: Sequence[Any], names: Sequence[str], what: str) -> None:
    if not names:
        return
    own = [value.name for value in values]
    if len(names) != len(own):
        raise InputError(
            f"{len(names)} names are given for {len(own)} {what}s",
            f"name all of them, in the order {', '.join(own)}",
        )
    graph = values[0].graph or values[0].producer().graph
    taken = {value.name for value in (*graph.inputs, *graph.initializers.values())}
    taken |= {value.name for node in graph.all_nodes() for value in node.outputs}
    for value, name in zip(values, names, strict=True):
        if name != value.name and name in taken - set(own):
            raise InputError(f"{name!r} is the name of another value in the file", "choose another one")
    for number, value in enumerate(values):  # first out of each other's way
        value.name = _fresh(f"{what}_{number}_", taken)
    for value, name in zip(values, names, strict=True):
        value.name = name


def _fixed(model: Any, kept: Mapping[str, int | None], usual: Mapping[str, int]) -> Any:
    """The model with all varying sizes fixed, but for those that are ``kept`` at None."""
    import onnx_ir
    from onnxruntime.tools.onnx_model_utils import fix_output_shapes, make_dim_param_fixed

    known = {size for sizes in sizes_of(model).values() for size in sizes if isinstance(size, str)}
    if unknown := sorted(set(kept) - known):
        has = f"those of this file are {', '.join(sorted(known))}" if known else "no size of this file varies"
        raise InputError(
            f"there is no size {unknown[0]!r}: {has}",
            "give --dynamic to shrink, so that the model varies in it" if known else "leave dynamic out",
        )
    proto = onnx_ir.to_proto(model)
    for name in sorted(known - {name for name, size in kept.items() if size is None}):
        size = kept.get(name) or (1 if name == BATCH else usual.get(name))
        if size is None:
            raise InputError(f"at which size is {name!r} fixed?", f"say dynamic={name}=N")
        make_dim_param_fixed(proto.graph, name, size)
    with quiet():
        fix_output_shapes(proto)
    return onnx_ir.from_proto(proto)


def _converted(model: Any, opset: int) -> Any:
    """In another version of the operators, by onnxscript, or else by ONNX itself."""
    import onnx
    import onnx_ir
    from onnxscript import version_converter

    own = model.opset_imports.get("")
    problem = ""
    with quiet():
        proto = onnx_ir.to_proto(model)
        for convert in (
            lambda: version_converter.convert_version(onnx_ir.from_proto(proto), opset),
            lambda: onnx_ir.from_proto(onnx.version_converter.convert_version(_older(proto, opset), opset)),
        ):
            try:
                made = convert()
                if made is not None and made.opset_imports.get("") == opset:
                    onnx.checker.check_model(onnx_ir.to_proto(made), full_check=True)
                    return made
            except Exception as error:  # the converters' errors have no common base class
                problem = f": {first_line(error, 200)}"
    raise ExportError(
        f"the operators of version {own} cannot be said in version {opset}{problem}",
        f"leave opset out for version {own}, or ask for one that is nearer to it",
    )


def _older(proto: Any, opset: int) -> Any:
    """The model without what ``opset`` lacks: operators as the functions that ONNX says they are, and attributes that
    have the value that they would have anyhow.
    """
    from onnx import inliner

    new = {
        node.op_type
        for node in proto.graph.node
        if node.domain in ("", "ai.onnx") and not _known(node.op_type, opset)
    }
    made = inliner.inline_selected_functions(proto, [("", name) for name in sorted(new)], False, True)
    for node in made.graph.node:
        for attribute in [one for one in node.attribute if one.name in USUAL and one.i == USUAL[one.name]]:
            node.attribute.remove(attribute)
    return made


def _known(operator: str, opset: int) -> bool:
    import onnx

    try:
        return onnx.defs.get_schema(operator, opset) is not None
    except onnx.defs.SchemaError:
        return False


@contextmanager
def quiet() -> Iterator[None]:
    """For libraries that advise on the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def write_file(model: Any, path: Path, notes: Mapping[str, str], external: bool) -> None:
    """Writes an `onnx_ir.Model` with ``notes`` in its metadata; ``external``: its weights beside it.

    Raises:
        InputError: it cannot be written.
    """
    import onnx_ir

    model.metadata_props.update(notes)
    beside: dict[str, Any] = (
        {"external_data": f"{path.name}{WEIGHTS}", "size_threshold_bytes": LARGE} if external else {}
    )
    with writing(path):
        try:
            onnx_ir.save(model, path, **beside)
        except ValueError as error:  # of protobuf, which holds no more than 2 GB
            raise ExportError(
                f"{path.name} cannot be one file: {first_line(error, 120)}",
                "keep its weights beside it: external_data",
            ) from error


def check_loads(path: Path, instead: str) -> None:
    """Loads a converted file in a process of its own: the runtime's optimiser may crash, and would end this one.

    Raises:
        ExportError: it does. ``instead`` is what to do.
    """
    code = "import sys, onnxruntime as r; r.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    if done.returncode < 0:
        raise ExportError(f"onnxruntime crashes where it loads {path.name}", instead)
