"""Models that are named as files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from graphprune.asking.request import Request
from graphprune.axes.dependency import DependencyGraph
from graphprune.capture import Program
from graphprune.ground.dynamic import AUTO, Dynamic
from graphprune.ground.errors import BudgetError, InputError
from graphprune.importing.interpreter import OnnxModule
from graphprune.importing.reading import AS_USUAL, Tidying, is_file, open_file
from graphprune.importing.signature import declared_sizes
from graphprune.importing.tables import tables_of
from graphprune.planning import Plan
from graphprune.slicing.tensors import sources_of

__all__ = [
    "as_opened",
    "check_options",
    "fitting_plan",
    "holding_tables",
    "noted",
    "opened",
    "sizes_asked",
    "tables_named",
]


def opened(model: Any, example_inputs: Any, tidying: Tidying = AS_USUAL) -> tuple[Any, Any]:
    """The module and example inputs of an ONNX file; any other model and its inputs as they are.

    Raises:
        InputError: the file cannot be read, does not fit the inputs, or a text names no such file; ``tidying`` is asked
            of what is no file, or was opened already.
        CaptureError: the file cannot be run.
    """
    if not isinstance(model, str | Path):
        module = model.program.model if isinstance(model, DependencyGraph) else model
        done = module.tidying if isinstance(module, OnnxModule) else AS_USUAL
        if tidying not in (AS_USUAL, done):
            raise InputError(
                "keep_denormals and simplify are for ONNX files when they are read",
                "give it with the file's path",
            )
        return model, example_inputs
    if not is_file(model):
        raise InputError(
            f"{str(model)!r} is no model", "give a torch.nn.Module, or the path of a file that ends in .onnx"
        )
    file = open_file(model, example_inputs, tidying)
    return file.module, file.inputs


def as_opened(model: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, with what was asked of an ONNX file when it was read, so that a plan records it."""
    module = model.program.model if isinstance(model, DependencyGraph) else model
    tidying = module.tidying if isinstance(module, OnnxModule) else None
    asked = {name: True for name, wanted in asdict(tidying).items() if wanted} if tidying else {}
    return {**asked, **options}


def sizes_asked(model: Any, dynamic: Dynamic) -> Dynamic:
    """What varies of a model's sizes: of a file what the file says, unless the user asks otherwise."""
    return declared_sizes(model.signature) if isinstance(model, OnnxModule) and dynamic == AUTO else dynamic


def noted(program: Program) -> Program:
    """The program, with notes on an ONNX file: nodes that it does not run, constants that are no weights."""
    module = program.model
    if not isinstance(module, OnnxModule):
        return program
    notes = [module.left.note] if module.left.nodes else []
    notes += [f"{what}; no output changes by it" for what in module.tidied]
    if tables := tables_of(module):
        named = ", ".join(f"{path} ({kind})" for path, kind in list(tables.items())[:3])
        many = f" and {len(tables) - 3} more" if len(tables) > 3 else ""
        notes.append(
            f"constants that look like tables keep their size: {named}{many}; cut_tables cuts them too"
        )
    return replace(program, notes=(*program.notes, *notes))


def holding_tables(graph: DependencyGraph, request: Request) -> Request:
    """The request, which protects the constants of an ONNX file that are no weights, unless it asks for them."""
    module = graph.program.model
    if not isinstance(module, OnnxModule):
        if request.cut_tables:
            raise InputError("cut_tables is for ONNX files, and this is none", "leave it out")
        return request
    tables = () if request.cut_tables or request.instead else tuple(tables_of(module))
    own = (request.protect,) if isinstance(request.protect, str) else tuple(request.protect)
    return replace(request, protect=(*own, *tables)) if tables else request


def check_options(graph: DependencyGraph, request: Request) -> None:
    """Raises InputError where a graph is that of an ONNX file, and the request is for what a file cannot be."""
    if not isinstance(graph.program.model, OnnxModule):
        return
    if request.graft:
        raise InputError("graft=True, and an ONNX file has no class of Python", "leave it out")
    if request.export_dtype:
        raise InputError(
            f"export_dtype={request.export_dtype!r}, and an ONNX file keeps the types that it has",
            "leave it out, or convert the file first",
        )
    if request.is_lossless:
        raise InputError(
            "lossless removal gives layers biases that an ONNX file has no place for",
            "give a budget, such as macs=0.9",
        )


@contextmanager
def tables_named(graph: DependencyGraph, request: Request) -> Iterator[None]:
    """Where a budget is out of reach, says that tables keep their size, if any do."""
    try:
        yield
    except BudgetError as error:
        module = graph.program.model
        if not isinstance(module, OnnxModule) or request.cut_tables or not tables_of(module):
            raise
        more = "constants that look like tables keep their size: cut_tables cuts them too"
        raise BudgetError(error.message, f"{error.remedy}; {more}") from error


def fitting_plan(graph: DependencyGraph, plan: Plan) -> Plan:
    """A plan that was read, with the names that tensors have in the program.

    Raises:
        PlanError: it was made for another model.
    """
    module = graph.program.model
    return plan.check(graph, sources_of(module) if isinstance(module, OnnxModule) else None)
