"""Models to be timed and nothing else: small files that read made weights from one file beside them.

A time does not depend on the numbers that are multiplied, as long as they are neither so large nor so small that they
leave their range on the way. So each large tensor reads numbers with about its own deviation from a stretch that all
tensors of that deviation share.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import log2
from pathlib import Path
from typing import Any

import numpy

from graphprune.exporting.layer_times import MARK, layer_of
from graphprune.exporting.serialised import Serialised

__all__ = ["SharedWeights"]

FILE = "weights.bin"
ALIGNED = 4096  # bytes, which runtimes that map files ask for
FEWEST, MOST = -12, 4  # powers of two of deviations


@dataclass
class SharedWeights:
    """Models that share their weights.

    Args:
        operators: those that the times of layers are found of; values that follow are called after their layers.
    """

    operators: Collection[str]
    models: dict[str, Any] = field(default_factory=dict)
    lengths: dict[int, int] = field(default_factory=dict)

    def add(self, name: str, made: Serialised) -> None:
        """Takes a model under the name of its file, without its large tensors."""
        import onnx

        proto = onnx.ModelProto()
        proto.CopyFrom(made.proto)
        name_values(proto.graph, self.operators)
        for tensor in proto.graph.initializer:
            if tensor.name in made.outside:
                self._take(tensor, made.outside[tensor.name].numpy())
        self.models[name] = proto

    def _take(self, tensor: Any, array: Any) -> None:
        del tensor.external_data[:]
        if array.dtype != numpy.float32:
            tensor.data_location, tensor.raw_data = tensor.DEFAULT, array.tobytes()
            return
        deviation = float(array.std(dtype=numpy.float64)) or 1.0
        power = min(max(round(log2(deviation)), FEWEST), MOST)
        self.lengths[power] = max(self.lengths.get(power, 0), array.nbytes)
        entries = {"location": FILE, "offset": power, "length": array.nbytes}  # the offset follows
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=str(value))

    @property
    def _offsets(self) -> Mapping[int, int]:
        found, end = {}, 0
        for power, length in sorted(self.lengths.items()):
            found[power] = end
            end += -(-length // ALIGNED) * ALIGNED
        return found

    def write_weights(self, path: Path) -> None:
        """The file of weights; all models have been added."""
        generator = numpy.random.default_rng(0)
        with path.open("wb") as file:
            for power, length in sorted(self.lengths.items()):
                count = -(-length // ALIGNED) * ALIGNED // 4
                file.write(
                    (generator.standard_normal(count, numpy.float32) * 2.0**power).astype("<f4").tobytes()
                )

    def write_model(self, path: Path) -> None:
        """The model of that name."""
        offsets = self._offsets
        proto = self.models[path.name]
        for tensor in proto.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "offset":
                    entry.value = str(offsets[int(entry.value)])
        path.write_bytes(proto.SerializeToString())


def name_values(graph: Any, operators: Collection[str]) -> None:
    """Puts before the name of each value the layer whose kernel may have made it: the last product before it.

    A runtime that fuses what follows into a layer's kernel calls it after the value that comes out.
    """
    outputs = {item.name for item in graph.output}
    owners: dict[str, tuple[int, str]] = {}
    names: dict[str, str] = {}
    for place, node in enumerate(graph.node):
        layer = layer_of(node.name) if node.op_type in operators else ""
        last = max((owners[value] for value in node.input if value in owners), default=(-1, ""))
        owner = (place, layer) if layer else last
        for value in node.output:
            owners[value] = owner
            if owner[1] and value and value not in outputs:
                names[value] = f"{owner[1]}{MARK}{value}"
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]
    for item in graph.value_info:
        item.name = names.get(item.name, item.name)
