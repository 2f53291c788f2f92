"""Nodes that run graphs of their own: If, Loop and Scan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from graphprune.importing.nested import read_in
from graphprune.importing.node import DataError, Node
from graphprune.importing.values import Numbers, as_numbers, as_tensor

__all__ = ["BODIES", "CONTROL", "UNSEEN", "Body", "note_unseen"]

# operators that do the same to each unit, however many there are
_FOR_ANY_WIDTH = set("Cast Constant Identity Relu Sigmoid Squeeze Tanh Unsqueeze".split())
UNSEEN = " unseen"  # among the values by name: what branches read that are not run; no value is called so
Body = Callable[[Sequence[Any]], list[Any]]  # a graph that was given what it reads from outside
BODIES = {
    "If": ("then_branch", "else_branch"),
    "Loop": ("body",),
    "Scan": ("body",),
}  # attributes that are graphs
MOST_ROUNDS = 1000


def _if(node: Node, bodies: Mapping[str, Body], condition: Any) -> tuple[Any, ...]:
    """The branch that a size chooses, or by a tensor both, and the result chosen."""
    if isinstance(condition, Numbers):
        chosen = "then_branch" if bool(condition.array.item()) else "else_branch"
        return tuple(bodies[chosen](()))
    pairs = zip(*(map(as_tensor, bodies[name](())) for name in BODIES["If"]), strict=True)
    results = []
    for yes, no in pairs:
        if yes.shape != no.shape or yes.dtype != no.dtype:
            raise node.refusal(
                f"its branches give {tuple(yes.shape)} and {tuple(no.shape)}, and data chooses",
                kind=DataError,
            )
        results.append(torch.where(condition.reshape(()), yes, no))
    return tuple(results)


def note_unseen(node: Node, condition: Any, scope: Mapping[str, Any]) -> None:
    """Where a size chooses the branch of an If, notes what the other one reads: it must keep its size."""
    if not isinstance(condition, Numbers):
        return  # data chooses, and both are run
    other = "else_branch" if bool(condition.array.item()) else "then_branch"
    if UNSEEN in scope and not {item.op_type for item in node[other].node} <= _FOR_ANY_WIDTH:
        for name in sorted(read_in(node[other])):
            if isinstance(scope.get(name), Tensor):
                scope[UNSEEN].append(scope[name])


def _loop(
    node: Node, bodies: Mapping[str, Body], count: Any, condition: Any, *carried: Any
) -> tuple[Any, ...]:
    """A loop that runs as often as a size says. Its condition may change with numbers, not with data."""
    if not isinstance(count, Numbers):
        raise node.refusal(
            "how often it runs is computed from data" if count is not None else "it has no count",
            kind=DataError,
        )
    rounds = range(count.array.item())
    if len(rounds) > MOST_ROUNDS:
        raise node.refusal(f"it runs {len(rounds)} times")
    state, found, goes_on = list(carried), [], condition
    for number in rounds:
        if not _holds(node, goes_on):
            break
        goes_on, *results = bodies["body"]([as_numbers(number, torch.int64), _or_true(goes_on), *state])
        state, scanned = results[: len(carried)], results[len(carried) :]
        found.append([as_tensor(item) for item in scanned])
    stacked = [torch.stack(items) for items in zip(*found, strict=True)]
    if len(node.outputs) > len(carried) and not found:
        raise node.refusal("it runs no time, and gives nothing to stack")
    return (*state, *stacked)


def _or_true(condition: Any) -> Any:
    return as_numbers(True, torch.bool) if condition is None else condition


def _holds(node: Node, condition: Any) -> bool:
    if condition is None:
        return True
    if isinstance(condition, Numbers):
        return bool(condition.array.item())
    raise node.refusal("its condition is computed from data", kind=DataError)


def _scan(node: Node, bodies: Mapping[str, Body], *given: Any) -> tuple[Any, ...]:
    """A loop over slices of its last inputs."""
    if node.opset < 9:
        raise node.refusal("it is a Scan of opset 8")
    scanned_count = node["num_scan_inputs"]
    state, scanned = list(given[:-scanned_count]), [as_tensor(item) for item in given[-scanned_count:]]
    axes = node["scan_input_axes"] or [0] * scanned_count
    turned = node["scan_input_directions"] or [0] * scanned_count
    slices = [
        item.flip(axis).unbind(axis) if back else item.unbind(axis)
        for item, axis, back in zip(scanned, axes, turned, strict=True)
    ]
    found: list[list[Tensor]] = []
    for row in zip(*slices, strict=True):
        results = bodies["body"]([*state, *row])
        state, rest = results[: len(state)], results[len(state) :]
        found.append([as_tensor(item) for item in rest])
    count = len(found[0])
    out_axes, back = node["scan_output_axes"] or [0] * count, node["scan_output_directions"] or [0] * count
    stacked = [
        torch.stack(items[::-1] if reverse else items, axis)
        for items, axis, reverse in zip(zip(*found, strict=True), out_axes, back, strict=True)
    ]
    return (*state, *stacked)


CONTROL: dict[str, Callable[..., tuple[Any, ...]]] = {"If": _if, "Loop": _loop, "Scan": _scan}
