"""Compares every node of the slim program with the same node of the masked original."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.execution import named_tensors
from graphprune.capture.inputs import Inputs
from graphprune.capture.program import Program
from graphprune.capture.sizes import reads_size
from graphprune.ground.clock import counted
from graphprune.ground.errors import first_line
from graphprune.planning.plan import Plan, make_masks
from graphprune.planning.region import COUNTED, batch_sizes
from graphprune.verifying.reference import NodeError, Reference, steps
from graphprune.verifying.tensors import Lazy, in_dtype
from graphprune.verifying.verdict import Check

__all__ = [
    "TOLERANCE",
    "Claim",
    "Comparison",
    "call_arguments",
    "coarsest_dtype",
    "compare_nodes",
    "largest_error",
    "measured",
    "outputs_of",
    "relative_error",
    "restricted",
]

# relative to the largest value of the same tensor; accumulation in another order is all that may differ
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}


@dataclass(frozen=True)
class Claim:
    """What is to be checked: that ``slim`` computes what ``plan`` keeps of ``graph``."""

    graph: DependencyGraph
    plan: Plan
    slim: Program


@dataclass(frozen=True)
class Comparison:
    """A run of the slim program that was compared.

    Args:
        check: what came of it.
        inputs: the leaves of the call.
        outputs: what the slim program returned, by name; empty if the check failed.
        batches: the size that stood in the place of each batch prime; empty if the check failed.
    """

    check: Check
    inputs: list[Any]
    outputs: dict[str, Tensor] = field(default_factory=dict)
    batches: dict[int, int] = field(default_factory=dict)


def compare_nodes(
    name: str, claim: Claim, tensors: Mapping[str, Tensor], inputs: list[Any], dtype: torch.dtype
) -> Comparison:
    """Every node of the slim program equals the kept part of the same node of the masked original."""
    graph, slim = claim.graph, claim.slim
    cast = dtype if dtype is torch.float64 else None
    inputs = [in_dtype(leaf, cast) for leaf in inputs]
    reference = Reference(graph, make_masks(graph, claim.plan.groups).kept, inputs)
    ours = steps(slim.graph, restricted(tensors, claim.plan.kept), inputs, cast)
    limit, worst, at = TOLERANCE[dtype], 0.0, ""
    outputs: dict[str, Tensor] = {}
    batches: dict[int, int] = {}

    def failed(error: float, detail: str) -> Comparison:
        return Comparison(Check(name, False, error, limit, detail), inputs)

    node = next(iter(slim.graph.nodes))
    try:
        with torch.no_grad():
            for node, expected in counted(reference.steps(tensors, cast), len(slim.graph.nodes)):
                given = next(value for other, value in ours if other.name == node.name)
                error = 0.0 if _counts_cut(reference, node) else _error(reference, node.name, expected, given)
                if not error <= limit:
                    return failed(error, f"first difference at {_where(graph, node)}")
                if error > worst:
                    worst, at = error, f"worst at {_where(graph, node)}"
                outputs |= _returned(graph.program, node, given)
                batches |= batch_sizes(graph.program, node.name, expected)
    except NodeError as error:
        side = "the slim program" if error.node.graph is slim.graph else "the original itself"
        why = first_line(error.__cause__ or error)
        return failed(float("inf"), f"{side} cannot run {_where(graph, error.node)}: {why}")
    except (RuntimeError, KeyError, StopIteration, ValueError):
        return failed(float("inf"), f"the slim program has nothing to compare with {_where(graph, node)}")
    return Comparison(Check(name, True, worst, limit, at), inputs, outputs, batches)


def outputs_of(program: Program, run: Iterable[tuple[fx.Node, Any]]) -> dict[str, Tensor]:
    """The values of a ``run`` that the program returns, by name."""
    return {name: item for node, value in run for name, item in _returned(program, node, value).items()}


def _returned(program: Program, node: fx.Node, value: Any) -> dict[str, Tensor]:
    named = named_tensors(node, value).items()
    return {name: item for name, item in named if name in program.output_names}


def measured(name: str, limit: float, error: Callable[[], float], who: str = "one of them") -> Check:
    """The check that ``error`` is within the limit. It has failed, too, if the two that it compares cannot run."""
    try:
        with torch.no_grad():
            found = error()
    except (RuntimeError, IndexError, TypeError, ValueError, AttributeError, KeyError) as failure:
        return Check(name, False, float("inf"), limit, f"{who} cannot run: {first_line(failure)}")
    return Check(name, found <= limit, found, limit)


def call_arguments(program: Program, inputs: list[Any]) -> Inputs:
    """Arguments and keywords for the user's model or its layers: copies, since they may be written into."""
    return program.call_of([leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in inputs])


def coarsest_dtype(program: Program) -> torch.dtype:
    """The coarsest floating dtype of the model's tensors."""
    floating = [item.tensor.dtype for item in program.stored.values() if item.tensor.is_floating_point()]
    return min(floating, key=lambda dtype: torch.finfo(dtype).bits, default=torch.float32)


def _where(graph: DependencyGraph, node: fx.Node) -> str:
    operation = next((op for op in graph.program.operations if op.name == node.name), None)
    if operation is None:
        return node.name
    place = f" of {operation.layer}" if operation.layer else ""
    return f"{operation.op}{place} ({operation.source or node.name})"


def _counts_cut(reference: Reference, node: fx.Node) -> bool:
    """Whether the node counts what was removed, as a size or as positions; what is computed from it is compared."""
    if node.name in reference.graph.analysis.points:
        return True
    return reads_size(node) and not all(
        reference.region(source.name).whole for source in node.all_input_nodes
    )


def _error(reference: Reference, name: str, expected: Any, given: Any) -> float:
    """The largest `relative_error` of what a node makes, on the part that is kept."""
    if isinstance(expected, tuple | list):
        pairs = enumerate(zip(expected, given, strict=True))
        return max((_error(reference, f"{name}.{index}", *pair) for index, pair in pairs), default=0.0)
    if not isinstance(expected, Tensor):
        return 0.0 if expected == given else float("inf")  # numbers, computed from sizes
    return relative_error(reference.region(name).take(expected), given)


def largest_error(expected: Iterable[Tensor], given: Iterable[Tensor]) -> float:
    """The largest `relative_error` of pairs of tensors."""
    return max((relative_error(*pair) for pair in zip(expected, given, strict=True)), default=0.0)


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


def restricted(tensors: Mapping[str, Tensor], kept: Mapping[str, Mapping[int, Tensor]]) -> Lazy:
    """Stored tensors cut to the plan. The indexing is our own, so that a fault of rewriting is no fault here."""

    def make(name: str) -> Tensor:
        tensor = tensors[name]
        for dim, indices in kept.get(name, {}).items():
            if dim == COUNTED:  # the places of its numbers among those that are left
                places = {number: place for place, number in enumerate(indices.tolist())}
                tensor = tensor.new_tensor([places[number] for number in tensor.tolist()])
            else:
                tensor = tensor[tuple([slice(None)] * dim + [indices])]
        return tensor

    return Lazy(tensors, make)
