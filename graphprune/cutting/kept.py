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

from torch import Tensor, distributed
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader, SequentialSampler

from graphprune.asking.options import SYNTHETIC
from graphprune.capture.program import Program
from graphprune.cutting.cut import Cut
from graphprune.exporting import read_tensors, write_tensors
from graphprune.ground.digest import digest
from graphprune.ground.documents import parse_json
from graphprune.ground.errors import InputError
from graphprune.ground.files import cached
from graphprune.repair import RepairReport

__all__ = ["keep", "recall"]

WORTH = 5.0  # seconds: what takes less is made again
Repaired = tuple[Program, RepairReport]


def recall(cut: Cut, data: Any, *options: object) -> Repaired | None:
    """The slim program with the tensors of such a repair, and its report; None without one that is whole."""
    place, slim = _place(), cut.slim
    if not place.exists():
        return None
    try:
        said, tensors = read_tensors(place)
        if said.get("key") != (_key(cut, data, options) or None):
            return None
        report = RepairReport.from_dict(parse_json(said["report"]))
    except (InputError, KeyError):
        return None
    forms = {name: (item.tensor.dtype, item.tensor.shape) for name, item in slim.stored.items()}
    fit = all(forms.get(name) == (tensor.dtype, tensor.shape) for name, tensor in tensors.items())
    if not fit or set(tensors) != set(report.tensors):
        return None
    stored = {name: slim.stored[name].with_tensor(tensor) for name, tensor in tensors.items()}
    return replace(slim, stored={**slim.stored, **stored}), report


def keep(repaired: Repaired, cut: Cut, data: Any, *options: object) -> None:
    """Keeps a repair that took long; where it cannot be written it is no loss, since it is made again."""
    slim, report = repaired
    if report.seconds["repair"] < WORTH or not (key := _key(cut, data, options)):
        return
    place, said = _place(), {"key": key, "report": json.dumps(report.to_dict())}
    with suppress(OSError, InputError):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(place, {name: slim.stored[name].tensor for name in report.tensors}, said)
        atexit.register(_forget, place, key)


def _key(cut: Cut, data: Any, options: object) -> str:
    """What a repair follows from: the model, the plan, the data and the options; empty where data are a stream."""
    alone = not (distributed.is_available() and distributed.is_initialized())
    batches = _again(data) if alone else None
    if batches is None:
        return ""
    program, total = cut.graph.program, hashlib.sha256()
    versions = [version(name) for name in ("graphprune", "torch")]
    said = (*versions, str(program.graph), digest(program.tensors), cut.plan.to_json(), repr(options))
    for part in (*said, *map(_of_batch, batches)):
        total.update(part.encode() + b"\0")
    return total.hexdigest()


def _again(data: Any) -> Iterable[Any] | None:
    """Batches of which each walk gives the same; None if that is not known."""
    if isinstance(data, DataLoader):
        return data if isinstance(data.sampler, SequentialSampler) else None
    if getattr(data, "name", None) == SYNTHETIC:
        return list(data)
    plain = all(isinstance(leaf, Tensor | int | float | str | None) for leaf in pytree.tree_leaves(data))
    return [data] if plain else None


def _of_batch(batch: Any) -> str:
    leaves = list(enumerate(pytree.tree_leaves(batch)))
    tensors = {f"{n}": leaf for n, leaf in leaves if isinstance(leaf, Tensor)}
    return digest(tensors) + repr([(n, leaf) for n, leaf in leaves if not isinstance(leaf, Tensor)])


def _place() -> Path:
    return cached("repair.safetensors")


def _forget(place: Path, key: str) -> None:
    """Unless another run has put its own there."""
    with suppress(OSError, InputError):
        if read_tensors(place)[0].get("key") == key:
            place.unlink()
