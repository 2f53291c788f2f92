"""The files of a slim folder: weights cut from the original's as they are written, and stock fields that say so."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graphprune.capture.lazy import Lazy
from graphprune.capture.program import Program, Stored
from graphprune.ground.unlogged import unlogged
from graphprune.planning import Plan
from graphprune.planning.region import narrowed
from graphprune.pretrained.blueprint import Blueprint, Place, at, tied
from graphprune.pretrained.folder import CONFIG, open_folder
from graphprune.pretrained.loading import find_weights
from graphprune.pretrained.opened import Model
from graphprune.pretrained.saying import changed_fields
from graphprune.verifying import Check
from graphprune.weights import Form, write_shards

__all__ = ["CARD", "as_written", "config_text", "folder_files", "slim_tensors", "with_values"]

Writers = dict[str, Callable[[Path], None]]
GENERATION, CARD = "generation_config.json", "README.md"


def folder_files(model: Model, tensors: Lazy, slim: Blueprint, card: str) -> Writers:
    """Name → what writes it, in order: weights, configuration, and the files that go along."""
    config = config_text(model, slim)
    write = _write_whole if model.weights.files is None else _write_slices
    copies = {path.name: partial(_copy, path) for path in model.folder.companions}
    return {
        "model.safetensors": partial(write, model, tensors, slim),
        **copies,
        CONFIG: partial(_write_text, text=config),
        CARD: partial(_write_text, text=card),
    }


def config_text(model: Model, slim: Blueprint) -> str:
    """The configuration as the folder has it, with the fields that have changed."""
    written = copy.deepcopy(dict(model.folder.written))
    for place, (_, after) in changed_fields(model, slim).items():
        _say(written, place, after, slim)
    return json.dumps(written, indent=2, ensure_ascii=False) + "\n"


def _say(written: dict[str, Any], place: Place, number: int, slim: Blueprint) -> None:
    """Puts the number where the field is; a list, or a part, that config.json leaves out is written whole."""
    for depth in range(1, len(place)):
        holder = at(written, place[: depth - 1])
        key = place[depth - 1]
        if isinstance(holder, dict) and key not in holder:
            holder[key] = copy.deepcopy(at(slim.values, place[:depth]))
    at(written, place[:-1])[place[-1]] = number


def slim_tensors(model: Model, plan: Plan, repaired: Mapping[str, Tensor]) -> Lazy:
    """The tensors of the slim model by the names in its state dict, in the files' own dtype, made when they are read.

    Args:
        repaired: those that are no plain slices, by the names of the program.
    """
    raw = model.weights.raw
    first = {name: item.name for item in model.graph.program.stored.values() for name in item.names}

    def made(name: str) -> Tensor:
        known = first.get(name, name)
        if known in repaired:
            return repaired[known].detach().to(raw[name].dtype)
        kept = plan.kept.get(known, {})
        return narrowed(raw[name], kept) if kept else raw[name]

    return Lazy(raw, made)


def with_values(slim: Program, tensors: Mapping[str, Tensor]) -> Program:
    """The slim program with its tensors in memory, as an exporter needs them."""

    def held(item: Stored) -> Stored:
        known = next((name for name in item.names if name in tensors), None)
        return item.with_tensor(tensors[known]) if item.tensor.is_meta and known is not None else item

    return replace(slim, stored={name: held(item) for name, item in slim.stored.items()}, weights=None)


def _write_slices(model: Model, tensors: Lazy, slim: Blueprint, path: Path) -> None:
    """Tensor by tensor, under the names and in the order of the original's files."""
    files, shapes = model.weights.files, slim.shapes()
    assert files is not None
    forms = {file: Form(model.folder.weights.forms[file].dtype, shapes[name]) for name, file in files.items()}
    write_shards(path.parent, ((file, tensors[name]) for name, file in files.items()), forms)


def _write_whole(model: Model, tensors: Lazy, slim: Blueprint, path: Path) -> None:
    """By the library's own writer, which knows how the class lays out its files."""
    module = slim.hollow()
    module.load_state_dict(dict(tensors), assign=True)
    with unlogged():
        tied(module).save_pretrained(path.parent)  # type: ignore[operator]
    for own in (path.parent / GENERATION, path.parent / CONFIG):
        own.unlink(missing_ok=True)  # the folder's own go there


def as_written(model: Model, tensors: Lazy, folder: Path, slim: Blueprint) -> Check:
    """Whether a folder that was written holds these tensors, read back one by one in the dtype of the class.

    The class is built as config.json says it, so that a tensor of another shape than it has there is found too.
    """
    read = find_weights(open_folder(folder, model.folder.trusted)).tensors
    names = [name for name in tensors if not slim.computes(name)]
    wrong = [name for name in names if name not in read or not _same(tensors[name], read[name])]
    return Check.without("the files hold the planned slices, and what was repaired or trained", wrong)


def _same(made: Tensor, read: Tensor) -> bool:
    return made.shape == read.shape and torch.equal(made.to(read.dtype), read)


def _copy(source: Path, path: Path) -> None:
    shutil.copyfile(source, path)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
