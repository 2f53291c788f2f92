"""Conditions on sizes that a program of the same code does without."""

from __future__ import annotations

import re
from dataclasses import replace

from graphprune.capture.deciding import DECIDES
from graphprune.capture.program import Program
from graphprune.ground.arguments import require

__all__ = ["eased"]


def eased(program: Program, other: Program) -> Program:
    """The program without those decisions that ``other`` did not have to keep.

    Without values, a capture cannot see that a decision that falls otherwise leads to the same: that a mask is left out
    which would mask nothing. ``other`` was captured from the same code with values, and compared with its model where
    the decision falls otherwise. It may be a smaller model, so decisions are known by their line: the numbers differ.
    """
    kept = {_place(node.args[1]) for node in other.graph.find_nodes(op="call_function", target=require)}
    graph = type(program.graph)()
    graph.output(graph.graph_copy(program.graph, {}))
    for node in graph.find_nodes(op="call_function", target=require):
        if str(node.args[1]).startswith(DECIDES) and _place(node.args[1]) not in kept:
            conditions = node.all_input_nodes
            graph.erase_node(node)
            for condition in conditions:
                if not condition.users:
                    graph.erase_node(condition)
    return replace(program, graph=graph)


def _place(text: object) -> str:
    """The line of code at the end of a condition's text, such as "(masking.py:12)"; the whole text without one."""
    found = re.search(r"\([^()]+:\d+\)$", str(text))
    return found[0] if found else str(text)
