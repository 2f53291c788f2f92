"""Fourier transforms, and complex numbers as pairs."""

from __future__ import annotations

from graphprune.axes.call import Call
from graphprune.axes.rules.table import Table, each

__all__ = ["RULES"]


def transform(call: Call) -> None:
    """Transformed dimensions are mixed, every other one passes through."""
    source, output = call["self"], call.output
    chosen = call.get("dim")
    if chosen is None and call.get("s") is not None:
        chosen = list(range(-len(call["s"]), 0))
    along = call.dimensions(source, chosen)
    call.unify_all(source.dims, output.dims, but=along)
    call.pin(
        (item.dims[dim] for dim in along for item in (source, output)),
        "a Fourier transform mixes this dimension",
    )
    call.lined_up(source, along)


def pairs(call: Call) -> None:
    """``view_as_real`` and ``view_as_complex``: real and imaginary parts in a last dimension of two."""
    source, result = call["self"].dims, call.output.dims
    shared = min(len(source), len(result))
    call.unify_all(source[:shared], result[:shared])
    call.pin((*source[len(result) :], *result[len(source) :]), "real and imaginary parts")


RULES: Table = {
    **{
        f"aten.fft_{kind}{rank}": transform
        for kind in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
        for rank in ("", "2", "n")
    },
    **each("_fft_c2c _fft_r2c _fft_c2r", transform),
    **each("view_as_real view_as_complex", pairs),
}
