"""Checks a slim program whose tensors were repaired after the cut was proved."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import fx

from graphprune.capture.program import Program
from graphprune.verifying.modules import layers_equal, layers_hold
from graphprune.verifying.nodes import TOLERANCE, Comparison, coarsest_dtype, outputs_of
from graphprune.verifying.reference import NodeError, steps
from graphprune.verifying.tensors import converted
from graphprune.verifying.verdict import Check
from graphprune.verifying.verify import random_inputs, same_stored

__all__ = ["verify_repaired"]


def verify_repaired(
    cut: Program, repaired: Program, module: fx.GraphModule, changed: Collection[str], seed: int = 0
) -> tuple[Check, ...]:
    """The repaired program is the proved one with other values of ``changed``, and its layers compute what it does.

    It no longer equals the masked original, since a repair moves it towards the original itself. How near it comes is
    measured by the repair.

    Args:
        cut: the slim program that was verified.
        module: the repaired program, raised to layers.
        changed: names of the tensors that the repair gave other values.
    """
    return (
        _same_but(cut, repaired, set(changed)),
        _finite(repaired, changed),
        _layers(repaired, module, seed),
        layers_hold(repaired, module),
    )


def _same_but(cut: Program, repaired: Program, changed: set[str]) -> Check:
    wrong = sorted(set(cut.stored) ^ set(repaired.stored))
    wrong += [
        name
        for name, item in cut.stored.items()
        if name in repaired.stored
        and not same_stored(item, repaired.stored[name], item.tensor, values=name not in changed)
    ]
    wrong += [] if repaired.graph is cut.graph else ["the graph"]
    return Check.without("repaired tensors as planned", wrong)


def _finite(program: Program, changed: Collection[str]) -> Check:
    wrong = [name for name in changed if not torch.isfinite(program.stored[name].tensor).all()]
    return Check.without("repaired tensors are finite", wrong)


def _layers(program: Program, module: fx.GraphModule, seed: int) -> Check:
    name = "repaired layers equal the program"
    limit = TOLERANCE[coarsest_dtype(program)]
    inputs = random_inputs(program, seed, 2)
    try:
        with torch.no_grad():
            outputs = outputs_of(program, steps(program.graph, converted(program.stored, None), inputs))
    except NodeError as error:
        return Check(name, False, float("inf"), limit, f"the program cannot run {error.node.name}")
    return layers_equal(name, program, module, {}, Comparison(Check(name, True, 0, limit), inputs, outputs))
