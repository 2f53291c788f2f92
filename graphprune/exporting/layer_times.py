"""The time that each layer of an ONNX file takes: the runtime's kernels, traced back to the nodes they were made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from graphprune.exporting.node_names import layer_of
from graphprune.exporting.runtime import Array, NodeTime, node_times

__all__ = ["OTHER", "Nodes", "layer_times"]

OTHER = "other"
FUSED = "Fused"  # FusedConv, FusedMatMul: an operator with what comes after it


def layer_times(model: Path, feed: Mapping[str, Array], runs: int, threads: int = 1) -> dict[str, float]:
    """Layer → milliseconds of one run, the median of ``runs``, in the order of the file's nodes.

    A kernel that the runtime fused out of several nodes counts with the layer of the one it is named after. What
    cannot be traced back, and nodes outside of all layers, are `OTHER`.

    Raises:
        ExportError: onnxruntime cannot load or run the file.
    """
    import onnx

    nodes = Nodes.of(onnx.load(str(model), load_external_data=False).graph)
    found = dict.fromkeys([*filter(None, map(layer_of, nodes.by_name)), OTHER], 0.0)
    for kernel in node_times(model, feed, runs, threads):
        found[nodes.layer(kernel) or OTHER] += median(kernel.milliseconds)
    return {layer: spent for layer, spent in found.items() if spent}


@dataclass(frozen=True)
class Nodes:
    """The nodes of a file by their names, and by what they compute."""

    by_name: Mapping[str, Any]
    makers: Mapping[str, Any]

    @classmethod
    def of(cls, graph: Any) -> Nodes:
        makers = {value: node for node in graph.node for value in node.output}
        return cls({node.name: node for node in graph.node}, makers)

    def layer(self, kernel: NodeTime) -> str:
        """The layer of a kernel; empty if it is of none.

        Kernels are named after a node; or, in layouts by blocks of channels, after the value that comes out, which
        an activation may have made that was fused into the kernel.
        """
        name = _longest(kernel.name, self.by_name)
        if name:
            return layer_of(name)
        value = _longest(kernel.name, self.makers)
        operator = kernel.operator.removeprefix(FUSED)
        return next((layer_of(node.name) for node in self._before(value) if node.op_type == operator), "")

    def _before(self, value: str) -> Iterator[Any]:
        """The node that makes ``value`` and those before it, the nearest first."""
        queue, seen = [value], {value}
        for name in queue:
            node = self.makers.get(name)
            if node is not None:
                yield node
                new = [item for item in node.input if item not in seen]
                queue += new
                seen.update(new)


def _longest(kernel: str, names: Mapping[str, Any]) -> str:
    """The longest of ``names`` with which the kernel's name begins; the runtime puts its own behind "_" or "/"."""
    ends = [len(kernel), *(place for place, letter in enumerate(kernel) if letter in "_/")]
    return next((kernel[:end] for end in sorted(ends, reverse=True) if kernel[:end] in names), "")
