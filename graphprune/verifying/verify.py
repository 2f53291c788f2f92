"""Checks a slim program against the masked original, and its layers against the program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import fx
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.program import Program
from graphprune.ground.clock import counted, within
from graphprune.planning.plan import Plan, make_masks
from graphprune.verifying.backward import FAILURES, chosen_parameters
from graphprune.verifying.captured import LARGEST, captured_gradients
from graphprune.verifying.claim import Claim, Values
from graphprune.verifying.gradients import Learned, gradients_equal, learned, served
from graphprune.verifying.modules import (
    captured_equals_model,
    layers_equal,
    layers_hold,
    lively_values,
    random_layers_equal,
    widened_layers,
)
from graphprune.verifying.nodes import Drawn, compare_nodes
from graphprune.verifying.planned import (
    macs_as_predicted,
    parameters_as_predicted,
    tensors_as_planned,
    ties_kept,
    well_formed,
)
from graphprune.verifying.reference import NodeError, Run
from graphprune.verifying.rounding import ROUNDS
from graphprune.verifying.samples import checked_sizes, distinct, random_inputs
from graphprune.verifying.tensors import converted, in_dtype, randomised
from graphprune.verifying.verdict import Check, Verdict

__all__ = ["captured_checks", "check_random", "guilty_groups", "verify"]


def verify(
    graph: DependencyGraph,
    plan: Plan,
    slim: Program,
    module: fx.GraphModule,
    seed: int = 0,
    captured: Callable[[], Sequence[Check]] | None = None,
) -> Verdict:
    """Runs every check. Each has a name, a figure and a limit; none is skipped.

    The captured program is compared with the user's model; the slim one with the masked original, node by node, in
    float64 on random tensors (if its operators can) and in its own dtype on its own; the layers with the program on
    both; shapes, parameters and multiply-accumulates with the plan. Each size that varies has two values among these
    comparisons.

    Args:
        slim: the rewritten program.
        module: the same, raised to layers.
        seed: of random parameters and inputs.
        captured: what gives the checks of the captured program, where they are made already; see `captured_checks`.
    """
    program, claim = graph.program, Claim(graph, plan, slim)
    masks = make_masks(graph, plan.groups)
    one, small = checked_sizes(program)
    inputs = random_inputs(program, seed, small)
    own = Values.of(claim, converted(program.tensors, None))
    # shares of the time, as measured on mobilenet_v2, resnet18, swin_t and vit_b_16
    with within(0, 0.45):
        compared = compare_nodes("own parameters, every node", claim, own, inputs)
    with within(0.45, 0.55):
        ends = captured() if captured else list(counted(captured_checks(program, seed), 2))
    with within(0.55, 0.95):
        drawn = _compare_random(claim, seed, one, served(program, one))
        random, wide = drawn.comparison, drawn.wide
    checks = [
        *ends,
        tensors_as_planned(graph, plan, slim),
        *ties_kept(graph, plan),
        well_formed(slim),
        parameters_as_predicted(graph, masks, slim),
        random.check,
        compared.check,
    ]
    if not all(check.passed for check in checks):
        return Verdict(tuple(checks))
    checks.append(layers_equal("layers equal the program", program, module, {}, compared))
    checks.append(layers_hold(slim, module))
    layers = widened_layers(module, wide) if wide else module
    made, flops = _learned(claim, layers, drawn)
    # fused kernels are not counted on CPU; in float64 there are none for recurrent layers
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        outputs = made.outputs if made else ()
        checks.append(random_layers_equal(program, layers, drawn.values.cut, random, wide, outputs))
    checks.append(gradients_equal(claim, layers, drawn, made))
    flops = flops or counter.get_total_flops()
    checks.append(macs_as_predicted(graph, masks, flops // 2, random.batches))
    return Verdict(tuple(checks))


def _learned(claim: Claim, layers: fx.GraphModule, drawn: Drawn) -> tuple[Learned | None, int]:
    """A run of the layers that serves for their outputs, their operations and their gradients, and the operations.

    None where gradients are taken at other sizes, or where it cannot be made: then each is found by itself.
    """
    original = drawn.comparison.original
    if original is None:
        return None, 0
    try:
        original.gradients(drawn.wide, drawn.seed)  # which gives up its values before others are held
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            made = learned(claim.graph.program, layers, drawn, drawn.comparison.inputs)
        return made, counter.get_total_flops()
    except FAILURES:
        return None, 0


def captured_checks(program: Program, seed: int) -> Iterator[Check]:
    """The captured program equals the user's model, at sizes at few of which it was traced; whatever the plan."""
    if program.model is not None:
        every = checked_sizes(program)
        random = lively_values(program, program.model, seed)
        for sizes in distinct(every):
            inputs = random_inputs(program, seed, sizes)
            yield captured_equals_model(program, program.model, inputs, random, sizes)
        del random
        yield from captured_gradients(program, seed, every[0])


def check_random(graph: DependencyGraph, plan: Plan, slim: Program, seed: int = 0) -> Check:
    """The slim program equals the masked original at every node, in float64 on random tensors; a quick look."""
    one, _ = checked_sizes(graph.program)
    return _compare_random(Claim(graph, plan, slim), seed, one, False, ROUNDS[:1]).comparison.check


def guilty_groups(names: Sequence[str], fails: Callable[[Sequence[str]], bool]) -> tuple[str, ...]:
    """The smallest set of groups found by halving for which ``fails`` holds; they fail together.

    >>> guilty_groups(["a", "b", "c", "d"], lambda names: "c" in names)
    ('c',)
    >>> guilty_groups(["a", "b", "c", "d"], lambda names: "a" in names and "d" in names)
    ('a', 'b', 'c', 'd')
    """
    if len(names) > 1:
        middle = len(names) // 2
        for half in (names[:middle], names[middle:]):
            if fails(half):
                return guilty_groups(half, fails)
    return tuple(names)


def _compare_random(
    claim: Claim, seed: int, sizes: Mapping[str, int], learns: bool, rounds: Sequence[int] = ROUNDS
) -> Drawn:
    """On random tensors; in float64, or in the model's own dtypes, None, where an operator has no kernel for that.

    Args:
        learns: whether gradients are taken by the same run of the masked original.
    """
    program = claim.graph.program
    torchs = all(operation.op.startswith("aten.") for operation in program.operations)
    wides = [torch.float64] if torchs or _runs_widened(program) else []
    for wide in (*wides, None):
        values = Values.of(claim, randomised(program.stored, seed, wide))
        values = values.held() if program.parameter_count <= LARGEST else values
        values = replace(values, chosen=chosen_parameters(program, seed) if learns else None)
        inputs = random_inputs(program, seed, sizes)
        compared = compare_nodes("random parameters, every node", claim, values, inputs, wide, rounds)
        if compared.check.ran or (wide and _runs_widened(program)):
            break
    return Drawn(compared, values, seed, wide, sizes)


def _runs_widened(program: Program) -> bool:
    """Whether every operator has a kernel for float64."""
    inputs = [in_dtype(leaf, torch.float64) for leaf in random_inputs(program, 0)]
    try:
        with torch.no_grad():
            for _ in Run(program.graph, randomised(program.stored, 0, torch.float64), inputs, torch.float64):
                pass
    except NodeError:
        return False
    return True
