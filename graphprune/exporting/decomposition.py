"""An operator that has no translation, taken apart into operators that have one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from graphprune.exporting.forms import Form
from graphprune.exporting.operator_library import Library
from graphprune.ground.errors import ExportError, first_line
from graphprune.ground.unlogged import unlogged

__all__ = ["NO_OPERATOR", "Parts", "taken_apart"]

NO_OPERATOR = "replace that operation by one that ONNX has, or leave ONNX out: save(..., onnx=False)"
_SIZE = 6  # of dimensions that vary, the first; others are larger, so that no two are alike


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
    """The parts of a node; sizes that vary do so in the parts.

    Raises:
        ExportError: torch cannot take it apart, or only for fixed sizes.
    """
    sources = list(dict.fromkeys(node.all_input_nodes))
    examples = [_example(forms[source], number) for number, source in enumerate(sources)]
    if not isinstance(node.target, torch._ops.OpOverload) or None in examples:
        raise ExportError(f"ONNX has no operator for {_name(node)}", NO_OPERATOR)
    varying = {
        f"tensors_{number}": {dim: torch.export.Dim.AUTO for dim in _varying(forms[source])}
        for number, source in enumerate(sources)
    }
    try:
        with unlogged():
            exported = torch.export.export(
                _Alone(node, sources), tuple(examples), dynamic_shapes={"tensors": tuple(varying.values())}
            ).run_decompositions(library.decompositions())
    except Exception as error:  # whatever the operator's parts raise
        raise ExportError(f"ONNX has no operator for {_name(node)}: {first_line(error)}", NO_OPERATOR) from error
    return _parts(node, sources, exported, forms)


def _example(form: Any, number: int) -> torch.Tensor | None:
    if not isinstance(form, Form):
        return None
    sizes = [
        size if isinstance(size, int) else _SIZE * (place + 2) + number for place, size in enumerate(form.sizes)
    ]
    return torch.empty(sizes, dtype=form.dtype, device="meta")


def _varying(form: Form) -> list[int]:
    return [dim for dim, size in enumerate(form.sizes) if not isinstance(size, int)]


def _parts(
    node: fx.Node, sources: list[fx.Node], exported: torch.export.ExportedProgram, forms: Mapping[fx.Node, Any]
) -> Parts:
    nodes = list(exported.graph.nodes)
    inputs = [inner for inner in nodes if inner.op == "placeholder"]
    made = [inner for inner in nodes if inner.op == "call_function"]
    for inner, source in zip(inputs, sources, strict=True):
        for dim in _varying(forms[source]):
            if isinstance(inner.meta["val"].shape[dim], int):
                raise ExportError(
                    f"ONNX has no operator for {_name(node)} that takes any size {dim} of {source.name}", NO_OPERATOR
                )
    if any(inner.target is node.target for inner in made) or any(inner.op == "get_attr" for inner in nodes):
        raise ExportError(f"ONNX has no operator for {_name(node)}", NO_OPERATOR)
    for inner in made:
        inner.meta["nn_module_stack"], inner.meta["stack_trace"] = {}, node.meta.get("stack_trace", "")
    described = {inner: pytree.tree_map(_form, inner.meta.get("val")) for inner in (*inputs, *made)}
    results = tuple(exported.graph.output_node().args[0])  # type: ignore[arg-type]
    return Parts(tuple(sources), tuple(inputs), tuple(made), described, results)


def _form(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return Form(value.dtype, tuple(size if isinstance(size, int) else None for size in value.shape))
    for symbolic, dtype in ((torch.SymInt, torch.int64), (torch.SymFloat, torch.float64), (torch.SymBool, torch.bool)):
        if isinstance(value, symbolic):
            return Form(dtype, ())
    return value


def _name(node: fx.Node) -> str:
    return str(node.target)
