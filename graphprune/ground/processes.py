"""Several processes of `torch.distributed`: sums over all of them, and what the first one alone does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from graphprune.ground.errors import GraphpruneError

__all__ = ["Key", "from_all", "from_first", "is_first", "over_processes", "rank_and_count"]

Key = TypeVar("Key")
Item = TypeVar("Item")


def rank_and_count() -> tuple[int, int]:
    """The number of this process, from 0, and how many there are; (0, 1) without `torch.distributed`."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def is_first() -> bool:
    """Whether this is the process that writes."""
    return rank_and_count()[0] == 0


def from_first(make: Callable[[], Item]) -> Item:
    """What ``make`` gives in the first process, in every process: it is called there alone.

    Raises:
        GraphpruneError: in the other processes, where ``make`` fails; the first raises the error itself.
    """
    if rank_and_count()[1] == 1:
        return make()
    told: list[Any] = [None, ""]
    try:
        if is_first():
            told[0] = make()
    except BaseException as error:
        told[1] = str(error) or type(error).__name__
        raise
    finally:
        # the others wait for it, whatever happens
        torch.distributed.broadcast_object_list(told)
    if told[1]:
        raise GraphpruneError(f"the first process failed: {told[1]}", "see what it says")
    found: Item = told[0]
    return found


def from_all(value: Item) -> list[Item]:
    """The values of all processes, in their order."""
    if rank_and_count()[1] == 1:
        return [value]
    found: list[Any] = [None] * rank_and_count()[1]
    torch.distributed.all_gather_object(found, value)
    return found


def over_processes(sums: Mapping[Key, Tensor]) -> dict[Key, Tensor]:
    """The sums of all processes of `torch.distributed`, where it is initialised; else ``sums`` as they are.

    Every process must collect from batches of its own (or all from the same ones), and call this alike.

    Args:
        sums: float64, of the same keys and shapes in every process.
    """
    if rank_and_count()[1] == 1:
        return dict(sums)
    # NCCL adds up on its own device alone; one message, since sums are small
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    flat = torch.cat([value.double().flatten() for value in sums.values()] or [torch.zeros(0)]).to(device)
    torch.distributed.all_reduce(flat)
    parts = flat.cpu().split([value.numel() for value in sums.values()])
    return {key: part.reshape(sums[key].shape) for key, part in zip(sums, parts, strict=True)}
