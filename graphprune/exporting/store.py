"""Whole models as one safetensors file: weights as tensors, the graph as JSON in the file's metadata.

Nothing is pickled and nothing in the file is executed: see `targets` for what a graph may call.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch
from torch import fx

from graphprune.exporting.graph_json import (
    FORMAT_VERSION,
    graph_from_json,
    graph_to_json,
    read_graph,
    stored_tensors,
)
from graphprune.exporting.tensor_file import read_tensors, write_tensors
from graphprune.ground.errors import InputError

__all__ = ["graph_from_json", "graph_to_json", "load_model", "save_model"]

GRAPH_KEY = "graphprune_graph"
VERSION_KEY = "format_version"


def save_model(model: fx.GraphModule, path: Path) -> None:
    """Write graph and weights, every parameter and buffer once, to the safetensors file `path`.

    The same model gives the same bytes. An existing file is replaced only when the new one is complete.

    Raises:
        InputError: the graph cannot be stored (see `graph_to_json`), a tensor has a dtype that safetensors
            lacks, or the file cannot be written.
    """
    text = graph_to_json(model)
    write_tensors(path, stored_tensors(model), {GRAPH_KEY: text, VERSION_KEY: str(FORMAT_VERSION)})


def load_model(path: Path, operators: Collection[str] = ()) -> fx.GraphModule:
    """The model that `save_model` wrote: values, dtypes, ties, flags and modes as saved.

    Args:
        operators: operators outside torch that its graph may call, as "mylib::scale".

    Raises:
        InputError: the file is missing, truncated, a pickle, no safetensors file or not from graphprune; or
            its graph is damaged or calls something that it may not.
    """
    metadata, tensors = read_tensors(path)
    if GRAPH_KEY not in metadata:
        raise InputError(f"{path} has weights but no graph", "give a model.safetensors that graphprune wrote")
    if metadata.get(VERSION_KEY) != str(FORMAT_VERSION):
        raise InputError(
            f"{path} has format version {metadata.get(VERSION_KEY)}, not {FORMAT_VERSION}",
            "read it with the version of graphprune that wrote it",
        )
    unused = set(tensors)

    def value(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        if name not in tensors:
            raise InputError(f"{path} lacks the tensor {name!r}", "the file is damaged; write it again")
        tensor = tensors[name]
        if tuple(tensor.shape) != shape or tensor.dtype != dtype:
            found, said = f"{tensor.dtype} {list(tensor.shape)}", f"{dtype} {list(shape)}"
            raise InputError(f"{path} holds {name!r} as {found}, its graph says {said}")
        unused.discard(name)
        return tensor

    model = read_graph(metadata[GRAPH_KEY], value, operators)
    if unused:
        raise InputError(f"{path} holds the tensor {min(unused)!r}, which its graph does not know")
    return model
