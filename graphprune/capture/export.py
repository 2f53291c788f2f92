"""`torch.export` with the user's model left as it was, and errors that name the user's line."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from graphprune.capture.describe import is_users
from graphprune.capture.inputs import Inputs, tensor_leaves, with_batch
from graphprune.errors import CaptureError, InputError

__all__ = ["export_program"]


def export_program(model: nn.Module, inputs: Inputs) -> tuple[ExportedProgram, Inputs, tuple[str, ...]]:
    """Exports ``model`` in eval mode, with a dynamic batch where the model allows it.

    Returns the program, the inputs it was traced with, and notes for the user.

    Raises:
        InputError: the model does not run on these inputs.
        CaptureError: it runs, but cannot be captured.
    """
    with _left_as_it_was(model), _quiet():
        batched = _traceable_batch(inputs)
        reason = "the inputs do not share a first dimension"
        if batched is not None:
            try:
                exported = _export(model, batched, dynamic=True)
                if _all_dynamic(exported):
                    return exported, batched, ()
                reason = "the model fixes the first dimension of an input"
            except Exception as error:  # any failure of the dynamic trace is retried statically
                reason = _last_line(error)
        try:
            exported = _export(model, inputs, dynamic=False)
        except Exception as error:
            _run_once(model, inputs)
            raise _capture_error(error) from error
    return exported, inputs, (f"captured for this batch size only: {reason}",)


def _traceable_batch(inputs: Inputs) -> Inputs | None:
    """A batch of one is specialised by torch.export, so it is traced with two."""
    sizes = {leaf.shape[0] if leaf.dim() else None for leaf in tensor_leaves(inputs)}
    if len(sizes) != 1 or None in sizes:
        return None
    return with_batch(inputs, 2) if sizes == {1} else inputs


def _export(model: nn.Module, inputs: Inputs, dynamic: bool) -> ExportedProgram:
    args, kwargs = inputs
    shapes = None
    if dynamic:
        shapes = pytree.tree_map(
            lambda leaf: {0: Dim.AUTO} if isinstance(leaf, torch.Tensor) else None, _by_name(model, inputs)
        )
    return torch.export.export(model, args, kwargs, dynamic_shapes=shapes, strict=False)


def _all_dynamic(exported: ExportedProgram) -> bool:
    """Whether every input kept its dynamic batch; torch.export fixes the sizes that the model needs as numbers."""
    names = set(exported.graph_signature.user_inputs)
    values = [node.meta.get("val") for node in exported.graph.nodes if node.name in names]
    batches = [value.shape[0] for value in values if isinstance(value, torch.Tensor)]
    return all(isinstance(batch, torch.SymInt) and batch.node.expr.free_symbols for batch in batches)


def _by_name(model: nn.Module, inputs: Inputs) -> Any:
    """The inputs by the names of forward's parameters, as torch.export wants their shapes."""
    args, kwargs = inputs
    return dict(inspect.signature(model.forward).bind(*args, **kwargs).arguments)


@contextlib.contextmanager
def _left_as_it_was(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("torch.export", "torch.fx", "torch._dynamo")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        # of a capture that fails torch prints whole graphs; our errors say what matters
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _run_once(model: nn.Module, inputs: Inputs) -> None:
    try:
        model(*inputs[0], **inputs[1])
    except Exception as error:
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in tensor_leaves(inputs))
        raise InputError(
            f"the model does not run on the example inputs {shapes}: {_last_line(error)} ({_user_line(error)})",
            "check the input shape and type (--input-shape on the command line)",
        ) from error


# what torch.export says → what the user can do about it
_REMEDIES = {
    "not a known type": "return tensors, tuples or dicts, or name the class to torch.export.register_dataclass",
    "": "write that line without a Python decision on tensor values (compute both sides and choose with "
    "torch.where), or prune the parts around it",
}


def _capture_error(error: Exception) -> CaptureError:
    remedy = next(remedy for said, remedy in _REMEDIES.items() if said in str(error))
    return CaptureError(f"the model cannot be captured: {_last_line(error)} ({_user_line(error)})", remedy)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def _user_line(error: Exception) -> str:
    """The innermost line that is not torch's own."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_users(frame.filename)]
    if not frames:
        return "no line of the model's code is on the stack"
    frame = frames[-1]
    return f'{frame.filename}:{frame.lineno}: "{frame.line}"'
