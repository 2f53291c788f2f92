"""Tensors on disk: one safetensors file with texts beside them, written aside and renamed. Nothing is unpickled."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from graphprune.ground.errors import InputError
from graphprune.ground.files import written_aside

__all__ = ["read_tensors", "write_tensors"]


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
    try:
        with written_aside(path) as draft:
            save_file(copies, draft, metadata=dict(metadata))
            _sort_header(draft)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}", "choose a writable place") from error
    except (SafetensorError, KeyError) as error:
        raise InputError(f"the weights cannot be stored as safetensors: {error}") from error


def read_tensors(path: Path) -> tuple[Mapping[str, str], dict[str, torch.Tensor]]:
    """Metadata and tensors, the tensors in memory of their own, so that the file may change afterwards.

    Raises:
        InputError: the file is missing, truncated, a pickle or no safetensors file.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
        with safe_open(path, framework="pt") as archive:
            names = list(archive.keys())
            return archive.metadata() or {}, {name: archive.get_tensor(name).clone() for name in names}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}", "check the path") from error
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
        file.flush()
        os.fsync(file.fileno())
