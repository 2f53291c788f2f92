"""Shares, which may be written as numbers or as percentages."""

from __future__ import annotations

from typing import Any

from graphprune.ground.errors import InputError

__all__ = ["share"]


def share(option: str, given: Any) -> float:
    """The number that ``given`` says: 0.5, "0.5" and "50%" are the same.

    Args:
        option: what the share is given for, for the message.

    Raises:
        InputError: it is no number.

    >>> share("macs", "50%")
    0.5
    """
    try:
        text = given.strip() if isinstance(given, str) else given
        if isinstance(text, str) and text.endswith("%"):
            return float(text[:-1]) / 100
        return float(text)
    except (TypeError, ValueError):
        raise InputError(f"{option}={given!r} is no share", "write it as 0.5 or 50%") from None
