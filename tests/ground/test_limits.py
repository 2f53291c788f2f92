"""Bounds on memory."""

from __future__ import annotations

import platform
import subprocess
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


SPLIT = """
import sys, torch
from graphprune.ground.limits import give_back_freed
if sys.argv[1] == "given back":
    give_back_freed()
def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) / 2**10
large = [torch.ones(2**23, dtype=torch.uint8) for _ in range(2)]
torch.ones(30 * 2**20, dtype=torch.uint8)
before, kept = resident(), []
for turn in range(50):
    large.append(torch.ones(2**23 + turn * 2**17, dtype=torch.uint8))  # larger than any hole that is left
    kept.append(torch.ones(10_000))
    large.pop(0)
    kept.append(torch.ones(10_000))
del large
print(resident() - before)
"""


def growth(how: str) -> float:
    """MiB that blocks of 8 MiB, freed among small ones that last, leave behind."""
    command = [sys.executable, "-c", SPLIT, how]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others keep nothing")
def test_freed_blocks_go_back_though_small_ones_last() -> None:
    assert growth("given back") < 20
    assert growth("kept") > growth("given back") + 50
