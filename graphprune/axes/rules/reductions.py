"""Operators that reduce dimensions or mix along them: sums, statistics, norms, softmax, Fourier transforms.

A sum is a *contraction*: removing a coordinate equals setting it to zero. A mean, a maximum, a variance or a
softmax is a *statistic*: after removing coordinates it is that of the kept ones, by definition.
"""

from __future__ import annotations

from graphprune.axes.call import Call, Operand
from graphprune.axes.rules.table import Along, Table, by_argument, each, stays
from graphprune.axes.signature import Signature

__all__ = ["RULES"]

_DIM = by_argument("dim")


def softmax(call: Call) -> None:
    """Normalises over ``dim``, position by position of the others."""
    source = call["self"]
    call.unify_all(call.output.dims, source.dims)
    call.lined_up(source, [call.dimension(source, call["dim"])])


_BATCH_NORM = Signature(
    "b c s+, c, c, c, c -> b c s+", ("input", "weight", "bias", "running_mean", "running_var")
)


def batch_norm(call: Call) -> None:
    """Everything per channel; with statistics of its own, of the batch, over the other dimensions."""
    _BATCH_NORM(call)
    if call.get("training"):
        call.lined_up(call["input"], {*range(len(call["input"].dims))} - {1})


def layer_norm(call: Call) -> None:
    """Statistics over the trailing ``normalized_shape`` dimensions; also for RMS norms."""
    source: Operand = call["input"]
    first = len(source.dims) - len(call["normalized_shape"])
    call.unify_all(call.output.dims, source.dims)
    for operand in call.operands(("weight", "bias")):
        call.unify_all(source.dims[first:], operand.dims)
    call.lined_up(source, range(first, len(source.dims)))


# statistics over c and the spatial dimensions
_GROUP_NORM = Signature(
    "b (g c) s+, (g c), (g c) -> b (g c) s+", ("input", "weight", "bias"), {"g": "num_groups"}
)


def _first(call: Call) -> list[int]:
    return [0]


def _transformed(call: Call) -> list[int]:
    """``dim``, or where that is missing as many as ``s`` has sizes for."""
    sizes = call.get("s") if call.get("dim") is None else None
    return call.dimensions(call["self"], call.get("dim") if sizes is None else range(-len(sizes), 0))


def quantile(call: Call) -> None:
    """Without ``dim`` of all positions; several quantiles stand in a first dimension of their own."""
    source, wanted = call["self"], call["q"]
    along = call.dimensions(source, call.get("dim"))
    result = call.output.dims
    if isinstance(wanted, Operand) and wanted.dims:
        call.unify(wanted.dims[0], result[0])
        result = result[1:]
    kept = result if len(result) < len(source.dims) else [a for d, a in enumerate(result) if d not in along]
    call.unify_all(kept, source.without(along))


def _rows_and_columns(call: Call) -> list[int]:
    """The dimensions of a matrix: the last two, unless the arguments say others."""
    return call.dimensions(call["self"], call.get("dim") or [-2, -1])


def matrix_norm(call: Call) -> None:
    """A matrix is taken as a whole, though rows and columns may go: of all columns the same rows, and the reverse."""
    along = _rows_and_columns(call)
    Along(_rows_and_columns, mixed=True)(call)
    rows, columns = (call["self"].dims[dim] for dim in along)
    call.across += [(rows, columns), (columns, rows)]


def vector_or_matrix_norm(call: Call) -> None:
    """``torch.linalg.norm``: of vectors, of matrices, or of all that there is."""
    dims = call.get("dim")
    matrices = call.get("ord") is not None and (
        len(call["self"].dims) == 2 if dims is None else len(dims) == 2
    )
    (matrix_norm if matrices else Along(_DIM))(call)


def _others(call: Call) -> list[int]:
    """All dimensions but ``dim``."""
    source = call["self"] if "self" in call.arguments else call["v"]
    return [dim for dim in range(len(source.dims)) if dim != call.dimension(source, call["dim"])]


def renorm(call: Call) -> None:
    """Every position of ``dim`` is scaled by its norm over all others."""
    source = call["self"]
    call.unify_all(call.output.dims, source.dims)
    call.lined_up(source, _others(call))


def cross(call: Call) -> None:
    """Vectors of three coordinates along ``dim``, or along the first dimension of that size."""
    given = call.get("dim")
    sizes = call.output.shape
    along = sizes.index(3) if given is None else call.dimension(call.output, given)
    call.broadcast((call["self"], call["other"]), call.output.dims)
    call.pin(call.output.dims[along], "three coordinates")
    for operand in (call["self"], call["other"]):
        call.lined_up(operand, [along])


def area(call: Call) -> None:
    """An integral along ``dim``; ``x`` says where its values were taken."""
    source = call["y"]
    along = call.dimension(source, call["dim"])
    call.pin(source.dims[along], "an integral runs along this dimension")
    call.pass_others([along], source, call.output)
    if len(call.output.dims) == len(source.dims):
        call.pin(call.output.dims[along], "an integral runs along this dimension")
    for places in call.operands(("x",)):
        if len(places.dims) == 1:
            call.pin(places.dims, "an integral runs along this dimension")
        else:
            call.broadcast([places], source.dims)


def pairs(call: Call) -> None:
    """``view_as_real`` and ``view_as_complex``: real and imaginary parts in a last dimension of two."""
    source, result = call["self"].dims, call.output.dims
    shared = min(len(source), len(result))
    call.unify_all(source[:shared], result[:shared])
    call.pin((*source[len(result) :], *result[len(source) :]), "real and imaginary parts")


_FOURIER = "_fft_c2c _fft_r2c _fft_c2r " + " ".join(
    f"fft_{kind}{rank}"
    for kind in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
    for rank in ("", "2", "n")
)

RULES: Table = {
    **each(
        "sum mean amax amin var std logsumexp linalg_vector_norm norm any nansum std_mean "
        "var_mean all prod count_nonzero max min frobenius_norm aminmax nanmean median nanmedian",
        Along(_DIM),
    ),
    "aten.linalg_norm": vector_or_matrix_norm,
    **each("cross linalg_cross", cross),
    "aten.norm_except_dim": Along(_others),
    "aten.renorm": renorm,
    **each("quantile nanquantile", quantile),
    **each("cov corrcoef", stays("every row is compared with every other; of a single row it is a number")),
    **each("trapezoid cumulative_trapezoid", area),
    # a position of what is left would mean another one
    **each(
        "max.dim min.dim argmax argmin median.dim nanmedian.dim kthvalue mode",
        Along(_DIM, "positions are returned"),
    ),
    "aten.gradient": Along(_DIM, "differences of neighbours"),
    **each("softmax log_softmax _softmax _log_softmax", softmax),
    **each("batch_norm instance_norm", batch_norm),
    **each("layer_norm rms_norm", layer_norm),
    "aten.group_norm": _GROUP_NORM,
    # they work along a dimension in its order, or reorder it: no position stands for itself
    **each(
        "cumsum cumprod cummax cummin sort argsort logcumsumexp diff fft_fftshift fft_ifftshift",
        Along(by_argument("dim", "dims", default=-1), "{} orders this dimension"),
    ),
    "aten.topk": Along(
        by_argument("dim", default=-1), "which positions are chosen is data: of fewer, others would be chosen"
    ),
    "aten.msort": Along(_first, "{} orders this dimension"),
    **each(_FOURIER, Along(_transformed, "a Fourier transform mixes this dimension", mixed=True)),
    **each("view_as_real view_as_complex", pairs),
}
