"""``graphprune shrink``: reads what was typed, calls `graphprune.shrink`, writes the directory and shows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

import graphprune as gp
from graphprune import exporting
from graphprune.asking.options import AUTO, LIMITS, ORDER, SYNTHETIC, Options
from graphprune.asking.request import Request
from graphprune.asking.sweeping import first_values, swept_budget
from graphprune.cli.data import ensure_readable, read_calibration
from graphprune.cli.declared import changed, command_line, run_settings
from graphprune.cli.export import deployed, deployed_parts, deployment_of
from graphprune.cli.images import image_options
from graphprune.cli.limits import parse_ratios
from graphprune.cli.models import Source, resolve
from graphprune.cli.onnx_file import by_arguments, is_onnx, parse_given
from graphprune.cli.original import recorded
from graphprune.cli.output import print_result, silence, stdout_is_kept
from graphprune.cli.pretrained import check_not_of_folders, is_folder, nothing_written, shrink_folder
from graphprune.cli.progress import Stages, stages
from graphprune.cli.request import ShrinkRequest
from graphprune.cli.shapes import parse_dynamic, parse_shapes
from graphprune.cli.steps import headings, steps
from graphprune.cli.sweep import check_sweep, swept, swept_parts
from graphprune.cli.training import Figures, check_training, is_first, looped
from graphprune.cli.user_file import read_function
from graphprune.face.export import place_of
from graphprune.face.sweep import plan_sweep
from graphprune.ground.documents import read_text
from graphprune.ground.errors import InputError
from graphprune.ground.options import declarations
from graphprune.importing.reading import tidying_of
from graphprune.planning import Plan
from graphprune.report.curve import plan_tables
from graphprune.report.sizes import size_lines
from graphprune.report.tables import (
    answer_lines,
    asked_lines,
    lossless_tables,
    reach_table,
    repair_tables,
    round_tables,
    shrink_table,
    verdict_line,
    width_table,
)
from graphprune.results.result import Result

__all__ = ["hints", "shrink"]


def shrink(request: ShrinkRequest) -> None:
    """Shrinks, writes the result directory and shows what changed.

    Raises:
        GraphpruneError: see `graphprune.shrink` and `Result.save`; nothing has been written then.
    """
    deploy = deployment_of(request)
    if is_folder(request.model):
        if deploy:
            raise InputError(
                "--int8, --fp16 and the like are for ONNX files", "give --onnx, then export the file"
            )
        shrink_folder(request, typed_options(request))
        return
    first = is_first()
    with stages(request.quiet or not first, request.timings and first) as progress:
        options = _checked(request)
        kind = swept_budget(options)
        check_sweep(request, kind, bool(deploy))
        progress("build the model")
        with stdout_is_kept():
            shapes, seed = parse_shapes(request.input_shape), options["seed"]
            given = parse_given(request.input, request.feed)
            tidying = tidying_of(options)
            source = resolve(request.model, request.weights, shapes, seed, given, tidying)
            options |= _data(request, source)
            if request.evaluate and not request.tune:  # a loop takes it for trials and for its rounds
                source = replace(source, evaluate=read_function("--evaluate", request.evaluate))
                options |= {"evaluate": source.evaluate} if options["trials"] else {}
        progress.expect(_steps(request, options, kind, source))
        with silence():
            if request.output is None or request.dry_run:
                report = _planned(kind, source, options, progress)
            elif kind:
                report = swept(request, kind, request.output, source, options, progress)
            else:
                report = _shrunk(request, request.output, source, options, progress)
                if deploy and first:
                    report["export"] = deployed(request, request.output, deploy, options, progress)
    if not first:
        return
    parts: Iterable[RenderableType]
    if request.output is None or request.dry_run:
        document, parts = report, _plan_parts(report, request)
    else:
        document = {"directory": str(request.output), **report}
        parts = (swept_parts if kind else _parts)(report, request.output)
    print_result(document, parts, request.json, request.quiet)


def _checked(request: ShrinkRequest) -> dict[str, Any]:
    """The options of `graphprune.shrink`, but for data and loss; all that can be refused before long work is."""
    check_training(request)
    check_not_of_folders(request)
    options, path = typed_options(request), request.asked.get("plan")
    ensure_readable(options["calibration"], request.mean, request.std)
    if path is not None:
        _check_replay(request, options)
    # the plan itself is read when all else is known to be right
    asked = {**first_values(options), "plan": None if path is None else Plan({}, {}, "")}
    instead = Request(**asked).instead
    if request.dry_run and (instead or options["repair"]):
        useless = instead[0] if instead else "repair"
        raise InputError(f"--dry-run has no effect on --{useless}", "leave it out, or give a budget")
    if request.tune and (instead or request.dry_run):
        raise InputError(
            "--tune goes with a budget that is met", "give --macs …, or use graphprune tune afterwards"
        )
    if options["lossless"] and options["importance"] != Options.importance:
        raise InputError("--importance has no effect on --lossless", "leave it out: only what is dead goes")
    if path is not None:
        options["plan"] = Plan.from_json(_plan_text(Path(path)))
    if request.output is None and not request.dry_run:
        raise InputError("no directory is given", "add --output DIR, or --dry-run to see the plan")
    if request.output is not None and not request.dry_run:
        exporting.ensure_writable(request.output, force=request.force)
    return options


def _plan_text(path: Path) -> str:
    try:
        return read_text(path)
    except InputError as error:
        remedy = "give a plan.json that graphprune wrote"
        raise InputError(f"the plan {path} cannot be read: {error.message}", remedy) from error


def typed_options(request: ShrinkRequest) -> dict[str, Any]:
    """What was typed, as Python takes it; plan, data and loss are the names of files still."""
    options: dict[str, Any] = {}
    for name, default, option in declarations(Options):
        if option.typed is not None:
            value = request.asked.get(option.spelled or name)
            options[name] = default if value is None else tuple(value) if isinstance(value, list) else value
    parsed = {
        "ratios": parse_ratios(options["ratios"] or ()),
        "dynamic": parse_dynamic(request.asked.get("dynamic") or ()),
    }
    return {**options, **parsed}


def _check_replay(request: ShrinkRequest, options: Mapping[str, Any]) -> None:
    """Options that choose units have no effect on a plan; a repair looks at the data still."""
    useless = changed(request, ORDER, LIMITS)
    if options["repair"]:
        useless = [option for option in useless if option not in ("--calibration", "--mean", "--std")]
    if useless:
        raise InputError(f"{useless[0]} has no effect on --plan", "leave it out: the plan says what is kept")


def _data(request: ShrinkRequest, source: Source) -> dict[str, Any]:
    """The data and the loss that were named. Files are run where they are named."""
    images = image_options(request.mean, request.std)
    calibration = read_calibration(request.asked.get("calibration"), source.inputs, images)
    calibration = by_arguments(source.model, calibration)
    found = {"calibration": calibration, "loss": read_function("--loss", request.asked.get("loss"))}
    if calibration is None or request.asked.get("calibration") == SYNTHETIC:
        found["tokenizer"] = source.tokenizer
    return found


def _steps(request: ShrinkRequest, options: Mapping[str, Any], kind: str, source: Source) -> list[str]:
    """The stages that are to come; none where rounds of training repeat them, each as long as it takes."""
    if request.tune or options["rounds"] > 1:
        return []
    judged, times = source.evaluate is not None, not request.no_latency
    heads = headings(kind, options)
    planned = request.output is None or request.dry_run
    return steps(options, heads, planned, judged, times, is_onnx(request.model))


def _planned(kind: str, source: Source, options: dict[str, Any], progress: Stages) -> dict[str, Any]:
    """The plan, or one for every budget."""
    if kind:
        return plan_sweep(source.model, source.inputs, progress=progress, **options)
    return gp.plan(source.model, source.inputs, progress=progress, **options).to_dict()


def _plan_parts(report: Mapping[str, Any], request: ShrinkRequest) -> Iterator[RenderableType]:
    if "points" in report:
        yield from plan_tables(report)
    else:
        yield from asked_lines(report)
        yield from (reach_table(report), width_table(report))
        yield from map(Text, size_lines(report["dimensions"]))
    yield Text(nothing_written(request))


def _shrunk(
    request: ShrinkRequest, directory: Path, source: Source, options: dict[str, Any], progress: Stages
) -> dict[str, Any]:
    figures = Figures(source.evaluate, progress)
    figures.add("before", "original", source.model)
    command = command_line(request, "shrink")

    def origin(result: Result, notes: Iterable[str] = ()) -> dict[str, Any]:
        return {"source": recorded(source, result.graph, tuple(notes), command)}

    rounds: dict[str, Any] = {}
    if request.tune:
        loop = looped(request, source, progress, extra=origin, **options)
        result, rounds = loop.result, {"loop": loop.to_dict()}
    else:
        result = gp.shrink(source.model, source.inputs, progress=progress, **options)
    if not is_first():
        return {}
    figures.add("after", "slim model", result.model)
    return result.save(
        directory,
        latency=not request.no_latency,
        progress=progress,
        extra={**rounds, **origin(result, figures.notes), **figures.extra},
        settings={"shrink": run_settings(request)},
        force=request.force,
    )


def _parts(report: Mapping[str, Any], directory: Path) -> Iterator[RenderableType]:
    yield from asked_lines(report)
    yield from answer_lines(report)
    yield shrink_table(report)
    yield from map(Text, size_lines(report["dimensions"]))
    yield from lossless_tables(report.get("lossless"))
    yield from repair_tables(report.get("repair"))
    yield from round_tables(report.get("loop"))
    notes = [*report["source"]["notes"], *report["notes"], *hints(report)]
    yield from (Text(f"Note: {note}") for note in notes)
    yield from (verdict_line(report["verdict"]), Text(f"Written to {directory}"))
    if "export" in report:
        yield from deployed_parts(report["export"], place_of(directory, None))


def hints(report: Mapping[str, Any]) -> Iterable[str]:
    """What to try next where the figures of a report disappoint."""
    request = report["request"]
    # by more than two measurements differ
    if report.get("latency", {}).get("ratio", 0.0) > 1.02:
        if request.get("not_slower"):
            yield "smaller, but slower here, even with widths four times as coarse as onnxruntime likes: remove more"
        elif request.get("align") == AUTO:
            yield "smaller, but slower here: try --not-slower"
        else:
            yield "smaller, but slower here: try --align auto"
    measured = request.get("measured", {})
    if "device" not in measured:  # of which the notes speak
        yield from filter(None, [measured.get("note")])
    figures = report.get("evaluation", {})
    before, after = (next(iter(figures.get(when, {}).values()), 0.0) for when in ("before", "after"))
    if after < before - 0.01 and not report.get("tuning"):
        yield "nothing has been trained yet: graphprune tune wins back what it lost"
