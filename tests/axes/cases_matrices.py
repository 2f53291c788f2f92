"""Rows for the operators of `graphprune.axes.rules.matrices`, and for products of several tensors."""

from __future__ import annotations

import formulas_losses as formulas
import torch
from draws import Make, Row, on, rows, size, x
from formulas import norm

__all__ = ["ROWS"]

_aten = torch.ops.aten


def _whole(names: str, *makes: Make) -> list[Row]:
    """Operators on one matrix after the other."""
    found = []
    for name in names.split():
        packet, _, overload = name.partition(".")
        operator = getattr(getattr(_aten, packet), overload or "default")
        found += rows(name, *makes, masked=formulas.one_by_one(operator))
    return found


_MATRICES = [
    *_whole(
        "linalg_inv linalg_inv_ex linalg_det linalg_slogdet linalg_eigvals linalg_matrix_exp linalg_lu "
        "linalg_lu_factor linalg_lu_factor_ex linalg_pinv.atol_rtol_float pinverse linalg_qr qr linalg_svd "
        "linalg_svdvals _lu_with_info linalg_cond linalg_matrix_rank.atol_rtol_float geqrf svd linalg_eig",
        on(x("a b 3 3")),
        on(x("a 3 3")),
    ),
    *_whole(
        "cholesky cholesky_inverse linalg_cholesky linalg_cholesky_ex linalg_eigh linalg_eigvalsh logdet "
        "linalg_ldl_factor linalg_ldl_factor_ex",
        on(x("a b 3 3", "definite")),
    ),
    *_whole("linalg_matrix_power", on(x("a 3 3"), 3)),
    *_whole("linalg_solve linalg_solve_ex", on(x("a 3 3"), x("a 3 2"))),
    *_whole("linalg_solve", on(x("a 3 3"), x("a 3"))),
    *_whole("linalg_solve_triangular", on(x("a 3 3"), x("a 3 2"), upper=True)),
    *_whole("cholesky_solve triangular_solve", on(x("a 3 2"), x("a 3 3", "definite"))),
    *_whole("linalg_householder_product", on(x("a 4 3"), x("a 3"))),
    *_whole("ormqr", on(x("a 3 3"), x("a 3"), x("a 3 2"))),
    *_whole("linalg_lu_solve", on(x("a 3 3"), x("a 3", "pivots"), x("a 3 2"))),
    *_whole("lu_solve", on(x("a 3 2"), x("a 3 3"), x("a 3", "pivots"))),
    *_whole("lu_unpack", on(x("a 3 3"), x("a 3", "pivots"))),
    *_whole("linalg_ldl_solve", on(x("a 3 3", "definite"), x("a 3", "pivots"), x("a 3 2"))),
    *rows("linalg_lstsq", on(x("a 4 3"), x("a 4 2"))),
    *rows("linalg_vander", on(x("a b c"), N=4), on(x("a b"), N=3)),
    *rows("vander", on(x("a"), 3)),
    *rows("linalg_tensorinv", on(x("6 2 3"), 1)),
    *rows("linalg_tensorsolve", on(x("2 3 6"), x("2 3"))),
    *rows(
        "linalg_matrix_norm",
        on(x("a b c"), 2),
        on(x("a b c"), 1, [0, 1], True),
        masked=formulas.matrix_norm,
    ),
    *rows("linalg_matrix_norm.str_ord", on(x("a b c")), on(x("a b c"), "nuc"), masked=formulas.matrix_norm),
    *rows("nuclear_norm", on(x("a b")), masked=formulas.matrix_norm),
    *rows("nuclear_norm.dim", on(x("a b c"), [0, 2]), masked=formulas.matrix_norm),
    *rows("linalg_norm.ord_str", on(x("a b"), "nuc"), masked=formulas.matrix_norm),
    *rows("linalg_norm", on(x("a b c"), 2, [0, 1]), masked=formulas.matrix_norm, note="matrices"),
    *rows("linalg_norm", on(x("a b c")), on(x("a b c"), 3, [1], True), masked=norm),
]

_PRODUCTS = [
    *rows(
        "tensordot",
        on(x("a b c"), x("c b d"), [1, 2], [1, 0]),
        on(x("a b"), x("c d"), [], []),
        on(x("a b"), x("a b"), [0, 1], [0, 1]),
    ),
    *rows("inner", on(x("a b k"), x("c k")), on(x("k"), x("k")), on(x("a k"), x("")), on(x("k"), x("a b k"))),
    *rows(
        "linalg_multi_dot",
        on([x("a b"), x("b c")]),
        on([x("b"), x("b c"), x("c")]),
        on([x("a b"), x("b")]),
    ),
    *rows("addbmm", on(x("i j"), x("b i k"), x("b k j")), on(x("j"), x("b i k"), x("b k j"), beta=2)),
    *rows("addmv", on(x("i"), x("i k"), x("k")), on(x(""), x("i k"), x("k"), alpha=2)),
    *rows("addr", on(x("i j"), x("i"), x("j")), on(x("j"), x("i"), x("j"))),
    *rows("kron", on(x("a b"), x("c d")), on(x("a"), x("c d")), on(x("a b c"), x("d"))),
    *rows("trace", on(x("a a")), on(x("3 4"))),
    *rows("pdist", on(x("5 b")), on(x("4 b"), 1.0)),
    *rows("conv_tbc", on(x("7 b i"), x("3 i o"), x("o"), 1)),
    *rows(
        "convolution",
        on(x("b (g i) 5"), x("(g o) i 3"), x("(g o)"), [1], [1], [1], False, [0], size("g")),
        on(x("b (g i) 5"), x("(g i) o 3"), x("(g o)"), [2], [1], [1], True, [0], size("g")),
    ),
    *rows(
        "embedding_bag",
        *(
            on(x("7 d"), torch.tensor([4, 1, 6, 2, 2]), torch.tensor([0, 2, 3]), False, mode)
            for mode in (0, 1, 2)
        ),
        on(x("7 d"), torch.tensor([4, 1, 6]), torch.tensor([0, 2]), False, 0, False, x("3")),
    ),
    *rows(
        "embedding_bag.padding_idx",
        on(x("7 d"), torch.tensor([4, 1, 6]), torch.tensor([0, 2]), False, 0, False, None, False, 1),
    ),
    *rows("cross", on(x("a 3"), x("a 3"), 1), on(x("3 b"), x("3 b"))),
    *rows("linalg_cross", on(x("a b 3"), x("a 1 3")), on(x("a 3 b"), x("a 3 b"), dim=1)),
    *rows("trapezoid.dx cumulative_trapezoid.dx", on(x("a b c"), dim=1), on(x("a b"))),
    *rows("trapezoid.x cumulative_trapezoid.x", on(x("a b"), x("b")), on(x("a b"), x("a b"), dim=0)),
    *rows("gradient.scalarint", on(x("4 5")), on(x("4 5"), dim=1)),
    *rows("stft", on(x("a 16"), 8, 4, return_complex=True), on(x("16"), 8, 4, return_complex=False)),
    *rows("istft", on(x("a 5 4", "complex"), 8, 4)),
]

_SHAPED = [
    *rows("diag_embed", on(x("a b")), on(x("a b"), 0, 0, 2), on(x("a b"), 1)),
    *rows("diagflat", on(x("a b")), on(x("a")), on(x("a"), 1)),
    *rows(
        "diagonal_scatter", on(x("a a c"), x("c a")), on(x("a b b"), x("a b"), 0, 1, 2), on(x("4 5"), x("4"))
    ),
    *rows("meshgrid", on([x("a"), x("b"), x("c")]), on([x("a"), x("")])),
    *rows("meshgrid.indexing", on([x("a"), x("b"), x("c")], indexing="xy")),
    *rows("broadcast_tensors", on([x("a 1 c"), x("b 1"), x("c")])),
    *rows("sum_to_size", on(x("a b c"), [1, size("c")]), on(x("a b"), [size("a"), 1])),
    *rows("rot90", on(x("a b c")), on(x("a b c"), 2, [0, 2]), on(x("a b"), 4)),
    *rows("ravel", on(x("a b c"))),
    *rows("atleast_1d", on(x("a")), on(x(""))),
    *rows("atleast_2d atleast_3d", on(x("a")), on(x("a b"))),
    *rows("hstack", on([x("a b c"), x("a d c")]), on([x("a"), x("b")])),
    *rows("vstack", on([x("a b"), x("c b")]), on([x("b"), x("2 b"), x("b")])),
    *rows("dstack", on([x("a b c"), x("a b 2")]), on([x("a b"), x("a b")]), on([x("b"), x("b")])),
    *rows("column_stack", on([x("a"), x("a b")]), on([x("a b c"), x("a d c")])),
    *rows("block_diag", on([x("a b"), x("c d"), x("b")])),
    *rows("select_scatter", on(x("a 5 c"), x("a c"), 1, 2), on(x("5 b"), x("b"), 0, -2)),
    *rows(
        "slice_scatter",
        on(x("a 7"), x("a 3"), 1, 2, 5),
        on(x("7 b"), x("3 b"), 0, -4, -1),
        on(x("a b"), x("a b"), 1),
        on(x("a 6"), x("a 3"), 1, 0, 6, 2),
    ),
]

ROWS = [*_MATRICES, *_PRODUCTS, *_SHAPED]
