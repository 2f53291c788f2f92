"""``graphprune tune``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

import graphprune as gp
from graphprune import exporting
from graphprune.asking.toml import read_settings, settings_text
from graphprune.asking.tuning import Tuning
from graphprune.axes.dependency import DependencyGraph
from graphprune.calibration import Evaluate
from graphprune.cli.checks import Checks, Files, check_files
from graphprune.cli.data import read_data
from graphprune.cli.declared import run_settings
from graphprune.cli.images import DataOptions, image_options
from graphprune.cli.models import Source
from graphprune.cli.original import original, recorded, unknown_original
from graphprune.cli.output import print_result, silence, stdout_is_kept
from graphprune.cli.pretrained import check_not_of_folders, is_written_folder, tune_folder
from graphprune.cli.progress import Stages, stages
from graphprune.cli.request import TuneRequest
from graphprune.cli.training import Figures, end_processes, is_first, on_its_device, show_moment
from graphprune.cli.user_file import read_function
from graphprune.ground.documents import named
from graphprune.ground.drafts import sweep
from graphprune.ground.errors import InputError
from graphprune.repair import RepairReport
from graphprune.report.document import read_report
from graphprune.report.sizes import size_lines
from graphprune.report.tables import shrink_table, verdict_line
from graphprune.results.result import Result
from graphprune.tuning.checkpoint import Checkpoint

__all__ = ["tune"]


def tune(request: TuneRequest) -> None:
    """Fine-tunes a result directory, writes it anew and shows what came of it.

    Under ``torchrun`` or ``accelerate launch`` every process runs this; the first one writes and shows.

    Raises:
        GraphpruneError: the original cannot be had, the data does not fit, …; see `graphprune.tune`.
    """
    if is_written_folder(request.directory):
        tune_folder(request)
        return
    check_not_of_folders(request)
    first = is_first()
    Tuning(**request.asked)  # what is out of range is refused before the long work
    _data_options(request)
    if first and (report := _finished(request)):
        _show(request, report)
        return
    with stages(request.quiet or not first, request.timings and first) as progress:
        exporting.ensure_writable(request.place, force=request.force)
        result, source, evaluate = _prepared(request, progress)
        figures = Figures(evaluate if first else None, progress)
        figures.add("before", "original", source.model)
        tuned = _tuned(request, result, evaluate, progress)
        if not first:
            return
        figures.add("after", "slim model", tuned.model)
        extra = {"source": recorded(source, result.graph, figures.notes), **figures.extra}
        with silence():
            report = tuned.save(
                request.place,
                not request.no_latency,
                progress,
                extra,
                settings=_said(request),
                export_dtype=request.export_dtype,
                force=request.force,
            )
        request.state.unlink(missing_ok=True)
    _show(request, report)


def _show(request: TuneRequest, report: Mapping[str, Any]) -> None:
    document = {"directory": str(request.place), **report}
    print_result(document, _parts(report, request.place), request.json, request.quiet)


def _finished(request: TuneRequest) -> Mapping[str, Any] | None:
    """The report of this very run, where it was killed when its result was complete and its checkpoint still there."""
    sweep(request.place.resolve().parent)
    if not (request.state.is_file() and (request.place / "report.json").is_file()):
        return None
    path, checkpoint = request.place / "report.json", Checkpoint.found(request.state)
    report = named(path, lambda: read_report(path))
    tuning = report.get("tuning")
    if not isinstance(tuning, Mapping) or tuning.get("run") != checkpoint.run:
        return None
    request.state.unlink()
    said = request.place / "tune.toml"
    same = said.is_file() and said.read_text(encoding="utf-8") == settings_text(run_settings(request), "tune")
    return report if same else None


def _data_options(request: TuneRequest) -> DataOptions:
    others = {"batch": request.batch, "workers": request.workers, "augment": request.augment}
    return image_options(request.mean, request.std, **others)


def _said(request: TuneRequest) -> dict[str, Mapping[str, Any]]:
    """What was asked for, of the cut as its directory says it, and of the training."""
    file = request.directory / "shrink.toml"
    cut = {"shrink": read_settings(file)} if file.is_file() else {}
    return {**cut, "tune": run_settings(request)}


def _prepared(request: TuneRequest, progress: Stages) -> tuple[Result, Source, Evaluate | None]:
    """The slim model as the directory holds it, its original, and how models are judged."""
    with silence():
        files = _files(request.directory, progress)
    assert files.plan is not None
    own = read_function("--evaluate", request.evaluate)
    known = files.reported("source")
    if why := unknown_original(known, request.teacher, "--teacher"):
        raise InputError(f"there is no teacher: {why}", "the original teaches the slim model")
    source, graph, why = original(known, request.teacher, request.weights, files.plan, progress)
    if why:
        raise InputError(why, "name the original with --teacher and its weights with --weights")
    with silence():
        result = _result(files, graph, source.seed, progress)
    return result, source, own or source.evaluate


def _files(directory: Path, progress: Stages) -> Files:
    checks = Checks()
    files = check_files(directory, checks, progress, onnx=False)
    if files.only_onnx:
        raise InputError(
            f"{directory} holds no model that PyTorch can train, since the file it was made of has none",
            "repair it instead: graphprune shrink with --calibration and --repair",
        )
    if files.model is None or files.plan is None or checks.failed:
        failed = "; ".join(f"{row['name']}: {row['detail']}" for row in checks.failed)
        raise InputError(f"{directory} is no complete result ({failed})", "shrink the model again")
    return files


def _result(files: Files, graph: DependencyGraph, seed: int, progress: Stages) -> Result:
    """The cut, proved again, with the tensors of the directory."""
    assert files.model is not None
    result = gp.shrink(graph, plan=files.plan, seed=seed, progress=progress)
    repaired = files.reported("repair")
    return replace(
        result, model=files.model.eval(), repair=RepairReport.from_dict(repaired) if repaired else None
    )


def _tuned(request: TuneRequest, result: Result, evaluate: Evaluate | None, progress: Stages) -> Result:
    with stdout_is_kept(), progress.resumable(request.state):
        progress("read the data")
        loss = read_function("--loss", request.loss)
        data = read_data(request.data, result.graph.program.example, _data_options(request))
        progress("fine-tune")
        tuned = gp.tune(
            result,
            data,
            Tuning(**request.asked),
            loss=loss,
            evaluate=None if evaluate is None else on_its_device(evaluate),
            checkpoint=request.state,
            watch=lambda moment: show_moment(moment, progress),
        )
    end_processes()
    return tuned


def _parts(report: Mapping[str, Any], directory: Path) -> Iterator[RenderableType]:
    tuning = report["tuning"]
    said = f"Fine-tuned for {tuning['steps']} steps"
    if metric := tuning.get("metric"):
        said += f": the slim model's figure went from {metric['before']:.4g} to {metric['best']:.4g}"
    yield shrink_table(report)
    yield from map(Text, (*size_lines(report["dimensions"]), said))
    yield from (Text(f"Note: {note}") for note in (*report["source"]["notes"], *report["notes"]))
    yield from (verdict_line(report["verdict"]), Text(f"Written to {directory}"))
