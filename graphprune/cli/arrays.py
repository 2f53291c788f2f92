"""Files of tensors: ``.npy``, ``.npz`` and ``.safetensors``, one batch or many examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from graphprune.ground.errors import InputError

__all__ = ["array_file", "read_arrays"]


def array_file(spec: str, option: str, remedy: str) -> Path:
    """The file that ``spec`` is, if it can be one of arrays; it is not opened.

    Raises:
        InputError: its name ends otherwise, or there is no such file.
    """
    file = Path(spec)
    if file.suffix not in READERS:
        raise InputError(f"{option} {spec!r} is no file of arrays", remedy)
    if not file.is_file():
        raise InputError(f"there is no file {file}", remedy)
    return file


def read_arrays(file: Path, remedy: str) -> Any:
    """The inputs that a file holds, the batch first.

    A ``.npy`` file holds the one input. The other two kinds hold an array for each input, under the names of its
    arguments: a dict. Arrays that numpy has numbered, ``arr_0``, ``arr_1`` …, are positional: a tuple.

    Raises:
        InputError: the file is damaged, or would have to be unpickled.
    """
    try:
        return READERS[file.suffix](file)
    except (ValueError, OSError, EOFError, TypeError, SafetensorError) as error:
        reason = (str(error).splitlines() or ["it is damaged"])[0]
        raise InputError(f"the data {file} cannot be read: {reason}", remedy) from error


def _npy(path: Path) -> Tensor:
    import numpy

    return torch.from_numpy(numpy.load(path, allow_pickle=False))


def _npz(path: Path) -> Any:
    import numpy

    with numpy.load(path, allow_pickle=False) as found:
        tensors = {name: torch.from_numpy(found[name]) for name in found.files}
    return _arguments(tensors)


def _safetensors(path: Path) -> Any:
    from safetensors.torch import load_file

    return _arguments(load_file(path))


def _arguments(tensors: dict[str, Tensor]) -> Any:
    numbered = [f"arr_{place}" for place in range(len(tensors))]
    return tuple(tensors[name] for name in numbered) if set(tensors) == set(numbered) else tensors


READERS: Mapping[str, Callable[[Path], Any]] = {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors}
