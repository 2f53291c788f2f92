"""Compares every node of the slim program with the same node of the masked original."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.execution import Call, call_operator
from graphprune.capture.inputs import Inputs
from graphprune.capture.program import Program
from graphprune.ground.clock import counted
from graphprune.ground.errors import first_line
from graphprune.planning.region import batch_sizes
from graphprune.verifying.claim import Claim, Values
from graphprune.verifying.differences import TOLERANCE
from graphprune.verifying.faults import Errors, Fault, LastCall, counts_cut
from graphprune.verifying.masked import Masked, returned
from graphprune.verifying.reference import NodeError, Run
from graphprune.verifying.rounding import ROUNDS, Again, Trials, described, error_beyond_rounding, shaking
from graphprune.verifying.samples import Sizes
from graphprune.verifying.tensors import in_dtype, is_inexact
from graphprune.verifying.verdict import Check

__all__ = [
    "Comparison",
    "Drawn",
    "call_arguments",
    "coarsest_dtype",
    "compare_nodes",
    "measured",
    "output_run",
    "outputs_of",
]


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
        original: the run of the masked original, where gradients can be taken by it.
    """

    check: Check
    inputs: list[Any]
    outputs: dict[str, Tensor] = field(default_factory=dict)
    batches: dict[int, int] = field(default_factory=dict)
    again: Again | None = None
    sure: bool = True
    original: Masked | None = None


@dataclass(frozen=True)
class Drawn:
    """A comparison on random tensors and inputs, and how they were drawn.

    Args:
        wide: float64, in which everything was computed; None for the model's own dtypes.
        sizes: of the inputs.
    """

    comparison: Comparison
    values: Values
    seed: int
    wide: torch.dtype | None
    sizes: Sizes


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
    if not compared.check.ran and values.chosen is not None:
        values = replace(values, chosen=None)  # some operators run only where autograd takes no note
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
    original = Masked(claim, stored, inputs)
    reference = original.reference
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
            for node, expected in counted(original.run(cast, theirs.of), len(slim.graph.nodes)):
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
                outputs |= returned(graph.program, node, given)
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
    check, learns = Check(name, True, worst, limit, detail), original if original.learns else None
    return Comparison(check, inputs, outputs, batches, again, original=learns)


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
    return {name: item for node, value in run for name, item in returned(program, node, value).items()}


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
