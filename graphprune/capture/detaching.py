"""Where ``forward`` computes without gradients: it is seen while the model is traced, and said by ``detach``.

torch.export wraps what runs while gradients are off into a graph of its own, of which only the results can be told
apart from others by whoever trains the model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, fx, nn

from graphprune.capture.casting import is_inference
from graphprune.capture.memory import Memory
from graphprune.capture.operators import mutates

__all__ = ["detached", "drop_needless", "following_gradients", "inference_as_no_grad"]

DETACH = torch.ops.aten.detach.default


@contextmanager
def following_gradients(model: nn.Module) -> Iterator[None]:
    """Gradients are on, so that regions where they are off are seen, though no tensor of ``model`` requires any.

    Autograd forbids some of what inference may do, as writing into a parameter or into one of several views.
    """
    if torch.is_inference_mode_enabled() or is_inference(model):  # which can be captured nowhere else
        yield
        return
    learning = [p for p in model.parameters() if p.requires_grad and p.is_leaf]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        with torch.enable_grad(), inference_as_no_grad():
            yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


@contextmanager
def inference_as_no_grad() -> Iterator[None]:
    """In here `torch.inference_mode` only switches gradients, which torch.export sees."""
    before: list[bool] = []

    def entered(mode: Any) -> None:
        before.append(torch.is_grad_enabled())
        torch.set_grad_enabled(not mode.mode)

    def left(mode: Any, *_: Any) -> None:
        torch.set_grad_enabled(before.pop())

    with patch.multiple(torch.inference_mode, __enter__=entered, __exit__=left):
        yield


def detached(graph: fx.Graph, made: Any) -> Any:
    """What the nodes in ``made`` compute, cut off from gradients; behind the last node of ``graph``."""

    def cut(node: fx.Node) -> fx.Node:
        if not _is_smooth(node):
            return node
        result = graph.create_node("call_function", DETACH, (node,), name="detach")
        result.meta = dict(node.meta)
        return result

    return fx.node.map_arg(made, cut)


def drop_needless(graph: fx.Graph, learning: Collection[str]) -> None:
    """Drops every ``detach`` that no input and none of the stored tensors ``learning`` reaches."""
    memory, reached = Memory(graph), set[fx.Node]()
    for node in list(graph.nodes):
        source = node.op == "placeholder" or (node.op == "get_attr" and node.target in learning)
        if node.target is DETACH:
            if node.args[0] not in reached:
                node.replace_all_uses_with(node.args[0])
                graph.erase_node(node)
        elif _is_smooth(node) and (source or any(n in reached for n in node.all_input_nodes)):
            reached.add(node)
            if mutates(node):  # whoever reads that memory afterwards
                reached.update(memory.sharing[memory.root[node]])


def _is_smooth(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return any(
        isinstance(item, Tensor) and (item.is_floating_point() or item.is_complex())
        for item in (value if isinstance(value, tuple | list) else (value,))
    )
