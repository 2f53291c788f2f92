"""Files of tensors: ``.npy``, ``.npz`` and ``.safetensors``, one batch or many examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from graphprune.ground.errors import InputError, first_line

__all__ = ["REMEDY", "array_file", "read_arrays"]

SUFFIXES = (".npy", ".npz", ".safetensors")
REMEDY = (
    "give a folder of images, zoo:NAME, a .npy, .npz or .safetensors file, "
    "or path/to/file.py:function that returns batches"
)


def array_file(spec: str, option: str) -> Path:
    """The file that ``spec`` is, if it can be one of arrays; it is not opened.

    Raises:
        InputError: its name ends otherwise, or there is no such file.
    """
    file = Path(spec)
    if file.suffix not in SUFFIXES:
        raise InputError(f"{option} {spec!r} is no file of arrays", REMEDY)
    if not file.is_file():
        raise InputError(f"there is no file {file}", REMEDY)
    return file


def read_arrays(spec: str, option: str) -> Any:
    """The inputs that a file holds, the batch first.

    A ``.npy`` file holds the one input. The other two kinds hold an array for each input, under the names of its
    arguments: a dict. Arrays that numpy has numbered, ``arr_0``, ``arr_1`` …, are positional: a tuple.

    Raises:
        InputError: as `array_file`, or the file is damaged, or would have to be unpickled.
    """
    file = array_file(spec, option)
    try:
        return _read(file)
    except (ValueError, OSError, EOFError, TypeError, SafetensorError) as error:
        raise InputError(f"the data {file} cannot be read: {first_line(error)}", REMEDY) from error


def _read(file: Path) -> Any:
    import numpy

    if file.suffix == ".npy":
        return torch.from_numpy(numpy.load(file, allow_pickle=False))
    if file.suffix == ".safetensors":
        tensors = load_file(file)
    else:
        with numpy.load(file, allow_pickle=False) as found:
            tensors = {name: torch.from_numpy(found[name]) for name in found.files}
    numbered = [f"arr_{place}" for place in range(len(tensors))]
    return tuple(tensors[name] for name in numbered) if set(tensors) == set(numbered) else tensors
