"""Linear algebra on the last dimensions: whole matrices are taken apart, so those stay and all others pass."""

from __future__ import annotations

from functools import partial

from graphprune.axes.call import Call
from graphprune.axes.rules.reductions import matrix_norm
from graphprune.axes.rules.table import Table, each, stays

__all__ = ["RULES"]


def whole(tail: int, reason: str, call: Call) -> None:
    """The last ``tail`` dimensions of the first tensor stay; those before are the same in all tensors."""
    source, *others = (*call.operands(), *call.outputs)
    count = max(len(source.dims) - tail, 0)
    lead, sizes = source.dims[:count], source.shape[:count]
    call.pin(source.dims[count:], reason)
    for other in others:
        if other.shape[:count] == sizes:
            call.unify_all(other.dims[:count], lead)
            call.pin(other.dims[count:], reason)
        else:
            call.pin((*lead, *other.dims), f"{reason}, for tensors of other dimensions")


def powers(call: Call) -> None:
    """The powers of every number, in a dimension of their own."""
    call.unify_all(call.output.dims[:-1], call["x"].dims)
    call.pin(call.output.dims[-1], "a power for each position")


# one matrix at a time, whatever the others are
_WHOLE = (
    "cholesky cholesky_inverse cholesky_solve geqrf linalg_cholesky linalg_cholesky_ex linalg_cond linalg_det "
    "linalg_eig linalg_eigh linalg_eigvals linalg_eigvalsh linalg_householder_product linalg_inv linalg_inv_ex "
    "linalg_ldl_factor linalg_ldl_factor_ex linalg_ldl_solve linalg_lu linalg_lu_factor "
    "linalg_lu_factor_ex linalg_lu_solve linalg_matrix_exp linalg_matrix_power linalg_matrix_rank linalg_pinv "
    "linalg_qr linalg_slogdet linalg_solve linalg_solve_ex linalg_solve_triangular linalg_svd linalg_svdvals "
    "_lu_with_info logdet lu_solve lu_unpack ormqr pinverse qr svd triangular_solve"
)

_WINDOWS = "a Fourier transform mixes this dimension, window by window"

RULES: Table = {
    **each(_WHOLE, partial(whole, 2, "a matrix is taken as a whole")),
    **each("linalg_vander vander", powers),
    "aten.stft": partial(whole, 1, _WINDOWS),
    "aten.istft": partial(whole, 2, _WINDOWS),
    "aten.linalg_lstsq": stays("how much is left over, and so the results, depends on the sizes"),
    **each("linalg_tensorinv linalg_tensorsolve", stays("dimensions are put together as rows and columns")),
    **each("linalg_matrix_norm nuclear_norm", matrix_norm),
}
