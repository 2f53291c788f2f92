"""Compares every node of the slim program with the same node of the masked original."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.nodes import overload
from graphprune.capture.program import Program
from graphprune.ground.clock import counted
from graphprune.planning.plan import Plan, make_masks
from graphprune.verifying.reference import NodeError, Reference, steps
from graphprune.verifying.verdict import Check

__all__ = [
    "TOLERANCE",
    "Comparison",
    "Restricted",
    "coarsest_dtype",
    "compare_nodes",
    "converted",
    "copied",
    "first_line",
    "relative_error",
]

# relative to the largest value of the same tensor; accumulation in another order is all that may differ
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}


@dataclass(frozen=True)
class Comparison:
    """The check, what the slim program returned, and the sizes met for each batch prime; empty if it failed."""

    check: Check
    outputs: dict[str, Tensor]
    batches: dict[int, int] = field(default_factory=dict)


def compare_nodes(
    name: str,
    graph: DependencyGraph,
    plan: Plan,
    slim: Program,
    tensors: Mapping[str, Tensor],
    inputs: list[Any],
    dtype: torch.dtype,
) -> Comparison:
    """Every node of the slim program equals the kept part of the same node of the masked original."""
    wide = dtype is torch.float64
    inputs = [converted(leaf, dtype) if wide else leaf for leaf in inputs]
    cast = dtype if wide else None
    reference = Reference(graph, make_masks(graph, plan.groups).kept, inputs)
    ours = steps(
        slim.graph, Restricted(tensors, plan.kept), inputs, lambda n, a, k: overload(n)(*a, **k), cast
    )
    limit, worst, at = TOLERANCE[dtype], 0.0, ""
    outputs: dict[str, Tensor] = {}
    batches: dict[int, int] = {}
    node = next(iter(slim.graph.nodes))
    try:
        with torch.no_grad():
            for node, expected in counted(reference.steps(tensors, cast), len(slim.graph.nodes)):
                given = next(value for other, value in ours if other.name == node.name)
                error = _error(reference, node, expected, given)
                if not error <= limit:
                    detail = f"first difference at {_where(graph, node)}"
                    return Comparison(Check(name, False, error, limit, detail), {})
                if error > worst:
                    worst, at = error, f"worst at {_where(graph, node)}"
                outputs |= _returned(graph.program, node.name, given)
                batches |= _batches(graph.program, node.name, expected)
    except NodeError as error:
        side = "the slim program" if error.node.graph is slim.graph else "the original itself"
        detail = f"{side} cannot run {_where(graph, error.node)}: {first_line(error.__cause__)}"
        return Comparison(Check(name, False, float("inf"), limit, detail), {})
    except (RuntimeError, KeyError, StopIteration, ValueError):
        detail = f"the slim program has nothing to compare with {_where(graph, node)}"
        return Comparison(Check(name, False, float("inf"), limit, detail), {})
    return Comparison(Check(name, True, worst, limit, at), outputs, batches)


def _batches(program: Program, name: str, value: Any) -> dict[int, int]:
    """Sizes that depend on the batch, or on data, as they are in this run."""
    known = program.values.get(name)
    if known is None or not isinstance(value, Tensor):
        return {}
    pairs = zip(known.shape, value.shape, strict=True)
    return {size: actual for size, actual in pairs if size in program.batch_primes}


def converted(leaf: Any, dtype: torch.dtype) -> Any:
    """A floating tensor in ``dtype``; anything else as it is."""
    return leaf.to(dtype) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


def copied(leaf: Any) -> Any:
    """A copy of a tensor; anything else as it is."""
    return leaf.clone() if isinstance(leaf, Tensor) else leaf


def coarsest_dtype(program: Program) -> torch.dtype:
    """The coarsest floating dtype of the model's tensors."""
    floating = [item.tensor.dtype for item in program.stored.values() if item.tensor.is_floating_point()]
    return min(floating, key=lambda dtype: torch.finfo(dtype).bits, default=torch.float32)


def first_line(error: BaseException | None) -> str:
    """What an error says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _where(graph: DependencyGraph, node: fx.Node) -> str:
    operation = next((op for op in graph.program.operations if op.name == node.name), None)
    if operation is None:
        return node.name
    place = f" of {operation.layer}" if operation.layer else ""
    return f"{operation.op}{place} ({operation.source or node.name})"


def _error(reference: Reference, node: fx.Node, expected: Any, given: Any) -> float:
    """The largest difference relative to the largest value; infinite where shapes differ."""
    if isinstance(expected, tuple | list):
        return max(
            (
                _tensor_error(reference, f"{node.name}.{index}", e, g)
                for index, (e, g) in enumerate(zip(expected, given, strict=True))
            ),
            default=0.0,
        )
    return _tensor_error(reference, node.name, expected, given)


def _tensor_error(reference: Reference, name: str, expected: Any, given: Any) -> float:
    region = reference.region(name)
    if not isinstance(expected, Tensor) or region is None:
        return 0.0 if expected == given else float("inf")  # numbers, computed from the batch size
    return relative_error(region.take(expected), given)


def relative_error(expected: Tensor, given: Tensor) -> float:
    """``max |given - expected| / max |expected|``, infinite where shapes, or what is not finite, differ."""
    if expected.shape != given.shape:
        return float("inf")
    if expected.is_complex() and given.is_complex():
        expected, given = (
            torch.view_as_real(expected.resolve_conj()),
            torch.view_as_real(given.resolve_conj()),
        )
    if not expected.is_floating_point():
        return 0.0 if torch.equal(expected, given) else float("inf")
    finite = torch.isfinite(expected)
    if not torch.equal(finite, torch.isfinite(given)):
        return float("inf")
    if not torch.allclose(expected[~finite], given[~finite], equal_nan=True):
        return float("inf")
    if not finite.any():
        return 0.0
    expected, given = expected[finite], given[finite]
    scale = float(expected.abs().max())
    difference = float((given - expected).abs().max())
    # below the smallest normal number digits are lost, in float16 already under 6e-5
    return difference / max(scale, torch.finfo(expected.dtype).smallest_normal) if scale else difference


class Restricted(Mapping[str, Tensor]):
    """Stored tensors cut to the plan, by indexing of its own, when they are read."""

    def __init__(self, tensors: Mapping[str, Tensor], kept: Mapping[str, Mapping[int, Tensor]]) -> None:
        self.tensors = tensors
        self.kept = kept

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __getitem__(self, name: str) -> Tensor:
        tensor = self.tensors[name]
        for dim, indices in self.kept.get(name, {}).items():
            tensor = tensor[tuple([slice(None)] * dim + [indices])]
        return tensor


def _returned(program: Program, name: str, value: Any) -> dict[str, Tensor]:
    """``value``, or its items, where the program returns them."""
    items = {name: value} if isinstance(value, Tensor) else {}
    if isinstance(value, tuple | list):
        items = {f"{name}.{index}": item for index, item in enumerate(value)}
    return {key: item for key, item in items.items() if key in program.output_names}
