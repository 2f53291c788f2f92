"""A program in another floating type: for models in one that a runtime computes little in, such as bfloat16."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from graphprune.capture.lazy import Lazy
from graphprune.capture.program import Program, Stored
from graphprune.exporting.fixed_dtypes import with_fixed_dtypes

__all__ = ["EXPORT_DTYPE", "finite", "floating_dtypes", "in_dtype", "named_dtype", "type_remedy"]

EXPORT_DTYPE = 'export it in another type: --export-dtype float32, or export_dtype="float32" in Python'
_COMPLEX: Mapping[torch.dtype, torch.dtype] = {
    torch.float16: torch.complex32,
    torch.float32: torch.complex64,
    torch.float64: torch.complex128,
}


def named_dtype(name: str | None) -> torch.dtype | None:
    """The type of that name.

    >>> named_dtype("float16")
    torch.float16
    """
    return None if name is None else getattr(torch, name)


def floating_dtypes(program: Program) -> frozenset[torch.dtype]:
    """The floating types of the tensors that the model holds, and of its inputs."""
    held = [item.tensor for item in program.stored.values()]
    given = [leaf for leaf in program.flat_inputs(*program.example) if isinstance(leaf, Tensor)]
    return frozenset(tensor.dtype for tensor in (*held, *given) if tensor.is_floating_point())


def in_dtype(program: Program, dtype: torch.dtype | None) -> Program:
    """The program with its tensors and inputs in ``dtype``, and with ``dtype`` wherever its operators name their type.

    A type that only operators name stays, as where a model in bfloat16 takes a softmax in float32. Finite numbers stay
    finite: one that ``dtype`` does not reach, such as the smallest number of float64 in a mask, becomes its outermost.
    Tensors that are read from files are converted when they are read.
    """
    names = {} if dtype is None else _renamed(floating_dtypes(program) - {dtype}, dtype)
    if not names or dtype is None:
        return program
    program = with_fixed_dtypes(program)

    def tensor(leaf: Tensor) -> Tensor:
        return finite(leaf.detach(), names[leaf.dtype]) if leaf.dtype in names else leaf

    def stored(item: Stored) -> Stored:
        return item.with_tensor(tensor(item.tensor)) if item.tensor.dtype in names else item

    texts = {
        str(before).removeprefix("torch."): str(after).removeprefix("torch.")
        for before, after in names.items()
    }
    values = {
        name: replace(value, dtype=texts.get(value.dtype, value.dtype))
        for name, value in program.values.items()
    }
    return replace(
        program,
        graph=_renamed_graph(program.graph, names, torch.finfo(dtype).max),
        stored={name: stored(item) for name, item in program.stored.items()},
        example=pytree.tree_map_only(Tensor, tensor, program.example),
        values=values,
        weights=None
        if program.weights is None
        else Lazy(program.stored, lambda name: tensor(program.tensors[name])),
    )


def finite(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The tensor in ``dtype``; what is finite is so afterwards."""
    made = tensor.to(dtype)
    if made.is_complex() or torch.finfo(dtype).max >= torch.finfo(tensor.dtype).max:
        return made
    outermost = torch.where(tensor > 0, torch.finfo(dtype).max, torch.finfo(dtype).min).to(dtype)
    return torch.where(tensor.isfinite() & ~made.isfinite(), outermost, made)


def type_remedy(dtypes: Any, otherwise: str) -> str:
    """What to do about a file of these types that a runtime cannot load."""
    return EXPORT_DTYPE if set(dtypes) - {torch.float32} else otherwise


def _renamed(sources: frozenset[torch.dtype], dtype: torch.dtype) -> dict[torch.dtype, torch.dtype]:
    pairs = {source: dtype for source in sources}
    return pairs | {_COMPLEX[source]: _COMPLEX[dtype] for source in sources if source in _COMPLEX}


def _renamed_graph(graph: fx.Graph, names: Mapping[torch.dtype, torch.dtype], largest: float) -> fx.Graph:
    """A copy with other types, and with numbers between the outermost ones."""
    made = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}

    def argument(leaf: Any) -> Any:
        if isinstance(leaf, fx.Node):
            return copies[leaf]
        if isinstance(leaf, torch.dtype):
            return names.get(leaf, leaf)
        outside = isinstance(leaf, float) and largest < abs(leaf) < float("inf")
        return (largest if leaf > 0 else -largest) if outside else leaf

    for node in graph.nodes:
        copy = copies[node] = made.node_copy(node, copies.__getitem__)
        copy.args, copy.kwargs = fx.node.map_aggregate((node.args, dict(node.kwargs)), argument)
    return made
