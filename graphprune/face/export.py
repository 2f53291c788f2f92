"""``export``: a slim model's ONNX file, made ready for where it will run."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor, fx, nn

from graphprune import exporting
from graphprune.asking.deployment import Deployment
from graphprune.asking.options import SYNTHETIC
from graphprune.axes.dependency import DependencyGraph
from graphprune.calibration.batches import Calibration
from graphprune.capture.inputs import Inputs
from graphprune.deploying import Examples, deploy_files
from graphprune.face.trace import trace
from graphprune.ground.clock import Clock, Progress
from graphprune.ground.documents import named, read_text
from graphprune.ground.errors import InputError
from graphprune.ground.options import declarations
from graphprune.importing.reading import is_file, open_file
from graphprune.report.document import read_report
from graphprune.results.loading import load
from graphprune.synthetic import make_inputs

__all__ = ["example_of", "export", "place_of"]

MODEL, STORED, PLAN, REPORT = "model.onnx", "model.safetensors", "plan.json", "report.json"


def export(
    source: str | Path,
    directory: str | Path | None = None,
    latency: bool = True,
    force: bool = False,
    progress: Progress = lambda stage: None,
    **options: Any,
) -> dict[str, Any]:
    """Writes ONNX files for where a model will run: other names and sizes, another opset, float16, 8 bits.

    All are made of one file in float32, which is first compared with ``source``. Each file passes ONNX's checker, runs
    in onnxruntime, is compared with ``source`` on examples, and timed beside it. The metadata in the files says which
    versions made them, from which plan, and for which budget. The directory appears when all is done.

    Args:
        source: a directory that `Result.save` wrote, or an ONNX file.
        directory: where the files go; by default ``deploy`` in the source directory.
        latency: time the files.
        force: files of yours in the directory may be lost.
        progress: called with the name of every stage as it begins.
        options: of `Deployment`, such as ``int8=True``.

    Returns:
        What export.json in the directory says: of each file its bytes, fidelity, latency, and nodes left in float.

    Raises:
        InputError: an option is wrong, there is no such file, or the calibration data do not fit.
        ExportError: a file cannot be converted, quantised or run.
        VerificationError: the file in float32 computes something else than ``source``. Nothing is written then.
    """
    deployment, place, clock = _deployment(options), Path(source), Clock(progress)
    file, target = _file(place), place_of(place, directory)
    exporting.ensure_writable(target, force=force)
    examples, usual = _examples(place, file, deployment, clock)
    origin = {"usual": usual, **_origin(place, file)}
    writers, report = deploy_files(file, examples, deployment, origin, clock, latency)
    exporting.write_directory(target, writers, force)
    return report


def place_of(source: Path, directory: str | Path | None) -> Path:
    """Where the files of a source go.

    Raises:
        InputError: it is a file, and no directory is named.
    """
    if directory is None and not source.is_dir():
        raise InputError(f"where do the files of {source} go?", "name a directory (-o DIR)")
    return source / exporting.DEPLOYED if directory is None else Path(directory)


def example_of(source: Path) -> Inputs:
    """One example of the inputs of a source.

    Raises:
        InputError: as `export`.
    """
    return open_file(_file(source), _shapes(_report(source))).inputs, {}


def _deployment(options: Mapping[str, Any]) -> Deployment:
    known = [name for name, _, _ in declarations(Deployment)]
    for name in options:
        if name not in known:
            near = get_close_matches(name, known, 1)
            remedy = f"did you mean {near[0]}?" if near else f"use any of {', '.join(known)}"
            raise InputError(f"there is no option {name!r}", remedy)
    return Deployment(**options)


def _file(place: Path) -> Path:
    """The ONNX file of a source, which may come from anyone.

    Raises:
        InputError: there is none, or it does not hold what it says.
        ExportError: it is no valid ONNX.
    """
    if not is_file(place) and not place.is_dir():
        raise InputError(
            f"there is no directory {place}", "give one that graphprune shrink wrote, or an ONNX file"
        )
    file = place if is_file(place) else place / MODEL
    if not file.is_file():
        raise InputError(
            f"there is no file {file}", "give a directory that graphprune shrink wrote, or an ONNX file"
        )
    try:
        exporting.check_received(file)
    except InputError as error:
        raise InputError(
            f"{file} cannot be read: {error.message}", "give an ONNX file that is whole"
        ) from error
    exporting.check_file(file)
    _check_float(file)
    return file


def _check_float(file: Path) -> None:
    """Raises InputError where a file is in other numbers than float32 already."""
    import onnx

    graph = exporting.graph_of(file)
    kinds = {tensor.data_type for tensor in graph.initializer}
    kinds |= {value.type.tensor_type.elem_type for value in graph.input}
    if {node.op_type for node in graph.node} & {
        "QuantizeLinear",
        "DequantizeLinear",
        "QLinearConv",
        "QLinearMatMul",
    }:
        raise InputError(f"{file} is quantised already", "give the file that it was made of")
    names = {
        onnx.TensorProto.FLOAT16: "float16",
        onnx.TensorProto.BFLOAT16: "bfloat16",
        onnx.TensorProto.DOUBLE: "float64",
    }
    if other := next((name for kind, name in names.items() if kind in kinds), ""):
        raise InputError(
            f"{file} holds numbers in {other}", "shrink with --export-dtype float32 (export_dtype)"
        )


def _examples(place: Path, file: Path, options: Deployment, clock: Clock) -> tuple[Examples, dict[str, int]]:
    """Arrays for the file's inputs, and the sizes that its varying dimensions have in them."""
    with clock("capture"):
        graph = _traced(place, file)
    program = graph.program
    given, data = options.calibration, "your calibration data"
    if given is None or (isinstance(given, str) and given == SYNTHETIC):
        with clock("make calibration data"):
            given = make_inputs(graph, options.seed)
        data = str(given)
    inputs = exporting.session(file).get_inputs()
    names, first = [item.name for item in inputs], {(item.shape or [0])[0] for item in inputs}
    batched = len(first) == 1 and all(isinstance(size, str) for size in first)

    def feeds() -> Iterator[dict[str, exporting.Array]]:
        for _, leaves in Calibration(given).walk(program):
            tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
            yield {name: exporting.to_numpy(leaf) for name, leaf in zip(names, tensors, strict=True)}

    examples = Examples.of(feeds(), data, batched)
    arrays = [examples.seen[0][name] for name in names]
    sizes = (
        (at, size)
        for item, array in zip(inputs, arrays, strict=True)
        for at, size in zip(item.shape, array.shape, strict=True)
    )
    return examples, {at: size for at, size in sizes if isinstance(at, str)}


def _traced(place: Path, file: Path) -> DependencyGraph:
    """The model of a directory, whose norms say what its inputs are like; else the file, in which they are folded.

    The model is taken where its arguments are the file's inputs, one by one, and the file computes in its type.
    """
    stored, report = place / STORED, _report(place)
    own = open_file(file, _shapes(report))
    if stored.is_file() and not report.get("export_dtype"):
        model = load(place)
        if len(own.inputs) == len(_arguments(model)):
            return trace(model.eval(), own.inputs)
    return trace(own.module, own.inputs)


def _shapes(report: Mapping[str, Any]) -> list[tuple[int, ...]] | None:
    """Of the inputs' example, as the report has them; None where it says nothing."""
    found: dict[int, list[int]] = {}
    for row in report.get("dimensions", ()):
        found.setdefault(row["place"], []).append(row["size"])
    return [tuple(sizes) for _, sizes in sorted(found.items())] or None


def _arguments(model: nn.Module) -> list[str]:
    """The arguments of a stored model; none where they are nested."""
    if not isinstance(model, fx.GraphModule):
        return []
    names = [str(node.target) for node in model.graph.find_nodes(op="placeholder")]
    return names if names == list(inspect.signature(model.forward).parameters) else []


def _report(place: Path) -> Mapping[str, Any]:
    path = place / REPORT
    return named(path, lambda: read_report(path)) if path.is_file() else {}


def _origin(place: Path, file: Path) -> dict[str, Any]:
    """What the files and their report say of the model that they were made of."""
    report, plan = _report(place), place / PLAN
    versions = {name: version(name) for name in ("graphprune", "torch", "onnx", "onnxruntime")}
    notes = {"versions": json.dumps(versions)}
    if plan.is_file():
        notes["plan"] = hashlib.sha256(named(plan, lambda: read_text(plan)).encode()).hexdigest()
    request = report.get("request", {})
    if request:
        notes["budget"] = json.dumps(
            request.get("budget", {name: True for name in ("lossless",) if name in request})
        )
    name = report.get("source", {}).get("model") or report.get("name") or file.name
    before = {
        "bytes": report.get("before", {}).get("onnx_bytes"),
        "latency": {
            key: value for key, value in report.get("latency", {}).items() if not key.startswith("layers")
        },
    }
    found = {"model": str(name), "versions": versions, "notes": {**notes, "model": str(name)}}
    return {**found, **({"before": before} if before["bytes"] else {})}
