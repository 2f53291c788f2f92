"""Operators that reduce dimensions or mix along them: sums, statistics, norms, softmax, Fourier transforms.

A sum is a *contraction*: removing a coordinate equals setting it to zero. A mean, a maximum, a variance or a
softmax is a *statistic*: after removing coordinates it is that of the kept ones, by definition.
"""

from __future__ import annotations

from graphprune.axes.call import Call, Operand
from graphprune.axes.rules.table import Along, Table, by_argument, each
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


def _transformed(call: Call) -> list[int]:
    """``dim``, or where that is missing as many as ``s`` has sizes for."""
    sizes = call.get("s") if call.get("dim") is None else None
    return call.dimensions(call["self"], call.get("dim") if sizes is None else range(-len(sizes), 0))


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
        "var_mean all prod count_nonzero max min frobenius_norm",
        Along(_DIM),
    ),
    # a position of what is left would mean another one
    **each("max.dim min.dim argmax argmin median.dim", Along(_DIM, "positions are returned")),
    **each("softmax log_softmax _softmax _log_softmax", softmax),
    **each("batch_norm instance_norm", batch_norm),
    **each("layer_norm rms_norm", layer_norm),
    "aten.group_norm": _GROUP_NORM,
    # they work along a dimension in its order, or reorder it: no position stands for itself
    **each(
        "cumsum cumprod cummax cummin sort argsort topk roll flip logcumsumexp diff fft_fftshift fft_ifftshift",
        Along(by_argument("dim", "dims", default=-1), "{} orders this dimension"),
    ),
    **each(_FOURIER, Along(_transformed, "a Fourier transform mixes this dimension", mixed=True)),
    **each("view_as_real view_as_complex", pairs),
}
