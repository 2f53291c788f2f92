"""Compares every node of the slim program with the same node of the masked original."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.execution import Call, call_operator, named_tensors
from graphprune.capture.inputs import Inputs
from graphprune.capture.program import Program
from graphprune.ground.clock import counted
from graphprune.ground.errors import first_line
from graphprune.planning.plan import Plan, make_masks
from graphprune.planning.region import COUNTED, batch_sizes
from graphprune.verifying.differences import TOLERANCE
from graphprune.verifying.faults import Errors, Fault, LastCall, counts_cut
from graphprune.verifying.reference import NodeError, Reference, Run
from graphprune.verifying.rounding import ROUNDS, Again, Trials, described, error_beyond_rounding, shaking
from graphprune.verifying.tensors import Latest, in_dtype, is_inexact
from graphprune.verifying.verdict import Check

__all__ = [
    "Claim",
    "Comparison",
    "Values",
    "call_arguments",
    "coarsest_dtype",
    "compare_nodes",
    "measured",
    "output_run",
    "outputs_of",
    "restricted",
]


@dataclass(frozen=True)
class Claim:
    """What is to be checked: that ``slim`` computes what ``plan`` keeps of ``graph``."""

    graph: DependencyGraph
    plan: Plan
    slim: Program


@dataclass(frozen=True)
class Values:
    """The stored tensors of one comparison.

    Args:
        zeroed: of the masked original: everything that is removed is zero.
        cut: of the slim program.
    """

    zeroed: Mapping[str, Tensor]
    cut: Mapping[str, Tensor]

    @classmethod
    def of(cls, claim: Claim, tensors: Mapping[str, Tensor]) -> Values:
        """Made of ``tensors`` whenever one is read."""
        masks = make_masks(claim.graph, claim.plan.groups)
        inputs = claim.graph.program.flat_inputs(*claim.graph.program.example)
        zeroed = Reference(claim.graph, masks.kept, inputs).zeroed(tensors)
        return cls(zeroed, restricted(tensors, claim.plan.kept))

    def held(self) -> Values:
        """The same, each made once."""
        zeroed, cut, read = {}, {}, set(self.zeroed)
        for name in self.cut:  # both of one tensor after the other, which is drawn once
            cut[name] = self.cut[name]
            if name in read:
                zeroed[name] = self.zeroed[name]
        return Values(zeroed, cut)


@dataclass(frozen=True)
class Comparison:
    """A run of the slim program that was compared.

    Args:
        check: what came of it.
        inputs: the leaves of the call.
        outputs: what the slim program returned, by name; empty if the check failed.
        batches: the size that stood in the place of each batch prime; empty if the check failed.
        again: the same run with its operators called in another way, and its outputs in their order.
        sure: False where rounding may be all that differs, which takes more runs to tell.
    """

    check: Check
    inputs: list[Any]
    outputs: dict[str, Tensor] = field(default_factory=dict)
    batches: dict[int, int] = field(default_factory=dict)
    again: Again | None = None
    sure: bool = True


def compare_nodes(
    name: str,
    claim: Claim,
    values: Values,
    inputs: list[Any],
    wide: torch.dtype | None = None,
    rounds: Sequence[int] = ROUNDS,
) -> Comparison:
    """Every node of the slim program equals the kept part of the same node of the masked original.

    A node that differs by more than the tolerance of its dtype is right if it makes the same of the same inputs, and if
    rounding alone takes it as far: that of its inputs, or, in so many trials of the whole run as ``rounds`` says, that
    of all before it. From there the slim program goes on with the original's value, so that all that follows is
    compared as strictly as ever.

    Args:
        wide: the dtype that everything is computed in; None for those of the model, parts in another dtype included.
    """
    inputs = [in_dtype(leaf, wide) for leaf in inputs]
    compared = _compared(name, claim, values, inputs, wide)
    for trials in rounds:
        if compared.sure:
            break
        compared = _compared(name, claim, values, inputs, wide, trials)
    return compared


def _compared(
    name: str,
    claim: Claim,
    stored: Values,
    inputs: list[Any],
    cast: torch.dtype | None,
    trials: int = 0,
) -> Comparison:
    """One run of both, beside so many ``trials``."""
    graph, slim = claim.graph, claim.slim
    reference = Reference(graph, make_masks(graph, claim.plan.groups).kept, inputs)
    theirs, last = LastCall(), LastCall()
    shaken = Trials(reference.run(stored.zeroed, cast, partial(shaking, seed)) for seed in range(trials))
    again = output_run(graph.program, slim.graph, stored.cut, inputs, cast)
    ours = Run(slim.graph, stored.cut, inputs, cast, last.of())
    values = iter(ours)
    limit, worst, at = TOLERANCE[cast or coarsest_dtype(graph.program)], 0.0, ""
    errors = Errors(reference, limit)
    outputs: dict[str, Tensor] = {}
    batches: dict[int, int] = {}

    def failed(error: float, detail: str, ran: bool = True, sure: bool = True) -> Comparison:
        return Comparison(Check(name, False, error, limit, detail, ran), inputs, sure=sure)

    node = next(iter(slim.graph.nodes))
    try:
        with torch.no_grad():
            for node, expected in counted(
                reference.run(stored.zeroed, cast, theirs.of), len(slim.graph.nodes)
            ):
                moved = shaken.values()
                given = next(value for other, value in values if other.name == node.name)
                error = 0.0 if counts_cut(reference, node) else errors(node.name, expected, given)
                if not error <= limit:
                    fault, left = errors.of_node(node.name, expected, given, last, theirs, cast)
                    if fault is Fault.INPUTS and trials:
                        left = errors(node.name, expected, given, moved)
                    if not left <= limit:
                        sure = fault is Fault.NODE
                        return failed(error, f"first difference at {_where(graph, node)}", sure=sure)
                    error = left
                    shaken.go_on_with(node.name, expected)
                    ours.go_on_with(node.name, errors.taken(node.name, expected))
                if error > worst:
                    worst, at = error, f"worst at {_where(graph, node)}"
                outputs |= _returned(graph.program, node, given)
                batches |= batch_sizes(graph.program, node.name, expected)
            if errors.sensitive:
                outputs = dict(zip(_tensor_names(graph.program), again(call_operator), strict=True))
    except NodeError as error:
        side = "the slim program" if error.node.graph is slim.graph else "the original itself"
        why = first_line(error.__cause__ or error)
        return failed(float("inf"), f"{side} cannot run {_where(graph, error.node)}: {why}", ran=False)
    except (RuntimeError, KeyError, StopIteration, ValueError):
        text = f"the slim program has nothing to compare with {_where(graph, node)}"
        return failed(float("inf"), text, ran=False)
    detail = "; ".join(filter(None, (at, _note(graph, errors.sensitive))))
    return Comparison(Check(name, True, worst, limit, detail), inputs, outputs, batches, again)


def _note(graph: DependencyGraph, sensitive: Mapping[str, float]) -> str:
    """Which nodes differ by what rounding moves them; empty if none."""
    if not sensitive:
        return ""
    name, moved = next(iter(sensitive.items()))
    node = next(node for node in graph.program.graph.nodes if node.name == name.partition(".")[0])
    more = f", and {len(sensitive) - 1} more" if len(sensitive) > 1 else ""
    return f"{described(_where(graph, node), moved)}{more}"


def outputs_of(program: Program, run: Iterable[tuple[fx.Node, Any]]) -> dict[str, Tensor]:
    """The values of a ``run`` that the program returns, by name."""
    return {name: item for node, value in run for name, item in _returned(program, node, value).items()}


def output_run(
    program: Program,
    graph: fx.Graph,
    tensors: Mapping[str, Tensor],
    inputs: list[Any],
    dtype: torch.dtype | None = None,
) -> Again:
    """Runs of ``graph``, whose outputs are named as those of ``program``; the tensors among these in their order."""

    def run(call: Call) -> list[Tensor]:
        found = outputs_of(program, Run(graph, tensors, inputs, dtype, call))
        return [found[name] for name in _tensor_names(program)]

    return run


def _tensor_names(program: Program) -> list[str]:
    return [name for name in program.output_names if name in program.values]


def _returned(program: Program, node: fx.Node, value: Any) -> dict[str, Tensor]:
    named = named_tensors(node, value).items()
    return {name: item for name, item in named if name in program.output_names}


def measured(
    name: str,
    limit: float,
    results: Callable[[], tuple[Sequence[Tensor], Sequence[Tensor]]],
    who: str = "one of them",
    again: Again | None = None,
) -> Check:
    """The check that expected and given ``results`` differ by no more than the limit.

    It has failed, too, if the two that it compares cannot run.

    Args:
        again: the expected results from a program that runs as it is told, see `moved_outputs`. Where there is one,
            results may differ by more than the limit, by as much as rounding alone moves them.
    """
    try:
        with torch.no_grad():
            found, detail = error_beyond_rounding(*results(), limit, again)
    except (RuntimeError, IndexError, TypeError, ValueError, AttributeError, KeyError) as failure:
        return Check(name, False, float("inf"), limit, f"{who} cannot run: {first_line(failure)}", ran=False)
    return Check(name, found <= limit, found, limit, detail)


def call_arguments(program: Program, inputs: list[Any]) -> Inputs:
    """Arguments and keywords for the user's model or its layers: copies, since they may be written into."""
    return program.call_of([leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in inputs])


def coarsest_dtype(program: Program) -> torch.dtype:
    """The coarsest floating dtype of the model's tensors; of complex ones that of their parts."""
    dtypes = [item.tensor.dtype for item in program.stored.values()]
    floating = [dtype.to_real() for dtype in dtypes if is_inexact(dtype)]
    return min(floating, key=lambda dtype: torch.finfo(dtype).bits, default=torch.float32)


def _where(graph: DependencyGraph, node: fx.Node) -> str:
    operation = next((op for op in graph.program.operations if op.name == node.name), None)
    if operation is None:
        return node.name
    place = f" of {operation.layer}" if operation.layer else ""
    return f"{operation.op}{place} ({operation.source or node.name})"


def restricted(tensors: Mapping[str, Tensor], kept: Mapping[str, Mapping[int, Tensor]]) -> Latest:
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

    return Latest(tensors, make)
