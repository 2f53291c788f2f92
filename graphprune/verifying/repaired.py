"""Checks a slim program whose tensors were repaired after the cut was proved."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, fx

from graphprune.capture.nodes import overload
from graphprune.capture.program import Program, Stored
from graphprune.verifying.layers import layers_equal, layers_hold
from graphprune.verifying.nodes import TOLERANCE, Comparison, coarsest_dtype
from graphprune.verifying.randomised import Converted
from graphprune.verifying.reference import NodeError, steps
from graphprune.verifying.verdict import Check
from graphprune.verifying.verify import random_inputs

__all__ = ["verify_repaired"]


def verify_repaired(
    cut: Program, repaired: Program, module: fx.GraphModule, changed: Collection[str], seed: int = 0
) -> tuple[Check, ...]:
    """The repaired program is the proved one but for the values of ``changed``; its layers compute what it does.

    It is not the masked original any more, nor is that what it is for: how near it comes to the original itself is
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
        if name in repaired.stored and not _alike(item, repaired.stored[name], name in changed)
    ]
    wrong += [] if repaired.graph is cut.graph else ["the graph"]
    return Check("repaired tensors as planned", not wrong, len(wrong), 0, ", ".join(wrong[:3]))


def _alike(before: Stored, after: Stored, changed: bool) -> bool:
    one, other = before.tensor, after.tensor
    return (
        (before.kind, before.persistent, before.ties) == (after.kind, after.persistent, after.ties)
        and (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
        and one.requires_grad == other.requires_grad
        and (changed or torch.equal(one, other))
    )


def _finite(program: Program, changed: Collection[str]) -> Check:
    wrong = [name for name in changed if not torch.isfinite(program.stored[name].tensor).all()]
    return Check("repaired tensors are finite", not wrong, len(wrong), 0, ", ".join(wrong[:3]))


def _layers(program: Program, module: fx.GraphModule, seed: int) -> Check:
    name = "repaired layers equal the program"
    limit = TOLERANCE[coarsest_dtype(program)]
    inputs = random_inputs(program, seed, 2)
    outputs: dict[str, Any] = {}
    try:
        with torch.no_grad():
            held = Converted(program.stored, None)
            for node, value in steps(program.graph, held, inputs, lambda n, a, k: overload(n)(*a, **k)):
                outputs |= {node.name: value} if isinstance(value, Tensor) else {}
                if isinstance(value, tuple | list):
                    outputs |= {f"{node.name}.{place}": item for place, item in enumerate(value)}
                outputs = {key: item for key, item in outputs.items() if key in program.output_names}
    except NodeError as error:
        return Check(name, False, float("inf"), limit, f"the program cannot run {error.node.name}")
    return layers_equal(
        name, program, module, {}, inputs, Comparison(Check(name, True, 0, limit), outputs), limit
    )
