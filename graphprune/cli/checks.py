"""Checks of a result directory that need nothing but its files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import fx

from graphprune import exporting
from graphprune.asking.options import EXPORT_DTYPES
from graphprune.capture.inputs import Inputs, registered_tensors
from graphprune.cli.shapes import restore_inputs
from graphprune.ground.documents import read_text
from graphprune.ground.errors import GraphpruneError, InputError, first_line
from graphprune.ground.limits import bounded_memory
from graphprune.planning import Plan
from graphprune.report.document import read_report, sweep_hint
from graphprune.results.cut_file import shapes_of_file
from graphprune.results.loading import load
from graphprune.results.missing import lacking
from graphprune.results.onnx_checks import compare_saved

__all__ = ["Checks", "Files", "check_files"]

BATCHES = (1, 3)
# what checking may take: bytes, and bytes for each byte of the files, several of which are copies of the tensors
MEMORY, SPARE = 4 * 2**30, 20


@dataclass
class Checks:
    """What was checked, in order: passed, failed, or not checked and why."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, passed: bool | None, detail: str = "", figure: float | None = None) -> None:
        """``passed`` is None for what was not checked."""
        self.rows.append({"name": name, "passed": passed, "figure": figure, "detail": detail})

    def skip(self, name: str, why: str) -> None:
        """Says that something was not checked."""
        self.add(name, None, why)

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """A failed check instead of an error in the body; the body says what passed.

        What is received can fail in any way where it is run.
        """
        try:
            yield
        except GraphpruneError as error:
            self.add(name, False, error.message)
        except Exception as error:
            self.add(name, False, f"{type(error).__name__}: {first_line(error, 200)}")

    def passed(self, name: str, run: Callable[[], Any]) -> Any:
        """Runs a check that passes unless it raises an error of ours; returns what it gives, or None."""
        with self.attempt(name):
            found = run()
            self.add(name, True)
            return found
        return None

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The failed ones."""
        return [row for row in self.rows if row["passed"] is False]


@dataclass(frozen=True)
class Files:
    """What a result directory holds; None for what is missing or damaged."""

    report: Mapping[str, Any] | None
    model: fx.GraphModule | None
    plan: Plan | None

    @property
    def only_onnx(self) -> bool:
        """Whether there is no model for PyTorch, by the report's own word."""
        return bool(lacking(self.report or {}, "model.safetensors"))

    def reported(self, part: str) -> Mapping[str, Any]:
        """A part of the report; empty where the report lacks it, or holds something else there."""
        found = (self.report or {}).get(part)
        return found if isinstance(found, Mapping) else {}


def check_files(directory: Path, checks: Checks, progress: Callable[[str], None], onnx: bool = True) -> Files:
    """Reads a result directory, without pickle and without running its model.py, and checks its files.

    Args:
        onnx: check and run model.onnx too.

    Raises:
        InputError: it is no result directory.
    """
    if not directory.is_dir():
        raise InputError(f"there is no directory {directory}", "give one that graphprune shrink wrote")
    if said := sweep_hint(directory):
        raise InputError(f"{directory} holds several results", said)
    if not any((directory / name).is_file() for name in ("report.json", "plan.json", "model.safetensors")):
        raise InputError(f"{directory} holds no result", "give a directory that graphprune shrink wrote")
    progress("read the files")
    with bounded_memory(MEMORY + SPARE * _size(directory)):
        files = Files(
            report := checks.passed(
                "report.json is readable", lambda: read_report(directory / "report.json")
            ),
            _loaded(directory, report, checks),
            checks.passed(
                "plan.json is readable", lambda: Plan.from_json(read_text(directory / "plan.json"))
            ),
        )
        _check_verdict(files, checks)
        _check_shapes(files, directory / "model.onnx", checks)
        _check_parameters(files, checks)
        if onnx:
            progress("run in onnxruntime")
            _check_onnx(directory / "model.onnx", files, checks)
    return files


def _loaded(directory: Path, report: Mapping[str, Any] | None, checks: Checks) -> fx.GraphModule | None:
    """The model; None where there is none, as of some ONNX files, whose slim file is all that there is."""
    name = "model loads, without pickle"
    if why := lacking(report or {}, "model.safetensors"):
        checks.skip(name, why)
        return None
    found: fx.GraphModule | None = checks.passed(name, lambda: load(directory))
    return found


def _size(directory: Path) -> int:
    """Bytes of all files of a directory."""
    return sum(file.stat().st_size for file in directory.iterdir() if file.is_file())


def _check_verdict(files: Files, checks: Checks) -> None:
    name = "all checks of the report passed"
    if files.report is None:
        checks.skip(name, "the report is missing")
        return
    verdict = files.report["verdict"]
    failed = [check["name"] for check in verdict["checks"] if not check["passed"]]
    passed = verdict["passed"] and not failed
    checks.add(name, passed, ", ".join(failed[:3]) or f"{len(verdict['checks'])} checks")


def _check_shapes(files: Files, path: Path, checks: Checks) -> None:
    name = "tensors have the planned shapes"
    if files.plan is None or (files.model is None and not files.only_onnx):
        checks.skip(name, "the model or the plan is missing")
        return
    with checks.attempt(name):
        held = registered_tensors(files.model) if files.model is not None else {}
        shapes = {key: tuple(item.shape) for key, item in held.items()}
        if files.plan.kept.keys() - shapes.keys() and path.exists():  # they are named as in the file
            shapes |= shapes_of_file(path)
        wrong = [
            f"{tensor}[{dim}]"
            for tensor, dims in files.plan.kept.items()
            for dim, kept in dims.items()
            if dim >= 0 and shapes.get(tensor, ())[dim : dim + 1] != (kept.shape[-1],)
        ]
        checks.add(name, not wrong, ", ".join(wrong[:3]) or f"{len(files.plan.kept)} cut tensors")


def _check_parameters(files: Files, checks: Checks) -> None:
    name = "parameters as reported"
    reported = files.reported("after").get("params")
    if files.model is None or reported is None:
        checks.skip(name, "the model or the report is missing")
        return
    counted = sum(parameter.numel() for parameter in files.model.parameters())
    checks.add(name, counted == reported, f"{counted} counted, {reported} reported")


def _check_onnx(path: Path, files: Files, checks: Checks) -> None:
    name = "ONNX file passes the checker"
    if files.report and "onnx_bytes" not in files.reported("after") and not path.exists():
        said = [item.get("why", "") for item in files.report.get("missing", ()) if isinstance(item, Mapping)]
        checks.skip(name, "; ".join(["the result was saved without one", *map(str, said)]))
        return
    checks.passed(name, lambda: _run_checker(path))
    name = "onnxruntime equals the model"
    if files.model is None or checks.rows[-1]["passed"] is False:
        checks.skip(name, "the model or the ONNX file is missing or damaged")
        return
    with checks.attempt(name):
        inputs = _inputs(path, files.reported("source").get("inputs"))
        named = (files.report or {}).get("export_dtype")
        dtype = exporting.named_dtype(str(named)) if named in EXPORT_DTYPES else None
        sizes = [{"batch": size} for size in BATCHES]
        for check in compare_saved(path, files.model.eval(), inputs, sizes, dtype):
            checks.add(check.name, check.passed, check.detail, check.figure)


def _run_checker(path: Path) -> None:
    import onnx

    exporting.check_received(path)
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:  # the checker's errors have no common base class
        raise InputError(first_line(error)) from error


def _inputs(path: Path, recorded: Mapping[str, Any] | None) -> Inputs:
    """As the report records them; else of the shapes in the ONNX file, where they are all floating."""
    if recorded is not None:
        return restore_inputs(recorded)
    inputs = exporting.session(path).get_inputs()
    if any(value.type != "tensor(float)" for value in inputs):
        raise InputError("the report does not record the inputs, and the ONNX file's are not all float32")
    sizes = [[size if isinstance(size, int) else BATCHES[0] for size in value.shape] for value in inputs]
    return tuple(torch.randn(shape, generator=torch.Generator().manual_seed(0)) for shape in sizes), {}
