"""Literals that are computed from sizes: what they cut stays, and everything else passes as by plain numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.fx.node import map_aggregate

from graphprune.axes.terms import Atom, Product, Sum
from graphprune.capture.operations import Size
from graphprune.capture.operators import find_operator
from graphprune.laws.trial import Trial, halves
from graphprune.planning.masks import Masks
from graphprune.rewriting.sizes import Scaled, resized, restored

X, IMAGE = torch.randn(4, 5, 6, dtype=torch.float64), torch.randn(2, 3, 8, 8, dtype=torch.float64)
Case = tuple[str, tuple[Any, ...], set[str]]

# operator, its arguments, and the dimensions that are free only where no number is a `Size`
CUT: dict[str, Case] = {
    "select": ("aten.select.int", (X, 1, Size(2)), {"self[1]"}),
    "slice to": ("aten.slice.Tensor", (X, 1, 0, Size(3)), {"self[1]", "return[1]"}),
    "slice from": ("aten.slice.Tensor", (X, 1, Size(2)), {"self[1]", "return[1]"}),
    "slice of all": ("aten.slice.Tensor", (X, 1, 0, Size(5)), {"self[1]", "return[1]"}),
    "narrow from": ("aten.narrow.default", (X, 1, Size(1), 2), {"self[1]", "return[1]"}),
    "narrow": ("aten.narrow.default", (X, 1, 1, Size(2)), {"self[1]", "return[1]"}),
    "split": ("aten.split.Tensor", (X, Size(3), 1), {"self[1]", "return.0[1]", "return.1[1]"}),
    "split unequally": (
        "aten.split_with_sizes.default",
        (X, [Size(2), 3], 1),
        {"self[1]", "return.0[1]", "return.1[1]"},
    ),
    "pad": ("aten.constant_pad_nd.default", (X, [0, 0, 1, Size(2)]), {"self[1]", "return[1]"}),
    "pad by mode": ("aten.pad.default", (X, [0, 0, Size(1), 0]), {"self[1]", "return[1]"}),
    "repeat": ("aten.repeat.default", (X, [1, Size(3), 1]), set()),
    "repeat each": ("aten.repeat_interleave.self_int", (X, Size(3), 1), set()),
}
PASSED: dict[str, Case] = {
    "mul": ("aten.mul.Tensor", (X, Size(3)), set()),
    "div": ("aten.div.Tensor", (X, Size(3)), set()),
    "expand": ("aten.expand.default", (X[:1], [Size(3), -1, -1]), set()),
    "reshape": ("aten.reshape.default", (X, [4, Size(30)]), set()),
    "adaptive pool": ("aten.adaptive_avg_pool2d.default", (IMAGE, [Size(4), Size(4)]), set()),
    "upsample": ("aten.upsample_bilinear2d.vec", (IMAGE, [Size(9), Size(9)], False, None), set()),
    "index_select": ("aten.index_select.default", (X, 1, torch.tensor([0, 2])), set()),
    "roll": ("aten.roll.default", (X, [Size(2)], [1]), {"self[1]", "return[1]"}),
    "full": ("aten.new_full.default", (X, [Size(3), 2], 1.0), set()),
}


def free(op: str, arguments: tuple[Any, ...]) -> set[str]:
    """Dimensions with an axis that may lose units."""
    operator = find_operator(op)
    trial = Trial.of(operator, arguments, {})
    places = {place for atom, where in trial.places.items() if not atom.pins for place in where.split()}
    for seed in (0, 1):
        error, problem = trial.error(halves([a for a in trial.places if not a.pins], seed), seed)
        assert error < 1e-10, problem
    return places


def plain(arguments: tuple[Any, ...]) -> Any:
    return map_aggregate(arguments, lambda leaf: int(leaf) if isinstance(leaf, Size) else leaf)


@pytest.mark.parametrize("label", CUT | PASSED)
def test_what_is_cut_at_a_size_stays(label: str) -> None:
    op, arguments, pinned = (CUT | PASSED)[label]
    assert free(op, plain(arguments)) - free(op, arguments) == pinned


@pytest.mark.parametrize("label", ["repeat", "repeat each"])
def test_how_often_something_is_repeated_is_no_axis_to_prune(label: str) -> None:
    op, arguments, _ = CUT[label]
    trial = Trial.of(find_operator(op), arguments, {})
    assert [atom.size for atom in trial.places if atom.pins] == [3]


CHANNELS, OTHERS, ROWS, COLUMNS = Atom(0, 12), Atom(1, 8), Atom(2, 46), Atom(3, 58)
MASKS = Masks({CHANNELS: torch.arange(12) < 9, OTHERS: torch.arange(8) < 2}, {})


def product(*parts: Any) -> Product:
    size = 1
    for part in parts:
        size *= part.size
    return Product(parts, size)


def total(*parts: Any) -> Sum:
    return Sum(parts, sum(part.size for part in parts))


@pytest.mark.parametrize(
    ("term", "before", "after"),
    [
        (ROWS, lambda h, w: h, lambda h, w: h),
        (CHANNELS, lambda h, w: 12, lambda h, w: 9),
        (product(CHANNELS, ROWS, COLUMNS), lambda h, w: 12 * h * w, lambda h, w: 9 * h * w),
        (total(CHANNELS, ROWS), lambda h, w: 12 + h, lambda h, w: 9 + h),
        (total(ROWS, CHANNELS, COLUMNS, OTHERS), lambda h, w: h + w + 20, lambda h, w: h + w + 11),
        (product(total(CHANNELS, OTHERS), ROWS), lambda h, w: 20 * h, lambda h, w: 11 * h),
        (total(product(CHANNELS, ROWS), product(OTHERS, ROWS)), lambda h, w: 20 * h, lambda h, w: 11 * h),
        (total(product(CHANNELS, OTHERS), ROWS), lambda h, w: 96 + h, lambda h, w: 18 + h),
    ],
)
def test_sizes_are_right_at_every_size(term: Any, before: Any, after: Any) -> None:
    """A literal that is computed when the model is called, and a size that is read then, as large as it was."""
    graph = torch.fx.Graph()
    node = graph.placeholder("size")
    for rows, columns in ((46, 58), (47, 3), (1, 1)):
        assert value(resized(node, term, MASKS), before(rows, columns)) == after(rows, columns)
        assert value(restored(node, term, MASKS), after(rows, columns)) == before(rows, columns)
    assert resized(before(46, 58), term, MASKS) == after(46, 58)
    assert resized(-1, term, MASKS) == -1


def value(literal: Any, size: int) -> int:
    """What ``literal`` comes to where its node is ``size``."""
    if not isinstance(literal, Scaled):
        return size
    assert size * literal.times % literal.parts == 0
    return size * literal.times // literal.parts + literal.plus
