"""8 bits: onnxruntime's static quantisation, with those nodes left in float that the outputs need in float.

The rule: what a set of nodes does to the outputs is measured with these alone in 8 bits, on examples that ranges were
taken from. The set of all nodes is halved again and again, always the part with the largest squared error for its share
of the weights and of the nodes; a part of one node stays in float. This ends when the parts that are left come to what
was asked for (their squares add up), or half of the nodes stay in float. Then the file is judged on other examples; if
it is off more, the search goes on to half of that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf, isfinite, prod
from pathlib import Path
from typing import Any

from graphprune import exporting
from graphprune.calibration import Fidelity
from graphprune.deploying.examples import Examples, Feed
from graphprune.deploying.mixing import exact_nodes, mixed, quantised_nodes, switched
from graphprune.deploying.ranges import reader
from graphprune.deploying.shaping import quiet, write_file
from graphprune.exporting import Array
from graphprune.ground.errors import ExportError, first_line
from graphprune.ground.files import scratch

__all__ = ["Quantised", "quantise"]

FEW = 4  # examples on which sets of nodes are measured
STRICTER = 0.5
TRIES = 4


@dataclass(frozen=True)
class Quantised:
    """A file in 8 bits.

    Args:
        model: an `onnx_ir.Model`.
        fidelity: to the file in float.
        left: names of the nodes that stay in float.
        nodes: how many could be in 8 bits.
    """

    model: Any
    fidelity: Fidelity
    left: tuple[str, ...]
    nodes: int

    @property
    def off(self) -> float:
        """The error of the outputs; infinite where it is no number."""
        return self.fidelity.error if isfinite(self.fidelity.error) else inf


def quantise(
    file: Path, examples: Examples, expected: Sequence[Sequence[Array]], symmetric: bool, most: float
) -> Quantised:
    """The ``file`` in 8 bits.

    Args:
        expected: what the file in float gives for the held examples.
        symmetric: activations have no zero point.
        most: how far outputs may be off.

    Raises:
        ExportError: it cannot be quantised, or gives numbers that are not finite whatever stays in float.
    """
    import onnx

    with scratch() as folder:
        whole, own = _whole(file, folder, examples.seen, symmetric), onnx.load(file)
        exact = exact_nodes(own)
        names = [node.name for node in quantised_nodes(whole.graph) if node.name not in exact]
        if not names:
            raise ExportError("no operator of the file can be quantised", "leave int8 out")

        def tried(left: Sequence[str]) -> Quantised:
            model = mixed(whole, own, {*left, *exact})
            write_file(model, folder / "mixed.onnx", {}, external=True)
            try:
                fidelity = examples.fidelity(expected, examples.run(folder / "mixed.onnx"))
            except ExportError:  # such as places beyond a table
                fidelity = Fidelity(inf, None, 0, examples.data, examples.held_out)
            return Quantised(model, fidelity, tuple(left), len(names))

        best = tried(())
        if best.off > most:
            search = _Search(_Switched.of(own, whole, folder, examples), _prices(own, names))
            for number in range(TRIES):
                left = search.left_for(most * STRICTER**number)
                found = tried(left)
                best = min(best, found, key=lambda one: one.off)
                if found.off <= most or search.is_over:
                    break
    if not isfinite(best.off):
        raise ExportError("in 8 bits the file gives numbers that are not finite", "leave int8 out")
    return best


def _whole(file: Path, folder: Path, feeds: Sequence[Feed], symmetric: bool) -> Any:
    """All that onnxruntime can quantise, quantised."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static

    try:
        with quiet():
            quantize_static(
                file,
                folder / "whole.onnx",
                reader(feeds),
                per_channel=True,
                activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options={"ActivationSymmetric": symmetric},
            )
    except Exception as error:  # the quantiser's errors have no common base class
        raise ExportError(
            f"the file cannot be quantised: {first_line(error, 200)}", "leave int8 out"
        ) from error
    return onnx.load(folder / "whole.onnx")


@dataclass(frozen=True)
class _Switched:
    """The float file, in which any nodes can be in 8 bits, in a session."""

    session: Any
    switches: dict[str, str]
    examples: Examples
    expected: list[list[Array]]

    @classmethod
    def of(cls, own: Any, whole: Any, folder: Path, examples: Examples) -> _Switched:
        import numpy
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(own)
        switches = switched(model, whole)
        onnx.save(model, folder / "switched.onnx", save_as_external_data=True)
        session = exporting.session(folder / "switched.onnx", as_written=True)
        few = examples.few(FEW)
        off = dict.fromkeys(switches.values(), numpy.array(False))
        expected = [exporting.feeder(session, {**feed, **off})() for feed in few.held]
        return cls(session, switches, few, expected)

    def error(self, names: Sequence[str]) -> float:
        """How far outputs are off with these nodes alone in 8 bits."""
        import numpy

        wanted = set(names)
        given = {switch: numpy.array(name in wanted) for name, switch in self.switches.items()}
        try:
            found = [exporting.feeder(self.session, {**feed, **given})() for feed in self.examples.held]
        except ExportError:
            return inf
        error = self.examples.fidelity(self.expected, found).error
        return error if isfinite(error) else inf


def _prices(own: Any, names: Sequence[str]) -> dict[str, float]:
    """Name of a node → its share of the weights, and of the nodes: what is lost with it in float."""
    sizes = {tensor.name: prod(tensor.dims) for tensor in own.graph.initializer}
    held = {node.name: sum(sizes.get(value, 0) for value in node.input) for node in own.graph.node}
    total = max(sum(held[name] for name in names), 1)
    return {name: held[name] / total + 1 / len(names) for name in names}


@dataclass(frozen=True)
class _Part:
    """Some nodes in their order, and how far outputs are off with these alone in 8 bits."""

    names: Sequence[str]
    error: float
    price: float

    def __lt__(self, other: _Part) -> bool:
        return self.error**2 / self.price > other.error**2 / other.price


@dataclass
class _Search:
    """The parts that nodes have been halved into, the next to be halved first."""

    switched: _Switched
    prices: Mapping[str, float]
    parts: list[_Part] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._add([name for name in self.prices if name in self.switched.switches])

    @property
    def is_over(self) -> bool:
        """Whether no more nodes may stay in float."""
        return 2 * len(self.left) >= len(self.prices) or not self.parts

    def left_for(self, most: float) -> list[str]:
        """The nodes that stay in float so that the others are off by ``most`` together."""
        while not self.is_over and sum(part.error**2 for part in self.parts) > most**2:
            names = heappop(self.parts).names
            if len(names) == 1:
                self.left += names
                continue
            middle = len(names) // 2
            self._add(names[:middle])
            self._add(names[middle:])
        return list(self.left)

    def _add(self, names: Sequence[str]) -> None:
        if names:
            price = sum(self.prices[name] for name in names)
            heappush(self.parts, _Part(names, self.switched.error(names), price))
