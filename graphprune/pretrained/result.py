"""A slim folder, from its plan to its files, and what was proved of it on the way."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graphprune import exporting
from graphprune.asking.request import Request
from graphprune.calibration import Calibration
from graphprune.cutting.cut import Cut, cut
from graphprune.ground.clock import Clock
from graphprune.ground.errors import ExportError, GraphpruneError, VerificationError
from graphprune.planning import Plan
from graphprune.pretrained.card import card
from graphprune.pretrained.data import Text, judged, writes_text
from graphprune.pretrained.examples import text_sizes
from graphprune.pretrained.folder import CONFIG, Folder
from graphprune.pretrained.opened import Model
from graphprune.pretrained.past import REMEDY, WITH_PAST, write_with_past
from graphprune.pretrained.proof import twin_checks
from graphprune.pretrained.saying import changed
from graphprune.pretrained.slimming import Slimming
from graphprune.pretrained.writing import CARD, as_written, folder_files, slim_tensors, with_values
from graphprune.repair import Repair, repair
from graphprune.results.result import Result
from graphprune.searching.met import budgets_met
from graphprune.verifying import Check, Verdict, verify_streamed

__all__ = ["Pretrained", "Proved", "Writing", "ensure_place", "proved", "written"]

ALARMING = 2.0  # times the perplexity of the original
SHORT = 8  # tokens of the texts on which the real weights are compared, since time goes with them


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


def ensure_place(out: Path, force: bool, folder: Folder) -> None:
    """Refuses early what writing would refuse; files that go along with ``folder`` may be in an earlier result.

    Raises:
        InputError: the folder cannot be written, or would lose something.
    """
    names = (CONFIG, CARD, WITH_PAST, *(path.name for path in folder.companions))
    exporting.ensure_writable(out, names, force)


@dataclass(frozen=True)
class Writing:
    """How a folder is written: over an earlier result that is lost with that, with an ONNX file, and what was asked."""

    force: bool = False
    onnx: bool = False
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Proved:
    """A slim model before it is written.

    Args:
        cut: with all checks so far.
        repaired: tensors that a repair has changed, by the names of the program.
        text: what was calibrated on.
        perplexity: of the original and of the slim model on the same text; None where there is none to judge on.
        unjudged: why the text could not say which units go; empty if it did.
    """

    cut: Cut
    repaired: Mapping[str, Tensor]
    text: Text
    perplexity: tuple[float, float] | None
    unjudged: str = ""

    @property
    def alarm(self) -> str:
        """What the user should know first; empty if it is not that bad."""
        before, after = self.perplexity or (1.0, 1.0)
        if after <= ALARMING * before:
            return ""
        return (
            f"the slim model has lost the language: perplexity {before:.4g} → {after:.4g} on {self.text.judged_on}; "
            "keep more, give calibration text, or train it"
        )

    @property
    def notes(self) -> list[str]:
        """The alarm, and what units were chosen by where that was not the text."""
        why = self.text.lacking or self.unjudged
        return [
            *filter(None, [self.alarm]),
            *([f"weights alone decide which units go: {why}"] if why else []),
        ]


def proved(model: Model, slim: Slimming, text: Text, request: Request, clock: Clock) -> Proved:
    """The cut with everything that can be proved before it is written, repaired where that was asked for.

    Raises:
        VerificationError: a check fails.
    """
    made = cut(model.graph, slim.plan, clock)
    with clock("prove on a small twin"):
        checks = [
            *twin_checks(model, slim.sizes, clock, request.seed),
            *budgets_met(slim.prepared, slim.plan),
        ]
    with clock("compare with the original"):
        short = dict.fromkeys(text_sizes(model.graph.program), SHORT)
        checks += verify_streamed(model.graph, slim.plan, made.slim, short).checks
    wide = cut(model.wide, slim.plan)
    if request.repair and text.batches:
        wide, checks = _repaired(wide, text, request, checks, clock)
    repaired = {name: wide.slim.stored[name].tensor for name in wide.repair.tensors} if wide.repair else {}
    if failed := "; ".join(str(check) for check in checks if not check.passed):
        raise VerificationError(f"the slim model is not what was asked for: {failed}", "nothing was written")
    with clock("judge"):
        judge = judged(model.wide.program, wide.slim, text.judges) if text.judges else None
    made = replace(made, verdict=Verdict(tuple(checks)), repair=wide.repair)
    why = f"what units add to the text does not judge group {slim.unjudged}" if slim.unjudged else ""
    return Proved(made, repaired, text, judge, why)


def _repaired(
    wide: Cut, text: Text, request: Request, checks: list[Check], clock: Clock
) -> tuple[Cut, list[Check]]:
    """The cut with refitted weights, where they bring its outputs nearer to the original's."""
    options = Repair() if request.repair is True else request.repair
    assert isinstance(options, Repair)
    with clock("repair"):
        data = Calibration(text.batches, seed=request.seed)
        better, report = repair(wide.graph, wide.plan, wide.slim, data, options, request.seed)
    wrong = [name for name in report.tensors if not torch.isfinite(better.stored[name].tensor).all()]
    near = Check(
        "repaired outputs are no farther from the original",
        not report.kept or report.after <= report.before,
        report.after,
        report.before,
    )
    return replace(wide, slim=better, repair=report), [
        *checks,
        near,
        Check.without("repaired tensors are finite", wrong),
    ]


def written(
    model: Model, slim: Slimming, made: Proved, out: Path, clock: Clock, asked: Writing
) -> Pretrained:
    """Writes the folder, and reads back what stands in it.

    Raises:
        InputError: the folder cannot be written.
        VerificationError: what was written is not what was proved; nothing is there then.
    """
    fields = changed(model, slim.blueprint)
    tensors = slim_tensors(model, slim.plan, made.repaired)
    # as onnxruntime computes
    plain = "float32" if model.weights.dtype.itemsize < torch.float32.itemsize else None
    held = replace(made.cut, slim=with_values(made.cut.slim, tensors)) if asked.onnx else made.cut
    result = Result.of(held, clock.seconds, scores=slim.prepared.scores, export_dtype=plain)
    said = {
        "fields": fields,
        "held": dict(model.held),
        "calibration": made.text.source,
        "judged_on": made.text.judged_on,
    }

    source, of_past = _source(model, made), list[Check]()

    def with_past(path: Path) -> None:
        try:
            if not writes_text(model):
                raise ExportError("it does not continue token ids alone", REMEDY)
            of_past.extend(write_with_past(slim.blueprint, tensors, path, clock))
        except GraphpruneError as error:
            path.unlink(missing_ok=True)
            source["notes"].append(f"no {path.name} was written: {error}")

    def proof(draft: Path) -> tuple[Check, ...]:
        with clock("read back"):
            return (*of_past, as_written(model, tensors, draft, slim.blueprint))

    figures: dict[str, Any] = {}
    if made.perplexity is not None:
        pairs = zip(("before", "after"), made.perplexity, strict=True)
        figures["evaluation"] = {when: {"perplexity": figure} for when, figure in pairs}
    files = folder_files(
        model, tensors, slim.blueprint, card(model, result, fields, made.perplexity, made.text.judged_on)
    )
    if asked.onnx and model.folder.blueprint.model.can_generate():
        files = {WITH_PAST: with_past, **files}
    report = result.save(
        out,
        latency=False,
        progress=clock.progress,
        onnx=asked.onnx,
        settings=asked.settings,
        extra={"pretrained": said, "source": source, **figures},
        files=files,
        proof=proof,
        force=asked.force,
    )
    if made.alarm:
        warnings.warn(made.alarm, stacklevel=4)
    verdict = Verdict(tuple(Check(**check) for check in report["verdict"]["checks"]))
    return Pretrained(out, slim.plan, verdict, fields, model.held, report)


def _source(model: Model, made: Proved) -> dict[str, Any]:
    folder = model.folder
    unused = model.weights.unused
    dropped = [f"the files hold {unused[0]}, which the class does not know"] if unused else []
    return {
        "model": f"hf:{folder.path}",
        "class": folder.blueprint.model.__name__,
        "weights": "folder",
        "notes": [*made.notes, *dropped],
    }
