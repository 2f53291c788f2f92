"""Autocast, switched off: a program computes in the dtypes of its tensors, and can be trained, cast and exported so.

So is a caller's inference mode: what is made under it can never be differentiated.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

__all__ = ["is_inference", "not_under_autocast", "not_under_modes", "without_autocast"]

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


@contextmanager
def not_under_modes(model: Any) -> Iterator[None]:
    """Whatever the caller does under `torch.autocast` or `torch.inference_mode` is done without either.

    But for a ``model`` that was made in inference mode: it can be captured nowhere else.
    """
    with ExitStack() as off:
        off.enter_context(not_under_autocast())
        # leaving inference mode turns gradients on, which a caller's no_grad is to keep off
        if torch.is_inference_mode_enabled() and not is_inference(model):
            off.enter_context(torch.inference_mode(False))
        yield


def is_inference(model: Any) -> bool:
    """Whether ``model`` was made in inference mode."""
    tensors = (*model.parameters(), *model.buffers()) if isinstance(model, nn.Module) else ()
    return any(tensor.is_inference() for tensor in tensors)
