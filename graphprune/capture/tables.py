"""How far sizes may grow until they reach beyond a table, such as that of learned positions.

Where rows are chosen by numbers that sizes alone decide, as by ``arange(length)``, the largest of them is found by
trying. If it grows steadily with the sizes, the graph is given the limit as a condition.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from graphprune.capture.checking import Runner
from graphprune.capture.deciding import require_that
from graphprune.capture.describe import source_line
from graphprune.capture.dimensions import Dimension
from graphprune.capture.execution import call_operator
from graphprune.capture.freeing import Sizes
from graphprune.capture.remembered import Computed, Expression
from graphprune.capture.trial import Place, Trial
from graphprune.capture.varying import Vary, Varying, together

__all__ = ["Tables"]

_aten = torch.ops.aten
# of their argument they read the shape alone
_SHAPES_ALONE = (_aten.sym_size, _aten.ones_like, _aten.zeros_like, _aten.new_ones, _aten.new_zeros)


class Tables:
    """The tables of a graph that sizes index.

    Args:
        tensors: stored tensors by name; those of integers may take part in an index.
    """

    def __init__(self, graph: fx.Graph, tensors: Mapping[str, Tensor], runner: Runner) -> None:
        self._tensors = tensors
        self._runner = runner
        self._alone = _of_sizes_alone(graph, tensors)
        self._reads = [read for node in graph.nodes for read in _indexed(node) if read[1] in self._alone]

    def require(
        self, varying: Varying, inputs: Sequence[fx.Node], dimensions: Sequence[Dimension], sizes: Sizes
    ) -> None:
        """Puts into the graph that no size reaches beyond a table."""
        if not self._reads or not varying.tried:
            return
        small, *between, large = _points(varying.tried)
        ends = self._tops(small), self._tops(large)
        if ends[0] == ends[1] and all(vary.large > vary.small for vary in varying.tried):
            return  # no index grows with the sizes
        tops = [ends[0], *map(self._tops, between), ends[1]]
        for number, (node, _, rows) in enumerate(self._reads):
            slopes, first = _line([top[number] for top in tops], varying.tried)
            growing = {vary: slope for vary, slope in zip(varying.tried, slopes, strict=True) if slope > 0}
            if (
                not growing
                or min(slopes) < 0
                or not self._ends(number, varying.trial, growing, small, tops[0][number])
            ):
                continue
            total = _sum(
                [(sizes.leaf(inputs[v.places[0][0]], v.places[0][1]), s) for v, s in growing.items()]
            )
            names = " + ".join(
                f"{'' if slope == 1 else f'{slope} · '}{_name(vary, dimensions)}"
                for vary, slope in growing.items()
            )
            limit = rows - 1 - first
            line = source_line(node)
            text = f"{names} must be at most {limit}, where a table of {rows} rows ends" + (
                f" ({line})" if line else ""
            )
            require_that(Computed(operator.le, (total, limit)), text, sizes)

    def _ends(
        self,
        number: int,
        trial: Trial,
        growing: Mapping[Vary, int],
        small: Mapping[Place, int],
        top: int | None,
    ) -> bool:
        """Whether each size does reach beyond the table, and does not stop growing before."""
        for vary, slope in growing.items():
            more = -(-(self._reads[number][2] - (top or 0)) // slope)
            beyond = {**small, **vary.at(vary.small + more)}
            if self._tops(beyond)[number] != (top or 0) + more * slope:
                return False
            if self._reads[number][0].target is _aten.slice.Tensor and not trial.run(beyond).problem:
                return False  # a slice may end where its tensor ends
        return True

    def _tops(self, at: Mapping[Place, int]) -> list[int | None]:
        """The largest index into each table where the inputs have these sizes."""
        values = self._runner.at(at, decide=False).values
        found: dict[fx.Node, Any] = {}
        return [self._top(index, values, found) for _, index, _ in self._reads]

    def _top(self, index: fx.Node, values: Mapping[fx.Node, Any], found: dict[fx.Node, Any]) -> int | None:
        try:
            value = self._value(index, values, found)
        except Exception:  # whatever an operator raises at this size, or the graph before it
            return None
        if isinstance(value, int):  # the end of a slice
            return value - 1
        return int(value.max()) if value.numel() else None

    def _value(self, node: fx.Node, values: Mapping[fx.Node, Any], found: dict[fx.Node, Any]) -> Any:
        """What a node gives that sizes alone decide."""
        if isinstance(values.get(node), int):
            return values[node]
        if node.op == "get_attr":
            return self._tensors[str(node.target)]
        if node not in found:
            args, kwargs = fx.node.map_arg(
                (node.args, node.kwargs), lambda n: self._argument(n, values, found)
            )
            found[node] = call_operator(node, args, kwargs)
        return found[node]

    def _argument(self, node: fx.Node, values: Mapping[fx.Node, Any], found: dict[fx.Node, Any]) -> Any:
        """The value of a node, or anything of its shape."""
        if node in self._alone:
            return self._value(node, values, found)
        return torch.empty(values[node], dtype=node.meta["val"].dtype)


def _of_sizes_alone(graph: fx.Graph, tensors: Mapping[str, Tensor]) -> set[fx.Node]:
    """Nodes whose values depend on nothing but sizes and stored integers."""
    alone: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "get_attr":
            tensor = tensors[str(node.target)]
            fits = not isinstance(tensor, torch.nn.Parameter) and not tensor.is_floating_point()
        else:
            shape = getattr(node.target, "overloadpacket", None) in _SHAPES_ALONE
            fits = node.op == "call_function" and (shape or alone.issuperset(node.all_input_nodes))
        if fits:
            alone.add(node)
    return alone


def _indexed(node: fx.Node) -> Iterator[tuple[fx.Node, fx.Node, int]]:
    """The node, the index that it takes, and the number of rows of the table."""
    places: list[tuple[Any, int]] = []
    if node.target is _aten.embedding.default:
        places = [(node.args[1], 0)]
    elif node.target is _aten.index_select.default:
        places = [(node.args[2], node.args[1])]  # type: ignore[list-item]
    elif node.target is _aten.index.Tensor:
        places = [(index, dim) for dim, index in enumerate(node.args[1])]  # type: ignore[arg-type]
    elif node.target is _aten.slice.Tensor and len(node.args) > 3:
        places = [(node.args[3], node.args[1])]  # type: ignore[list-item]
    for index, dim in places:
        table = node.args[0]
        if isinstance(index, fx.Node) and isinstance(table, fx.Node) and table.op == "get_attr":
            yield node, index, int(table.meta["val"].shape[dim])


def _points(varying: Sequence[Vary]) -> list[dict[Place, int]]:
    """All small; each in turn large; all large."""
    small = together(varying, "small")
    return [small, *({**small, **vary.at(vary.large)} for vary in varying), together(varying, "large")]


def _line(tops: Sequence[int | None], varying: Sequence[Vary]) -> tuple[list[int], int]:
    """``top = first + sum(slope · size)``; slopes of zero where it is not so."""
    none = [0] * len(varying), 0
    if any(top is None for top in tops):
        return none
    small, *alone, last = (top for top in tops if top is not None)
    slopes = []
    for top, vary in zip(alone, varying, strict=True):
        slope, rest = divmod(top - small, vary.large - vary.small)
        if rest:
            return none
        slopes.append(slope)
    first = small - sum(slope * vary.small for slope, vary in zip(slopes, varying, strict=True))
    follows = last == first + sum(slope * vary.large for slope, vary in zip(slopes, varying, strict=True))
    return (slopes, first) if follows else none


def _sum(terms: Sequence[tuple[Expression, int]]) -> Expression:
    scaled = [term if times == 1 else Computed(operator.mul, (term, times)) for term, times in terms]
    total = scaled[0]
    for term in scaled[1:]:
        total = Computed(operator.add, (total, term))
    return total


def _name(vary: Vary, dimensions: Sequence[Dimension]) -> str:
    return next(str(at) for at in dimensions if (at.place, at.dim) == vary.places[0])
