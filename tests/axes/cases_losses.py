"""Rows for the operators of `graphprune.axes.rules.losses`, and of `reductions` those that order numbers."""

from __future__ import annotations

import formulas_losses as formulas
import torch
from draws import Make, integers, on, rows, x

__all__ = ["ROWS"]

_SHAPES = (("a b c", "a b c"), ("a b", "b"))


def _both(kind: str = "normal", other: str = "normal", **named: object) -> list[Make]:
    """Two tensors: the mean of all places, the sum, and no reduction."""
    return [
        on(x(left, kind), x(right, other), reduction=reduction, **named)
        for left, right in _SHAPES
        for reduction in (1, 2, 0)
        if left == "a b c" or reduction
    ]


_PLACES = [
    *rows("mse_loss", *_both(), masked=formulas.mse),
    *rows("l1_loss", *_both(), masked=formulas.l1),
    *rows("smooth_l1_loss", *_both(beta=0.5), masked=formulas.smooth_l1),
    *rows("huber_loss", *_both(delta=0.5), masked=formulas.huber),
    *rows("kl_div", *_both("normal", "unit"), masked=formulas.kl_div),
    *rows("binary_cross_entropy", *_both("unit", "unit")[:3], masked=formulas.binary_cross_entropy),
    *rows(
        "binary_cross_entropy",
        on(x("a b", "unit"), x("a b", "unit"), x("b", "unit")),
        masked=formulas.binary_cross_entropy,
        note="weight",
    ),
    *rows(
        "binary_cross_entropy_with_logits",
        *_both("normal", "unit")[:3],
        on(x("a b"), x("a b", "unit"), x("b", "unit"), x("b", "unit"), 1),
        on(x("a b"), x("a b", "unit"), None, x("b", "unit"), 0),
        masked=formulas.with_logits,
    ),
    *rows("soft_margin_loss", *_both()[:3], masked=formulas.soft_margin),
    *rows(
        "poisson_nll_loss",
        on(x("a b"), x("a b", "positive"), True, False, 1e-8, 1),
        on(x("a b", "unit"), x("a b", "positive"), False, False, 1e-8, 0),
        masked=formulas.poisson,
    ),
    *rows(
        "margin_ranking_loss",
        on(x("a b"), x("a b"), x("a b", "signs"), 0.3, 1),
        on(x("a b"), x("a b"), x("b", "signs"), 0.3, 0),
        masked=formulas.ranking,
    ),
    *rows(
        "hinge_embedding_loss",
        on(x("a b"), x("a b", "signs"), 1.0, 1),
        on(x("a b"), x("a b", "signs"), 1.0, 0),
        masked=formulas.hinge,
    ),
    *rows("dist", on(x("a b"), x("a b")), on(x("a b"), x("b"), 3), masked=formulas.dist),
]

_VECTORS = [
    *rows(
        "pairwise_distance",
        on(x("a b c"), x("a b c")),
        on(x("a b"), x("a b"), 1.0, 0.1, True),
        on(x("a b"), x("b"), 2.0, 0.1),
        masked=formulas.pairwise,
    ),
    *rows(
        "triplet_margin_loss",
        on(x("a b"), x("a b"), x("a b"), 1.0, 2.0, 0.1),
        on(x("a b"), x("a b"), x("a b"), 1.0, 2.0, 0.1, False, 0),
        masked=formulas.triplet,
    ),
    *rows(
        "cosine_embedding_loss",
        on(x("a b"), x("a b"), x("a", "signs"), 0.1),
        on(x("a b"), x("a b"), x("a", "signs"), 0.1, 0),
        masked=formulas.cosine_embedding,
    ),
    *rows("cosine_similarity", on(x("a b c"), x("a b c")), on(x("a b"), x("b"), -1)),
    *rows("linalg_vecdot", on(x("a b c"), x("a b c")), on(x("a b"), x("b")), on(x("a b"), x("a b"), dim=0)),
]

_CLASSES = [
    *rows(
        "cross_entropy_loss",
        on(x("n 4"), integers("n", 4)),
        on(x("n 4 m"), integers("n m", 4), x("4", "unit"), 2),
        on(x("n 4 m"), integers("n m", 4), None, 0),
        on(x("n 4"), integers("n", 4), x("4", "unit"), 1),
        on(x("4"), torch.tensor(2)),
        on(x("n 4"), x("n 4", "unit"), None, 2),
        masked=formulas.cross_entropy,
    ),
    *rows(
        "nll_loss nll_loss_nd",
        on(x("n 4"), integers("n", 4)),
        on(x("n 4"), integers("n", 4), x("4", "unit"), 2),
        masked=lambda arguments, masks: formulas.cross_entropy(arguments, masks, logarithms=False),
    ),
    *rows(
        "nll_loss2d",
        on(x("n 4 h w"), integers("n h w", 4), x("4", "unit")),
        masked=lambda arguments, masks: formulas.cross_entropy(arguments, masks, logarithms=False),
    ),
    *rows("multi_margin_loss", on(x("n 4"), integers("n", 4)), masked=formulas.multi_margin),
    *rows("multilabel_margin_loss", on(x("4"), torch.tensor([2, 0, -1, 1]))),
    *rows(
        "ctc_loss.IntList",
        on(x("5 2 4"), torch.tensor([[1, 2], [3, 1]]), [5, 5], [2, 2]),
    ),
]

_ORDERED = [
    *rows("median", on(x("a b")), masked=formulas.median),
    *rows("nanmedian", on(x("a b")), masked=formulas.median),
    *rows("nanmean", on(x("a b c"), [1]), on(x("a b c"), [0, -1], True), masked=formulas.mean_of_numbers),
    *rows("aminmax", on(x("a b c")), on(x("a b c"), dim=1, keepdim=True), masked=formulas.extremes),
    *rows(
        "quantile nanquantile",
        on(x("a b c"), torch.tensor([0.2, 0.7], dtype=torch.float64), 1),
        on(x("a b c"), torch.tensor(0.3, dtype=torch.float64), 0, True),
        on(x("a b"), torch.tensor([0.2, 0.7], dtype=torch.float64)),
        masked=formulas.quantile,
    ),
    *rows("quantile.scalar nanquantile.scalar", on(x("a b c"), 0.3, -1), masked=formulas.quantile),
    *rows("kthvalue", on(x("a b c"), 1), on(x("a b c"), 2, 1, True)),
    *rows("mode nanmedian.dim", on(x("a b c"), 1), on(x("a b c"), 0, True)),
    *rows("cov corrcoef", on(x("a b"))),
    *rows("renorm", on(x("a b c"), 2, 1, 0.5), on(x("a b"), 1, -1, 0.5), masked=formulas.renorm),
    *rows("norm_except_dim", on(x("a b c"), 2, 0), on(x("a b c"), 2, 1)),
]

ROWS = [*_PLACES, *_VECTORS, *_CLASSES, *_ORDERED]
