"""A file's module compared with onnxruntime on the example inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphprune.ground.errors import CaptureError, VerificationError
from graphprune.importing.control import UNSEEN
from graphprune.importing.interpreter import Graph, OnnxModule, Turn
from graphprune.importing.running import values_of
from graphprune.importing.values import Numbers, as_tensor, is_half, tensor_from

__all__ = ["check_values", "is_equal"]

HALF_LIMIT = 5e-2  # onnxruntime rounds every value to float16 on the way, PyTorch none
LIMIT = 1e-3  # relative to the largest value of an output: both compute in the file's own precision, in other orders


def check_values(module: OnnxModule, inputs: Sequence[Tensor], path: Path) -> None:
    """Compares the outputs; where they differ, every node on what onnxruntime gives it.

    Numbers of 8 bits that are rounded the other way at one node are a few steps apart at the end. So outputs may differ
    where no node does.

    Raises:
        CaptureError: onnxruntime does not run the file, or a node gives something else; the message names it.
    """
    with torch.no_grad():
        results = {name: value for name, value in module(*inputs).items() if not name.startswith(UNSEEN)}
    feed = {item.name: value.numpy() for item, value in zip(module.signature, inputs, strict=True)}
    expected = _run(module, feed, results, path)
    if all(is_equal(result, expected[name]) for name, result in results.items()):
        return
    seen = _Seen()
    with torch.no_grad(), module.watched(seen):
        module(*inputs)
    nodes = _Nodes(_run(module, feed, seen.names, path))
    with torch.no_grad(), module.watched(nodes):
        module(*inputs)
    if nodes.wrong:
        raise CaptureError(
            f"{nodes.wrong} is not what onnxruntime computes on the example inputs",
            "please report the file: graphprune computes this operator otherwise",
        )


def _run(module: OnnxModule, feed: Mapping[str, Any], names: Iterable[str], path: Path) -> dict[str, Any]:
    try:
        return values_of(module.source, feed, names, path.name)
    except VerificationError as error:
        raise CaptureError(
            f"onnxruntime: {error.message}, on the example inputs", "give example inputs that it takes"
        ) from error


class _Seen:
    """Collects the names of what the nodes of the whole file compute, sizes among them."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def before(self, graph: Graph, turn: Turn, inputs: list[Any]) -> None:
        """Nothing."""

    def after(self, graph: Graph, turn: Turn, values: Mapping[str, Any]) -> None:
        """Takes what the node gave."""
        if not graph.prefix:
            computed = (name for name in turn.outputs if isinstance(values.get(name), Tensor | Numbers))
            self.names += computed


class _Nodes:
    """Gives every node what onnxruntime gives it.

    Attributes:
        wrong: the first node that makes something else of it; empty if there is none.
    """

    def __init__(self, expected: Mapping[str, Any]) -> None:
        self._expected, self.wrong = expected, ""

    def before(self, graph: Graph, turn: Turn, inputs: list[Any]) -> None:
        """Replaces what it reads."""
        for place, name in enumerate(turn.given):
            if not graph.prefix and isinstance(inputs[place], Tensor) and name in self._expected:
                inputs[place] = tensor_from(self._expected[name])

    def after(self, graph: Graph, turn: Turn, values: Mapping[str, Any]) -> None:
        """Compares what it gave."""
        for name in turn.outputs:
            if graph.prefix or self.wrong or name not in self._expected:
                continue
            if not is_equal(as_tensor(values[name]), self._expected[name]):
                node = turn.step.node
                self.wrong = f"{name}, of node {node.name or node.path} ({node.operator}),"


def is_equal(result: Tensor, expected: Any, most: float = LIMIT) -> bool:
    """Whether two values are the same, bytes but for one step."""
    if tuple(result.shape) != expected.shape:
        return False
    if expected.dtype in (np.uint8, np.int8):
        steps = np.abs(result.numpy().astype(np.int16) - expected.astype(np.int16))
        return bool(steps.max(initial=0) <= 1)
    if not result.is_floating_point():
        return bool(np.mean(result.numpy() == expected) > 0.99) if expected.size else True
    values, wanted = result.to(torch.float64), torch.from_numpy(expected.astype(np.float64))
    scale = float(wanted[wanted.isfinite()].abs().max()) if wanted.isfinite().any() else 1.0
    limit = HALF_LIMIT if is_half(expected) else most
    return torch.allclose(values, wanted, rtol=0.0, atol=limit * max(scale, 1e-6), equal_nan=True)
