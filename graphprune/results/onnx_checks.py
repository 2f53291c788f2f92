"""Writes the slim model as ONNX and checks the file in onnxruntime: on the model's tensors and on random ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import fx

from graphprune import exporting
from graphprune.capture.fitting import fitting_everywhere
from graphprune.capture.program import Program
from graphprune.exporting import BATCHES, OnnxFile, Parity
from graphprune.ground.clock import Clock
from graphprune.verifying import Check, calm
from graphprune.verifying.samples import refuses

__all__ = ["ONNX_TOLERANCE", "write_checked"]

# onnxruntime fuses and reorders float32 arithmetic; relative to the largest value of an output
ONNX_TOLERANCE = 1e-3
# below it an error of a tenth, made where the input comes in, would stay under a tenth of the tolerance
BLIND = 1e-3

NAME = "onnxruntime equals PyTorch"


def write_checked(
    program: Program, model: fx.GraphModule, path: Path, clock: Clock
) -> tuple[OnnxFile, tuple[Check, ...]]:
    """Writes `program` to `path` and compares it, at two batch sizes and all sizes that were tried, in onnxruntime.

    A model's own tensors can hide its inputs, or whole branches: heads and layer scales often start at zero. So
    the same program is written a second time on random parameters and running statistics, compared, and
    deleted. At any time at most one random copy of the weights is held.

    Args:
        program: the slim program.
        model: the module that was raised from it, whose tensors count.

    Raises:
        ExportError: the model cannot be exported, or onnxruntime cannot run it.
    """
    sizes = [at for at in (*BATCHES, *program.tried) if not refuses(program, at)]
    inputs = fitting_everywhere(program, sizes)
    with clock("export"):
        converted = exporting.OnnxProgram.of(program, model)
        written = converted.write(path)
    with clock("run in onnxruntime"):
        own = exporting.parity(path, model, inputs, sizes)
    with clock("compare on random weights"), TemporaryDirectory(dir=path.parent) as folder:
        values = calm(model, exporting.samples(path, inputs, sizes), seed=0)
        twin = converted.write(Path(folder, path.name), values)
        del converted
        random = exporting.parity(twin.path, model, inputs, sizes, tensors=values)
    note = "" if twin.operators == written.operators else "optimised to other operators than the file"
    return written, (*_checks(NAME, own), *_checks(f"{NAME}, random parameters", random, note))


def _checks(name: str, rows: list[Parity], note: str = "") -> Iterator[Check]:
    for row in rows:
        blind = row.change is not None and row.change < BLIND
        hidden = f"outputs hardly depend on the input: by {row.change:.0e}" if blind else ""
        detail = "; ".join(filter(None, (hidden, note)))
        yield Check(f"{name}, {row}", row.max_rel <= ONNX_TOLERANCE, row.max_rel, ONNX_TOLERANCE, detail)
