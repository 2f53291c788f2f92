"""``shrink_pretrained``: a folder of Hugging Face in, a slim one of the same class out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from graphprune import exporting
from graphprune.asking.request import Request
from graphprune.cutting.cut import Cut
from graphprune.cutting.fitting import kind_of
from graphprune.face.verb import asked
from graphprune.ground.clock import Clock, Progress
from graphprune.ground.errors import InputError, VerificationError
from graphprune.planning import Plan
from graphprune.pretrained.blueprint import numbers, shown
from graphprune.pretrained.card import card
from graphprune.pretrained.folder import open_folder
from graphprune.pretrained.opened import Model, look_at
from graphprune.pretrained.proof import twin_checks
from graphprune.pretrained.slimming import Slimming, slimming
from graphprune.pretrained.writing import changed_fields, folder_files, reread
from graphprune.results.result import Result
from graphprune.rewriting import rewrite
from graphprune.searching.met import budgets_met
from graphprune.verifying import Check, Verdict, verify_streamed

__all__ = ["Pretrained", "inspect_pretrained", "plan_pretrained", "shrink_pretrained"]

# options of `shrink` that a folder has no place for, and why
_NOT_HERE = {
    "graft": "the class comes back in any case",
    "lossless": "dead units are seldom as many in every layer as a configuration asks for",
    "latency": "it is measured on an ONNX file",
    "onnx_bytes": "it is measured on an ONNX file",
    "not_slower": "it is measured on an ONNX file",
    "rounds": "weights stay in their files",
    "between": "weights stay in their files",
    "export_dtype": "weights keep their dtype",
    "outputs": "the class says what it returns",
    "dynamic": "the class says what it takes",
}


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


def shrink_pretrained(
    folder: str | Path,
    out: str | Path,
    example_inputs: Mapping[str, Tensor] | None = None,
    trust_remote_code: bool = False,
    force: bool = False,
    **options: Any,
) -> Pretrained:
    """Writes a slim version of a pretrained model that stock transformers loads as the same class.

    Only numbers in stock fields of config.json change. Which field says which width is found by building the class with
    other numbers, and proved on a small model of the class. Groups whose width no field says stay whole. Layers that
    one field rules keep equally many units, each its own.

    Weights stay in their files: each tensor is read when it is needed, and the slim ones are written shard by shard.
    Three proofs are made: all checks of `shrink` on a small model of the class; every written tensor equals its planned
    slice; and on the real weights every operator of the slim model equals the masked original.

    Args:
        folder: what ``save_pretrained`` wrote: config.json, safetensors, and whatever else stands there.
        out: the folder to be written; it appears when all is done.
        example_inputs: arguments of ``forward``; made from the configuration where there are none.
        trust_remote_code: run code in the folder, where its class is not in transformers.
        force: an earlier result in ``out`` may be lost.
        options: budgets and choices as in `shrink`, such as ``params=0.75``.

    Raises:
        InputError: the folder cannot be read, or an option is wrong here.
        WeightsError: its weights are missing, damaged, pickles, or not those of its class.
        CaptureError: the class cannot be captured.
        BudgetError: the budget cannot be reached with widths that the configuration can say; the message names the
            smallest share.
        VerificationError: the slim model is not what was asked for; nothing was written.
    """
    request, clock = _asked(options)
    exporting.ensure_writable(Path(out), force=force)
    model = look_at(open_folder(folder, trust_remote_code), clock, example_inputs, request.seed)
    slim = slimming(model, request, clock)
    made = _proved(model, slim, request, clock)
    return _written(model, slim, made, Path(out), force, clock)


def plan_pretrained(
    folder: str | Path,
    example_inputs: Mapping[str, Tensor] | None = None,
    trust_remote_code: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """What `shrink_pretrained` would do: cost before and after, and the fields that would change. Nothing is written.

    Raises:
        GraphpruneError: as there.
    """
    request, clock = _asked(options)
    model = look_at(open_folder(folder, trust_remote_code), clock, example_inputs, request.seed)
    slim = slimming(model, request, clock)
    changed = {shown(place): pair for place, pair in changed_fields(model, slim.blueprint).items()}
    before, after = slim.prepared.cost({}), slim.prepared.cost(slim.sizes)
    return {
        "before": before,
        "after": after,
        "smallest": slim.prepared.smallest,
        "pretrained": {"fields": changed, "held": dict(model.held)},
    }


def inspect_pretrained(
    folder: str | Path, trust_remote_code: bool = False, progress: Progress = lambda stage: None
) -> dict[str, Any]:
    """Which widths the configuration of a folder can say, by which fields, and why it cannot say the others.

    Raises:
        GraphpruneError: as `shrink_pretrained`.
    """
    model = look_at(open_folder(folder, trust_remote_code), Clock(progress))
    known = numbers(model.shaping.blueprint.values)
    return {
        "class": model.folder.blueprint.model.__name__,
        "params": model.graph.cost().params,
        "moves": [
            {
                "fields": [shown(place) for place in move.fields],
                "numbers": [known[place] for place in move.fields],
                "step": move.step,
                "kinds": [f"{family.kind} ({family.size} units)" for family in move.families],
            }
            for move in model.moves
        ],
        "held": {kind_of(name): why for name, why in model.held.items()},
    }


def _asked(options: Mapping[str, Any]) -> tuple[Request, Clock]:
    for name, why in _NOT_HERE.items():
        if name in options:
            raise InputError(f"{name} is given for a folder, and {why}", "leave it out")
    request = asked(nn.Module(), dict(options))  # whose layers have names alone
    return request, Clock(request.progress)


def _proved(model: Model, slim: Slimming, request: Request, clock: Clock) -> Cut:
    """The cut, with what can be proved before it is written.

    Raises:
        VerificationError: a check fails.
    """
    with clock("rewrite"):
        made = Cut(model.graph, slim.plan, rewrite(model.graph, slim.plan))
    with clock("prove on a small twin"):
        checks = twin_checks(model, slim.sizes, clock, request.seed)
    return _checked(made, *checks, *budgets_met(slim.prepared, slim.plan))


def _checked(made: Cut, *checks: Check) -> Cut:
    if failed := "; ".join(str(check) for check in checks if not check.passed):
        raise VerificationError(f"the slim model is not what was asked for: {failed}", "nothing was written")
    return Cut(made.graph, made.plan, made.slim, made.verdict.with_checks(*checks))


def _written(model: Model, slim: Slimming, made: Cut, out: Path, force: bool, clock: Clock) -> Pretrained:
    """Writes the folder, and compares what stands in it with what was planned."""
    changed = {shown(place): pair for place, pair in changed_fields(model, slim.blueprint).items()}
    result = Result.of(made, clock.seconds, scores=slim.prepared.scores)
    said = card(model, result, changed)

    def proof(draft: Path) -> tuple[Check, ...]:
        with clock("compare with the original"):
            read = reread(model, made.slim, draft, slim.blueprint)
            return verify_streamed(model.graph, slim.plan, read).checks

    report = result.save(
        out,
        progress=clock.progress,
        extra={"pretrained": {"fields": changed, "held": dict(model.held)}, "source": _source(model)},
        files=folder_files(model, slim.plan, slim.blueprint, said),
        proof=proof,
        force=force,
    )
    verdict = Verdict(tuple(Check(**check) for check in report["verdict"]["checks"]))
    return Pretrained(out, slim.plan, verdict, changed, model.held, report)


def _source(model: Model) -> dict[str, Any]:
    folder = model.folder
    return {
        "model": f"hf:{folder.path}",
        "class": folder.blueprint.model.__name__,
        "weights": "folder",
        "notes": [],
    }
