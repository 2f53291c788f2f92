"""Rows for the operators of `graphprune.axes.rules.reductions`."""

from __future__ import annotations

from math import inf

import formulas
from draws import Make, booleans, on, rows, shape, size, x

__all__ = ["ROWS"]

_DIMS = (
    on(x("a b c"), [1]),
    on(x("a b c"), [-1], True),
    on(x("a b c d"), [0, -2]),
    on(x("a b c"), []),
)
_ONE_DIM = (on(x("a b c"), 1), on(x("a b c"), -1, True))
_ANY_DIM = (on(booleans("a b c"), 1), on(booleans("a b c"), -1, True))
_DIM = (on(x("a b c"), 1), on(x("a b c"), -1))

_SUMS = [
    *rows("sum nansum any count_nonzero", on(x("a b"))),
    *rows("sum.dim_IntList nansum", *_DIMS, note="dims "),
    *rows("frobenius_norm.dim", *_DIMS[:3]),
    *rows("any.dim", *_ANY_DIM),
    *rows("any.dims", on(booleans("a b c"), [0, 2])),
    *rows("count_nonzero.dim_IntList", on(x("a b c"), [0, -1])),
]

_STATISTICS = [
    *rows("mean", on(x("a b")), masked=formulas.mean),
    *rows("max", on(x("a b")), masked=formulas.largest),
    *rows("min", on(x("a b")), masked=formulas.smallest),
    *rows("prod", on(x("a b")), masked=formulas.product),
    *rows("all", on(x("a b")), masked=formulas.every),
    *rows("mean.dim", *_DIMS, masked=formulas.mean),
    *rows("amax", *_DIMS, masked=formulas.largest),
    *rows("amin", *_DIMS, masked=formulas.smallest),
    *rows("logsumexp", *_DIMS[:3], masked=formulas.logsumexp),
    *rows("prod.dim_int", *_ONE_DIM, masked=formulas.product),
    *rows("all.dim", *_ANY_DIM, masked=formulas.every),
    *rows("all.dims", on(booleans("a b c"), [0, 2]), masked=formulas.every),
    # a single value has no deviation
    *rows("std", on(x("a b")), masked=formulas.std, least=2),
    *rows("var", on(x("a b")), masked=formulas.var, least=2),
    *rows("std_mean", on(x("a b")), masked=formulas.std_mean, least=2),
    *rows("var_mean", on(x("a b")), masked=formulas.var_mean, least=2),
    *rows("std.dim", *_DIMS[:3], masked=formulas.std, least=2),
    *rows("var.dim", *_DIMS[:3], masked=formulas.var, least=2),
    *rows("std.correction", on(x("a b c"), [1], keepdim=True, correction=0), masked=formulas.std),
    *rows("var.correction", on(x("a b c"), None, correction=0), masked=formulas.var),
    *rows("std_mean.correction", on(x("a b c"), [-1], keepdim=True, correction=0), masked=formulas.std_mean),
    *rows("var_mean.correction", on(x("a b c"), [0, 2], correction=0), masked=formulas.var_mean),
    *rows(
        "norm.ScalarOpt_dim",
        on(x("a b c"), 2, [1]),
        on(x("a b c"), None, [-1], True),
        on(x("a b c"), 3, [0, 1]),
        masked=formulas.norm,
    ),
    *rows("norm.Scalar", on(x("a b")), masked=formulas.norm),
    *rows(
        "linalg_vector_norm",
        on(x("a b c"), 2, [1]),
        on(x("a b c"), 1, [-1], True),
        on(x("a b"), -inf, [0]),
        on(x("a b")),
        masked=formulas.norm,
    ),
]

_ORDERED = [
    *rows("max.dim min.dim median.dim", *_ONE_DIM),
    *rows("argmax argmin", *_ONE_DIM, on(x("a b"))),
    *rows("cumsum cumprod cummax cummin logcumsumexp sort argsort", *_DIM),
    *rows("msort", on(x("a b c"))),
    *rows("sort", on(x("a b c")), note="last"),
    *rows("sort.stable argsort.stable", on(x("a b c"), stable=True, dim=0)),
    *rows("diff", on(x("a b c")), on(x("a 5 c"), 2, 1), on(x("a b c"), 1, 1, x("a 2 c"), x("a 1 c"))),
    *rows("topk", on(x("a b c"), 2), on(x("a b c"), 2, 1), on(x("a b c"), size("b"), 1)),
    *rows("roll", on(x("a b c"), [1], [1]), on(x("a b c"), [1, -1], [-1, 0]), on(x("a b"), [1])),
    *rows("flip", on(x("a b c"), [1]), on(x("a b c"), [0, -1])),
]


def _batch_norm(text: str, *, affine: bool, tracked: bool, training: bool) -> Make:
    weights = [x("c"), x("c")] if affine else [None, None]
    running = [x("c"), x("c", "positive")] if tracked else [None, None]
    return on(x(text), *weights, *running, training, 0.1, 1e-5, False)


_NORMS = [
    *rows("softmax.int", *_DIM, on(x("a"), 0), masked=formulas.softmax),
    *rows("log_softmax.int", *_DIM, on(x("a"), 0), masked=formulas.log_softmax),
    *rows("_softmax", on(x("a b c"), 1, False), on(x("a b c"), -1, False), masked=formulas.softmax),
    *rows("_log_softmax", on(x("a b c"), 1, False), on(x("a b c"), -1, False), masked=formulas.log_softmax),
    *rows(
        "layer_norm",
        on(x("a b c"), shape("c"), x("c"), x("c")),
        on(x("a b c"), shape("b c"), x("b c"), x("b c")),
        on(x("a b c"), shape("b c")),
        masked=formulas.layer_norm,
    ),
    *rows(
        "rms_norm",
        on(x("a b c"), shape("c"), x("c")),
        on(x("a b c"), shape("b c")),
        masked=formulas.rms_norm,
    ),
    *rows(
        "batch_norm",
        _batch_norm("b c", affine=True, tracked=True, training=False),
        _batch_norm("b c h w", affine=False, tracked=True, training=False),
    ),
    *rows(
        "batch_norm",
        _batch_norm("b c h", affine=True, tracked=False, training=True),
        _batch_norm("b c h", affine=False, tracked=False, training=True),
        masked=formulas.batch_norm,
        note="training",
    ),
    *rows(
        "instance_norm",
        _batch_norm("b c h w", affine=True, tracked=False, training=True),
        _batch_norm("b c h", affine=False, tracked=False, training=True),
        masked=formulas.instance_norm,
    ),
    *rows("instance_norm", _batch_norm("b c h", affine=True, tracked=True, training=False), note="running"),
    *rows(
        "group_norm",
        on(x("b (g c) h w"), size("g"), x("(g c)"), x("(g c)")),
        on(x("b (g c) h"), size("g")),
        on(x("b g h"), size("g"), x("g"), x("g")),
        masked=formulas.group_norm,
    ),
]

ROWS = [*_SUMS, *_STATISTICS, *_ORDERED, *_NORMS]
