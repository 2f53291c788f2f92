"""Weights written as Hugging Face's libraries lay them out: one file, or shards and an index."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from graphprune.ground.errors import WeightsError
from graphprune.ground.files import write_text, writing, written_aside
from graphprune.weights.forms import Form, form_of
from graphprune.weights.header import head_of
from graphprune.weights.shards import INDEX, WHOLE

__all__ = ["MOST", "write_shards"]

MOST = 5 * 10**9  # bytes of a shard
_METADATA = {"format": "pt"}  # transformers reads no file without it


def write_shards(
    folder: str | Path, tensors: Iterable[tuple[str, Tensor]], forms: Mapping[str, Form], most: int = MOST
) -> list[Path]:
    """Writes tensors one after the other; only one is held at a time.

    Each file is written aside and takes its place when it is complete, the index last. Weights that stand in the folder
    already are refused: for a new version of a folder, write into a draft of it, see `graphprune.ground.drafts`.

    Args:
        folder: it exists.
        tensors: names and tensors in the order of ``forms``; read once.
        forms: dtype and shape of each, since a file says them before its data.
        most: bytes of data in a shard, unless a single tensor has more.

    Returns:
        The files that were written.

    Raises:
        WeightsError: a tensor is not what ``forms`` says, safetensors lacks its dtype, or the folder has weights.
        InputError: the folder cannot be written.
    """
    folder = Path(folder)
    if old := sorted(folder.glob("*.safetensors*")):
        raise WeightsError(f"{folder} has weights already: {old[0].name}", "choose a new or empty folder")
    parts = _parts(forms, most)
    names = [WHOLE] if len(parts) == 1 else [_shard(place, len(parts)) for place in range(len(parts))]
    given = iter(tensors)
    for name, part in zip(names, parts, strict=True):
        _write(folder / name, part, given)
    if len(parts) == 1:
        return [folder / WHOLE]
    weight_map = {tensor: name for name, part in zip(names, parts, strict=True) for tensor in part}
    index = {"metadata": {"total_size": sum(form.size for form in forms.values())}, "weight_map": weight_map}
    write_text(folder / INDEX, json.dumps(index, indent=2) + "\n")
    return [folder / name for name in (*names, INDEX)]


def _shard(place: int, count: int) -> str:
    return f"model-{place + 1:05}-of-{count:05}.safetensors"


def _parts(forms: Mapping[str, Form], most: int) -> list[dict[str, Form]]:
    """In their order, each as many as fit."""
    parts: list[dict[str, Form]] = [{}]
    size = 0
    for name, form in forms.items():
        if parts[-1] and size + form.size > most:
            parts.append({})
            size = 0
        parts[-1][name] = form
        size += form.size
    return parts


def _write(path: Path, forms: Mapping[str, Form], tensors: Iterable[tuple[str, Tensor]]) -> None:
    head = head_of(forms, _METADATA)
    given = iter(tensors)
    with writing(path), written_aside(path) as draft, draft.open("wb") as file:
        file.write(head)
        for name, form in forms.items():
            file.write(_bytes(name, form, *next(given, ("", None))))


def _bytes(name: str, form: Form, given: str, tensor: Tensor | None) -> memoryview:
    """The tensor's data, if it is the one that the head says stands here."""
    if tensor is None or given != name or form_of(tensor) != form:
        found = "nothing" if tensor is None else f"{given} {form_of(tensor)}"
        raise WeightsError(f"{found} is given to be written where {name} {form} was announced")
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data
