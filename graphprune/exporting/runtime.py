"""An ONNX file in onnxruntime: a session, a run, and the times of its nodes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy
import torch

from graphprune.exporting.number_types import EXPORT_DTYPE, type_remedy
from graphprune.exporting.serialised import Serialised
from graphprune.ground.arguments import tensor_leaves
from graphprune.ground.errors import ExportError, first_line
from graphprune.ground.files import scratch

__all__ = [
    "Array",
    "Model",
    "NodeTime",
    "arrays_of",
    "fed",
    "feeder",
    "graph_of",
    "make_feed",
    "match_inputs",
    "node_times",
    "runner",
    "session",
    "to_numpy",
    "watched",
]

Array = numpy.ndarray[Any, Any]
_KERNEL = "_kernel_time"  # of the events that onnxruntime's profile has for nodes


Model = Path | bytes | Serialised


def session(model: Model, threads: int = 1, profile: Path | None = None, as_written: bool = False) -> Any:
    """An `onnxruntime.InferenceSession` of a file, or of a model in memory, on the CPU.

    With ``profile`` the times of all nodes are written to a file whose name begins so. ``as_written``: it computes in
    floats between DequantizeLinear and QuantizeLinear, as the file says; else in 8 bits, which rounds otherwise.

    Raises:
        ExportError: onnxruntime cannot load the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if as_written:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    try:
        held = None
        if isinstance(model, Serialised):
            source, held = model.given_to(options)
        else:
            source = str(model) if isinstance(model, Path) else model
        loaded = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        loaded.held = held
        return loaded
    except Exception as error:  # onnxruntime's errors have no common base class
        what = model.name if isinstance(model, Path) else "a model"
        cause = first_line(error, 300).replace(str(model), str(what))
        remedy = type_remedy(_dtypes(model), "export the model again")
        raise ExportError(f"onnxruntime cannot load {what}: {cause}", remedy) from error


def graph_of(model: Model) -> Any:
    """The `onnx.GraphProto` of a model; large tensors may be left out."""
    import onnx

    if isinstance(model, Serialised):
        return model.proto.graph
    if isinstance(model, bytes):
        return onnx.load_from_string(model).graph
    return onnx.load(model, load_external_data=False).graph


def arrays_of(model: Model) -> Iterator[tuple[str, Array]]:
    """The stored tensors of a model by name."""
    import onnx

    folder = str(model.parent) if isinstance(model, Path) else ""
    outside = model.outside if isinstance(model, Serialised) else {}
    for tensor in graph_of(model).initializer:
        held = outside.get(tensor.name)
        yield tensor.name, onnx.numpy_helper.to_array(tensor, folder) if held is None else held.numpy()


def _dtypes(model: Model) -> set[torch.dtype]:
    """The floating types of a model's tensors and inputs; none where it cannot be read."""
    from onnx_ir import DataType, tensor_adapters

    try:
        graph = graph_of(model)
    except Exception:  # of a damaged file, whatever protobuf raises
        return set()
    kinds = {tensor.data_type for tensor in graph.initializer} | {
        value.type.tensor_type.elem_type for value in graph.input
    }
    found = (tensor_adapters.to_torch_dtype(DataType(kind)) for kind in kinds)
    return {dtype for dtype in found if dtype.is_floating_point}


def runner(loaded: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Callable[[], list[Array]]:
    """A function that runs the session on these arguments, which are converted once, here."""
    return feeder(loaded, make_feed(loaded, args, kwargs))


def make_feed(loaded: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Array]:
    """The arguments' tensors by the names of the inputs that take them."""
    names = [value.name for value in loaded.get_inputs()]
    return fed(loaded, {name: to_numpy(tensor) for name, tensor in match_inputs(names, args, kwargs).items()})


def fed(loaded: Any, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Those of the arrays that a session takes; floats where it takes halves become such."""
    kinds = {value.name: value.type for value in loaded.get_inputs()}
    return {
        name: array.astype(numpy.float16) if kinds[name] == "tensor(float16)" else array
        for name, array in arrays.items()
        if name in kinds
    }


def match_inputs(
    names: Sequence[str], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, torch.Tensor]:
    """The tensors in `args` and `kwargs`, by name of the input that takes each.

    The file's inputs are the model's arguments in order: positional tensors come first, and those of a
    keyword argument are called after it.

    Args:
        names: the file's input names, in order.
        args: positional arguments, tensors anywhere inside them.
        kwargs: keyword arguments, likewise.

    Raises:
        ExportError: there are more or fewer tensors than inputs.
    """
    left = list(names)
    matched: list[tuple[str, torch.Tensor]] = []
    for tensor in tensor_leaves(args):
        matched.append((left.pop(0) if left else "", tensor))
    for keyword, value in kwargs.items():
        for tensor in tensor_leaves(value):
            name = _belonging(keyword, left)
            if name in left:
                left.remove(name)
            matched.append((name, tensor))
    if left or any(not name for name, _ in matched):
        inputs = f"{len(names)} inputs ({', '.join(names)})"
        raise ExportError(
            f"the file has {inputs}, but the arguments hold {len(matched)} tensors",
            "give the arguments that the file was exported with",
        )
    return dict(matched)


def to_numpy(tensor: torch.Tensor) -> numpy.ndarray[Any, Any]:
    """The tensor's values as onnxruntime takes them.

    Raises:
        ExportError: numpy has no such dtype.
    """
    try:
        return tensor.detach().cpu().contiguous().numpy()
    except TypeError as error:
        raise ExportError(
            f"onnxruntime cannot be fed {tensor.dtype} from Python",
            EXPORT_DTYPE,
        ) from error


def _belonging(keyword: str, names: Sequence[str]) -> str:
    """The input called `keyword`, else the first that begins with it, else the first of all, else ""."""
    if keyword in names:
        return keyword
    prefixed = [name for name in names if name.startswith(f"{keyword}_")]
    return (prefixed or [*names, ""])[0]


def feeder(loaded: Any, feed: Mapping[str, Array]) -> Callable[[], list[Array]]:
    """A function that runs the session on these inputs, and gives its outputs."""

    def run() -> list[Array]:
        try:
            return loaded.run(None, feed)
        except Exception as error:  # onnxruntime's errors have no common base class
            raise ExportError(
                f"onnxruntime cannot run the file: {first_line(error, 300)}", "export it again"
            ) from error

    return run


@dataclass(frozen=True)
class NodeTime:
    """A node of a model, by the name and the operator that the runtime gives it, and its milliseconds in each run."""

    name: str
    operator: str
    milliseconds: tuple[float, ...]


def node_times(model: Model, feed: Mapping[str, Array], runs: int, threads: int = 1) -> tuple[NodeTime, ...]:
    """The time of every node in each of ``runs`` runs after a first one, by the runtime's own profile.

    Names are those of the model's nodes, or begin with them and "_" where the runtime made others of them.

    Raises:
        ExportError: onnxruntime cannot load or run the model.
    """
    return watched(model, lambda _: feed, runs, threads)[1]


def watched(
    model: Model,
    feed: Callable[[Any], Mapping[str, Array]],
    runs: int,
    threads: int = 1,
    seconds: float = inf,
) -> tuple[Callable[[], list[Array]], tuple[NodeTime, ...]]:
    """A run of the model, no longer watched, and its `node_times` so far.

    Args:
        feed: of a session.
        runs: fewer, but one at least, where they take longer than so many ``seconds``.
    """
    with scratch() as folder:
        loaded = session(model, threads, folder / "profile")
        run = feeder(loaded, feed(loaded))
        run()
        start = time.perf_counter()
        for number in range(runs):
            if not number or time.perf_counter() < start + seconds:
                run()
        events = json.loads(Path(loaded.end_profiling()).read_text())
    times: dict[tuple[str, str], list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL):
            key = event["name"].removesuffix(_KERNEL), event["args"]["op_name"]
            times.setdefault(key, []).append(event["dur"] / 1000)
    return run, tuple(NodeTime(*key, tuple(spent[1:])) for key, spent in times.items())
