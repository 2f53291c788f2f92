"""A slim folder, from its plan to its files, and what was proved of it on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from graphprune import exporting
from graphprune.cutting.cut import Cut, cut
from graphprune.ground.clock import Clock
from graphprune.ground.errors import VerificationError
from graphprune.planning import Plan
from graphprune.pretrained.card import card
from graphprune.pretrained.opened import Model
from graphprune.pretrained.proof import twin_checks
from graphprune.pretrained.saying import changed
from graphprune.pretrained.slimming import Slimming
from graphprune.pretrained.writing import folder_files, reread
from graphprune.results.result import Result
from graphprune.searching.met import budgets_met
from graphprune.verifying import Check, Verdict, verify_streamed

__all__ = ["Pretrained", "ensure_place", "proved", "written"]


@dataclass(frozen=True)
class Pretrained:
    """A slim folder that was written and proved.

    Attributes:
        folder: where it is: ``AutoModelForCausalLM.from_pretrained(folder)`` loads it, or the Auto class of its kind.
        plan: which units were kept.
        verdict: every check, with its figure.
        fields: field of the configuration → the number before and after; None before where it was not said.
        held: group → why its width could not change.
        report: what report.json says.
    """

    folder: Path
    plan: Plan
    verdict: Verdict
    fields: Mapping[str, tuple[int | None, int]]
    held: Mapping[str, str]
    report: Mapping[str, Any]


def ensure_place(out: Path, force: bool) -> None:
    """Refuses early what writing would refuse.

    Raises:
        InputError: the folder cannot be written, or would lose something.
    """
    exporting.ensure_writable(out, force=force)


def proved(model: Model, slim: Slimming, seed: int, clock: Clock) -> Cut:
    """The cut, with what can be proved before it is written.

    Raises:
        VerificationError: a check fails.
    """
    made = cut(model.graph, slim.plan, clock)
    with clock("prove on a small twin"):
        checks = (*twin_checks(model, slim.sizes, clock, seed), *budgets_met(slim.prepared, slim.plan))
    if failed := "; ".join(str(check) for check in checks if not check.passed):
        raise VerificationError(f"the slim model is not what was asked for: {failed}", "nothing was written")
    return replace(made, verdict=made.verdict.with_checks(*checks))


def written(model: Model, slim: Slimming, made: Cut, out: Path, force: bool, clock: Clock) -> Pretrained:
    """Writes the folder, and compares what stands in it with what was planned.

    Raises:
        InputError: the folder cannot be written.
        VerificationError: what was written is not what was planned; nothing is there then.
    """
    fields = changed(model, slim.blueprint)
    result = Result.of(made, clock.seconds, scores=slim.prepared.scores)
    text = card(model, result, fields)

    def proof(draft: Path) -> tuple[Check, ...]:
        with clock("compare with the original"):
            read = reread(model, made.slim, draft, slim.blueprint)
            return verify_streamed(model.graph, slim.plan, read).checks

    report = result.save(
        out,
        progress=clock.progress,
        extra={"pretrained": {"fields": fields, "held": dict(model.held)}, "source": _source(model)},
        files=folder_files(model, slim.plan, slim.blueprint, text),
        proof=proof,
        force=force,
    )
    verdict = Verdict(tuple(Check(**check) for check in report["verdict"]["checks"]))
    return Pretrained(out, slim.plan, verdict, fields, model.held, report)


def _source(model: Model) -> dict[str, Any]:
    folder = model.folder
    return {
        "model": f"hf:{folder.path}",
        "class": folder.blueprint.model.__name__,
        "weights": "folder",
        "notes": [],
    }
