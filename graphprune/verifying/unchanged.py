"""Checks a slim model that must compute what the user's own computes, with nothing held at zero."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.export import left_as_it_was
from graphprune.capture.inputs import tensor_leaves
from graphprune.capture.nodes import overload
from graphprune.capture.program import Program
from graphprune.ground.clock import within
from graphprune.planning.plan import Plan
from graphprune.verifying.nodes import (
    TOLERANCE,
    Restricted,
    coarsest_dtype,
    converted,
    copied,
    first_line,
    relative_error,
)
from graphprune.verifying.randomised import Converted
from graphprune.verifying.reference import NodeError, steps
from graphprune.verifying.verdict import Check, Verdict
from graphprune.verifying.verify import captured_checks, random_inputs, verify

__all__ = ["verify_unchanged"]

# relative to the largest value of an output; float64 leaves nothing to rounding but the order of sums
_LIMITS = {**TOLERANCE, torch.float32: 1e-5}
_BATCHES = (1, 3)
_FAILURES = (NodeError, RuntimeError, IndexError, TypeError, ValueError, AttributeError, KeyError)


def verify_unchanged(
    original: DependencyGraph,
    edited: DependencyGraph,
    plan: Plan,
    slim: Program,
    module: fx.GraphModule,
    tensors: Mapping[str, Tensor],
    seed: int = 0,
) -> Verdict:
    """Every check of `verify`, of the slim program against the edited one, and both ends against the user's model.

    Args:
        original: the captured model.
        edited: the same with edited tensors, from which the slim program was cut.
        plan: what is kept of ``edited``.
        tensors: the edited tensors before they were rounded to the model's dtypes, in float64.
    """
    program = original.program
    alone = dataclasses.replace(edited, program=dataclasses.replace(edited.program, model=None))
    exact = Restricted({**Converted(program.stored, torch.float64), **tensors}, plan.kept)
    with within(0, 0.8):
        checks = [*captured_checks(program, seed), *verify(alone, plan, slim, module, seed).checks]
    for batch in _BATCHES if program.dynamic_batch else (0,):
        inputs = random_inputs(program, seed + 1, batch)
        at = f", batch {batch}" if batch else ""
        checks.append(
            _equals_program(f"slim equals the original in float64{at}", program, slim, exact, inputs)
        )
        if program.model is not None:
            name = f"slim model equals the original model{at}"
            checks.append(_equals_model(name, program, program.model, module, inputs))
    return Verdict(tuple(checks))


def _equals_program(
    name: str, program: Program, slim: Program, tensors: Mapping[str, Tensor], inputs: list[Any]
) -> Check:
    """Both on the model's own weights, in float64."""
    wide = [converted(leaf, torch.float64) for leaf in inputs]

    def errors() -> Iterator[float]:
        wanted = _outputs(program, program.graph, Converted(program.stored, torch.float64), wide)
        given = _outputs(program, slim.graph, tensors, wide)
        yield from (relative_error(wanted[output], given[output]) for output in wanted)

    return _check(name, errors, _LIMITS[torch.float64])


def _outputs(
    program: Program, graph: fx.Graph, tensors: Mapping[str, Tensor], inputs: list[Any]
) -> dict[str, Tensor]:
    """What a graph returns, by the names of the original's values."""
    found: dict[str, Tensor] = {}
    for node, value in steps(graph, tensors, inputs, lambda n, a, k: overload(n)(*a, **k), torch.float64):
        items = {f"{node.name}.{i}": item for i, item in enumerate(value)} if isinstance(value, tuple) else {}
        for name, item in {node.name: value, **items}.items():
            if name in program.output_names and isinstance(item, Tensor):
                found[name] = item
    return found


def _equals_model(
    name: str, program: Program, model: nn.Module, module: nn.Module, inputs: list[Any]
) -> Check:
    """Both as they are, in their own dtypes."""

    def errors() -> Iterator[float]:
        results = []
        for each in (model, module):
            args, kwargs = pytree.tree_map(lambda index: copied(inputs[index]), program.arguments)
            with left_as_it_was(each):
                results.append(tensor_leaves(each(*args, **kwargs)))
        yield from (relative_error(*pair) for pair in zip(*results, strict=True))

    return _check(name, errors, _LIMITS[coarsest_dtype(program)])


def _check(name: str, errors: Any, limit: float) -> Check:
    try:
        with torch.no_grad():
            error = max(errors(), default=0.0)
    except _FAILURES as failure:
        return Check(name, False, float("inf"), limit, f"one of them cannot run: {first_line(failure)}")
    return Check(name, error <= limit, error, limit)
