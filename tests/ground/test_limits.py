"""A bound on memory."""

from __future__ import annotations

import sys

import pytest
import torch

from graphprune.ground.limits import bounded_memory


@pytest.mark.skipif(sys.platform != "linux", reason="other systems bound nothing")
def test_what_asks_for_too_much_fails_and_the_bound_ends() -> None:
    numbers = 2**28
    with bounded_memory(2**26):
        torch.zeros(2**20)
        with pytest.raises(RuntimeError, match="allocate"):
            torch.zeros(numbers)
        with pytest.raises(MemoryError):
            bytearray(numbers)
    assert len(bytearray(numbers)) == numbers
