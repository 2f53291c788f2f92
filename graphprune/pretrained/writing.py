"""The files of a slim folder: weights cut from the original's as they are written, and stock fields that say so."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from graphprune.capture.lazy import Lazy
from graphprune.capture.program import Program
from graphprune.ground.unlogged import unlogged
from graphprune.planning import Plan
from graphprune.planning.region import narrowed
from graphprune.pretrained.blueprint import Blueprint, Place, Refused, tied
from graphprune.pretrained.folder import CONFIG, Folder
from graphprune.pretrained.loading import find_weights
from graphprune.pretrained.opened import Model
from graphprune.pretrained.saying import changed_fields
from graphprune.weights import Form, write_shards

__all__ = ["config_text", "cut_tensors", "folder_files", "reread"]

Writers = dict[str, Callable[[Path], None]]
GENERATION = "generation_config.json"


def folder_files(model: Model, plan: Plan, slim: Blueprint, card: str) -> Writers:
    """Name → what writes it, in order: weights, configuration, and the files that go along."""
    config = config_text(model, slim)
    write = _write_whole if model.weights.files is None else _write_slices
    copies = {path.name: partial(_copy, path) for path in model.folder.companions}
    return {
        "model.safetensors": partial(write, model, plan, slim),
        **copies,
        CONFIG: partial(_write_text, text=config),
        "README.md": partial(_write_text, text=card),
    }


def config_text(model: Model, slim: Blueprint) -> str:
    """The configuration as the folder has it, with the fields that have changed.

    An open field that is said for a width to change alone, such as ``head_dim``, is left out where the class derives
    the same number from what is there.
    """
    written = copy.deepcopy(dict(model.folder.written))
    for place, (before, after) in changed_fields(model, slim).items():
        if before is not None or not _is_derived(slim, place):
            _say(written, place, after, slim)
    return json.dumps(written, indent=2, ensure_ascii=False) + "\n"


def _is_derived(slim: Blueprint, place: Place) -> bool:
    values = copy.deepcopy(dict(slim.values))
    _holder(values, place[:-1]).pop(place[-1])
    try:
        return replace(slim, values=values).shapes() == slim.shapes()
    except Refused:
        return False


def _say(written: dict[str, Any], place: Place, number: int, slim: Blueprint) -> None:
    """Puts the number where the field is; a list, or a part, that config.json leaves out is written whole."""
    for depth in range(1, len(place)):
        holder = _holder(written, place[: depth - 1])
        key = place[depth - 1]
        if isinstance(holder, dict) and key not in holder:
            holder[key] = copy.deepcopy(_holder(slim.values, place[:depth]))
    _holder(written, place[:-1])[place[-1]] = number


def _holder(values: Any, place: Place) -> Any:
    for key in place:
        values = values[key]
    return values


def cut_tensors(model: Model, plan: Plan) -> Lazy:
    """The tensors of the slim model by the names in its state dict, cut when they are read, in the files' own dtype."""
    raw = model.weights.raw
    first = {name: item.name for item in model.graph.program.stored.values() for name in item.names}

    def cut(name: str) -> Tensor:
        kept = plan.kept.get(first.get(name, name), {})
        return narrowed(raw[name], kept) if kept else raw[name]

    return Lazy(raw, cut)


def _write_slices(model: Model, plan: Plan, slim: Blueprint, path: Path) -> None:
    """Tensor by tensor, under the names and in the order of the original's files."""
    files = model.weights.files
    assert files is not None
    tensors, shapes = cut_tensors(model, plan), slim.shapes()
    forms = {file: Form(model.folder.weights.forms[file].dtype, shapes[name]) for name, file in files.items()}
    write_shards(path.parent, ((file, tensors[name]) for name, file in files.items()), forms)


def _write_whole(model: Model, plan: Plan, slim: Blueprint, path: Path) -> None:
    """By the library's own writer, which knows how the class lays out its files."""
    module = slim.hollow()
    module.load_state_dict(dict(cut_tensors(model, plan)), assign=True)
    with unlogged():
        tied(module).save_pretrained(path.parent)  # type: ignore[operator]
    for own in (path.parent / GENERATION, path.parent / CONFIG):
        own.unlink(missing_ok=True)  # the folder's own go there


def reread(model: Model, slim: Program, folder: Path, blueprint: Blueprint) -> Program:
    """The slim program with the tensors that stand in a folder that was written."""
    written = Folder(folder, model.folder.written, blueprint)
    return slim.with_weights(find_weights(written).tensors)


def _copy(source: Path, path: Path) -> None:
    shutil.copyfile(source, path)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
