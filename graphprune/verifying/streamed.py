"""Checks a slim program whose weights were written to files: both sides are read one tensor at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.program import Program
from graphprune.planning.plan import Plan, make_masks
from graphprune.planning.region import batch_sizes
from graphprune.verifying.claim import Claim, Values
from graphprune.verifying.nodes import coarsest_dtype, compare_nodes
from graphprune.verifying.planned import (
    macs_as_predicted,
    parameters_as_predicted,
    tensors_as_planned,
    ties_kept,
    well_formed,
)
from graphprune.verifying.reference import Reference
from graphprune.verifying.samples import Sizes, execution_on, random_inputs
from graphprune.verifying.tensors import converted
from graphprune.verifying.verdict import Check, Verdict

__all__ = ["verify_streamed"]

HALF = (torch.float16, torch.bfloat16)


def verify_streamed(
    graph: DependencyGraph, plan: Plan, slim: Program, sizes: Sizes | None = None, seed: int = 0
) -> Verdict:
    """The slim program equals the masked original at every node on their own parameters, and has what the plan says.

    No check holds more than the weights and values of what runs next. Half precision is widened to float32 when it is
    read, so that nothing but the order of sums may differ. What needs all of a model at once is not asked here, and
    belongs to a small model of the same kind: other sizes, random parameters, gradients, the user's own module.

    Args:
        graph: of the original, with its weights, see `DependencyGraph.with_weights`.
        slim: the rewritten program, with the weights that were written.
        sizes: of the inputs, by name; those that are not named are the example's. A short text is quick.
        seed: of inputs that are not whole numbers.
    """
    masks = make_masks(graph, plan.groups)
    checks = [
        tensors_as_planned(graph, plan, slim),
        *ties_kept(graph, plan),
        well_formed(slim),
        parameters_as_predicted(graph, masks, slim),
    ]
    if not all(check.passed for check in checks):
        return Verdict(tuple(checks))
    inputs = random_inputs(graph.program, seed, sizes)
    compared = _compared(Claim(graph, plan, slim), inputs)
    checks.append(compared)
    if compared.passed:
        checks.append(macs_as_predicted(graph, masks, *_macs(slim)))
    return Verdict(tuple(checks))


def _compared(claim: Claim, inputs: list[Any]) -> Check:
    program = claim.graph.program
    wide = torch.float32 if coarsest_dtype(program) in HALF else None
    kept = make_masks(claim.graph, claim.plan.groups).kept
    zeroed = Reference(claim.graph, kept, inputs).zeroed(converted(program.tensors, wide))
    values = Values(zeroed, converted(claim.slim.tensors, wide))
    return compare_nodes("own parameters, every node", claim, values, inputs, wide).check


def _macs(slim: Program) -> tuple[int, dict[int, int]]:
    """Multiply-accumulates of the example as torch counts them, and the sizes that stood in the place of primes.

    They are counted without values, if its operators can run so: the prediction is for the sizes of the trace.
    """
    for device in ("meta", None):
        batches: dict[int, int] = {}
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            try:
                for node, value in execution_on(slim, slim.example, device):
                    batches |= batch_sizes(slim, node.name, value)
            except Exception:  # whatever an operator raises without data; with data it ran before
                if device is None:
                    raise
                continue
        break
    return counter.get_total_flops() // 2, batches
