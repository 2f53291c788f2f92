"""Numbers as people read them."""

from __future__ import annotations

import doctest

import pytest

from graphprune.report import formats
from graphprune.report.formats import bytes_text, count_text, milliseconds_text, share_text


def test_examples() -> None:
    assert doctest.testmod(formats).failed == 0
    assert doctest.testmod(formats).attempted > 0


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.000 k"),
        (12_345, "12.35 k"),
        (999_940, "999.9 k"),
        (999_960, "1.000 M"),
        (11_513_000_000, "11.51 G"),
        (3_000_000_000_000_000, "3000 T"),
    ],
)
def test_counts(count: int, text: str) -> None:
    assert count_text(count) == text


def test_missing_figures_are_a_dash() -> None:
    assert {text(None) for text in (count_text, bytes_text, milliseconds_text, share_text)} == {"–"}


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0%"), (0.0004, "<0.1%"), (1.527, "152.7%"), (0.9994, "99.9%")]
)
def test_shares(share: float, text: str) -> None:
    assert share_text(share) == text
