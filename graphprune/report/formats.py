"""Numbers as people read them. The JSON documents hold the exact ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps

__all__ = [
    "COSTS",
    "TEXTS",
    "bytes_text",
    "count_text",
    "error_text",
    "figure_text",
    "milliseconds_text",
    "share_text",
    "threads_text",
]

Text = Callable[[float | None], str]
_STEPS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
MISSING = "–"


def _or_missing(text: Callable[[float], str]) -> Text:
    """``text`` for any number, and a dash for None."""
    return wraps(text)(lambda number: MISSING if number is None else text(number))


@_or_missing
def count_text(count: float) -> str:
    """Four significant digits with a decimal prefix.

    >>> count_text(4_652_008), count_text(999_950), count_text(64), count_text(None)
    ('4.652 M', '1.000 M', '64', '–')
    """
    for step, prefix in _STEPS:
        if abs(count) >= step * 0.99995:
            return f"{_digits(count / step)} {prefix}"
    return f"{count:,.0f}"


@_or_missing
def bytes_text(count: float) -> str:
    """A file size in decimal units.

    >>> bytes_text(18_612_345), bytes_text(512)
    ('18.61 MB', '512 B')
    """
    return f"{count_text(count)}B" if count >= 999.95 else f"{count:.0f} B"


@_or_missing
def milliseconds_text(milliseconds: float) -> str:
    """A duration.

    >>> milliseconds_text(12.3456), milliseconds_text(0.04218), milliseconds_text(2345.6)
    ('12.35 ms', '0.04218 ms', '2346 ms')
    """
    return f"{milliseconds:.4g} ms" if 0 < milliseconds < 1 else f"{_digits(milliseconds)} ms"


@_or_missing
def share_text(share: float) -> str:
    """A share of one as a percentage; neither 0% nor 100% unless it is exactly that.

    >>> share_text(0.7), share_text(1.0), share_text(0.99999), share_text(0.00001), share_text(None)
    ('70.0%', '100%', '>99.9%', '<0.1%', '–')
    """
    if share in (0, 1):
        return f"{share:.0%}"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


@_or_missing
def error_text(error: float) -> str:
    """A difference that should be small; only its magnitude matters.

    >>> error_text(3.21e-07), error_text(0.0)
    ('3.2e-07', '0')
    """
    return f"{error:.2g}"


def threads_text(number: int) -> str:
    """A number of threads.

    >>> threads_text(1), threads_text(2)
    ('1 thread', '2 threads')
    """
    return f"{number} thread" if number == 1 else f"{number} threads"


@_or_missing
def figure_text(figure: float) -> str:
    """A figure without a unit, with four decimals where it is small, so that two of them compare well.

    >>> figure_text(1.0), figure_text(0.98765), figure_text(42.4242), figure_text(-0.5)
    ('1.0000', '0.9877', '42.42', '-0.5000')
    """
    return f"{figure:.4f}" if abs(figure) < 10 else f"{figure:,.4g}"


def _digits(value: float) -> str:
    """Four significant digits, zeros kept: 4.652, 46.50, 465.2, 4652, 46520."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.4g}".rstrip(".")


# kind of number → how it is written
TEXTS: Mapping[str, Text] = {
    "count": count_text,
    "bytes": bytes_text,
    "milliseconds": milliseconds_text,
    "share": share_text,
    "figure": figure_text,
    "error": error_text,
}
# key of a cost in a report → its name and kind
COSTS = {
    "params": ("parameters", "count"),
    "macs": ("multiply-accumulates", "count"),
    "memory": ("peak activation memory", "bytes"),
    "onnx_bytes": ("ONNX file", "bytes"),
    "latency": ("latency, predicted", "milliseconds"),
}
