"""``--calibration`` and ``--loss``: arrays from a file, and what the user's own Python file returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.utils._pytree import tree_map_only

from graphprune.cli.user_file import called, named_in_file
from graphprune.ground.errors import InputError
from graphprune.ground.processes import rank_and_count

__all__ = ["ensure_readable", "own_share", "read_arrays", "read_loss"]

REMEDY = (
    "give a .npy, .npz or .safetensors file, a folder of images, zoo:NAME, "
    "or path/to/file.py:function that returns batches"
)


def ensure_readable(spec: str | None, *channels: str | None) -> None:
    """Refuses what names no data, before any long work, and means and deviations of images that are none.

    Raises:
        InputError: there is no such file; ``channels`` are given, and no folder.
    """
    folder = spec is not None and Path(spec).is_dir()
    if any(channels) and not folder:
        raise InputError(
            "--mean and --std have no effect", "they are for a folder of images as --calibration"
        )
    path = (spec or "").rpartition(":")[0]
    if spec is not None and not folder and path != "zoo" and not path.endswith(".py"):
        _ensure_arrays(spec, "--calibration", REMEDY)


def read_arrays(spec: str, option: str = "--calibration", remedy: str = REMEDY) -> Any:
    """The batches that ``spec`` names, as `graphprune.calibration.Calibration` takes them.

    A ``.npy`` file holds the one input, the batch first; ``.npz`` and ``.safetensors`` files hold an array for each
    input, under the names of its arguments, or under ``arr_0``, ``arr_1`` … in their order. ``file.py:function`` is
    run, and returns batches.

    Raises:
        InputError: there is no such file, it cannot be read, or the user's code fails.
    """
    path, colon, name = spec.rpartition(":")
    if colon and path.endswith(".py"):
        return called(Path(path), name, "return batches")
    file = _ensure_arrays(spec, option, remedy)
    try:
        return READERS[file.suffix](file)
    except (ValueError, OSError, EOFError, TypeError, SafetensorError) as error:
        reason = (str(error).splitlines() or ["it is damaged"])[0]
        raise InputError(f"the data {file} cannot be read: {reason}", remedy) from error


def _ensure_arrays(spec: str, option: str, remedy: str) -> Path:
    file = Path(spec)
    if file.suffix not in READERS:
        raise InputError(f"{option} {spec!r} is no file of arrays", remedy)
    if not file.is_file():
        raise InputError(f"there is no file {file}", remedy)
    return file


def own_share(spec: str) -> Any:
    """As `read_arrays`; where several processes have joined, arrays are split among them by examples.

    Raises:
        InputError: there are too few, and as `read_arrays`.
    """
    batches, (rank, count) = read_arrays(spec), rank_and_count()
    if spec.rpartition(":")[0].endswith(".py") or count == 1:
        return batches

    def part(leaf: Tensor) -> Tensor:
        if leaf.dim() and len(leaf) < count:
            raise InputError(f"--calibration has {len(leaf)} examples for {count} processes", "start fewer")
        return leaf[rank::count] if leaf.dim() else leaf

    return tree_map_only(Tensor, part, batches)


def read_loss(spec: str) -> Callable[..., Tensor]:
    """The function that ``file.py:function`` names. The file is run.

    Raises:
        InputError: there is no such file or function, or the file fails.
    """
    path, colon, name = spec.rpartition(":")
    if not colon or not path.endswith(".py"):
        raise InputError(f"--loss {spec!r} names no function", "give path/to/file.py:function")
    return named_in_file(Path(path), name, "return a number, given the outputs, or the outputs and the batch")


def _array(path: Path) -> Tensor:
    import numpy

    return torch.from_numpy(numpy.load(path, allow_pickle=False))


def _arrays(path: Path) -> Any:
    import numpy

    with numpy.load(path, allow_pickle=False) as found:
        return _arguments({name: torch.from_numpy(found[name]) for name in found.files})


def _tensors(path: Path) -> Any:
    from safetensors.torch import load_file

    return _arguments(load_file(path))


def _arguments(tensors: Mapping[str, Tensor]) -> Any:
    """Keywords, or positional arguments where the names are numpy's own."""
    if set(tensors) == {f"arr_{place}" for place in range(len(tensors))}:
        return tuple(tensors[f"arr_{place}"] for place in range(len(tensors)))
    return dict(tensors)


READERS: Mapping[str, Callable[[Path], Any]] = {".npy": _array, ".npz": _arrays, ".safetensors": _tensors}
