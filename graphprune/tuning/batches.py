"""The user's data as checked batches: shared out among processes, and the same again after a restart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader

from graphprune.calibration.batches import bind_batch
from graphprune.capture import tensor_leaves
from graphprune.capture.program import Program
from graphprune.ground.errors import InputError

__all__ = ["Batch", "Data", "reseed"]

REMEDY = "give a DataLoader or a list of batches"


@dataclass(frozen=True)
class Batch:
    """One call of the model, its labels (None where there are none), and the batch as it was given."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    labels: Any
    given: Any


def reseed(*key: int) -> None:
    """Sets the random state of Python, numpy and torch to what follows from ``key`` alone.

    Whatever is drawn in a step depends on the step's number, not on what was drawn before. So nothing of the random
    state has to be saved, and a run that goes on after a kill draws the same numbers.
    """
    from accelerate.utils import set_seed

    set_seed(_number(*key))


def _number(*key: int) -> int:
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:4], "little")


class Data:
    """The user's batches, checked. Where several processes train together, each takes its share of every batch.

    Args:
        loader: a DataLoader, or any iterable of batches that can be walked again.
        program: what the batches must fit.
        index, processes: which share of every batch is taken.
        seed: of the order, and of what is drawn while batches are made.
    """

    def __init__(self, loader: Any, program: Program, index: int, processes: int, seed: int) -> None:
        if isinstance(loader, Tensor | tuple | dict | str) or not isinstance(loader, Iterable):
            raise InputError(f"the data is a {type(loader).__name__}", REMEDY)
        self.loader: Any = loader
        self.program = program
        self.index, self.processes, self.seed = index, processes, seed

    @property
    def length(self) -> int | None:
        """Batches of one epoch, where the loader knows.

        Raises:
            InputError: there are none.
        """
        try:
            length = len(self.loader)
        except TypeError:  # an IterableDataset, a generator
            return None
        if not length:
            raise InputError("the data has no batches", REMEDY + " that is not empty")
        return length

    def epoch(self, number: int, accumulate: int) -> Iterator[list[Batch]]:
        """The batches of each step of epoch ``number``.

        Raises:
            InputError: there are none, or one does not fit the model.
        """
        with _seeded(self.loader, self.seed, number):
            reseed(self.seed, number)
            batches, first = iter(self._shares(number)), 1
            while True:
                reseed(self.seed, number, first)
                group = list(islice(batches, accumulate))
                if not group:
                    break
                yield [self._bound(batch, first + place) for place, batch in enumerate(group)]
                first += len(group)
        if first == 1:
            raise InputError(
                f"the data has no batches in epoch {number + 1}",
                REMEDY + (" that is not empty" if not number else ": this can be walked only once"),
            )

    def _shares(self, number: int) -> Iterable[Any]:
        if self.processes == 1:
            if hasattr(getattr(self.loader, "sampler", None), "set_epoch"):
                self.loader.sampler.set_epoch(number)
            return self.loader
        if not isinstance(self.loader, DataLoader):
            return (_share(batch, self.index, self.processes) for batch in self.loader)
        return _prepared(self.loader, self.index, self.processes, number)

    def _bound(self, batch: Any, number: int) -> Batch:
        leaves, labels = bind_batch(batch, self.program, f"batch {number}")
        args, kwargs = self.program.call_of(leaves)
        return Batch(args, kwargs, labels, batch)


@contextmanager
def _seeded(loader: Any, *key: int) -> Iterator[None]:
    """While the body runs, the loader and its sampler draw from generators seeded with ``key``, not from the user's."""
    sampler = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
    owners: list[Any] = [owner for owner in (loader, sampler) if hasattr(owner, "generator")]
    before = [owner.generator for owner in owners]
    for owner in owners:
        owner.generator = torch.Generator().manual_seed(_number(*key))
    try:
        yield
    finally:
        for owner, generator in zip(owners, before, strict=True):
            owner.generator = generator


def _prepared(loader: DataLoader[Any], index: int, processes: int, number: int) -> Iterable[Any]:
    """The loader as Accelerate splits it: only this process's share of every batch is made."""
    from accelerate.data_loader import prepare_data_loader

    try:
        prepared = prepare_data_loader(
            loader,
            num_processes=processes,
            process_index=index,
            split_batches=True,
            put_on_device=False,
            dispatch_batches=False,
        )
    except ValueError as error:
        raise _unequal(getattr(loader, "batch_size", None), processes) from error
    prepared.set_epoch(number)
    return prepared


def _share(batch: Any, index: int, processes: int) -> Any:
    """This process's rows of every tensor in the batch."""
    lengths = {leaf.shape[0] if leaf.dim() else 0 for leaf in tensor_leaves(batch)}
    if len(lengths) != 1 or (length := lengths.pop()) % processes or not length:
        raise _unequal(sorted(lengths) or length, processes)
    rows = slice(index * length // processes, (index + 1) * length // processes)
    return pytree.tree_map_only(Tensor, lambda leaf: leaf[rows], batch)


def _unequal(size: Any, processes: int) -> InputError:
    return InputError(
        f"a batch of {size} examples cannot be shared out equally among {processes} processes",
        f"let the batch size be a multiple of {processes}: every process takes its share of each batch",
    )
