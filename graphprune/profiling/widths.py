"""Which widths the runtime likes, learned from the runtime itself.

Kernels walk through channels in blocks and treat what is left over by slower code, or not in blocks at all. How wide
the blocks are depends on the processor, the runtime and the kind of layer. So a few small chains of layers are timed
at widths that are multiples of 16 but of nothing larger, of 8, of 4, of 2, and odd.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from numpy import interp

from graphprune import exporting
from graphprune.axes.kinds import KINDS
from graphprune.ground.documents import parse_json, read_text
from graphprune.ground.errors import InputError
from graphprune.ground.files import cached, keep
from graphprune.profiling.lone_layers import chain

__all__ = ["cache_file", "learn", "liked_multiples", "read", "smallest_liked", "store"]

Timer = Callable[[str, Sequence[int]], Mapping[int, float]]

REFERENCES = (96, 128)  # multiples of 32
# multiple → widths between the references that are multiples of it, and of no larger power of two
BETWEEN = {16: (112,), 8: (104, 120), 4: (100, 108, 116, 124), 2: (98, 110, 126), 1: (97, 111, 127)}
LEARNED = (*BETWEEN, 2 * max(BETWEEN))  # multiples that `smallest_liked` may give
TOLERANCE = 0.05  # time over what a smooth kernel would take at that width
ROUNDS = 50
FORMAT = 2  # of the file in the cache
LARGEST = 1 << 16  # bytes of it


def liked_multiples() -> dict[str, int]:
    """Kind of layer → the multiple that its widths should be, from the cache or by timing (some seconds).

    Raises:
        ExportError: onnxruntime cannot be timed.
    """
    known = read(KINDS)
    if known is None:
        known = learn()
        store(known)
    return known


def cache_file() -> Path:
    """Where the multiples are kept: one file for each machine and version of onnxruntime."""
    return cached(f"widths-{hashlib.sha256(json.dumps(_machine()).encode()).hexdigest()[:12]}.json")


def _machine() -> list[Any]:
    """What the multiples depend on; a cache may be shared by many machines."""
    processor = (platform.machine(), torch.backends.cpu.get_cpu_capability())
    return [FORMAT, platform.node(), *processor, version("onnxruntime")]


def read(kinds: tuple[str, ...]) -> dict[str, int] | None:
    """The multiple of every kind; None where the file is missing, damaged, of another machine, or lacks one."""
    try:
        found = parse_json(read_text(cache_file(), LARGEST))
        multiples = {kind: found["multiples"][kind] for kind in kinds}
        known = found["machine"] == _machine()
    except (InputError, KeyError, TypeError):
        return None
    learned = all(type(multiple) is int and multiple in LEARNED for multiple in multiples.values())
    return multiples if known and learned else None


def store(multiples: Mapping[str, int]) -> None:
    """Keeps the multiples, if the directory can be written."""
    keep(cache_file(), json.dumps({"machine": _machine(), "multiples": dict(multiples)}, indent=2) + "\n")


def learn(timer: Timer | None = None) -> dict[str, int]:
    """Kind of layer → the multiple that its widths should be.

    Args:
        timer: (kind, widths) → seconds of a chain of such layers at each width; onnxruntime by default.
    """
    widths = sorted({*REFERENCES, *(width for between in BETWEEN.values() for width in between)})
    return {kind: smallest_liked((timer or _times)(kind, widths)) for kind in KINDS}


def smallest_liked(seconds: Mapping[int, float]) -> int:
    """The smallest multiple that costs nothing extra: at its widths, time lies on the line between the references.

    Multiples are tried from the largest down; the last one before a slower one is liked.

    Args:
        seconds: by width, for all widths of `REFERENCES` and `BETWEEN`.
    """
    references = [seconds[width] for width in REFERENCES]
    liked = max(LEARNED)
    for multiple, between in sorted(BETWEEN.items(), reverse=True):
        slower = [seconds[width] / interp(width, REFERENCES, references) for width in between]
        if median(slower) > 1 + TOLERANCE:
            break
        liked = multiple
    return liked


def _times(kind: str, widths: Sequence[int]) -> dict[int, float]:
    chains = [chain(kind, width) for width in widths]
    runs = [exporting.feeder(exporting.session(model), feed) for model, feed in chains]
    return dict(zip(widths, exporting.fastest(runs, ROUNDS), strict=True))
