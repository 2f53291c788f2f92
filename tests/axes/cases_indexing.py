"""Rows for the operators of `graphprune.axes.rules.indexing`."""

from __future__ import annotations

import torch
from draws import booleans, integers, on, rows, x

from models_zoo import torchvision_ops

__all__ = ["ROWS"]

torchvision_ops.ensure()
import torchvision  # noqa: E402, F401  (registers its operators where they are compiled)

_TWO_OF_FOUR = torch.tensor([False, True, True, False])
_THREE_OF_SIX = torch.tensor([[True, False, False], [True, False, True]])

_READ = [
    *rows(
        "index.Tensor",
        on(x("7 a b"), [integers("n", 7)]),
        on(x("a 7 b"), [None, integers("n m", 7)]),
        on(x("a 7 6 b"), [None, integers("n 1", 7), integers("m", 6)]),
        on(x("7 a 6"), [integers("n", 7), None, integers("n", 6)]),
        on(x("a 4"), [None, _TWO_OF_FOUR]),
        on(x("4 a b"), [_TWO_OF_FOUR]),
        on(x("a 2 3 b"), [None, _THREE_OF_SIX]),
        on(x("4 a 7"), [_TWO_OF_FOUR, None, torch.tensor([6, 2])]),
    ),
    *rows("index_select", on(x("a 7 b"), 1, integers("n", 7)), on(x("a 7"), -1, torch.tensor(3))),
    *rows(
        "take_along_dim",
        on(x("a 7 c"), integers("a n 1", 7), 1),
        on(x("1 7"), integers("a n", 7), 1),
        on(x("4 5"), integers("n", 20)),
    ),
    *rows("take", on(x("4 5"), integers("a b", 20))),
    *rows("gather", on(x("a 7"), 1, integers("a n", 7)), on(x("6 7 b"), -2, integers("4 n b", 7))),
]

_SPREAD = torch.tensor([6, 0, 3])  # no place is written twice

_ORDERS = torch.rand(3, 7, 3, generator=torch.Generator().manual_seed(0)).argsort(1)[:, :3]

_WRITTEN = [
    *rows(
        "index_put",
        on(x("7 a b"), [_SPREAD], x("3 a b")),
        on(x("a 7 b"), [None, _SPREAD], x("b")),
        on(x("a 7 b"), [None, _SPREAD], x("3 1")),
        on(x("7 a 7"), [_SPREAD, None, _SPREAD], x("3 a")),
        on(x("7 a b"), [integers("n", 7)], x("n a b"), True),
        on(x("a 7 6 b"), [None, integers("n 1", 7), integers("m", 6)], x("n m b"), True),
        on(x("a 4"), [None, _TWO_OF_FOUR], x("")),
        on(x("4 a"), [_TWO_OF_FOUR], x("2 a")),
        on(x("a 2 3 b"), [None, _THREE_OF_SIX], x("a 3 b")),
        on(x("a b"), [booleans("a b")], x("")),
        on(x("a b c"), [booleans("a b")], x("c")),
        on(x("a b c"), [None, booleans("b c")], x("a 1")),
        on(x("a b c"), [None, booleans("b")], x("c"), True),
    ),
    *rows(
        "index_add", on(x("a 7 b"), 1, integers("n", 7), x("a n b")), on(x("7"), 0, integers("n", 7), x("n"))
    ),
    *rows("index_copy", on(x("a 7 b"), 1, _SPREAD, x("a 3 b"))),
    *rows("index_fill.int_Scalar", on(x("a 7 b"), -2, _SPREAD, 0.5)),
    *rows("index_fill.int_Tensor", on(x("a 7 b"), 1, _SPREAD, x(""))),
    *rows(
        "scatter.src",
        on(x("b 7"), 1, _SPREAD.expand(2, 3), x("2 3")),
        on(x("3 7 3"), 1, _ORDERS, x("3 3 3")),
        on(x("7 4"), 0, _SPREAD[:, None].expand(3, 2), x("3 4")),
    ),
    *rows("index_reduce", on(x("a 7 b"), 1, integers("n", 7), x("a n b"), "amax")),
    *rows("put", on(x("4 5"), torch.tensor([3, 17, 9]), x("3"))),
    *rows("scatter.value", on(x("3 7"), 1, _ORDERS[..., 0], 0.5)),
    *rows("scatter.reduce", on(x("a 7"), 1, integers("a n", 7), x("a n"), reduce="add")),
    *rows("scatter.reduce", on(x("a 7"), 1, integers("a n", 7), x("a n"), reduce="multiply"), note="product"),
    *rows("scatter.value_reduce", on(x("a 7"), 1, integers("a n", 7), 0.5, reduce="add")),
    *rows(
        "scatter_add",
        on(x("a 7 b"), 1, integers("a n b", 7), x("a n b")),
        on(x("7 b"), 0, integers("n b", 7), x("n b")),
        on(x("6 7"), 1, integers("4 n", 7), x("4 n")),
    ),
    *rows(
        "scatter_reduce.two",
        on(x("a 7"), 1, integers("a n", 7), x("a n"), "sum"),
        on(x("a 7"), 1, integers("a n", 7), x("a n"), "sum", include_self=False),
        on(x("a 7"), 1, integers("a n", 7), x("a n"), "amax"),
    ),
]

_COUNTED = [
    *rows("one_hot", on(integers("a b", 4), 4)),
    *rows(
        "searchsorted.Tensor",
        on(torch.tensor([-1.0, 0.0, 0.5, 2.0], dtype=torch.float64), x("a b")),
        on(torch.arange(12.0, dtype=torch.float64).reshape(3, 4) / 6 - 1, x("3 n")),
        on(torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64), x("a"), sorter=torch.tensor([1, 2, 0])),
    ),
    *rows("searchsorted.Scalar", on(torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64), 0.5)),
    *rows("bucketize.Tensor", on(x("a b"), torch.tensor([-1.0, 0.0, 0.5], dtype=torch.float64))),
    *rows("bucketize.Scalar", on(0.5, torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64))),
    *rows("histc", on(x("a"), 4, -2, 2)),
    *rows("bincount", on(integers("a", 5), None, 5), on(integers("a", 5), x("a"), 5)),
    *rows("segment_reduce", on(x("5 4"), "sum", lengths=torch.tensor([2, 3]))),
    *rows("fill_diagonal_", on(x("4 4"), 1.0)),
    *rows("histogram.bin_ct", on(x("a b"), 4, range=[-2.0, 2.0])),
    *rows("unique_consecutive _unique2", on(x("5 4"))),
    *rows("unique_dim", on(x("5 4", "coarse"), 0)),
    *rows("isin.Tensor_Tensor", on(x("a b", "coarse"), torch.tensor([-1.0, 1.0], dtype=torch.float64))),
    *rows("isin.Tensor_Scalar", on(x("a b", "coarse"), 1.0)),
    *rows("combinations", on(x("5"))),
    *rows("cartesian_prod", on([x("a"), x("b")])),
    *rows("nonzero argwhere", on(booleans("5 4"))),
    *rows("nonzero_static", on(booleans("5 4"), size=4)),
    *rows("masked_select", on(x("5 4"), booleans("5 4"))),
    *rows("masked_scatter masked_scatter_", on(x("a b"), booleans("a b"), x("a b"))),
    *rows("torchvision.nms.default", on(x("5 4", "positive"), x("5"), 0.5)),
]

ROWS = [*_READ, *_WRITTEN, *_COUNTED]
