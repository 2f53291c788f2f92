"""What can be repaired, in the order of the graph: layers that hold a weight, and batch norms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import fx

from graphprune.capture.additions import addition_after
from graphprune.capture.operators import arguments, family
from graphprune.capture.program import Program
from graphprune.capture.roles import ROLES
from graphprune.repair.linear import LINEAR

__all__ = ["BATCH_NORM", "Step", "find_steps"]

BATCH_NORM = "aten.batch_norm"
_MEAN, _VARIANCE = ROLES[BATCH_NORM].statistics
_KNOWN_BY = {BATCH_NORM: _MEAN, **{op: layer.weight for op, layer in LINEAR.items()}}


@dataclass(frozen=True)
class Step:
    """Calls of one layer.

    Args:
        layer: its name, for messages.
        weight: name of the stored weight that is refitted; of a batch norm, that of its running mean.
        calls: names of the operator calls, in order.
        family: of the operator.
        bias: the stored tensor that takes the shift; empty where there is none.
        negative: whether it is a batch norm's running mean, from which the shift is taken off.
        sums: call → the call of an addition whose result, not the layer's own, is brought near the original's.
        norms: call → the batch norm between the two.
        variance: of a batch norm, the name of its running variance.
    """

    layer: str
    weight: str
    calls: tuple[str, ...]
    family: str
    bias: str = ""
    negative: bool = False
    sums: Mapping[str, str] = field(default_factory=dict)
    norms: Mapping[str, str] = field(default_factory=dict)
    variance: str = ""

    def last(self, call: str) -> str:
        """Where the result of a call is looked at."""
        return self.sums.get(call, call)


def find_steps(
    program: Program, batch_norms: bool, layers: bool, residual: bool
) -> tuple[list[Step], dict[str, str]]:
    """Every step, by its first call; and layers that cannot be refitted, with the reason."""
    by_weight: dict[str, list[fx.Node]] = {}
    for node in program.graph.nodes:
        if node.op == "call_function" and (weight := _weight(node)) is not None:
            by_weight.setdefault(weight, []).append(node)
    names = {operation.name: operation.layer for operation in program.operations}
    steps, left = [], {}
    for weight, nodes in by_weight.items():
        layer = names.get(nodes[0].name) or weight
        if family(nodes[0]) == BATCH_NORM:
            steps += _norm_steps(layer, nodes) if batch_norms else []
        elif layers and (why := _why_not(program, weight, nodes)):
            left[layer] = why
        elif layers:
            calls = tuple(node.name for node in nodes)
            steps.append(Step(layer, weight, calls, family(nodes[0]), *_shift(program, nodes)))
    order = {node.name: place for place, node in enumerate(program.graph.nodes)}
    steps = [_towards_sums(program, step, steps, order) for step in steps] if residual else steps
    return sorted(steps, key=lambda step: order[step.calls[0]]), left


def _weight(node: fx.Node) -> str | None:
    """The stored tensor by which a call is known, if it is one that can be repaired."""
    if family(node) not in _KNOWN_BY:
        return None
    held = arguments(node)[_KNOWN_BY[family(node)]]
    return str(held.target) if isinstance(held, fx.Node) and held.op == "get_attr" else None


def _norm_steps(layer: str, nodes: list[fx.Node]) -> list[Step]:
    """The step, if the batch norm is called once and nobody else reads its statistics."""
    if len(nodes) > 1 or not _has_own_statistics(nodes[0]):
        return []
    mean, variance = (str(arguments(nodes[0])[name].target) for name in (_MEAN, _VARIANCE))
    return [Step(layer, mean, (nodes[0].name,), BATCH_NORM, variance=variance)]


def _has_own_statistics(norm: fx.Node) -> bool:
    """Whether a batch norm is in eval mode, and nobody else reads its statistics."""
    given = arguments(norm)
    held = [given[_MEAN], given[_VARIANCE]]
    own = all(isinstance(item, fx.Node) and item.op == "get_attr" and len(item.users) == 1 for item in held)
    return own and not given["training"]


def _why_not(program: Program, weight: str, nodes: list[fx.Node]) -> str:
    if len(_readers(program, weight)) != len(nodes):
        return "its weight is used elsewhere too"
    if len({family(node) for node in nodes}) > 1 or not program.stored[weight].tensor.is_floating_point():
        return "its weight is used in several ways"
    return "" if all(_fits(program, node) for node in nodes) else "it is more than a weight and a bias"


def _readers(program: Program, name: str) -> list[fx.Node]:
    """The nodes that read a stored tensor."""
    held = (node for node in program.graph.nodes if node.op == "get_attr" and node.target == name)
    return [user for node in held for user in node.users]


def _fits(program: Program, node: fx.Node) -> bool:
    layer, given = LINEAR[family(node)], arguments(node)
    values = [program.values.get(getattr(given[name], "name", "")) for name in (layer.source, layer.weight)]
    return None not in values and layer.fits(given, *(len(value.shape) for value in values if value))


def _towards_sums(program: Program, step: Step, steps: list[Step], order: Mapping[str, int]) -> Step:
    """The step, with the additions that its results go into, where all that is added is repaired before."""
    if step.family not in LINEAR:
        return step
    layers = [order[call] for other in steps if other.family in LINEAR for call in other.calls]
    found = {node.name: _sum_after(program, node) for node in program.graph.nodes if node.name in step.calls}
    free = {
        call: (addition, norm)
        for call, (addition, norm) in found.items()
        if addition and not any(order[call] < place < order[addition] for place in layers)
    }
    sums = {call: addition for call, (addition, _) in free.items()}
    return replace(step, sums=sums, norms={call: norm for call, (_, norm) in free.items() if norm})


def _shift(program: Program, nodes: list[fx.Node]) -> tuple[str, bool]:
    """The bias, or the running mean of the batch norm that alone reads the result; nothing where there is neither."""
    biases = [arguments(node).get(LINEAR[family(node)].bias) for node in nodes]
    if all(isinstance(bias, fx.Node) and bias.op == "get_attr" for bias in biases):
        names = {str(bias.target) for bias in biases if bias is not None}
        users = {user for name in names for user in _readers(program, name)}
        vector = all(program.stored[name].tensor.dim() == 1 for name in names)
        return (names.pop(), False) if len(names) == 1 and users == set(nodes) and vector else ("", False)
    norm = _norm_after(nodes[0])
    if len(nodes) > 1 or norm is None or any(bias is not None for bias in biases):
        return "", False
    return str(arguments(norm)[_MEAN].target), True


def _norm_after(node: fx.Node) -> fx.Node | None:
    """The batch norm in eval mode, with statistics of its own, that alone reads ``node``."""
    user = next(iter(node.users)) if len(node.users) == 1 else None
    if user is None or user.op != "call_function" or family(user) != BATCH_NORM:
        return None
    return user if _has_own_statistics(user) and arguments(user)["input"] is node else None


def _sum_after(program: Program, node: fx.Node) -> tuple[str, str]:
    """The addition that the result goes into, and the batch norm on the way, if there is nothing else there."""
    norm = _norm_after(node)
    addition = addition_after(norm or node)
    if addition is None or program.values[addition.name].shape != program.values[node.name].shape:
        return "", ""
    return addition.name, norm.name if norm else ""
