"""``graphprune shrink``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rich.text import Text

from graphprune import exporting, pipeline
from graphprune.axes.dependency import DependencyGraph
from graphprune.cli.calibration import read_calibration, read_loss
from graphprune.cli.digest import digest
from graphprune.cli.examples import describe_inputs
from graphprune.cli.models import Source, resolve
from graphprune.cli.output import print_json, show, silence, stdout_is_kept
from graphprune.cli.progress import Stages, stages
from graphprune.cli.shapes import parse_shapes
from graphprune.errors import InputError
from graphprune.planning import Budget, Constraints, Plan, check_ranking
from graphprune.report.lossless import lossless_tables
from graphprune.report.tables import shrink_table, verdict_line
from graphprune.scoring import Criterion, Importance, find_importance

__all__ = ["Request", "shrink"]


@dataclass(frozen=True)
class Request:
    """The options of one shrink; None or empty where the user said nothing."""

    model: str
    output: Path
    macs: float | None = None
    params: float | None = None
    ratio: float | None = None
    lossless: bool = False
    plan: Path | None = None
    importance: str = "l2"
    calibration: str | None = None
    loss: str | None = None
    align: int = 1
    min_keep: int = 1
    protect: tuple[str, ...] = ()
    ranking: str = "global"
    max_ratio: float = 1.0
    layer_ratio: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    weights: str | None = None
    shapes: tuple[str, ...] = ()
    seed: int = 0
    latency: bool = True

    @property
    def ratios(self) -> dict[str, float]:
        """``--layer-ratio`` by pattern.

        Raises:
            InputError: one is no pattern with a number.
        """
        found = {}
        for text in self.layer_ratio:
            pattern, equals, number = text.rpartition("=")
            try:
                found[pattern] = float(number)
            except ValueError:
                equals = ""
            if not equals or not pattern:
                raise InputError(f"--layer-ratio {text!r} is not PATTERN=F", "write it as 'layer4*=0.5'")
        return found

    @property
    def budgets(self) -> dict[str, float]:
        """Those that are given."""
        given = {"macs": self.macs, "params": self.params, "ratio": self.ratio}
        return {kind: value for kind, value in given.items() if value is not None}


def shrink(request: Request, json: bool, quiet: bool) -> None:
    """Shrinks, writes the result directory and shows what changed.

    Raises:
        GraphpruneError: see `graphprune.shrink` and `Result.save`; nothing has been written then.
    """
    with stages(quiet) as progress:
        plan = _checked(request)
        progress("build the model")
        with stdout_is_kept():
            importance = _importance(request)
            source = resolve(request.model, request.weights, parse_shapes(request.shapes), request.seed)
        with silence():
            report = _shrunk(request, source, importance, plan, progress)
    if json:
        print_json({"directory": str(request.output), **report})
    elif not quiet:
        _show(report, request.output)


def _checked(request: Request) -> Plan | None:
    """Everything that can be refused before the long work; the plan, if one is to be replayed."""
    budgets = request.budgets
    given = [f"--{kind}" for kind in budgets] + (["--lossless"] if request.lossless else [])
    given += ["--plan"] if request.plan else []
    if len(given) != 1:
        what = f"{' and '.join(given)} are given together" if given else "no budget is given"
        raise InputError(what, "give exactly one of --macs, --params, --ratio, --lossless and --plan")
    for kind, value in budgets.items():
        Budget(kind, value)
    Constraints(request.align, request.min_keep, request.protect, request.max_ratio, request.ratios)
    check_ranking(request.ranking)
    Criterion.parse(request.importance)
    if request.lossless and request.importance != Request.importance:
        raise InputError("--importance has no effect on --lossless", "leave it out: only what is dead goes")
    parse_shapes(request.shapes)
    exporting.ensure_writable(request.output)
    return _read_plan(request, request.plan) if request.plan else None


def _read_plan(request: Request, path: Path) -> Plan:
    defaults = {item.name: item.default for item in fields(Request)}
    for name in (
        "importance",
        "calibration",
        "loss",
        "align",
        "min_keep",
        "protect",
        "ranking",
        "max_ratio",
        "layer_ratio",
    ):
        if getattr(request, name) != defaults[name]:
            option = name.replace("_", "-")
            raise InputError(
                f"--{option} has no effect on --plan", "leave it out: the plan says what is kept"
            )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InputError(
            f"the plan {path} cannot be read: {reason}", "give a plan.json that graphprune wrote"
        ) from error
    return Plan.from_json(text)


def _importance(request: Request) -> Importance:
    """The criterion with its data. Files of the user's are run where they are named."""
    calibration = None if request.calibration is None else read_calibration(request.calibration)
    loss = None if request.loss is None else read_loss(request.loss)
    return find_importance(request.importance, calibration, loss)


def _shrunk(
    request: Request, source: Source, importance: Importance, plan: Plan | None, progress: Stages
) -> dict[str, Any]:
    figures = _Figures(source)
    if figures.wanted:
        progress("evaluate the original")
        figures.add("before", source.model)
    result = pipeline.shrink(
        source.model,
        source.inputs,
        macs=request.macs,
        params=request.params,
        ratio=request.ratio,
        lossless=request.lossless,
        importance=importance,
        align=request.align,
        min_keep=request.min_keep,
        protect=request.protect,
        ranking=request.ranking,
        max_ratio=request.max_ratio,
        ratios=request.ratios,
        outputs=request.outputs,
        seed=request.seed,
        plan=plan,
        progress=progress,
    )
    if figures.wanted:
        progress("evaluate the slim model")
        figures.add("after", result.model)
    extra = {"source": _recorded(source, result.graph, figures.notes), **figures.extra}
    return result.save(request.output, latency=request.latency, progress=progress, extra=extra)


class _Figures:
    """What the model's own evaluation says before and after; a failure there is a note, not an error."""

    def __init__(self, source: Source) -> None:
        self.evaluate = source.evaluate
        # random weights have nothing to lose
        self.wanted = source.evaluate is not None and source.weights != "none"
        self.found: dict[str, Mapping[str, float]] = {}
        self.notes: list[str] = []

    def add(self, when: str, model: Any) -> None:
        assert self.evaluate is not None
        try:
            self.found[when] = self.evaluate(model)
        except Exception as error:  # a fixed input shape, a missing package, anything the data asks for
            self.wanted = False
            self.found = {}
            self.notes.append(f"not evaluated: {' '.join(str(error).split())[:200]}")

    @property
    def extra(self) -> dict[str, Any]:
        return {"evaluation": self.found} if self.found else {}


def _recorded(source: Source, graph: DependencyGraph, notes: Sequence[str]) -> dict[str, Any]:
    """What `graphprune verify` needs to make the original again."""
    return {
        "model": source.spec,
        "weights": source.weights,
        "seed": source.seed,
        "input_shapes": [list(shape) for shape in source.shapes],
        "inputs": describe_inputs(source.inputs),
        "digest": digest(graph.program.tensors),
        "notes": [*source.notes, *notes],
    }


def _show(report: Mapping[str, Any], directory: Path) -> None:
    notes = [*report["source"]["notes"], *report["notes"], *_hints(report)]
    show(
        shrink_table(report),
        *lossless_tables(report.get("lossless")),
        *(Text(f"Note: {note}") for note in notes),
        verdict_line(report["verdict"]),
        Text(f"Written to {directory}"),
    )


def _hints(report: Mapping[str, Any]) -> Iterable[str]:
    """What to try next where the figures disappoint."""
    if report.get("latency", {}).get("ratio", 0) > 1 and report["request"].get("align") == 1:
        yield "smaller, but slower here: onnxruntime likes multiples of 8, try --align 8"
    figures = report.get("evaluation", {})
    before, after = (next(iter(figures.get(when, {}).values()), 0.0) for when in ("before", "after"))
    if after < before - 0.01:
        yield "nothing has been trained yet: fine-tune the slim model to win back what it lost"
