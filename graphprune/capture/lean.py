"""`torch.export` without work of which nothing is read here.

Every private name of torch that this takes is in this file. Where one is missing, torch does the work as it always does.

- After each of its passes torch writes a graph as Python code. A lazy module is written when its code is asked for.
- torch notes for every node the text of its whole stack. Of it the innermost line of the user's is read, see
  `graphprune.capture.describe.source_line`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from traceback import FrameSummary, StackSummary
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.fx import _lazy_graph_module, proxy

from graphprune.capture.describe import is_users

__all__ = ["export"]


def export(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ExportedProgram:
    """Exports ``model`` without tracing its Python a second time, as torch does with ``strict=False``."""
    lazy = getattr(_lazy_graph_module, "_use_lazy_graph_module", lambda _: nullcontext())
    with lazy(True), _short_stacks():
        return torch.export.export(model, args, kwargs, strict=False)


@contextmanager
def _short_stacks() -> Iterator[None]:
    """While the body runs, the stack that `torch.fx` notes for a node is the user's innermost line."""
    before = getattr(proxy, "CapturedTraceback", None)
    if before is None:
        yield
        return
    vars(proxy)["CapturedTraceback"] = _UsersLine
    try:
        yield
    finally:
        vars(proxy)["CapturedTraceback"] = before


class _UsersLine:
    """Stands for torch's record of a stack."""

    def __init__(self, summary: StackSummary) -> None:
        self._summary = summary

    @classmethod
    def extract(cls, **_: Any) -> _UsersLine:
        """The stack below `export`."""
        frame = sys._getframe(1)
        while frame.f_code is not export.__code__ and frame.f_back is not None:
            if is_users(frame.f_code.co_filename):
                # torch.fx keeps of a stack what stands below the first function of that name
                found = FrameSummary(
                    frame.f_code.co_filename, frame.f_lineno, "forward", lookup_line=False, line=""
                )
                return cls(StackSummary.from_list([found]))
            frame = frame.f_back
        return cls(StackSummary())

    def summary(self) -> StackSummary:
        return self._summary
