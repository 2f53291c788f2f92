"""``--data`` and ``--calibration``: batches from a folder of images, arrays, the zoo, or the user's own Python file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.utils._pytree import tree_map_only
from torch.utils.data import DataLoader, Dataset, StackDataset, Subset, TensorDataset

from graphprune.asking.options import SYNTHETIC
from graphprune.capture import tensor_leaves
from graphprune.cli.images import DataOptions, read_images
from graphprune.cli.user_file import call_named, named_in
from graphprune.ground.errors import InputError, first_line
from graphprune.ground.processes import rank_and_count

__all__ = ["ensure_readable", "read_calibration", "read_data"]

SUFFIXES = (".npy", ".npz", ".safetensors")
REMEDY = (
    "give a folder of images, zoo:NAME, a .npy, .npz or .safetensors file, synthetic, "
    "or path/to/file.py:function that returns batches"
)


def ensure_readable(spec: str | None, *channels: str | None) -> None:
    """Refuses a ``--calibration`` that names no data, before any long work.

    Args:
        channels: what ``--mean`` and ``--std`` give; they have no effect on anything but a folder of images.

    Raises:
        InputError: there is no such file; ``channels`` are given, and no folder.
    """
    folder = spec is not None and Path(spec).is_dir()
    if any(channels) and not folder:
        raise InputError(
            "--mean and --std have no effect", "they are for a folder of images as --calibration"
        )
    if spec in (None, SYNTHETIC) or folder:
        return
    if _zoo_name(spec) is None and named_in(spec) is None:
        _array_file(spec, "--calibration")


def read_data(spec: str, example: Any, options: DataOptions) -> Any:
    """The batches that ``--data`` names, for a model that takes ``example``.

    A folder holds images, which have no labels, or folders of images, one for each class in the order of their names.
    A file holds arrays, one for each input, and perhaps ``labels``. ``file.py:function`` is run, and returns batches
    or a `torch.utils.data.Dataset`.

    Raises:
        InputError: there is no such data, it cannot be read, or the user's code fails.
    """
    found: Any = _examples(spec, example, options)
    if found is None and (named := named_in(spec)):
        found = call_named(*named)
        if not isinstance(found, Dataset):
            return found
    elif found is None:
        if not Path(spec).exists():
            raise InputError(f"there is no data {spec}", REMEDY)
        found = _rows(_read_arrays(spec, "--data"))
    try:
        count = len(found)
    except TypeError:  # a stream, which cannot be shuffled
        count = None
    if count == 0:
        raise InputError("the data is empty", REMEDY)
    return DataLoader(found, options.batch, shuffle=bool(count), num_workers=options.workers)


def read_calibration(spec: str | None, example: Any, options: DataOptions) -> Any:
    """The batches that ``--calibration`` names, as `graphprune.calibration.Calibration` takes them; None for none.

    "synthetic" stands for inputs that are made, and is given back as it is.

    Images and the zoo's examples are drawn in one order at every walk, so that batches differ whatever the order of
    the files. Where several processes have joined, each gets its share of everything but the batches of a user's file.

    Raises:
        InputError: as `read_data`, and where there are fewer examples than processes.
    """
    if spec in (None, SYNTHETIC):
        return spec
    rank, count = rank_and_count()
    known = _examples(spec, example, options)
    if known is not None:
        shuffled = torch.randperm(len(known), generator=torch.Generator().manual_seed(0))  # type: ignore[arg-type]
        own = shuffled[rank::count].tolist()
        if not own:
            raise InputError(
                f"--calibration {spec} has too few examples for {count} processes", "start fewer"
            )
        return DataLoader(Subset(known, own), options.batch, num_workers=options.workers)
    if named := named_in(spec):
        return call_named(*named)

    def share(leaf: Tensor) -> Tensor:
        if count == 1 or not leaf.dim():
            return leaf
        if len(leaf) < count:
            raise InputError(f"--calibration has {len(leaf)} examples for {count} processes", "start fewer")
        return leaf[rank::count]

    return tree_map_only(Tensor, share, _read_arrays(spec, "--calibration"))


def _zoo_name(spec: str) -> str | None:
    path, _, name = spec.rpartition(":")
    return name if path == "zoo" else None


def _examples(spec: str, example: Any, options: DataOptions) -> Dataset[Any] | None:
    """The zoo's examples, or the images of a folder; None where ``spec`` is neither."""
    shape = tensor_leaves(example)[0].shape[1:]
    if (name := _zoo_name(spec)) is not None:
        from models_zoo.data import read_data as read_zoo

        return TensorDataset(*read_zoo(name, tuple(shape)))
    return read_images(Path(spec), tuple(shape), options) if Path(spec).is_dir() else None


def _rows(arrays: Any) -> Any:
    """A dataset of the rows of a tensor, of a tuple of inputs, or of a dict of them with or without labels."""
    lengths = {len(leaf) if leaf.dim() else 0 for leaf in tensor_leaves(arrays)}
    if len(lengths) != 1:
        raise InputError(f"the arrays of the data have {sorted(lengths)} rows", "give equally many")
    if lengths == {0}:
        raise InputError("the data is empty", REMEDY)
    if isinstance(arrays, Tensor):
        return arrays
    return StackDataset(**arrays) if isinstance(arrays, dict) else StackDataset(*arrays)


def _array_file(spec: str, option: str) -> Path:
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


def _read_arrays(spec: str, option: str) -> Any:
    """The inputs that a file holds, the batch first.

    A ``.npy`` file holds the one input. The other two kinds hold an array for each input, under the names of its
    arguments: a dict. Arrays that numpy has numbered, ``arr_0``, ``arr_1`` …, are positional: a tuple.

    Raises:
        InputError: there is no such file, or the file is damaged, or would have to be unpickled.
    """
    file = _array_file(spec, option)
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
