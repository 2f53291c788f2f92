"""What leaves the compiler: ONNX files, their timing, readable source, stored models, result directories.

Importing this package imports neither onnx nor onnxruntime; the functions that need them do.
"""

from __future__ import annotations

from graphprune.exporting.directory import DEPLOYED, SWEEP, ensure_writable, rows_to_json, write_directory
from graphprune.exporting.graph_json import graph_to_json, read_graph
from graphprune.exporting.layer_times import OTHER, layer_times
from graphprune.exporting.number_types import finite, floating_dtypes, in_dtype, named_dtype
from graphprune.exporting.onnx_file import OnnxFile, OnnxProgram, check_file, export_onnx
from graphprune.exporting.parity import BATCHES, Parity, parity, sample
from graphprune.exporting.received import check_received
from graphprune.exporting.runtime import (
    Array,
    Model,
    NodeTime,
    arrays_of,
    fed,
    feeder,
    graph_of,
    make_feed,
    match_inputs,
    node_times,
    runner,
    session,
    to_numpy,
    watched,
)
from graphprune.exporting.serialised import Serialised
from graphprune.exporting.shared_weights import SharedWeights
from graphprune.exporting.source import module_source
from graphprune.exporting.store import load_model, read_tensors, save_model, write_tensors
from graphprune.exporting.timing import CONFIDENCE, Latency, alternated, fastest, latency

__all__ = [
    "BATCHES",
    "CONFIDENCE",
    "DEPLOYED",
    "OTHER",
    "SWEEP",
    "Array",
    "Latency",
    "Model",
    "NodeTime",
    "OnnxFile",
    "OnnxProgram",
    "Parity",
    "Serialised",
    "SharedWeights",
    "alternated",
    "arrays_of",
    "check_file",
    "check_received",
    "ensure_writable",
    "export_onnx",
    "fastest",
    "fed",
    "feeder",
    "finite",
    "floating_dtypes",
    "graph_of",
    "graph_to_json",
    "in_dtype",
    "latency",
    "layer_times",
    "load_model",
    "make_feed",
    "match_inputs",
    "module_source",
    "named_dtype",
    "node_times",
    "parity",
    "read_graph",
    "read_tensors",
    "rows_to_json",
    "runner",
    "sample",
    "save_model",
    "session",
    "to_numpy",
    "watched",
    "write_directory",
    "write_tensors",
]
