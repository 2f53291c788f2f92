"""Rows for Fourier transforms, and for operators on complex numbers."""

from __future__ import annotations

from draws import on, rows, x

__all__ = ["ROWS"]

_COMPLEX, _REAL = x("a b c", "complex"), x("a b c")

_TRANSFORMS = [
    *rows("fft_fft fft_ifft fft_hfft fft_irfft", on(_COMPLEX), on(_COMPLEX, None, 1), on(_COMPLEX, 4, 0)),
    *rows("fft_rfft fft_ihfft", on(_REAL), on(_REAL, None, 1), on(_REAL, 4, 0)),
    *rows("fft_fft2 fft_ifft2 fft_hfft2 fft_irfft2", on(_COMPLEX), on(_COMPLEX, None, [0, 1])),
    *rows("fft_rfft2 fft_ihfft2", on(_REAL), on(_REAL, None, [0, 1])),
    *rows(
        "fft_fftn fft_ifftn fft_hfftn fft_irfftn",
        on(_COMPLEX),
        on(_COMPLEX, [4, 3]),
        on(_COMPLEX, None, [1]),
    ),
    *rows("fft_rfftn fft_ihfftn", on(_REAL), on(_REAL, [4, 3]), on(_REAL, None, [1])),
    *rows("_fft_c2c", on(_COMPLEX, [1], 0, True)),
    *rows("_fft_r2c", on(_REAL, [2], 0, True)),
    *rows("_fft_c2r", on(x("a b 3", "complex"), [2], 0, 5)),
    *rows("fft_fftshift fft_ifftshift", on(_REAL, [1]), on(x("a b")), on(_COMPLEX, [0, 2])),
]

_PAIRS = [
    *rows("real imag angle conj _conj conj_physical resolve_conj resolve_neg isreal", on(_COMPLEX)),
    *rows("complex", on(x("a b"), x("a b")), on(x("a 1 c"), x("b 1"))),
    *rows("polar", on(x("a b", "positive"), x("a b")), on(x("a 1", "positive"), x("b"))),
    *rows("view_as_real", on(_COMPLEX)),
    *rows("view_as_complex", on(x("a b 2"))),
    *rows("vdot", on(x("k", "complex"), x("k", "complex")), note="complex"),
]

ROWS = [*_TRANSFORMS, *_PAIRS]
