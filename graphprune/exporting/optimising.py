"""Torch's own ONNX optimiser, with its rules tried only where they can begin.

The optimiser tries each of its forty rules on every node. One that looks for two nodes at once, of which the given is
the first, then reads the whole graph each time, which is quadratic: of a graph of 4,000 nodes most of the time of an
export. A rule whose first node is of another operator cannot match, and this is known without looking further.

What is used is private to onnxscript: ``rewriter._DEFAULT_REWRITE_RULES``, of a rule ``_target_pattern`` and
``_matcher``. Where a version lacks any of them, its optimiser runs as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

__all__ = ["optimise"]


def optimise(model: Any) -> Any:
    """The `onnx_ir.Model`, optimised as `torch.onnx.export` does it; ``model`` itself is changed."""
    draft = torch.onnx.ONNXProgram(model, None)
    with _rooted_rules():
        draft.optimize()
    return draft.model


class _Rooted:
    """What matches a rule to a node, if the node is of the operator that the rule begins with."""

    def __init__(self, matcher: Any, root: Any) -> None:
        from onnxscript.rewriter import MatchResult

        self.matcher, self.root, self.result = matcher, root, MatchResult

    def match(self, model: Any, graph: Any, node: Any, **options: Any) -> Any:
        if node.op_identifier() != self.root:
            return self.result().fail("it begins with another operator")
        return self.matcher.match(model, graph, node, **options)


@cache
def _rules() -> tuple[Any, ...]:
    from onnxscript import rewriter

    return tuple(map(_rooted, rewriter._DEFAULT_REWRITE_RULES))


def _rooted(rule: Any) -> Any:
    """A copy of the rule that looks at its first operator first."""
    root = rule._target_pattern.output_nodes[0].op_identifier()
    if root is None:  # the rule says which operators it may be by other means
        return rule
    rooted = copy.copy(rule)
    rooted._matcher = _Rooted(rule._matcher, root)
    return rooted


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
