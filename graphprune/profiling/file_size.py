"""The bytes of a model's ONNX file, as a function of the sizes of its atoms."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy
import torch

from graphprune.axes.cost import Polynomial
from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.terms import Term

__all__ = ["file_size"]

SAMPLE = 1 << 14  # numbers of a tensor by which it is known again


def file_size(graph: DependencyGraph, path: Path, total: int) -> Polynomial:
    """Bytes of the file that a slim model will have, learned from that of the original.

    The exporter transposes tensors, folds normalisations into others and leaves zeros out, so the tensors in the file
    are traced back to the model's: by content, or by name where a weight was scaled. What is not found, such as
    operators and names, stays as large as it is.

    Args:
        path: the original's file.
        total: its bytes, with what lies beside it.
    """
    import onnx

    known = _by_content(graph)
    products, prices, rest = [], {}, total
    for tensor in onnx.load(str(path)).graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        terms = known.get(_digest(array)) or _by_name(graph, tensor.name, array.size)
        if terms is not None and array.size:
            products.append((tensor.name, terms))
            prices[tensor.name] = array.nbytes // array.size
            rest -= array.nbytes
    free = {group.atom for group in graph.groups}
    return Polynomial.of([*products, ("the rest", ())], free, {}, {**prices, "the rest": rest})


def _by_content(graph: DependencyGraph) -> Mapping[str, tuple[Term, ...]]:
    found: dict[str, tuple[Term, ...]] = {}
    for name, terms in graph.tensor_terms.items():
        tensor = graph.program.tensors[name].detach().cpu()
        if tensor.dtype != torch.bfloat16:  # numpy has none; found by name
            for layout in (tensor, tensor.t()) if tensor.dim() == 2 else (tensor,):
                found.setdefault(_digest(layout.numpy()), terms)
    return found


def _digest(array: Any) -> str:
    """Of the type, the size, and numbers at equal distances: hundreds of megabytes are told apart by these.

    The shape does not count: the exporter adds and drops dimensions of one.
    """
    array = numpy.atleast_1d(array)
    step = array.size // SAMPLE | 1  # odd, so that it does not stay in one column
    numbers = array[numpy.unravel_index(numpy.arange(0, array.size, step), array.shape)]
    return hashlib.sha256(numbers.tobytes() + f"{array.dtype} {array.size}".encode()).hexdigest()


def _by_name(graph: DependencyGraph, name: str, count: int) -> tuple[Term, ...] | None:
    """The tensor of that name, scaled; or the bias that a folded normalisation adds to one without."""
    terms = graph.tensor_terms.get(name)
    if terms is not None:
        return terms if prod(term.size for term in terms) == count else None
    outputs = graph.tensor_terms.get(name.removesuffix("_bias"), ())
    return next(((term,) for term in outputs[:2] if term.size == count), None)
