"""``--data`` and ``--calibration``: batches from a folder of images, arrays, the zoo, or the user's own Python file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only
from torch.utils.data import DataLoader, Dataset, StackDataset, Subset, TensorDataset

from graphprune.capture import tensor_leaves
from graphprune.cli.arrays import REMEDY, array_file, read_arrays
from graphprune.cli.images import DataOptions, read_images
from graphprune.cli.user_file import call_named, named_in
from graphprune.ground.errors import InputError
from graphprune.ground.processes import rank_and_count

__all__ = ["ensure_readable", "read_calibration", "read_data"]


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
    if spec is not None and not folder and _zoo_name(spec) is None and named_in(spec) is None:
        array_file(spec, "--calibration")


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
        found = _rows(read_arrays(spec, "--data"))
    try:
        count = len(found)
    except TypeError:  # a stream, which cannot be shuffled
        count = None
    if count == 0:
        raise InputError("the data is empty", REMEDY)
    return DataLoader(found, options.batch, shuffle=bool(count), num_workers=options.workers)


def read_calibration(spec: str, example: Any, options: DataOptions) -> Any:
    """The batches that ``--calibration`` names, as `graphprune.calibration.Calibration` takes them.

    Images and the zoo's examples are drawn in one order at every walk, so that batches differ whatever the order of
    the files. Where several processes have joined, each gets its share of everything but the batches of a user's file.

    Raises:
        InputError: as `read_data`, and where there are fewer examples than processes.
    """
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

    return tree_map_only(Tensor, share, read_arrays(spec, "--calibration"))


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
