"""Writes the slim model as ONNX and checks the file in onnxruntime: on the model's tensors and on random ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from graphprune import exporting
from graphprune.capture.fitting import fitting_everywhere
from graphprune.capture.inputs import Inputs, registered_tensors
from graphprune.capture.program import Program
from graphprune.capture.raising import raise_program
from graphprune.exporting import BATCHES, OnnxFile, Parity
from graphprune.exporting.parity import Judge, Valued
from graphprune.exporting.runtime import Array
from graphprune.ground.clock import Clock
from graphprune.ground.errors import ExportError, first_line
from graphprune.verifying import Check, calm
from graphprune.verifying.nodes import coarsest_dtype, output_run, outputs_of
from graphprune.verifying.reference import NodeError, Run
from graphprune.verifying.rounding import Again, error_beyond_rounding, layers_run
from graphprune.verifying.samples import model_runs, refuses
from graphprune.verifying.tensors import Latest, in_dtype

__all__ = ["ONNX_TOLERANCE", "compare_saved", "write_checked"]

# relative to the largest value of an output, by the type that the file computes in: onnxruntime fuses and reorders
# arithmetic, and some of its kernels compute float64 with tables and polynomials for float32
ONNX_TOLERANCE: Mapping[torch.dtype, float] = {
    torch.float64: 1e-6,
    torch.float32: 1e-3,
    torch.float16: 1e-2,
    torch.bfloat16: 5e-2,
}
# below it an error of a tenth, made where the input comes in, would stay under a tenth of the tolerance
BLIND = 1e-3

NAME = "onnxruntime equals PyTorch"


def write_checked(
    program: Program, model: fx.GraphModule, path: Path, clock: Clock, dtype: torch.dtype | None = None
) -> tuple[OnnxFile, tuple[Check, ...]]:
    """Writes `program` to `path` and compares it in onnxruntime: on its own tensors, and at all sizes on random ones.

    A model's own tensors can hide its inputs, or whole branches: heads and layer scales often start at zero. So
    the same program is made a second time on random parameters and running statistics, in memory, and compared. At any
    time at most one random copy of the weights is held. The file itself is run on one example. It is
    run at the other sizes too where it was optimised to other operators, of which that twin says nothing.

    With ``dtype`` the file computes in another type than the model. It is compared with the model as it was captured,
    run in float64, which knows nothing of the conversion.

    Args:
        program: the slim program.
        model: the module that was raised from it, whose tensors count.
        dtype: of the file's numbers; None for the model's own.

    Raises:
        ExportError: the model cannot be exported, or onnxruntime cannot run it.
    """
    sizes = [
        at for at in _assignments(program) if not refuses(program, at) and model_runs(program, model, at)
    ] or [{}]  # as in the example
    written_as, module = exporting.in_dtype(program, dtype), model
    if written_as is not program:
        module = _cast(raise_program(written_as), model)
    wide = written_as is not program
    limit = ONNX_TOLERANCE[coarsest_dtype(written_as)]

    def reference(tensors: Mapping[str, Tensor] | None = None) -> nn.Module:
        if wide:
            return _Wide(program, tensors or registered_tensors(model))
        return Valued(module, tensors) if tensors else module

    inputs = fitting_everywhere(written_as, sizes)
    with clock("export"):
        converted = exporting.OnnxProgram.of(written_as, module)
        written = converted.write(path)
    with clock("run in onnxruntime"):
        judge = _beyond_rounding(_runs_of(written_as, registered_tensors(module)), limit)
        loaded = exporting.session(path)
        own = exporting.parity(loaded, reference(), inputs, sizes[:1], judge=judge)
    with clock("compare on random weights"):
        values = calm(module, exporting.sample(loaded, inputs, sizes), seed=0)
        twin = converted.finished(values)
        del converted
        if (
            notes := []
            if twin.operators == written.operators
            else ["optimised to other operators than the file"]
        ):
            own += exporting.parity(loaded, reference(), inputs, sizes[1:], judge=judge)
        judge = _beyond_rounding(_runs_of(written_as, values), limit)
        random = exporting.parity(twin, reference(values), inputs, sizes, judge=judge)
    other = _other_type(program, dtype) if wide else []
    checks = (
        *_checks(NAME, own, limit, other),
        *_checks(f"{NAME}, random parameters", random, limit, [*other, *notes]),
    )
    return written, checks


def _assignments(program: Program) -> list[Mapping[str, int]]:
    """One example; the smallest sizes that capture tried; the larger ones, of one example."""
    tried = sorted(program.tried, key=lambda sizes: prod(sizes.values()))
    one, three = BATCHES
    small, *large = tried or [three]
    return [one, small, *({**at, **{name: one[name] for name in one if name in at}} for at in large)]


def compare_saved(
    path: Path,
    model: nn.Module,
    inputs: Inputs,
    sizes: Sequence[Mapping[str, int]],
    dtype: torch.dtype | None,
) -> Iterator[Check]:
    """Compares a file with the model that was saved beside it, on the model's own tensors.

    Args:
        inputs: of the model.
        dtype: that of the file's numbers; None for the model's own.

    Raises:
        ExportError: onnxruntime cannot run it.
    """
    held = {tensor.dtype for tensor in registered_tensors(model).values() if tensor.dtype in ONNX_TOLERANCE}
    limit = max((ONNX_TOLERANCE[kind] for kind in held | ({dtype} if dtype else set())), default=1e-3)
    given = tree_map(lambda leaf: in_dtype(leaf, dtype), inputs)
    layers = model if dtype is None else _Own(model, inputs, dtype)
    judge = _beyond_rounding(partial(layers_run, layers), limit)
    rows = exporting.parity(path, layers, given, sizes, judge=judge)
    yield from _checks("onnxruntime equals the model", rows, limit, [])


class _Own(nn.Module):
    """A model that is given, and gives, ``dtype`` in the place of the floating types of its own ``inputs``."""

    def __init__(self, model: nn.Module, inputs: Inputs, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = model, dtype
        self.leaves, self.structure = tree_flatten(inputs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        leaves = [
            in_dtype(leaf, own.dtype if isinstance(own, Tensor) else None)
            for leaf, own in zip(tree_leaves((args, kwargs)), self.leaves, strict=True)
        ]
        args, kwargs = tree_unflatten(leaves, self.structure)
        return tree_map(lambda leaf: in_dtype(leaf, self.dtype), self.model(*args, **kwargs))


def _other_type(program: Program, dtype: torch.dtype | None) -> list[str]:
    model, file = (str(one).removeprefix("torch.") for one in (coarsest_dtype(program), dtype))
    return [f"the file in {file}, the model's {model} in float64"]


def _checks(name: str, rows: Iterable[Parity], limit: float, notes: Iterable[str]) -> Iterator[Check]:
    for row in rows:
        blind = row.change is not None and row.change < BLIND
        hidden = [f"outputs hardly depend on the input: by {row.change:.0e}"] if blind else []
        detail = "; ".join(filter(None, [*hidden, *notes, row.note]))
        yield Check(f"{name}, {row}", row.left <= limit, row.left, limit, detail)


def _runs_of(program: Program, tensors: Mapping[str, Tensor]) -> Callable[[Inputs], Again]:
    """Runs of a program with these tensors in the place of its own."""
    held = Latest(program.tensors, lambda name: tensors.get(name, program.tensors[name]).detach())
    return lambda inputs: output_run(program, program.graph, held, program.flat_inputs(*inputs))


def _beyond_rounding(runs: Callable[[Inputs], Again], limit: float) -> Judge:
    """What counts of a difference: where it is over the limit, what rounding in these runs does not explain."""

    def left(inputs: Inputs, expected: list[Array], found: list[Array]) -> tuple[float, str]:
        wanted = [torch.as_tensor(array) for array in expected]
        # the file may be of a smaller type than what it is compared with
        given = [
            in_dtype(torch.as_tensor(array), one.dtype if one.is_floating_point() else None)
            for array, one in zip(found, wanted, strict=True)
        ]
        with torch.no_grad():
            return error_beyond_rounding(wanted, given, limit, runs(inputs))

    return left


@torch.no_grad()
def _cast(module: fx.GraphModule, model: nn.Module) -> fx.GraphModule:
    """``module`` with the values that ``model`` has under the same names, in its own types."""
    values = registered_tensors(model)
    for name, tensor in registered_tensors(module).items():
        given = values[name].detach()
        tensor.copy_(exporting.finite(given, tensor.dtype) if tensor.is_floating_point() else given)
    return module


class _Wide(nn.Module):
    """A program with these tensors, computed in float64: a list of its outputs."""

    def __init__(self, program: Program, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.program = program
        held = {name: tensors.get(name, item.tensor).detach() for name, item in program.stored.items()}
        self.held = Latest(held, lambda name: in_dtype(held[name], torch.float64))

    def forward(self, *args: Any, **kwargs: Any) -> list[Tensor]:
        leaves = [in_dtype(leaf, torch.float64) for leaf in self.program.flat_inputs(args, kwargs)]
        try:
            found = outputs_of(self.program, Run(self.program.graph, self.held, leaves, torch.float64))
        except NodeError as error:
            why = first_line(error.__cause__ or error)
            raise ExportError(f"the model cannot be computed in float64, to compare: {why}") from error
        return [found[name] for name in self.program.output_names]
