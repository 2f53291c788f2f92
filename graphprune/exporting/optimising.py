"""Torch's own ONNX optimiser, with its rules tried only where they can begin.

The optimiser tries each of its forty rules on every node. One that looks for two nodes at once, of which the given is
the first, then reads the whole graph each time, which is quadratic: of a graph of 4,000 nodes most of the time of an
export. A rule whose first node is of another operator cannot match, and this is known without looking further; nor can
one that looks for two readers of a value that has one. Where a value has several, only these are looked at.

What is used is private to onnxscript: ``rewriter._DEFAULT_REWRITE_RULES``, and of a rule ``_target_pattern`` and
``_matcher``. Where a version lacks any of them, its optimiser runs as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any

import torch

__all__ = ["optimise"]


def optimise(model: Any) -> Any:
    """The `onnx_ir.Model`, optimised as `torch.onnx.export` does it; ``model`` itself is changed."""
    draft = torch.onnx.ONNXProgram(model, None)
    with _rooted_rules():
        draft.optimize()
    return draft.model


@cache
def _rules() -> tuple[Any, ...]:
    from onnxscript import rewriter

    return tuple(map(_rooted, rewriter._DEFAULT_REWRITE_RULES))


def _rooted(rule: Any) -> Any:
    """A copy of the rule that looks at its first operator first, and names what it makes as nothing is named."""
    first, *others = rule._target_pattern.output_nodes
    root = first.op_identifier()  # None where the rule says elsewhere what it begins with
    shared = [
        (place, other.op_identifier())
        for other in others
        for place, value in enumerate(first.inputs)
        if any(value is read for read in other.inputs)
    ]

    def try_rewrite(model: Any, graph: Any, node: Any, **options: Any) -> Any:
        if root is not None and node.op_identifier() != root:
            return None
        if not all(_read_by(node, place, operator) for place, operator in shared):
            return None
        made = near.try_rewrite(model, graph, node, **options)
        for value in made.new_initializers if made else ():
            value.name = _fresh(value.name, graph.initializers, made.match.nodes)
        return made

    rooted, near = copy.copy(rule), copy.copy(rule)
    rooted.try_rewrite = try_rewrite
    if len({place for place, _ in shared}) == 1 and len(shared) == len(others):
        near._matcher = _Among(rule._matcher, shared[0][0])
    return rooted


class _Among:
    """A matcher of several nodes that all read what the first one reads at a place: no others are looked at."""

    def __init__(self, matcher: Any, place: int) -> None:
        self._matcher = matcher
        self._place = place

    def match(self, model: Any, graph: Any, node: Any, **options: Any) -> Any:
        readers = dict.fromkeys(use.node for use in node.inputs[self._place].uses())
        return self._matcher.match(model, _Part(graph, tuple(readers)), node, **options)


@dataclass(frozen=True)
class _Part:
    """Some nodes of a graph, in the place of all."""

    whole: Any
    nodes: tuple[Any, ...]

    @property
    def graph(self) -> Any:
        import onnx_ir

        return self.whole if isinstance(self.whole, onnx_ir.Graph) else self.whole.graph

    def __iter__(self) -> Iterator[Any]:
        return iter(self.nodes)


def _read_by(node: Any, place: int, operator: Any) -> bool:
    """Whether another node, of that operator, reads what ``node`` reads there."""
    value = node.inputs[place] if place < len(node.inputs) else None
    users = () if value is None else value.consumers()
    return any(user is not node and operator in (None, user.op_identifier()) for user in users)


def _fresh(name: str, known: Mapping[str, Any], replaced: Container[Any]) -> str:
    """The name, or one like it where an initializer has it that others than the ``replaced`` nodes read.

    Bounds that are folded into a Clip are called after its input, which may be that of several.
    """

    def taken(name: str) -> bool:
        return name in known and any(user.node not in replaced for user in known[name].uses())

    return next(new for n in count() if not taken(new := f"{name}_{n}" if n else name))


@contextmanager
def _rooted_rules() -> Iterator[None]:
    from onnxscript import rewriter

    try:
        own, rules = rewriter._DEFAULT_REWRITE_RULES, _rules()
    except (AttributeError, TypeError):
        yield
        return
    rewriter._DEFAULT_REWRITE_RULES = rules
    try:
        yield
    finally:
        rewriter._DEFAULT_REWRITE_RULES = own
