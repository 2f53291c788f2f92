"""A repair that was finished when its run was killed: the next run that asks for the same goes on from it.

The repaired tensors lie in the user's cache as long as the run that made them lives. A run that ends, well or with an
error, takes them away; one that is killed leaves them. There is one such file, that of the last repair. Whoever takes
it up proves it like one that was just made.
"""

from __future__ import annotations

import atexit
import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, distributed
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader, SequentialSampler

from graphprune.capture.program import Program
from graphprune.cutting.cut import Cut
from graphprune.ground.digest import digest
from graphprune.ground.documents import check_regular, parse_json
from graphprune.ground.errors import InputError
from graphprune.ground.files import cached, written_aside
from graphprune.repair import RepairReport

__all__ = ["keep", "key_of", "recall"]

WORTH = 5.0  # seconds: what takes less is made again
Repaired = tuple[Program, RepairReport]


def key_of(cut: Cut, data: Any, *options: object) -> str:
    """What a repair follows from: the model, the plan, the data and the options; empty where data are a stream."""
    alone = not (distributed.is_available() and distributed.is_initialized())
    batches = _again(data) if alone else None
    if batches is None:
        return ""
    program, total = cut.graph.program, hashlib.sha256()
    said = (version("torch"), str(program.graph), digest(program.tensors), cut.plan.to_json(), repr(options))
    for part in (*said, *map(_of_batch, batches)):
        total.update(part.encode() + b"\0")
    return total.hexdigest()


def _again(data: Any) -> Iterable[Any] | None:
    """Batches of which each walk gives the same; None if that is not known."""
    if isinstance(data, DataLoader):
        return data if isinstance(data.sampler, SequentialSampler) else None
    plain = all(isinstance(leaf, Tensor | int | float | str | None) for leaf in pytree.tree_leaves(data))
    return [data] if plain else None


def _of_batch(batch: Any) -> str:
    leaves = list(enumerate(pytree.tree_leaves(batch)))
    tensors = {f"{n}": leaf for n, leaf in leaves if isinstance(leaf, Tensor)}
    return digest(tensors) + repr([(n, leaf) for n, leaf in leaves if not isinstance(leaf, Tensor)])


def recall(key: str, slim: Program) -> Repaired | None:
    """``slim`` with the tensors of that repair, and its report; None where there is none, or it is damaged."""
    place = _place()
    try:
        check_regular(place)
        with safe_open(place, framework="pt") as file:
            said = file.metadata() or {}
            if not key or said.get("key") != key:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it has no iterator)
        report = RepairReport.from_dict(parse_json(said["report"]))
    except (OSError, SafetensorError, InputError, KeyError):
        return None
    forms = {name: (item.tensor.dtype, item.tensor.shape) for name, item in slim.stored.items()}
    if set(tensors) != set(report.tensors) or any(
        forms.get(name) != (tensor.dtype, tensor.shape) for name, tensor in tensors.items()
    ):
        return None
    stored = {name: slim.stored[name].with_tensor(tensor) for name, tensor in tensors.items()}
    return replace(slim, stored={**slim.stored, **stored}), report


def keep(key: str, slim: Program, report: RepairReport) -> None:
    """Keeps a repair that took long; where it cannot be written it is no loss, since it is made again."""
    if not key or report.seconds["repair"] < WORTH:
        return
    tensors = {name: slim.stored[name].tensor.detach().cpu().contiguous() for name in report.tensors}
    said = {"key": key, "report": json.dumps(report.to_dict())}
    with suppress(OSError, SafetensorError):
        _place().parent.mkdir(parents=True, exist_ok=True)
        with written_aside(_place()) as draft:
            save_file(tensors, draft, said)
        atexit.register(_forget, _place(), key)


def _place() -> Path:
    return cached("repair.safetensors")


def _forget(place: Path, key: str) -> None:
    """Unless another run has put its own there."""
    with suppress(OSError, SafetensorError):
        with safe_open(place, framework="pt") as file:
            own = (file.metadata() or {}).get("key") == key
        if own:
            place.unlink()
