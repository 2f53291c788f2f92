"""An operator that has no translation, taken apart into operators that have one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import fx, nn
from torch.fx.experimental.symbolic_shapes import is_concrete_int
from torch.utils import _pytree as pytree

from graphprune.exporting.forms import Form
from graphprune.exporting.operator_library import Library
from graphprune.exporting.refusals import NO_OPERATOR, where
from graphprune.ground.errors import ExportError, first_line
from graphprune.ground.unlogged import unlogged

__all__ = ["Parts", "taken_apart"]


@dataclass(frozen=True)
class Parts:
    """What an operator is made of.

    Args:
        sources: the nodes that it reads.
        inputs: the nodes of the parts that stand for these.
        nodes: the parts in order, ``forms`` what each gives.
        results: the nodes that are its results.
    """

    sources: tuple[fx.Node, ...]
    inputs: tuple[fx.Node, ...]
    nodes: tuple[fx.Node, ...]
    forms: Mapping[fx.Node, Any]
    results: tuple[fx.Node, ...]


class _Alone(nn.Module):
    """One node as a model, of the tensors that it reads."""

    def __init__(self, node: fx.Node, sources: list[fx.Node]) -> None:
        super().__init__()
        self.node, self.sources = node, sources

    def forward(self, *tensors: torch.Tensor) -> Any:
        given = dict(zip(self.sources, tensors, strict=True))
        args, kwargs = fx.node.map_arg((self.node.args, self.node.kwargs), given.__getitem__)
        return self.node.target(*args, **kwargs)  # type: ignore[operator]


def taken_apart(library: Library, node: fx.Node, forms: Mapping[fx.Node, Any]) -> Parts:
    """The parts of a node, as of one like it if there was one; see `_taken_apart`.

    Raises:
        ExportError: torch cannot take it apart, or only for fixed sizes.
    """
    sources = list(dict.fromkeys(node.all_input_nodes))
    places = {source: place for place, source in enumerate(sources)}
    literal = fx.node.map_arg((node.args, node.kwargs), lambda source: f"input {places[source]}")
    key = (node.target, repr(literal), repr([forms[source] for source in sources]))
    if key not in library.parts:
        library.parts[key] = _taken_apart(library, node, sources, forms)
    return replace(library.parts[key], sources=tuple(sources))


def _taken_apart(
    library: Library, node: fx.Node, sources: list[fx.Node], forms: Mapping[fx.Node, Any]
) -> Parts:
    """The parts of a node; sizes that vary do so in the parts.

    Raises:
        ExportError: torch cannot take it apart, or only for fixed sizes.
    """
    run = _run([forms[source] for source in sources])
    examples = [_example(forms[source], run) for source in sources]
    if not isinstance(node.target, torch._ops.OpOverload) or any(example is None for example in examples):
        raise _refusal(node)
    varying = tuple({dim: torch.export.Dim.AUTO for dim in _varying(forms[source])} for source in sources)
    try:
        with unlogged():
            exported = torch.export.export(
                _Alone(node, sources), tuple(examples), dynamic_shapes={"tensors": varying}
            ).run_decompositions(library.decompositions())
    except Exception as error:  # whatever the operator's parts raise
        raise _refusal(node, f": {first_line(error, 200)}") from error
    return _parts(node, sources, exported, forms)


def _refusal(node: fx.Node, why: str = "") -> ExportError:
    return ExportError(f"ONNX has no operator for {node.target}{where(node)}{why}", NO_OPERATOR)


def _run(forms: list[Any]) -> int:
    """The run with the smallest tensors in which no two sizes that vary are equal: some operators are unrolled."""
    tensors = [form for form in forms if isinstance(form, Form) and form.seen]
    runs = range(min((len(form.seen) for form in tensors), default=0))
    columns = {tuple(seen[dim] for seen in form.seen) for form in tensors for dim in _varying(form)}

    def volume(run: int) -> int:
        return sum(prod(form.seen[run]) for form in tensors)

    for run in sorted(runs, key=volume):
        sizes = [column[run] for column in columns]
        if len(set(sizes)) == len(sizes) and all(size > 1 for size in sizes):
            return run
    return -1


def _example(form: Any, run: int) -> torch.Tensor | None:
    """A tensor as in that run."""
    if not isinstance(form, Form) or not form.seen:
        return None
    return torch.empty(form.seen[run], dtype=form.dtype, device="meta")


def _varying(form: Form) -> list[int]:
    return [dim for dim, size in enumerate(form.sizes) if not isinstance(size, int)]


def _parts(
    node: fx.Node,
    sources: list[fx.Node],
    exported: torch.export.ExportedProgram,
    forms: Mapping[fx.Node, Any],
) -> Parts:
    nodes = list(exported.graph.nodes)
    inputs = [inner for inner in nodes if inner.op == "placeholder"]
    made = [inner for inner in nodes if inner.op == "call_function"]
    _require_free(node, inputs, [forms[source] for source in sources])
    if any(inner.target is node.target for inner in made) or any(inner.op == "get_attr" for inner in nodes):
        raise _refusal(node)
    for inner in made:
        inner.meta["nn_module_stack"], inner.meta["stack_trace"] = {}, node.meta.get("stack_trace", "")
    described = {inner: pytree.tree_map(_form, inner.meta.get("val")) for inner in (*inputs, *made)}
    results = tuple(exported.graph.output_node().args[0])
    return Parts(tuple(sources), tuple(inputs), tuple(made), described, results)


def _require_free(node: fx.Node, inputs: list[fx.Node], forms: list[Form]) -> None:
    """Sizes that vary are still free in the parts, and two are taken for one only if they were in every run.

    Raises:
        ExportError: it is not so.
    """
    columns: dict[str, tuple[int, ...]] = {}
    for inner, form in zip(inputs, forms, strict=True):
        for dim in _varying(form):
            size, column = inner.meta["val"].shape[dim], tuple(seen[dim] for seen in form.seen)
            if is_concrete_int(size) or columns.setdefault(str(size), column) != column:
                raise _refusal(node, ": what it is made of fits the sizes of the example only")


def _form(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return Form(value.dtype, tuple(size if isinstance(size, int) else None for size in value.shape))
    for symbolic, dtype in (
        (torch.SymInt, torch.int64),
        (torch.SymFloat, torch.float64),
        (torch.SymBool, torch.bool),
    ):
        if isinstance(value, symbolic):
            return Form(dtype, ())
    return value
