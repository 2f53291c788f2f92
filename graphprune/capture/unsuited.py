"""Modules that are made of a model after it is pruned, not before: they say what to give in their place."""

from __future__ import annotations

from torch import nn
from torch.jit import ScriptModule

from graphprune.ground.errors import InputError

__all__ = ["refuse_unsuited"]

# what tells a class, in the name of the file that defines it or a class it is made of → what it is, what to do
_UNSUITED: dict[tuple[str, ...], tuple[str, str]] = {
    ("quantization.fake_quantize", "quantization.observer", "pt2e.fake_quantize", "pt2e.observer"): (
        "watches values in order to quantise them",
        "prune before prepare_qat or prepare: shrink the float model, then prepare result.model",
    ),
    ("nn.quantized", "nn.intrinsic.quantized"): (
        "holds numbers that are quantised",
        "give the float model, and quantise result.model or the model.onnx that it saves",
    ),
}


def refuse_unsuited(model: nn.Module) -> None:
    """Raises InputError where ``model`` or a module in it was scripted, prepared for quantising, or quantised."""
    for name, module in model.named_modules():
        where = f"{name or 'the model'} ({type(module).__name__})"
        if isinstance(module, ScriptModule):
            raise InputError(
                f"{where} is compiled by torch.jit, and hides its code",
                "give the Python module that it was made of; torch.jit.trace takes result.model in its turn",
            )
        files = [kind.__module__ for kind in type(module).__mro__]
        for signs, (what, remedy) in _UNSUITED.items():
            if any(f".{sign}" in f"{file}." and file.startswith("torch") for sign in signs for file in files):
                raise InputError(f"{where} {what}", remedy)
