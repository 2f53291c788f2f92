"""Autocast, switched off: a program computes in the dtypes of its tensors, and can be trained, cast and exported so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch

__all__ = ["not_under_autocast", "without_autocast"]

_open: list[dict[str, None]] = []


@contextmanager
def without_autocast() -> Iterator[dict[str, None]]:
    """In here `torch.autocast` does nothing; gives what it would have cast to: "bfloat16 on cpu"."""
    met: dict[str, None] = {}
    before = torch.autocast.__enter__

    def entered(self: Any) -> Any:
        wanted, self._enabled = self._enabled, False
        if wanted:
            met[f"{str(self.fast_dtype).removeprefix('torch.')} on {self.device}"] = None
        try:
            return before(self)
        finally:
            self._enabled = wanted

    _open.append(met)
    try:
        with not_under_autocast(), patch.object(torch.autocast, "__enter__", entered):
            yield met
    finally:
        _open.pop()
        if _open:
            _open[-1].update(met)


@contextmanager
def not_under_autocast() -> Iterator[None]:
    """Whatever the caller does under `torch.autocast` is done without; regions of its own may still be entered."""
    with ExitStack() as off:
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                off.enter_context(torch.autocast(device, enabled=False))
        yield
