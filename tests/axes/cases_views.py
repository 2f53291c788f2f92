"""Rows for the operators of `graphprune.axes.rules.views` and `joining`."""

from __future__ import annotations

import torch
from draws import on, rows, shape, size, x

__all__ = ["ROWS"]

_RESHAPES = [
    on(x(source), shape(target))
    for source, target in (
        ("(a b) c", "a b c"),
        ("a b c", "a (b c)"),
        ("a (b c) d", "(a b) (c d)"),
        ("a b c", "(a b c)"),
        ("b (3 h d) n", "b 3 h d n"),
        ("a 1 b", "a b 1 1"),
        ("4 6", "6 4"),
        ("5 6 2", "10 6"),
    )
]

_VIEWS = [
    *rows("view reshape _unsafe_view", *_RESHAPES, on(x("(a b) c"), [size("a"), -1, size("c")])),
    *rows("view.dtype", on(x("a b"), torch.int64)),
    *rows("view_as reshape_as", on(x("(a b) c"), x("a b c")), on(x("a b"), x("(a b)"))),
    *rows("flatten.using_ints", on(x("a b c"), 1), on(x("a b c"), -2, -1), on(x("a b c"))),
    *rows("unflatten.int", on(x("a (b c)"), 1, [size("b"), -1]), on(x("a (b c) d"), -2, shape("b c"))),
    *rows("unsqueeze", on(x("a b"), 0), on(x("a b"), -1)),
    # an axis of which a single unit is left would be squeezed too; the package refuses such a plan
    *rows("squeeze", on(x("1 4 1 3")), least=2),
    *rows("squeeze.dim", on(x("a 1 b"), 1), on(x("a 4"), -1), least=2),
    *rows("squeeze.dims", on(x("a 1 b 1"), [1, -1])),
    *rows("permute", on(x("a b c"), [2, 0, 1]), on(x("a b c d"), [0, -1, 1, 2])),
    *rows("transpose.int swapaxes swapdims", on(x("a b c"), 1, 2), on(x("a b c"), -1, 0)),
    *rows("t", on(x("a b")), on(x("a"))),
    *rows("numpy_T mT adjoint", on(x("a b c"))),
    *rows("movedim.int", on(x("a b c"), 0, 2), on(x("a b c"), -1, 0)),
    *rows("movedim.intlist", on(x("a b c d"), [0, -1], [2, 0])),
    *rows(
        "expand broadcast_to",
        on(x("a 1 c"), shape("a b c")),
        on(x("a 1"), [size("c"), -1, size("b")]),
        on(x(""), shape("a")),
    ),
    *rows("repeat", on(x("a b"), [2, 3]), on(x("a b"), [size("c"), 1, 2]), on(x("a 1"), [1, 3])),
    *rows("tile", on(x("a b"), [2, 3]), on(x("a b"), [2]), on(x("a b"), [3, 1, 2])),
    *rows(
        "repeat_interleave.self_int",
        on(x("a b c"), 2, 1),
        on(x("a b c"), 3, -1),
        on(x("a b"), 2),
        on(x("a b"), 2, 1, output_size=size("2*b")),
        on(x("a"), 1, 0),
    ),
    *rows("repeat_interleave.self_Tensor", on(x("a 3 c"), torch.tensor([1, 2, 1]), 1)),
    *rows("diagonal", on(x("a b c")), on(x("a b c"), 1, 2, -2), on(x("a b a"), 0, 0, 2)),
    *rows("tril triu", on(x("a b c")), on(x("b c"), 1)),
]

_JOINED = [
    *rows(
        "cat concat concatenate",
        on([x("a b"), x("a c")], 1),
        on([x("a b c"), x("d b c"), x("1 b c")]),
        on([x("a b"), x("a 0"), x("a c")], -1),
        on([torch.zeros(0, dtype=torch.float64), x("a c")], 1),
    ),
    *rows("stack", on([x("a b"), x("a b")]), on([x("a b"), x("a b"), x("a b")], -1)),
]

_PARTS = [
    *rows(
        "chunk unsafe_chunk",
        on(x("a 6"), 2, 1),
        on(x("a 7 b"), 3, -2),
        on(x("(3 a) b"), 3),
        on(x("5 b"), 5),
    ),
    *rows("split.Tensor", on(x("a 6"), 3, 1), on(x("a 7 b"), 3, -2), on(x("5 b"), 2)),
    *rows("split.sizes", on(x("a 7"), [2, 5], 1)),
    *rows("split_with_sizes", on(x("a+b+c d"), shape("a b c")), on(x("d 7"), [0, 3, 4], -1)),
    *rows("tensor_split.sections", on(x("a 7"), 3, 1)),
    *rows("tensor_split.indices", on(x("a 7"), [2, 5], -1)),
    *rows("tensor_split.tensor_indices_or_sections", on(x("a 7"), torch.tensor([2, 5]), 1)),
    *rows("unbind.int", on(x("3 a b")), on(x("a 3 b"), -2)),
    *rows("select.int", on(x("a 5 b"), 1, 2), on(x("a 5 b"), -2, -1), on(x("5"), 0, 0)),
    *rows(
        "slice.Tensor",
        on(x("a 7 b"), 1, 2, 5),
        on(x("a 7"), -1, -4),
        on(x("a 7"), 1, 0, -2),
        on(x("a b"), 1, 0, 2**63 - 1),
        on(x("a 8"), 1, 0, 2**63 - 1, 2),
        on(x("a 8"), 1, 1, None, 2),
        on(x("a 9"), 1, 2, 9, 3),
        on(x("a 7"), 1, 0, 7, 2),
        on(x("a 5"), 1, 7, 9),
        on(x("7 a"), 0, None, 3),
        on(x("a 7"), 1, -9, 3),
        on(x("a 8"), 1, 4, None, 2),
        on(x("8 a"), 0, -7, None, 2),
    ),
    *rows("narrow", on(x("a 7"), 1, 2, 4), on(x("a 7 b"), -2, -5, 3), on(x("a 7"), 1, 0, 7)),
    *rows("narrow.Tensor", on(x("a 7"), 1, torch.tensor(2), 4)),
    *rows("glu", on(x("a (2 b)")), on(x("a (2 b) c"), 1)),
]

ROWS = [*_VIEWS, *_JOINED, *_PARTS]
