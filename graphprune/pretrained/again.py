"""A slim folder that was written before, checked against the folder that it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from graphprune.capture.lazy import Lazy
from graphprune.cutting.cut import cut
from graphprune.ground.clock import Clock
from graphprune.ground.documents import named, read_text
from graphprune.ground.errors import InputError
from graphprune.planning import Plan
from graphprune.pretrained.blueprint import numbers
from graphprune.pretrained.folder import Folder, open_folder
from graphprune.pretrained.loading import find_weights
from graphprune.pretrained.opened import Model, look_at
from graphprune.verifying import Check, Verdict, verify_streamed
from graphprune.verifying.tensors import is_finite_like

__all__ = ["opened_again", "plan_in", "recheck"]


def recheck(slim: Folder, original: Folder, report: Mapping[str, Any], clock: Clock) -> Verdict:
    """Every tensor in the files against its planned slice, every operator, and the fields of the configuration.

    Tensors that a repair or a training has changed are compared in shape and dtype; in their places the slices are
    proved.

    Raises:
        InputError: ``original`` is not what the plan was made for.
        PlanError: likewise.
    """
    model = look_at(original, clock)
    plan = plan_in(slim).check(model.graph)
    made = cut(model.graph, plan, clock)
    repaired = set((report.get("repair") or {}).get("tensors") or ())
    if report.get("tuning"):
        repaired = {name for name, item in made.slim.stored.items() if item.kind == "parameter"}
    with clock("compare with the original"):
        read = find_weights(slim).tensors
        tensors = made.slim.tensors

        def mixed(name: str) -> torch.Tensor:
            return tensors[name] if name in repaired else written.tensors[name]

        written = made.slim.with_weights(read)
        checks = verify_streamed(
            model.graph, plan, replace(written, weights=Lazy(tensors, mixed)), seed=0
        ).checks
        off = [name for name in sorted(repaired) if not is_finite_like(tensors[name], written.tensors[name])]
    named = "repaired or trained tensors have the shapes of the cut, and are finite"
    more = [Check.without(named, off)] if repaired else []
    return Verdict((*checks, *more, _fields(model, slim, plan)))


def _fields(model: Model, slim: Folder, plan: Plan) -> Check:
    """Whether the configuration says the widths of the plan."""
    wanted = model.shaping.fields(list(model.moves), plan.sizes)
    said, planned = numbers(slim.blueprint.values), numbers(wanted.values)
    known = numbers(model.folder.blueprint.values)
    wrong = [str(place[-1]) for place in known if said.get(place) != planned.get(place)]
    return Check.without("config.json says the widths of the plan", wrong)


def plan_in(slim: Folder) -> Plan:
    """The plan by which a slim folder was made.

    Raises:
        InputError: it has none.
    """
    path = slim.path / "plan.json"
    return Plan.from_json(named(path, lambda: read_text(path)))


def opened_again(path: Path, report: Mapping[str, Any], original: str | Path | None) -> tuple[Folder, Folder]:
    """The slim folder, and the one that it was made of.

    Raises:
        InputError: one of them cannot be opened.
    """
    recorded = str(report.get("source", {}).get("model", "")).removeprefix("hf:")
    if original is None and not Path(recorded).is_dir():  # a report that was received asks no network
        raise InputError(f"the original is not here: there is no folder {recorded}", "name it with --model")
    return open_folder(path), open_folder(str(original or recorded).removeprefix("hf:"))
