"""``graphprune shrink``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from rich.text import Text

import graphprune as gp
from graphprune import exporting
from graphprune.asking.request import AUTO, Options, make_request
from graphprune.cli.calibration import ensure_readable, read_loss
from graphprune.cli.data import image_options, read_calibration
from graphprune.cli.declared import changed, command_line, run_settings
from graphprune.cli.loop import Wishes, looped
from graphprune.cli.models import Source, resolve
from graphprune.cli.output import print_json, show, silence, stdout_is_kept
from graphprune.cli.progress import Stages, stages
from graphprune.cli.record import Figures, recorded
from graphprune.cli.request import LIMITS, ORDER, Request
from graphprune.cli.shapes import parse_shapes
from graphprune.cli.training import is_first
from graphprune.cutting.repaired import reusable
from graphprune.ground.errors import InputError
from graphprune.planning import Plan
from graphprune.report.shrink_tables import (
    lossless_tables,
    reach_table,
    repair_tables,
    round_tables,
    width_table,
)
from graphprune.report.tables import shrink_table, verdict_line
from graphprune.results.result import Result
from graphprune.scoring import Criterion, find_importance

__all__ = ["shrink"]

READ = {"importance", "calibration", "loss"}  # from the user's files
PYTHON = {"rounds", "schedule", "between", "evaluate"}  # not to be had here
COARSER = 2  # times that widths are made coarser where the slim model is slower than its original


def shrink(request: Request) -> None:
    """Shrinks, writes the result directory and shows what changed.

    Raises:
        GraphpruneError: see `graphprune.shrink` and `Result.save`; nothing has been written then.
    """
    first = is_first()
    with stages(request.quiet or not first) as progress:
        plan = _checked(request)
        progress("build the model")
        with stdout_is_kept():
            source = resolve(request.model, request.weights, parse_shapes(request.input_shape), request.seed)
            asked = _importance(request, source)
        options: Options = {**_options(request), **asked}
        with silence():
            if request.output is None:
                report = gp.plan(source.model, source.inputs, progress=progress, **options).to_dict()
            else:
                report = _shrunk(request, request.output, source, options, plan, progress)
    if not first:
        return
    if request.output is None:
        _show_plan(report, request.json, request.quiet)
    elif request.json:
        print_json({"directory": str(request.output), **report})
    elif not request.quiet:
        _show(report, request.output)


def _checked(request: Request) -> Plan | None:
    """Everything that can be refused before the long work; the plan, if one is to be replayed."""
    other = ["lossless"] * request.lossless + ["plan"] * (request.plan is not None)
    options = _options(request)
    if request.importance == AUTO:
        options |= {"importance": AUTO, "calibration": request.calibration}
    else:
        Criterion.parse(request.importance)
    make_request(options, other)
    if request.repair:
        _check_repair(request)
    _check_rounds(request, other)
    if request.lossless and request.importance != Request.importance:
        raise InputError("--importance has no effect on --lossless", "leave it out: only what is dead goes")
    parse_shapes(request.input_shape)
    ensure_readable(request.calibration, request.mean, request.std)
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


def _check_repair(request: Request) -> None:
    if request.calibration is None:
        raise InputError("--repair looks at data, and there is none", "give it with --calibration FILE")
    for option in ("lossless", "dry_run"):
        if getattr(request, option):
            raise InputError(
                f"--repair has no effect on --{option.replace('_', '-')}", "leave one of them out"
            )


def _wishes(request: Request) -> Wishes:
    return Wishes(request.tune, request.tuning, request.evaluate, request.min_metric)


def _check_rounds(request: Request, other: Sequence[str]) -> None:
    data = _wishes(request).data
    if data and (other or request.dry_run):
        raise InputError(
            "--tune goes with a budget that is met", "give --macs …, or use graphprune tune afterwards"
        )
    if request.rounds != 1 and (other or request.dry_run):
        raise InputError("--rounds goes with a budget that is met", "leave it out, or give --macs …")


def _options(request: Request) -> Options:
    """What `graphprune.shrink` is to be told, but for the criterion. It calls options as the request does."""
    names = set(Options.__annotations__) - READ - PYTHON
    return cast("Options", {name: getattr(request, name) for name in names})


def _read_plan(request: Request, path: Path) -> Plan:
    useless = changed(request, ORDER, LIMITS)
    if request.repair:
        useless = [option for option in useless if option not in ("--calibration", "--mean", "--std")]
    if useless:
        raise InputError(f"{useless[0]} has no effect on --plan", "leave it out: the plan says what is kept")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InputError(
            f"the plan {path} cannot be read: {reason}", "give a plan.json that graphprune wrote"
        ) from error
    return Plan.from_json(text)


def _importance(request: Request, source: Source) -> Options:
    """The criterion with its data, and the data where others read them. Files are run where they are named."""
    batches = None
    if request.calibration is not None:
        options = image_options(request.mean, request.std)
        batches = reusable(read_calibration(request.calibration, source.inputs, options))
    loss = None if request.loss is None else read_loss(request.loss)
    if request.importance == AUTO:
        return {"importance": AUTO, "calibration": batches, "loss": loss}
    shared = request.repair or request.trials > 0
    found: Options = {"importance": find_importance(request.importance, batches, loss, shared)}
    return {**found, "calibration": batches} if shared else found


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
    result, more = _result(request, directory, source, options, plan, progress)

    def save(result: Result) -> dict[str, Any]:
        if figures.wanted:
            progress("evaluate the slim model")
            figures.add("after", result.model)
        command = command_line(request, "shrink")
        return result.save(
            directory,
            latency=not request.no_latency,
            progress=progress,
            extra={
                **more,
                "source": recorded(source, result.graph, figures.notes, command),
                **figures.extra,
            },
            settings={"shrink": run_settings(request)},
        )

    if not is_first():
        return {}
    report = save(result)
    for _ in range(COARSER):
        if result.coarser is None or not _slower(report):
            break
        result = result.coarser()
        report = save(result)
    return report


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
            return {"source": recorded(source, result.graph, (), command_line(request, "shrink"))}

        asked = {**options, "repair": request.repair}
        loop = looped(_wishes(request), request.rounds, source, directory, extra, asked, progress)
        return loop.result, {"loop": loop.to_dict()}
    if request.rounds != 1:
        options = {**options, "rounds": request.rounds}
    result = gp.shrink(
        source.model,
        source.inputs,
        lossless=request.lossless,
        repair=request.repair,
        plan=plan,
        progress=progress,
        **options,
    )
    return result, {}


def _slower(report: Mapping[str, Any]) -> bool:
    """Whether the slim model takes longer than its original, by more than two measurements differ."""
    return bool(report.get("latency", {}).get("ratio", 0.0) > 1.02)


def _show(report: Mapping[str, Any], directory: Path) -> None:
    notes = [*report["source"]["notes"], *report["notes"], *_hints(report)]
    show(
        shrink_table(report),
        *lossless_tables(report.get("lossless")),
        *repair_tables(report.get("repair")),
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
    align = report["request"].get("align")
    if _slower(report) and align == 1:
        yield "smaller, but slower here: try --align auto"
    elif _slower(report) and align == AUTO:
        yield "smaller, but slower here, even with widths four times as coarse as onnxruntime likes: remove more"
    measured = report["request"].get("measured", {})
    yield from filter(None, [measured.get("note")])
    figures = report.get("evaluation", {})
    before, after = (next(iter(figures.get(when, {}).values()), 0.0) for when in ("before", "after"))
    if after < before - 0.01 and not report.get("tuning"):
        yield "nothing has been trained yet: graphprune tune wins back what it lost"
