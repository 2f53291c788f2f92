"""Tensors, and whole models, as one safetensors file: a model's graph is JSON in the file's metadata.

Nothing is pickled and nothing in the file is executed: see `targets` for what a graph may call.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import fx

from graphprune.exporting.graph_json import FORMAT_VERSION, graph_to_json, read_graph, stored_tensors
from graphprune.ground.documents import check_regular, machine_memory
from graphprune.ground.errors import InputError, first_line
from graphprune.ground.files import writing, written_aside

__all__ = ["load_model", "read_tensors", "save_model", "write_tensors"]

GRAPH_KEY = "graphprune_graph"
VERSION_KEY = "format_version"
_SYSTEM = re.compile(r"\(os error (\d+)\)")


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


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Writes `tensors` and `metadata` to `path`; the same contents give the same bytes.

    An existing file is replaced only when the new one is complete and on the disk.

    Raises:
        InputError: a tensor has a dtype that safetensors lacks, or the file cannot be written.
    """
    # Copies, since safetensors refuses tensors that are views or share memory.
    copies = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    with writing(path), written_aside(path) as draft:
        _save(copies, draft, dict(metadata))
        _sort_header(draft)


def _save(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    try:
        save_file(tensors, path, metadata)
    except (SafetensorError, KeyError) as error:
        # an error of the system comes as a text: "I/O error: No space left on device (os error 28)"
        if found := _SYSTEM.search(str(error)):
            raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from error
        raise InputError(f"the weights cannot be stored as safetensors: {error}") from error


def read_tensors(path: Path) -> tuple[Mapping[str, str], dict[str, torch.Tensor]]:
    """Metadata and tensors, the tensors in memory of their own, so that the file may change afterwards.

    Raises:
        InputError: the file is missing, truncated, a pickle or no safetensors file, or larger than this machine's
            memory.
    """
    try:
        check_regular(path, machine_memory())
        with path.open("rb") as file:
            head = file.read(16)
        with safe_open(path, framework="pt") as archive:
            names = list(archive.keys())
            return archive.metadata() or {}, {name: archive.get_tensor(name).clone() for name in names}
    except (OSError, InputError) as error:
        why = getattr(error, "strerror", None) or first_line(error)
        raise InputError(f"{path} cannot be read: {why}", "check the path") from error
    except SafetensorError as error:
        raise _not_safetensors(path, head, str(error)) from error


def _not_safetensors(path: Path, head: bytes, reason: str) -> InputError:
    # Only after safetensors has refused the file: a header of 640 bytes begins like a pickle of protocol 2.
    if head.startswith(b"PK\x03\x04"):
        kind = "a zip archive, as torch.save writes its pickles"
    elif head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        kind = "a pickle"
    else:
        return InputError(f"{path} is not a complete safetensors file: {reason}", "write the file again")
    return InputError(
        f"{path} is {kind}; unpickling can run any code, so it is refused",
        "give a .safetensors file that graphprune wrote",
    )


def _sort_header(path: Path) -> None:
    """Order the metadata by key: safetensors writes it in a random order, equal models give equal files."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        file.seek(8)
        file.write(text.ljust(size))
