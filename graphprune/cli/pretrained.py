"""``graphprune shrink hf:FOLDER`` and ``graphprune inspect hf:FOLDER``: folders as transformers writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from graphprune.asking.options import Options
from graphprune.asking.sweeping import swept_budget
from graphprune.cli.declared import run_settings
from graphprune.cli.file_kinds import holds_transformers
from graphprune.cli.look_request import InspectRequest
from graphprune.cli.output import print_result, silence, stdout_is_kept
from graphprune.cli.progress import stages
from graphprune.cli.request import ShrinkRequest, TuneRequest, VerifyRequest
from graphprune.cli.training import end_processes, is_first, show_moment
from graphprune.cli.verdicts import show_checks
from graphprune.ground.errors import InputError
from graphprune.ground.options import declarations
from graphprune.report.tables import asked_lines, shrink_table, verdict_line

__all__ = [
    "check_not_of_folders",
    "inspect_folder",
    "is_folder",
    "is_written_folder",
    "nothing_written",
    "shrink_folder",
    "tune_folder",
    "verify_folder",
]

PREFIX = "hf:"
# options of the command that stand for something else than a folder has
_USELESS = ("mean", "std", "tune", "tuning", "min_metric", "weights", "input_shape", "input", "feed")

# what only a folder has a place for
_ALONE = ("trust_remote_code", "onnx", "max_memory", "lora", "keep_adapters")


def is_folder(spec: str) -> bool:
    """Whether MODEL is a folder of transformers: by its name, or by what it holds."""
    return spec.startswith(PREFIX) or holds_transformers(Path(spec))


def check_not_of_folders(request: ShrinkRequest | TuneRequest | InspectRequest) -> None:
    """Raises InputError where an option is given that only a folder has a place for."""
    for name in _ALONE:
        if getattr(request, name, None):
            option = f"--{name.replace('_', '-')}"
            raise InputError(
                f"{option} is for folders of transformers", "give such a folder, or leave it out"
            )


def shrink_folder(request: ShrinkRequest, typed: Mapping[str, Any]) -> None:
    """Writes the slim folder and shows what changed.

    Raises:
        GraphpruneError: see `graphprune.shrink_pretrained`; nothing has been written then.
    """
    for name in _USELESS:
        if getattr(request, name):
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} has no effect on {PREFIX}FOLDER", "leave it out")
    if request.output is None and not request.dry_run:
        raise InputError("no directory is given", "add --output DIR, or --dry-run to see the plan")
    if kind := swept_budget(typed):
        raise InputError(
            f"--{kind} has several values, and a folder of transformers takes one",
            "shrink it once for each, to a DIR of its own",
        )
    defaults = {name: default for name, default, _ in declarations(Options)}
    options = {name: value for name, value in typed.items() if value != defaults[name]}
    options |= {"evaluate": request.evaluate} if request.evaluate else {}
    with stages(request.quiet, request.timings) as progress:
        _mend_torchvision()
        from graphprune.face.pretrained import plan_pretrained, shrink_pretrained

        folder, trusted = _folder(request.model), request.trust_remote_code
        options |= {"trust_remote_code": trusted, "progress": progress, "max_memory": request.max_memory}
        with silence():
            if request.output is None or request.dry_run:
                report: Mapping[str, Any] = plan_pretrained(folder, **options)
            else:
                options |= {"force": request.force, "onnx": request.onnx}
                options["settings"] = {"shrink": run_settings(request)}
                report = shrink_pretrained(folder, request.output, **options).report
    if request.output is None or request.dry_run:
        parts = [*_field_table(report), Text(nothing_written(request))]
        print_result(report, parts, request.json, request.quiet)
    else:
        document = {"directory": str(request.output), **report}
        print_result(document, _parts(report, request.output), request.json, request.quiet)


def nothing_written(request: ShrinkRequest) -> str:
    """The last line of a dry run."""
    left = "" if request.output is None else f"; --output {request.output} is left as it is"
    return f"Nothing was cut or written{left}."


def inspect_folder(request: InspectRequest) -> None:
    """Shows which widths the configuration of a folder can say, and why it cannot say the others.

    Raises:
        GraphpruneError: the folder cannot be read, or its class not be captured; an option has no effect on it.
    """
    for item in fields(request):
        given = getattr(request, item.name)
        given = tuple(given) if isinstance(given, list) else given
        # as texts, which is what the command line has of numbers
        if item.name not in ("model", "trust_remote_code", "json") and str(given) != str(item.default):
            option = f"--{item.name.replace('_', '-')}"
            raise InputError(f"{option} has no effect on {PREFIX}FOLDER", "leave it out")
    with stages() as progress:
        _mend_torchvision()
        from graphprune.face.pretrained import inspect_pretrained

        with silence():
            found = inspect_pretrained(_folder(request.model), request.trust_remote_code, progress)
    print_result({"model": request.model, **found}, _inspected(request.model, found), request.json)


def is_written_folder(directory: Path) -> bool:
    """Whether a result is a folder of transformers.

    Raises:
        InputError: it is the adapters of one, without the model.
    """
    if (directory / "adapter_config.json").is_file() and not (directory / "config.json").is_file():
        raise InputError(
            f"{directory} holds adapters, and no model",
            "name the folder that they are for, or train without --keep-adapters",
        )
    return (directory / "config.json").is_file() and (directory / "report.json").is_file()


def verify_folder(request: VerifyRequest) -> None:
    """Checks a slim folder against the one that it was made of.

    Raises:
        InputError: one of them cannot be read, or ``--model`` is another model.
        typer.Exit: with 4, a check has failed.
    """
    if request.weights is not None:
        raise InputError(
            "--weights has no effect on a folder of transformers", "name the folder with --model"
        )
    with stages(request.quiet, request.timings) as progress:
        _mend_torchvision()
        from graphprune.face.pretrained import verify_pretrained

        with silence():
            verdict = verify_pretrained(request.directory, request.model, progress)
    show_checks(request, verdict.to_dict()["checks"])


def tune_folder(request: TuneRequest) -> None:
    """Trains a slim folder on text and shows what came of it.

    Raises:
        GraphpruneError: see `graphprune.tune_pretrained`.
    """
    for name in ("weights", "loss", "mean", "std", "augment", "export_dtype"):
        if getattr(request, name):
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} has no effect on a folder of transformers", "leave it out")
    first = is_first()
    with stages(request.quiet or not first, request.timings and first) as progress:
        _mend_torchvision()
        from graphprune.asking.tuning import Tuning
        from graphprune.face.pretrained import ROWS, TEXT, tune_pretrained

        given = {name: value for name, value in request.asked.items() if name in request.named}
        with stdout_is_kept(), progress.resumable(request.state):
            made = tune_pretrained(
                request.directory,
                request.data,
                request.place,
                Tuning(**dict(TEXT) | given),
                request.teacher,
                request.evaluate,
                checkpoint=request.state,
                force=request.force or request.output is None,
                batch=request.batch if "batch" in request.named else ROWS,
                lora=request.lora,
                keep_adapters=request.keep_adapters,
                progress=progress,
                watch=lambda moment: show_moment(moment, progress),
            )
        end_processes()
    if first:
        request.state.unlink(missing_ok=True)
        document = {"directory": str(request.place), **made.report}
        print_result(document, _parts(made.report, request.place), request.json, request.quiet)


def _folder(spec: str) -> Path:
    return Path(spec.removeprefix(PREFIX))


def _mend_torchvision() -> None:
    """transformers imports torchvision where it is installed, and that may not be made for this torch."""
    from models_zoo.torchvision_ops import ensure

    ensure()


def _parts(report: Mapping[str, Any], directory: Path) -> Iterator[RenderableType]:
    yield from asked_lines(report)
    yield shrink_table(report)
    yield from _field_table(report)
    made = report["pretrained"]
    if made["judged_on"]:
        yield Text(f"Perplexity on {made['judged_on']}; calibrated on {made['calibration']}")
    yield from (Text(f"Note: {note}") for note in report["source"]["notes"])
    yield from (Text(f"Note: {note}") for note in report["notes"])
    yield verdict_line(report["verdict"])
    yield Text(f"Written to {directory}")


def _field_table(report: Mapping[str, Any]) -> Iterator[RenderableType]:
    table = Table("field of config.json", "before", "after")
    for field, (before, after) in report["pretrained"]["fields"].items():
        table.add_row(field, "–" if before is None else str(before), str(after))
    yield table


def _inspected(model: str, found: Mapping[str, Any]) -> Iterator[RenderableType]:
    yield Text(f"{model}: {found['class']}, {found['params']:,} parameters", style="bold")
    table = Table("fields of config.json", "now", "multiple", "layers")
    for move in found["moves"]:
        now = ", ".join(map(str, move["numbers"]))
        table.add_row("\n".join(move["fields"]), now, str(move["step"]), "\n".join(move["kinds"]))
    yield table
    for kind, why in (found["held"] | found["fixed"]).items():
        yield Text(f"Stays: {kind}, since {why}")
