"""Fourier transforms, and complex numbers as pairs."""

from __future__ import annotations

from graphprune.axes.call import Call
from graphprune.axes.rules.table import Table

__all__ = ["RULES"]


def transform(call: Call) -> None:
    """Transformed dimensions are mixed, every other one passes through."""
    source, output = call["self"], call.output
    chosen = call.get("dim")
    if chosen is None and call.get("s") is not None:
        chosen = list(range(-len(call["s"]), 0))
    along = call.dimensions(source, chosen)
    for place, (axis, other) in enumerate(zip(source.dims, output.dims, strict=True)):
        if place in along:
            call.pin((axis, other), "a Fourier transform mixes this dimension")
        else:
            call.unify(axis, other)
    call.lined_up(source, along)


def pairs(call: Call) -> None:
    """``view_as_real`` and ``view_as_complex``: real and imaginary parts in a last dimension of two."""
    source, result = call["self"].dims, call.output.dims
    for axis, other in zip(source, result, strict=False):
        call.unify(axis, other)
    call.pin((*source[len(result) :], *result[len(source) :]), "real and imaginary parts")


_KINDS = "fft ifft rfft irfft hfft ihfft".split()

RULES: Table = {
    **dict.fromkeys([f"aten.fft_{kind}{rank}" for kind in _KINDS for rank in ("", "2", "n")], transform),
    **dict.fromkeys(["aten._fft_c2c", "aten._fft_r2c", "aten._fft_c2r"], transform),
    **dict.fromkeys(["aten.view_as_real", "aten.view_as_complex"], pairs),
}
