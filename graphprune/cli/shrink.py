"""``graphprune shrink``."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rich.text import Text

from graphprune import exporting, pipeline
from graphprune.cli.calibration import read_calibration, read_loss
from graphprune.cli.loop import Wishes, looped
from graphprune.cli.models import Source, resolve
from graphprune.cli.output import print_json, show, silence, stdout_is_kept
from graphprune.cli.progress import Stages, stages
from graphprune.cli.record import Figures, recorded
from graphprune.cli.shapes import parse_shapes
from graphprune.cli.training import is_first
from graphprune.errors import InputError
from graphprune.planning import Plan
from graphprune.report.lossless import lossless_tables
from graphprune.report.plan import reach_table, width_table
from graphprune.report.rounds import round_tables
from graphprune.report.tables import shrink_table, verdict_line
from graphprune.request import Options, make_request
from graphprune.result import Result
from graphprune.scoring import Importance, find_importance

__all__ = ["Request", "command_line", "shrink"]


@dataclass(frozen=True)
class Request:
    """The options of one shrink; None or empty where the user said nothing."""

    model: str
    output: Path | None = None
    macs: str | None = None
    params: str | None = None
    onnx_bytes: str | None = None
    memory: str | None = None
    latency: str | None = None
    ratio: float | None = None
    lossless: bool = False
    plan: Path | None = None
    importance: str = "l2"
    calibration: str | None = None
    loss: str | None = None
    align: str = "auto"
    min_keep: int = 1
    protect: tuple[str, ...] = ()
    ranking: str = "global"
    max_ratio: float = 1.0
    layer_ratio: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    rounds: int = 1
    tune: str = ""
    tuning: tuple[str, ...] = ()
    evaluate: str | None = None
    min_metric: float | None = None
    weights: str | None = None
    shapes: tuple[str, ...] = ()
    seed: int = 0
    threads: int = 1
    batch: int = 1
    timed: bool = True
    dry_run: bool = False

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
    def wishes(self) -> Wishes:
        """What ``--tune`` and what goes with it say."""
        return Wishes(self.tune, self.tuning, self.evaluate, self.min_metric)

    @property
    def options(self) -> Options:
        """What `graphprune.shrink` is to be told, but for the criterion."""
        return {
            "macs": self.macs,
            "params": self.params,
            "onnx_bytes": self.onnx_bytes,
            "memory": self.memory,
            "latency": self.latency,
            "ratio": self.ratio,
            "align": self.align,
            "min_keep": self.min_keep,
            "protect": self.protect,
            "ranking": self.ranking,
            "max_ratio": self.max_ratio,
            "ratios": self.ratios,
            "outputs": self.outputs,
            "threads": self.threads,
            "batch": self.batch,
            "seed": self.seed,
        }


# where an option is not spelled like its field
_SPELLINGS = {"shapes": "input-shape", "timed": "no-latency", "outputs": "keep-output"}


def command_line(request: Request) -> str:
    """The command that asks for ``request``, ready for a shell; options that have their defaults are left out."""
    words = ["graphprune", "shrink", request.model]
    for item in fields(Request):
        value = getattr(request, item.name)
        if item.name in ("model", "output") or value == item.default:
            continue
        option = f"--{_SPELLINGS.get(item.name, item.name.replace('_', '-'))}"
        values = value if isinstance(value, tuple) else (value,)
        words += [
            word for one in values for word in ((option,) if isinstance(one, bool) else (option, str(one)))
        ]
    words += ["--output", str(request.output)] if request.output is not None else []
    return shlex.join(words)


def shrink(request: Request, json: bool, quiet: bool) -> None:
    """Shrinks, writes the result directory and shows what changed.

    Raises:
        GraphpruneError: see `graphprune.shrink` and `Result.save`; nothing has been written then.
    """
    first = is_first()
    with stages(quiet or not first) as progress:
        plan = _checked(request)
        progress("build the model")
        with stdout_is_kept():
            importance = _importance(request)
            source = resolve(request.model, request.weights, parse_shapes(request.shapes), request.seed)
        options: Options = {**request.options, "importance": importance}
        with silence():
            if request.output is None:
                report = pipeline.plan(source.model, source.inputs, progress=progress, **options).to_dict()
            else:
                report = _shrunk(request, request.output, source, options, plan, progress)
    if not first:
        return
    if request.output is None:
        _show_plan(report, json, quiet)
    elif json:
        print_json({"directory": str(request.output), **report})
    elif not quiet:
        _show(report, request.output)


def _checked(request: Request) -> Plan | None:
    """Everything that can be refused before the long work; the plan, if one is to be replayed."""
    wishes = request.wishes
    other = ["lossless"] * request.lossless + ["plan"] * (request.plan is not None)
    make_request({**request.options, "importance": request.importance}, other)
    if wishes.data and (other or request.dry_run):
        raise InputError(
            "--tune goes with a budget that is met", "give --macs …, or use graphprune tune afterwards"
        )
    if request.lossless and request.importance != Request.importance:
        raise InputError("--importance has no effect on --lossless", "leave it out: only what is dead goes")
    parse_shapes(request.shapes)
    if request.dry_run and other:
        raise InputError(f"--dry-run has no effect on --{other[0]}", "leave it out, or give a budget")
    if request.output is None:
        if not request.dry_run:
            raise InputError("no directory is given", "add --output DIR, or --dry-run to see the plan")
    elif request.dry_run:
        raise InputError("--dry-run writes nothing to --output", "leave one of them out")
    else:
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
    request: Request,
    directory: Path,
    source: Source,
    options: Options,
    plan: Plan | None,
    progress: Stages,
) -> dict[str, Any]:
    # random weights have nothing to lose
    figures = Figures(source.evaluate if source.weights != "none" else None)
    if figures.wanted:
        progress("evaluate the original")
        figures.add("before", source.model)
    result, extra = _result(request, directory, source, options, plan, progress)
    if figures.wanted:
        progress("evaluate the slim model")
        figures.add("after", result.model)
    if not is_first():
        return {}
    extra = {
        **extra,
        "source": recorded(source, result.graph, figures.notes, command_line(request)),
        **figures.extra,
    }
    return result.save(directory, latency=request.timed, progress=progress, extra=extra)


def _result(
    request: Request,
    directory: Path,
    source: Source,
    options: Options,
    plan: Plan | None,
    progress: Stages,
) -> tuple[Result, dict[str, Any]]:
    """The slim model, and what a loop says of its rounds."""
    if request.tune:

        def extra(result: Result) -> dict[str, Any]:
            return {"source": recorded(source, result.graph, (), command_line(request))}

        loop = looped(request.wishes, request.rounds, source, directory, extra, options, progress)
        return loop.result, {"loop": loop.to_dict()}
    more: dict[str, Any] = {"rounds": request.rounds} if request.rounds > 1 else {}
    result = pipeline.shrink(
        source.model,
        source.inputs,
        lossless=request.lossless,
        plan=plan,
        progress=progress,
        **options,
        **more,
    )
    return result, {}


def _show(report: Mapping[str, Any], directory: Path) -> None:
    notes = [*report["source"]["notes"], *report["notes"], *_hints(report)]
    show(
        shrink_table(report),
        *lossless_tables(report.get("lossless")),
        *round_tables(report.get("loop")),
        *(Text(f"Note: {note}") for note in notes),
        verdict_line(report["verdict"]),
        Text(f"Written to {directory}"),
    )


def _show_plan(proposal: Mapping[str, Any], json: bool, quiet: bool) -> None:
    if json:
        print_json(proposal)
    elif not quiet:
        show(reach_table(proposal), width_table(proposal), Text("Nothing was cut or written."))


def _hints(report: Mapping[str, Any]) -> Iterable[str]:
    """What to try next where the figures disappoint."""
    if report.get("latency", {}).get("ratio", 0) > 1 and report["request"].get("align") == 1:
        yield "smaller, but slower here: try --align auto"
    figures = report.get("evaluation", {})
    before, after = (next(iter(figures.get(when, {}).values()), 0.0) for when in ("before", "after"))
    if after < before - 0.01 and not report.get("tuning"):
        yield "nothing has been trained yet: graphprune tune wins back what it lost"
