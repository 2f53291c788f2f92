"""`torch.export` without work of which nothing is read here, and runs in which a model takes itself for exported.

Every private name of torch that this takes is in this file. Where one is missing, torch does the work as ever.

- After each of its passes torch writes a graph as Python code. A lazy module is written when its code is asked for.
- torch notes for every node the text of its whole stack. Of it the innermost line of a user's forward is read, see
  `graphprune.capture.describe.source_line`.
- A model may ask torch whether it is being exported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from traceback import FrameSummary, StackSummary
from typing import Any

import torch
import torch._export.utils
from torch import nn
from torch.export import ExportedProgram
from torch.fx import _lazy_graph_module, proxy

from graphprune.capture.describe import is_users

__all__ = ["as_exported", "export"]


def export(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ExportedProgram:
    """Exports ``model`` without tracing its Python a second time, as torch does with ``strict=False``."""
    lazy = getattr(_lazy_graph_module, "_use_lazy_graph_module", lambda _: nullcontext())
    with lazy(True), _short_stacks():
        return torch.export.export(model, args, kwargs, strict=False)


def as_exported() -> AbstractContextManager[None]:
    """While it is on, ``torch.compiler.is_exporting()`` says so, as it does while `torch.export` runs a model."""
    return getattr(torch._export.utils, "_compiling_state_context", nullcontext)()


@contextmanager
def _short_stacks() -> Iterator[None]:
    """While the body runs, the stack that `torch.fx` notes for a node is the innermost line of a user's forward."""
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
            path = frame.f_code.co_filename
            if frame.f_code.co_name == "forward" and is_users(
                path
            ):  # torch keeps no lines of other functions
                found = FrameSummary(path, frame.f_lineno, "forward", lookup_line=False, line="")
                return cls(StackSummary.from_list([found]))
            frame = frame.f_back
        return cls(StackSummary())

    def summary(self) -> StackSummary:
        return self._summary
