"""The times of another device, and the latency of a model there as a function of the sizes of its atoms.

A kit (`graphprune.searching.kit`) holds the original and slim models of many widths, all small files. Where they have
been timed, each layer's rates are fitted to its times within these models, as `graphprune.profiling.latency` fits them
to times alone. A runtime that gives no times of nodes leaves the times of whole models, to which three rates are fitted
for all layers together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, prod
from operator import truediv
from pathlib import Path
from statistics import median
from typing import Any

from typing_extensions import NotRequired, TypedDict

from graphprune.axes.cost import Polynomial
from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.terms import Atom, Term, size_of
from graphprune.ground.documents import read_json
from graphprune.ground.errors import InputError
from graphprune.planning.plan import fingerprint
from graphprune.profiling.latency import TimedLayer, fitted_rates, other_elements, timed_layers
from graphprune.profiling.lone_layers import OPERATORS

__all__ = ["MULTIPLE", "Device", "device_latency", "layer_key", "read_device"]

LARGEST = 16 * 2**20  # bytes of a file of times
MULTIPLE = 16  # of channels: nobody knows what another device likes, and vectors are seldom longer
FEWEST = 4  # models that say anything of widths
REMEDY = (
    "give the times.json that time_kit.py wrote of a kit of this model (graphprune profile MODEL --kit DIR)"
)
MARK = "/"  # between a layer and the rest of a name, see `graphprune.exporting.layer_times`
FUSED = "Fused"

Sizes = Mapping[Atom, int]
Products = list[tuple[Term, ...]]


class _Named(TypedDict):
    name: str
    runtime: str
    threads: NotRequired[int]


class _Timed(TypedDict):
    sizes: dict[str, int]
    ms: list[float]
    nodes: NotRequired[list[list[str | float]]]


class TimesDocument(TypedDict):
    """What time_kit.py writes: by model, the widths of its groups, the times of its runs, and those of its nodes."""

    format: int
    model: str
    batch: int
    device: _Named
    models: dict[str, _Timed]


@dataclass(frozen=True, eq=False)
class Device:
    """What was timed elsewhere.

    Args:
        path: the file, for messages.
        document: see `TimesDocument`.
    """

    path: str
    document: Mapping[str, Any]

    def __str__(self) -> str:
        said = self.document["device"]
        threads = f", {said['threads']} threads" if said.get("threads") else ""
        return f"{said['name']}, {said['runtime']}{threads}"

    @cached_property
    def milliseconds(self) -> dict[str, float]:
        """Model → its time: that of the first model times the median of its ratios to that in the same rounds.

        Whatever else the device did has slowed all models of a round. Other tools time one model after the other: there
        it is the median of the runs.
        """
        rows = {name: row["ms"] for name, row in self.document["models"].items()}
        first = next(iter(rows.values()))
        return {
            name: median(first) * median(map(truediv, times, first))
            if len(times) == len(first)
            else median(times)
            for name, times in rows.items()
        }


def read_device(path: str | Path) -> Device:
    """The times in a file, which may come from anyone.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    try:
        document = read_json(Path(path), TimesDocument)
        _check(document)
    except InputError as error:
        raise InputError(f"{path} holds no times of a device: {error.message}", REMEDY) from error
    return Device(str(path), document)


def _check(document: Mapping[str, Any]) -> None:
    if document["format"] != 1:
        raise InputError(f"its format is {document['format']}, not 1")
    if len(document["models"]) < FEWEST:
        raise InputError(f"it has {len(document['models'])} models, fewer than {FEWEST}")
    for name, row in document["models"].items():
        if not row["ms"] or not all(isfinite(spent) and 0 < spent < 1e9 for spent in row["ms"]):
            raise InputError(f"{name[:40]} has a time that is none")
        for node in row.get("nodes", ()):
            fits = len(node) == 3 and isinstance(node[0], str) and isinstance(node[1], str)
            if not fits or not isinstance(node[2], int | float) or not 0 <= node[2] < 1e9:
                raise InputError(f"{name[:40]} has a node that is no name, operator and time")


def layer_key(graph: DependencyGraph, item: TimedLayer) -> str:
    """What the nodes of a layer are called after in a file: the module that holds its weights, or that it is in."""
    operation = item.layer.operation
    held = [graph.program.attributes[v.name] for v in operation.inputs if v.name in graph.program.attributes]
    return held[0].rpartition(".")[0] if held else operation.layer


def device_latency(graph: DependencyGraph, device: Device) -> Polynomial:
    """Milliseconds of one run there.

    Raises:
        InputError: the times are of another model.
    """
    document = device.document
    if document["model"] != fingerprint(graph):
        raise InputError(f"{device.path} has times of another model, or of other sizes of it", REMEDY)
    return _Fit(graph, device).polynomial


@dataclass(frozen=True)
class _Fit:
    """Rates of layers, or of all of them, that come nearest to the times."""

    graph: DependencyGraph
    device: Device

    @property
    def polynomial(self) -> Polynomial:
        free = {group.atom for group in self.graph.groups}
        products: list[tuple[str, tuple[Term, ...]]] = []
        prices: dict[str, float] = {}
        for name, (columns, times) in self._parts().items():
            rates = fitted_rates([[_amount(column, at) for column in columns] for at in self._sizes], times)
            for place, (column, rate) in enumerate(zip(columns, rates, strict=True)):
                products += [(f"{name} {place}", terms) for terms in column]
                prices[f"{name} {place}"] = rate
        return Polynomial.of(products, free, self._unit, prices)

    @cached_property
    def _unit(self) -> dict[Atom, int]:
        batch = self.device.document["batch"]
        return dict(self.graph.batch_sizes(dict.fromkeys(self.graph.program.batch_primes, batch)))

    @cached_property
    def _sizes(self) -> list[Sizes]:
        """Of each model."""
        groups = self.graph.by_name
        found: list[Sizes] = []
        for name, row in self.device.document["models"].items():
            for group, size in row["sizes"].items():
                if group not in groups or not 1 <= size <= groups[group].size:
                    raise InputError(
                        f"{self.device.path}: {name[:40]} has {size} units of {group[:60]!r}", REMEDY
                    )
            by_atom = {groups[group].atom: size for group, size in row["sizes"].items()}
            found.append({**self._unit, **by_atom})
        return found

    def _parts(self) -> dict[str, tuple[list[Products], list[float]]]:
        """Name of a part of the model → products whose rates are wanted, and its times in each model."""
        timed = timed_layers(self.graph)
        spent = list(self.device.milliseconds.values())
        known: dict[str, list[TimedLayer]] = {}
        for item in timed:
            known.setdefault(layer_key(self.graph, item), []).append(item)
        of_layers = [dict(self._layer_times(row)) for row in self.device.document["models"].values()]
        seen = [name for name in known if name and all(times.get(name, 0) > 0 for times in of_layers)]
        within = [
            {name: times[name] * whole / sum(times.values()) for name in seen} if seen else {}
            for times, whole in zip(of_layers, spent, strict=True)
        ]
        parts = {name: (_columns(known[name]), [times[name] for times in within]) for name in seen}
        others = [item for name, items in known.items() if name not in seen for item in items]
        made = other_elements(self.graph, {item.layer.operation.name for item in timed})
        macs, elements = _columns(others)
        rest = [max(whole - sum(times.values()), 0.0) for whole, times in zip(spent, within, strict=True)]
        return {**parts, "": ([macs, [*elements, *made], [()]], rest)}

    def _layer_times(self, row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
        """Layers by the profile of a model; what is of none under the name ""."""
        total: dict[str, float] = {}
        for name, operator, spent in row.get("nodes", ()):
            is_layer = str(operator) in OPERATORS or str(operator).removeprefix(FUSED) in OPERATORS
            layer = str(name).partition(MARK)[0] if is_layer and MARK in str(name) else ""
            total[layer] = total.get(layer, 0.0) + float(spent)
        yield from total.items()


def _columns(items: Sequence[TimedLayer]) -> list[Products]:
    """Multiply-accumulates and elements of layers."""
    return [
        [terms for item in items for terms in item.macs],
        [terms for item in items for terms in item.elements],
    ]


def _amount(products: Products, sizes: Sizes) -> float:
    return float(sum(prod(size_of(term, sizes) for term in terms) for terms in products))
