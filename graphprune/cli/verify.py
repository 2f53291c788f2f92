"""``graphprune verify``."""

from __future__ import annotations

from pathlib import Path

import torch

import graphprune as gp
from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.inputs import registered_tensors
from graphprune.cli.budgets import check_budgets
from graphprune.cli.checks import Checks, Files, check_files
from graphprune.cli.original import original, unknown_original
from graphprune.cli.output import silence
from graphprune.cli.pretrained import is_written_folder, verify_folder
from graphprune.cli.progress import Stages, stages
from graphprune.cli.request import VerifyRequest
from graphprune.cli.verdicts import show_checks
from graphprune.ground.errors import GraphpruneError, InputError
from graphprune.importing.file import read_model
from graphprune.results.cut_file import cut_file, from_file
from graphprune.verifying.tensors import is_finite_like

__all__ = ["verify"]

# repaired tensors follow from calibration data too, which a result does not hold
REPAIRED = "repaired tensors have the shapes of the cut"
CUT_FILE = "model.onnx is the original file, cut by the plan"
REPLAY = "plan replayed on the original gives the same tensors"


def verify(request: VerifyRequest) -> None:
    """Reads a result directory again and checks all that can be checked here.

    Without ``--model`` the original is what the report records, but no file of Python that it names is run.

    Raises:
        InputError: it is no result directory, or ``--model`` is not its original.
        typer.Exit: with 4, a check has failed.
    """
    if is_written_folder(request.directory):
        verify_folder(request)
        return
    checks, directory = Checks(), request.directory
    with stages(request.quiet, request.timings) as progress:
        with silence():
            files = check_files(directory, checks, progress)
        _check_replay(files, request, checks, progress)
    checks.skip("model.py is the same model", "source is for reading and is never run here")
    show_checks(request, checks.rows)


def _check_replay(files: Files, request: VerifyRequest, checks: Checks, progress: Stages) -> None:
    model, weights = request.model, request.weights
    named = model is not None or weights is not None
    if files.plan is None or (files.model is None and not files.only_onnx):
        checks.skip(REPLAY, "the model or the plan is missing")
        return
    recorded = files.reported("source")
    if why := unknown_original(recorded, model, "--model"):
        checks.skip(REPLAY, why)
        return
    try:
        source, graph, why = original(recorded, model, weights, files.plan, progress)
    except GraphpruneError as error:
        if named:
            raise
        checks.skip(REPLAY, f"the original cannot be made here: {error.message}")
        return
    if why:
        if named:
            raise InputError(why, "name the original with --model and its weights with --weights")
        checks.skip(REPLAY, why)
        return
    if files.report and "tuning" in files.report:
        checks.skip(REPLAY, "the tensors were fine-tuned after the cut")
        return
    before = len(checks.rows)
    with checks.attempt(REPLAY):
        _replay(files, graph, source.seed, checks, progress, request.directory / "model.onnx")
    if checks.rows[before]["passed"] is not False:
        check_budgets(files, graph, request.directory, checks)


def _replay(
    files: Files, graph: DependencyGraph, seed: int, checks: Checks, progress: Stages, file: Path
) -> None:
    with silence():
        result = gp.shrink(graph, plan=files.plan, seed=seed, progress=progress)
    if files.model is None:
        checks.skip(REPLAY, "there is no model.safetensors")
        _check_cut(graph, result, file, checks)
        return
    replayed, saved = registered_tensors(result.model), registered_tensors(files.model)
    repaired = _repaired(files, result.model)
    wrong = sorted(set(replayed) ^ set(saved)) or [
        name for name, tensor in replayed.items() if name not in repaired and not _same(tensor, saved[name])
    ]
    count = f"{len(saved) - len(repaired)} tensors, bit by bit"
    name = REPLAY + (" but for repaired ones" if repaired else "")
    checks.add(name, not wrong, ", ".join(wrong[:3]) or count)
    if repaired and not wrong:
        off = [name for name in sorted(repaired) if not is_finite_like(replayed[name], saved[name])]
        checks.add(REPAIRED, not off, ", ".join(off[:3]) or f"{len(repaired)} tensors, and all are finite")
    if not repaired:
        _check_cut(graph, result, file, checks)
    proved = result.verdict.checks
    what = "the cut before the repair" if repaired else "slim model"
    checks.add(f"{what} equals the masked original", result.verdict.passed, f"{len(proved)} checks of it")


def _check_cut(graph: DependencyGraph, result: gp.Result, file: Path, checks: Checks) -> None:
    """A file that was made of an ONNX file is what the plan makes of that."""
    if from_file(graph) and file.exists():
        again = cut_file(graph, result.plan, result.model)
        checks.add(CUT_FILE, read_model(file) == again, f"{len(again.graph.node)} nodes, bit by bit")


def _repaired(files: Files, model: torch.nn.Module) -> set[str]:
    """Names that the report says are of repaired tensors; tied ones under each of their names."""
    report = files.reported("repair")
    names = report.get("tensors")
    named = registered_tensors(model)
    own = {id(named[name]) for name in names if name in named} if isinstance(names, list) else set()
    return {name for name, tensor in named.items() if id(tensor) in own}


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)
