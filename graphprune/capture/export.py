"""`torch.export` with the user's model left as it was, and errors that name the user's line."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator

import torch
from torch import nn
from torch.export import ExportedProgram

from graphprune.capture.describe import is_users
from graphprune.capture.inputs import Inputs
from graphprune.ground.arguments import tensor_leaves
from graphprune.ground.errors import CaptureError, InputError, first_line
from graphprune.ground.unlogged import unlogged

__all__ = ["UNKNOWN", "export_program", "left_as_it_was", "run_once", "what_failed"]


def export_program(model: nn.Module, inputs: Inputs) -> ExportedProgram:
    """Exports ``model`` in eval mode for the shapes of ``inputs``, whose values are not read.

    Raises:
        CaptureError: the model cannot be captured, or does not run on these inputs, see `run_once`.
    """
    with left_as_it_was(model), unlogged():
        try:
            return torch.export.export(model, *inputs, strict=False)
        except Exception as error:  # torch.export raises whatever the model's code or its own passes raise
            raise _capture_error(error) from error


@contextlib.contextmanager
def left_as_it_was(model: nn.Module) -> Iterator[None]:
    """``model`` in eval mode, without gradients and fused fast paths; afterwards in the modes it was in."""
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


def run_once(model: nn.Module, inputs: Inputs) -> None:
    """Raises InputError if the model does not run on ``inputs``."""
    try:
        with left_as_it_was(model), unlogged():
            model(*inputs[0], **inputs[1])
    except Exception as error:
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in tensor_leaves(inputs))
        raise InputError(
            f"the model does not run on the example inputs {shapes}: {what_failed(error)}",
            "check the input shape and type (--input-shape on the command line)",
        ) from error


UNKNOWN = "not a known type"  # in what torch.export says of an output

# what torch.export says → what the user can do about it
_REMEDIES = {
    "no fake impl": "say what shapes that operator returns: torch.library.register_fake",
    UNKNOWN: "return tensors, tuples or dicts, or name the class to torch.export.register_dataclass",
    "": "write that line without a Python decision on tensor values (compute both sides and choose with "
    "torch.where), or shrink a module that runs the network without it, and use Result.graft",
}


def _capture_error(error: Exception) -> CaptureError:
    remedy = next(remedy for said, remedy in _REMEDIES.items() if said in str(error))
    return CaptureError(f"the model cannot be captured: {what_failed(error)}", remedy)


def what_failed(error: Exception) -> str:
    """What an error says and the innermost line of the user's code that led to it, in one line."""
    where = "no line of the model's code is on the stack"
    for frame in traceback.extract_tb(error.__traceback__):
        if is_users(frame.filename):
            where = f'{frame.filename}:{frame.lineno}: "{frame.line}"'
    return f"{first_line(error, 200)} ({where})"
