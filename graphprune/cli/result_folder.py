"""MODEL as a result of `graphprune shrink`, to go on from it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from graphprune.capture.inputs import Inputs
from graphprune.cli.onnx_file import is_onnx
from graphprune.cli.shapes import restore_inputs
from graphprune.ground.documents import named
from graphprune.ground.errors import InputError
from graphprune.report.document import read_report
from graphprune.results.loading import load
from graphprune.results.missing import lacking

__all__ = ["OpenedResult", "opened_result"]


@dataclass(frozen=True)
class OpenedResult:
    """The slim model of a result.

    Attributes:
        inputs: one example, as its report describes them; None where that says nothing of them.
        model_name: the original's, as the report has it; empty where it has none.
    """

    model: nn.Module
    inputs: Inputs | None
    model_name: str


def opened_result(folder: Path) -> OpenedResult | Path:
    """The slim model, or its ONNX file where it was made of one: then the next result is made of that again.

    Raises:
        InputError: a file is missing, damaged or foreign.
    """
    report = named(folder / "report.json", lambda: read_report(folder / "report.json"))
    source = report.get("source", {})
    name, file = str(source.get("model", "")), folder / "model.onnx"
    if file.is_file() and (is_onnx(name) or lacking(report, "model.safetensors")):
        return file
    inputs = None
    with suppress(InputError):
        inputs = restore_inputs(source.get("inputs", {}))
    return OpenedResult(load(folder), inputs, name)
