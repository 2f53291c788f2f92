"""Checks a slim program against the masked original, and names the first node that differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.program import Program
from graphprune.planning.masks import Masks
from graphprune.planning.plan import Plan, make_masks
from graphprune.verifying.randomised import Converted, Randomised
from graphprune.verifying.reference import Reference, steps
from graphprune.verifying.verdict import Check, Verdict

__all__ = ["TOLERANCE", "verify"]

# relative to the largest value of the same tensor; accumulation in another order is all that may differ
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}


def verify(
    graph: DependencyGraph, plan: Plan, slim: Program, module: nn.Module, seed: int = 0, real: bool = True
) -> Verdict:
    """Runs every check; see the checks' names.

    Args:
        slim: the rewritten program.
        module: the same, raised to layers.
        seed: of random parameters and inputs.
        real: also on the model's own parameters.
    """
    masks = make_masks(graph, plan.groups)
    inputs = _random_inputs(graph.program, seed)
    checks = [_shapes(graph, plan, slim), _lint(slim), _parameters(graph, masks, slim)]
    random = Randomised(graph.program.stored, seed, torch.float64)
    checks.append(_nodes("random parameters, every node", graph, plan, slim, random, inputs, torch.float64))
    if real:
        own = Converted(graph.program.stored, None)
        dtype = _dtype(graph.program)
        checks.append(_nodes("own parameters, every node", graph, plan, slim, own, inputs, dtype))
    checks += _raised(graph, masks, slim, module, inputs, seed)
    return Verdict(tuple(checks))


def _dtype(program: Program) -> torch.dtype:
    floating = [item.tensor.dtype for item in program.stored.values() if item.tensor.is_floating_point()]
    return min(floating, key=lambda dtype: torch.finfo(dtype).bits, default=torch.float32)


def _random_inputs(program: Program, seed: int) -> list[Any]:
    """The example inputs with floating tensors drawn anew."""
    generator = torch.Generator().manual_seed(seed)

    def draw(leaf: Any) -> Any:
        if isinstance(leaf, Tensor) and leaf.is_floating_point():
            return torch.randn(leaf.shape, generator=generator, dtype=torch.float64).to(leaf.dtype)
        return leaf

    return [draw(leaf) for leaf in program.flat_inputs(*program.example)]


def _shapes(graph: DependencyGraph, plan: Plan, slim: Program) -> Check:
    wrong = []
    for name, item in graph.program.stored.items():
        expected = list(item.tensor.shape)
        for dim, kept in plan.kept.get(name, {}).items():
            expected[dim] = len(kept)
        if list(slim.stored[name].tensor.shape) != expected:
            wrong.append(f"{name} is {list(slim.stored[name].tensor.shape)}, planned {expected}")
    return Check("shapes as planned", not wrong, len(wrong), 0, "; ".join(wrong[:3]))


def _lint(slim: Program) -> Check:
    try:
        slim.graph.lint()
    except RuntimeError as error:
        return Check("graph is well formed", False, 1, 0, str(error))
    return Check("graph is well formed", True, 0, 0)


def _parameters(graph: DependencyGraph, masks: Masks, slim: Program) -> Check:
    expected = graph.params.value(masks.sizes)
    difference = abs(slim.parameter_count - expected)
    return Check("parameters as predicted", not difference, difference, 0, f"{expected} predicted")


def _nodes(
    name: str,
    graph: DependencyGraph,
    plan: Plan,
    slim: Program,
    tensors: Mapping[str, Tensor],
    inputs: list[Any],
    dtype: torch.dtype,
) -> Check:
    """Every node of the slim program equals the kept part of the same node of the masked original."""
    wide = dtype is torch.float64
    inputs = [_converted(leaf, dtype) if wide else leaf for leaf in inputs]
    cast = dtype if wide else None
    reference = Reference(graph, make_masks(graph, plan.groups).kept, inputs)
    restricted = _Restricted(tensors, plan.kept)
    worst, at = 0.0, ""
    limit = TOLERANCE[dtype]
    with torch.no_grad():
        ours = steps(slim.graph, restricted, inputs, lambda n, a, k: n.target(*a, **k), cast)
        try:
            for node, expected in reference.steps(tensors, cast):
                given = next(value for other, value in ours if other.name == node.name)
                error = _error(reference, node, expected, given)
                if error > worst:
                    worst, at = error, _where(graph, node)
                if not error <= limit:
                    return Check(name, False, error, limit, f"first difference at {_where(graph, node)}")
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            return Check(
                name, False, float("inf"), limit, f"after {at or 'the inputs'}: {_first_line(error)}"
            )
    return Check(name, True, worst, limit, f"worst at {at}" if at else "")


def _converted(leaf: Any, dtype: torch.dtype) -> Any:
    return leaf.to(dtype) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


def _first_line(error: Exception) -> str:
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
        return 0.0
    return relative_error(region.take(expected), given)


def relative_error(expected: Tensor, given: Tensor) -> float:
    """``max |given - expected| / max |expected|``; infinite where shapes, or what is not finite, differ."""
    if expected.shape != given.shape:
        return float("inf")
    if not expected.is_floating_point():
        return 0.0 if torch.equal(expected, given) else float("inf")
    finite = torch.isfinite(expected)
    if not torch.equal(finite, torch.isfinite(given)):
        return float("inf")
    if not finite.any():
        return 0.0
    expected, given = expected[finite], given[finite]
    scale = float(expected.abs().max())
    difference = float((given - expected).abs().max())
    return difference / scale if scale else difference


class _Restricted(Converted):
    """Stored tensors cut to the plan, by indexing of its own."""

    def __init__(self, tensors: Mapping[str, Tensor], kept: Mapping[str, Mapping[int, Tensor]]) -> None:
        self.tensors = tensors
        self.kept = kept
        self.stored = tensors  # type: ignore[assignment]

    def __getitem__(self, name: str) -> Tensor:
        tensor = self.tensors[name]
        for dim, indices in self.kept.get(name, {}).items():
            tensor = tensor[(*[slice(None)] * dim, indices)]
        return tensor


def _raised(
    graph: DependencyGraph, masks: Masks, slim: Program, module: nn.Module, inputs: list[Any], seed: int
) -> list[Check]:
    """The raised module equals the slim program, on its own and on random tensors, and costs what was said."""
    args, kwargs = pytree.tree_map(lambda index: inputs[index], graph.program.arguments)
    own = dict(module.named_parameters()) | dict(module.named_buffers())
    random = Randomised(slim.stored, seed, None)
    drawn = {name: random[name] for name in own if name in slim.stored}
    checks = []
    limit = TOLERANCE[_dtype(graph.program)]
    for label, tensors, replaced in (
        ("layers equal the program", slim.tensors, {}),
        ("layers equal the program, random", {**slim.tensors, **{n: random[n] for n in slim.stored}}, drawn),
    ):
        with torch.no_grad():
            expected = _outputs(slim, tensors, inputs)
            counter = FlopCounterMode(display=False)
            with counter, sdpa_kernel(SDPBackend.MATH):  # fused CPU kernels are not counted
                given = functional_call(module, replaced, args, kwargs, tie_weights=True)
        pairs = zip(expected, _tensors(given), strict=True)
        error = max((relative_error(e, g) for e, g in pairs), default=0.0)
        checks.append(Check(label, error <= limit, error, limit))
    checks.append(_macs(graph, masks, counter, inputs))
    return checks


def _outputs(slim: Program, tensors: Mapping[str, Tensor], inputs: list[Any]) -> list[Tensor]:
    from graphprune.capture.program import run

    returned = run(slim.graph, tensors, list(inputs))
    return _tensors(returned)


def _tensors(structure: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(structure) if isinstance(leaf, Tensor)]


# counted by the polynomial, not by torch's counter
_UNCOUNTED = ("aten.bilinear", "aten.mv", "aten.dot", "aten.outer", "aten.cdist")


def _macs(graph: DependencyGraph, masks: Masks, counter: FlopCounterMode, inputs: list[Any]) -> Check:
    """torch's own counter, on the slim layers, agrees with the polynomial."""
    ops = {operation.name: operation.op for operation in graph.program.operations}
    counted = [m for m in graph.macs.monomials if not ops[m.name].startswith(_UNCOUNTED)]
    batch = _batch(graph.program, inputs)
    expected = sum(monomial.value(masks.sizes) for monomial in counted) * batch
    difference = abs(counter.get_total_flops() // 2 - expected)
    return Check("multiply-accumulates as predicted", not difference, difference, 0, f"{expected} predicted")


def _batch(program: Program, inputs: list[Any]) -> int:
    if not program.dynamic_batch:
        return 1
    return next(leaf.shape[0] for leaf in inputs if isinstance(leaf, Tensor))

