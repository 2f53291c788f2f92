"""Rows for the operators of `graphprune.axes.rules.contractions`."""

from __future__ import annotations

import formulas
import torch
import transformers.integrations.moe  # noqa: F401  (registers its operator)
from draws import Make, booleans, integers, on, rows, size, x

__all__ = ["ROWS"]


def _einsum(equation: str, *shapes: str) -> Make:
    return on(equation, [x(text) for text in shapes])


_CONVOLUTIONS = [
    *rows(
        "conv1d",
        on(x("b i 7"), x("o i 3"), x("o")),
        on(x("b (g i) 7"), x("(g o) i 3"), x("(g o)"), [2], [1], [1], size("g")),
        on(x("b g 7"), x("g 1 3"), None, [1], [1], [2], size("g")),
        on(x("b (g i) h"), x("(g o) i 1"), x("(g o)"), [1], [0], [1], size("g")),
        on(x("i 7"), x("o i 3"), x("o")),
        on(x("i h"), x("o i 1"), x("o")),
        # the result has the input's positions in number, but not the same ones
        on(x("b i 3"), x("o i 1"), None, [2], [1]),
    ),
    *rows(
        "conv2d",
        on(x("b i 5 6"), x("o i 3 2"), x("o"), [1, 2], [0, 1]),
        on(x("b (g i) 4 4"), x("(g o) i 3 3"), x("(g o)"), [1, 1], [1, 1], [1, 1], size("g")),
        on(x("b g 4 4"), x("g 1 3 3"), x("g"), [1, 1], [1, 1], [1, 1], size("g")),
        on(x("b g 4 4"), x("(g m) 1 3 3"), x("(g m)"), [1, 1], [1, 1], [1, 1], size("g")),
        on(x("b i h w"), x("o i 1 1"), x("o")),
        on(x("i 4 5"), x("o i 3 3"), x("o")),
        on(x("b i 3 3"), x("o i 1 1"), None, [2, 2], [1, 1]),
    ),
    *rows("conv2d.padding", on(x("b (g i) 4 4"), x("(g o) i 3 3"), None, [1, 1], "same", [1, 1], size("g"))),
    *rows(
        "conv3d",
        on(x("b i 3 4 5"), x("o i 2 2 2"), x("o")),
        on(x("b (g i) 3 3 3"), x("(g o) i 2 2 2"), None, [1, 1, 1], [1, 1, 1], [1, 1, 1], size("g")),
        on(x("b i a c d"), x("o i 1 1 1")),
    ),
    *rows(
        "conv_transpose1d",
        on(x("b i 5"), x("i o 3"), x("o"), [2], [1]),
        on(x("b (g i) 5"), x("(g i) o 3"), x("(g o)"), [2], [0], [1], size("g")),
        on(x("i 5"), x("i o 3"), x("o")),
    ),
    *rows(
        "conv_transpose2d.input",
        on(x("b i 3 4"), x("i o 2 2"), None, [2, 2]),
        on(x("b (g i) 3 3"), x("(g i) o 3 3"), x("(g o)"), [1, 1], [0, 0], [0, 0], size("g")),
        on(x("b g 3 3"), x("g 1 3 3"), x("g"), [1, 1], [1, 1], [0, 0], size("g")),
    ),
    *rows(
        "conv_transpose3d.input",
        on(x("b (g i) 2 3 2"), x("(g i) o 2 2 2"), x("(g o)"), [1] * 3, [0] * 3, [0] * 3, size("g")),
    ),
]

_PRODUCTS = [
    *rows(
        "linear",
        on(x("b i"), x("o i"), x("o")),
        on(x("a b c i"), x("o i")),
        on(x("i"), x("o i")),
    ),
    *rows(
        "bilinear",
        on(x("b i"), x("b j"), x("o i j"), x("o")),
        on(x("a b i"), x("a b j"), x("o i j"), None),
    ),
    *rows("mm", on(x("i k"), x("k j"))),
    *rows("bmm", on(x("b i k"), x("b k j"))),
    *rows(
        "addmm",
        on(x("i j"), x("i k"), x("k j"), beta=2, alpha=0.5),
        on(x("j"), x("i k"), x("k j")),
        on(x("1 j"), x("i k"), x("k j")),
        on(x("i 1"), x("i k"), x("k j")),
    ),
    *rows(
        "baddbmm",
        on(x("b i j"), x("b i k"), x("b k j")),
        on(x("1 i j"), x("b i k"), x("b k j")),
        on(x("j"), x("b i k"), x("b k j")),
    ),
    *rows("mv", on(x("i k"), x("k"))),
    *rows("dot vdot", on(x("k"), x("k"))),
    *rows("outer", on(x("i"), x("j"))),
    *rows("cdist", on(x("b i k"), x("b j k")), on(x("i k"), x("b j k"), 1.0)),
    *rows(
        "matmul",
        on(x("k"), x("k")),
        on(x("i k"), x("k j")),
        on(x("k"), x("a k j")),
        on(x("a i k"), x("k")),
        on(x("a b i k"), x("k j")),
        on(x("a 1 i k"), x("b k j")),
        on(x("b i k"), x("a 1 k j")),
    ),
    *rows(
        "einsum",
        _einsum("bik,bkj->bij", "b i k", "b k j"),
        _einsum("b n h d, b m h d -> b h n m", "b n h d", "b m h d"),
        _einsum("ij,jk", "i j", "j k"),
        _einsum("...i,oi->...o", "a b i", "o i"),
        _einsum("...ij,...jk->...ik", "a 1 i j", "b j k"),
        _einsum("ii->i", "i i"),
        _einsum("iij,j->ji", "i i j", "j"),
        _einsum("bii->b", "b i i"),
        _einsum("ij->ji", "i j"),
        _einsum("ij->j", "i j"),
        _einsum("...i,...i", "a i", "a i"),
        _einsum("bi,bi,bi->bi", "1 i", "b i", "b i"),
        _einsum("bi,bj,k->", "b i", "b j", "k"),
    ),
]


def _attention(query: str, key: str, value: str, mask: object = None, **options: object) -> Make:
    return on(x(query), x(key), x(value), mask, 0.0, **options)


_ATTENTION = [
    *rows(
        "scaled_dot_product_attention",
        _attention("b h n d", "b h m d", "b h m v"),
        _attention("b h n d", "b h m d", "b h m v", booleans("n m")),
        _attention("b h n d", "b h m d", "b h m v", x("b 1 n m")),
        _attention("b n d", "b m d", "b m d", scale=0.5),
        _attention("b h n d", "b h n d", "b h n d", is_causal=True),
        _attention("b h 3 d", "b h 5 d", "b h 5 d", is_causal=True),
        _attention("b (g r) n d", "b g n d", "b g n d", enable_gqa=True),
        _attention("b (g r) n d", "b g m d", "b g m v", x("b (g r) n m"), enable_gqa=True),
        masked=formulas.attention,
    ),
]

_ENDS = torch.tensor([2, 2, 5], dtype=torch.int32)  # the second matrix has no row

_GROUPED = [
    *rows("transformers.grouped_mm_fallback.default", on(x("5 i"), x("3 i o"), _ENDS)),
    # on CPU in single precision only, and of rows of 16 bytes
    *rows("_grouped_mm", on(x("5 4", "whole"), x("3 4 8", "whole"), _ENDS)),
    *rows("_grouped_mm", on(x("b i 4", "whole"), x("b 4 8", "whole")), note="batched"),
]

_LOOK_UPS = rows("embedding", on(x("7 d"), integers("b n", 7)), on(x("7 d"), integers("n", 7), 0))

ROWS = [*_CONVOLUTIONS, *_PRODUCTS, *_ATTENTION, *_GROUPED, *_LOOK_UPS]
