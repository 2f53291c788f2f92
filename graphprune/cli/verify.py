"""``graphprune verify``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import typer
from rich.text import Text

from graphprune import pipeline
from graphprune.axes.dependency import DependencyGraph
from graphprune.cli.checks import Checks, Files, check_files, tensors_of
from graphprune.cli.digest import digest
from graphprune.cli.failures import complain
from graphprune.cli.models import FACTORY, Source, resolve
from graphprune.cli.output import print_json, show, silence, stdout_is_kept
from graphprune.cli.progress import Stages, stages
from graphprune.errors import GraphpruneError, InputError, VerificationError
from graphprune.report.tables import check_table

__all__ = ["verify"]

REPLAY = "plan replayed on the original gives the same tensors"


def verify(directory: Path, model: str | None, weights: str | None, json: bool, quiet: bool) -> None:
    """Reads a result directory again and checks all that can be checked here.

    Args:
        model: the original. None takes what the report records, but runs no file of Python that it names.
        weights: the original's, likewise.

    Raises:
        InputError: it is no result directory, or ``model`` is not its original.
        typer.Exit: with 4, a check has failed.
    """
    checks = Checks()
    with stages(quiet) as progress:
        with silence():
            files = check_files(directory, checks, progress)
        _check_replay(files, model, weights, checks, progress)
    checks.skip("model.py is the same model", "source is for reading and is never run here")
    failed = checks.failed
    if json:
        print_json({"directory": str(directory), "passed": not failed, "checks": checks.rows})
    elif not quiet:
        show(check_table(checks.rows), _summary(checks))
    if failed:
        complain(
            f"{directory}: {len(failed)} of {len(checks.rows)} checks failed, first "
            f"{failed[0]['name']!r} — do not use this result; shrink the model again"
        )
        raise typer.Exit(VerificationError.exit_code)


def _summary(checks: Checks) -> Text:
    passed = sum(row["passed"] is True for row in checks.rows)
    left = sum(row["passed"] is None for row in checks.rows)
    mark = ("NOT VERIFIED", "bold red") if checks.failed else ("Verified", "bold green")
    return Text.assemble(mark, f": {passed} passed, {len(checks.failed)} failed, {left} not checked")


def _check_replay(
    files: Files, model: str | None, weights: str | None, checks: Checks, progress: Stages
) -> None:
    if files.model is None or files.plan is None:
        checks.skip(REPLAY, "the model or the plan is missing")
        return
    recorded = files.reported("source")
    if why := _unknown_original(recorded, model):
        checks.skip(REPLAY, why)
        return
    try:
        source, graph = _original(recorded, model, weights, files.plan.outputs, progress)
    except GraphpruneError as error:
        if model is not None or weights is not None:
            raise
        checks.skip(REPLAY, f"the original cannot be made here: {error.message}")
        return
    expected = recorded.get("digest")
    if expected is not None and digest(graph.program.tensors) != expected:
        why = f"{source.spec} has other weights here than those that were shrunk"
        if model is not None or weights is not None:
            raise InputError(why, "name the original with --model and its weights with --weights")
        checks.skip(REPLAY, why)
        return
    with checks.attempt(REPLAY):
        _replay(files, graph, source.seed, checks, progress)


def _unknown_original(recorded: Mapping[str, Any], model: str | None) -> str:
    """Why the original is not to be made, or nothing."""
    if model is not None:
        return ""
    spec = recorded.get("model")
    if not isinstance(spec, str):
        return "the report records no model; name it with --model"
    if spec.rpartition(":")[0].endswith(".py"):
        # a report is data: it must not make us run a file
        return f"the original is made by a file of Python, which is run only if named: --model {spec}"
    return ""


def _original(
    recorded: Mapping[str, Any],
    model: str | None,
    weights: str | None,
    outputs: tuple[str, ...],
    progress: Stages,
) -> tuple[Source, DependencyGraph]:
    progress("build the original")
    used = weights if weights is not None else recorded.get("weights")
    try:
        shapes = [tuple(map(int, shape)) for shape in recorded.get("input_shapes", ())]
        seed = int(recorded.get("seed", 0))
    except (TypeError, ValueError) as error:
        raise InputError(f"the report's source cannot be read: {error}", "shrink the model again") from error
    spec = model if model is not None else str(recorded["model"])
    with stdout_is_kept():
        source = resolve(spec, None if used in (None, FACTORY) else str(used), shapes, seed)
    progress("capture the original")
    with silence():
        return source, pipeline.trace(source.model, source.inputs, outputs=outputs)


def _replay(files: Files, graph: DependencyGraph, seed: int, checks: Checks, progress: Stages) -> None:
    assert files.model is not None
    with silence():
        result = pipeline.shrink(graph, plan=files.plan, seed=seed, progress=progress)
    replayed, saved = tensors_of(result.model), tensors_of(files.model)
    wrong = sorted(set(replayed) ^ set(saved)) or [
        name for name, tensor in replayed.items() if not _same(tensor, saved[name])
    ]
    checks.add(REPLAY, not wrong, ", ".join(wrong[:3]) or f"{len(saved)} tensors, bit by bit")
    proved = result.verdict.checks
    checks.add("slim model equals the masked original", result.verdict.passed, f"{len(proved)} checks of it")


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)
