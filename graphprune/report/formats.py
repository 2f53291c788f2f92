"""Numbers as people read them. The JSON documents hold the exact ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "COSTS",
    "TEXTS",
    "bytes_text",
    "count_text",
    "error_text",
    "figure_text",
    "milliseconds_text",
    "ratio_text",
    "share_text",
    "threads_text",
]

_STEPS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
MISSING = "–"


def count_text(count: float | None) -> str:
    """Four significant digits with a decimal prefix.

    >>> count_text(4_652_008), count_text(999_950), count_text(64), count_text(None)
    ('4.652 M', '1.000 M', '64', '–')
    """
    if count is None:
        return MISSING
    for step, prefix in _STEPS:
        if abs(count) >= step * 0.99995:
            return f"{_digits(count / step)} {prefix}"
    return f"{count:,.0f}"


def bytes_text(count: float | None) -> str:
    """A file size in decimal units.

    >>> bytes_text(18_612_345), bytes_text(512)
    ('18.61 MB', '512 B')
    """
    if count is None:
        return MISSING
    return f"{count_text(count)}B" if count >= 999.95 else f"{count:.0f} B"


def milliseconds_text(milliseconds: float | None) -> str:
    """A duration.

    >>> milliseconds_text(12.3456), milliseconds_text(0.04218), milliseconds_text(2345.6)
    ('12.35 ms', '0.04218 ms', '2346 ms')
    """
    if milliseconds is None:
        return MISSING
    return f"{milliseconds:.4g} ms" if 0 < milliseconds < 1 else f"{_digits(milliseconds)} ms"


def share_text(share: float | None) -> str:
    """A share of one as a percentage; neither 0% nor 100% unless it is exactly that.

    >>> share_text(0.7), share_text(1.0), share_text(0.99999), share_text(0.00001), share_text(None)
    ('70.0%', '100%', '>99.9%', '<0.1%', '–')
    """
    if share is None:
        return MISSING
    if share in (0, 1):
        return f"{share:.0%}"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def ratio_text(ratio: float, interval: Sequence[float] = ()) -> str:
    """A measured ratio, with what it may be off by where that is known.

    >>> ratio_text(0.5478, (0.544, 0.5508)), ratio_text(0.5478)
    ('54.8% ± 0.4%', '54.8%')
    """
    off = max((abs(end - ratio) for end in interval), default=None)
    return share_text(ratio) if off is None else f"{share_text(ratio)} ± {share_text(off)}"


def error_text(error: float | None) -> str:
    """A difference that should be small; only its magnitude matters.

    >>> error_text(3.21e-07), error_text(0.0)
    ('3.2e-07', '0')
    """
    return MISSING if error is None else f"{error:.2g}"


def threads_text(number: int) -> str:
    """A number of threads.

    >>> threads_text(1), threads_text(2)
    ('1 thread', '2 threads')
    """
    return f"{number} thread" if number == 1 else f"{number} threads"


def figure_text(figure: float | None) -> str:
    """A figure without a unit, with four decimals where it is small, so that two of them compare well.

    >>> figure_text(1.0), figure_text(0.98765), figure_text(42.4242), figure_text(-0.5)
    ('1.0000', '0.9877', '42.42', '-0.5000')
    """
    if figure is None:
        return MISSING
    return f"{figure:.4f}" if abs(figure) < 10 else f"{figure:,.4g}"


def _digits(value: float) -> str:
    """Four significant digits, zeros kept: 4.652, 46.50, 465.2, 4652, 46520."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.4g}".rstrip(".")


# kind of number → how it is written
TEXTS: Mapping[str, Callable[[float | None], str]] = {
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
