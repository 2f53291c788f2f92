"""A language model and its cache as an ONNX file: past keys and values in, present ones out.

The class itself is captured with the cache as tensors, so that a step of its text is what the library computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.capture import capture
from graphprune.capture.lazy import Lazy
from graphprune.capture.raising import raise_program
from graphprune.ground.clock import Clock
from graphprune.ground.dynamic import AUTO
from graphprune.ground.errors import ExportError
from graphprune.ground.unlogged import unlogged
from graphprune.pretrained.blueprint import Blueprint, filled
from graphprune.pretrained.examples import example_inputs
from graphprune.results.onnx_checks import ONNX_TOLERANCE, write_checked
from graphprune.verifying import Check
from graphprune.verifying.tensors import in_dtype

__all__ = ["REMEDY", "WITH_PAST", "write_with_past"]

WITH_PAST = "model_with_past.onnx"
PROMPT, TEXT = 5, 12  # tokens of the text that is compared, and tokens that are written after it
GIVEN = 3  # tokens of the step that is captured, after a past of as many as there are beside them
REMEDY = "use model.onnx, which has no past"
Past = Mapping[str, Mapping[str, Tensor]]


class _Step(nn.Module):
    """Tokens after a past, ``past_key_values[layer]["key"]`` and ``["value"]``, ``[batch, heads, length, width]``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, past_key_values: Past) -> dict[str, Any]:
        made = self.model(input_ids=input_ids, past_key_values=_cache(past_key_values), use_cache=True)
        return {"logits": made.logits, "present": _past_in(made.past_key_values)}


def _cache(past: Past) -> Any:
    """The library's cache with this past, which may be of no tokens; without windows, whose masks do their work."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    class Held(DynamicLayer):  # type: ignore[misc]
        def get_seq_length(self) -> int:  # the library asks first whether there is anything
            return self.keys.shape[-2]

    cache = DynamicCache()
    for tensors in past.values():
        layer = Held()
        layer.keys, layer.values, layer.is_initialized = tensors["key"], tensors["value"], True
        cache.layers.append(layer)
    return cache


def _past_in(cache: Any) -> dict[str, dict[str, Tensor]]:
    return {
        str(place): {"key": layer.keys, "value": layer.values} for place, layer in enumerate(cache.layers)
    }


def write_with_past(
    slim: Blueprint, tensors: Mapping[str, Tensor], path: Path, clock: Clock
) -> tuple[Check, ...]:
    """Writes and checks the file, and has it write text beside the class.

    Args:
        slim: a class that writes text.
        tensors: of its state dict.

    Raises:
        ExportError: its cache is no keys and values of every layer, or not of any length.
        GraphpruneError: it cannot be captured, or not be exported.
    """
    with clock("trace a step with its past"):
        wide = Lazy(tensors, lambda name: in_dtype(tensors[name], torch.float32))
        model = filled(slim, wide, torch.float32)
        ids = example_inputs(["input_ids"], model.config)["input_ids"]
        past = _past_of(model, ids[:, :-GIVEN])
        example = {"input_ids": ids[:, -GIVEN:], "past_key_values": past}
        program = capture(_Step(model).eval(), example, (), AUTO)
    lengths = (at for at in program.dimensions if at.input == "input_ids" or at.dim in (0, 2))
    if fixed := next((at for at in lengths if not at.name), None):
        raise ExportError(f"{fixed} cannot vary: {fixed.reason}", REMEDY)
    _, checks = write_checked(program, raise_program(program), path, clock)
    with clock("write text in onnxruntime"):
        written = _same_text(model, path, ids[:, :PROMPT], past)
    return (*(replace(check, name=f"with past, {check.name}") for check in checks), written)


def _past_of(model: nn.Module, ids: Tensor) -> Past:
    """What the class keeps of these tokens, without windows.

    Raises:
        ExportError: it is no keys and values.
    """
    from transformers import DynamicCache

    try:
        with torch.no_grad(), unlogged():
            cache = model(input_ids=ids, past_key_values=DynamicCache(), use_cache=True).past_key_values
        past = _past_in(cache)
        shapes = {
            tuple(tensor.shape[:1] + tensor.shape[2:3])
            for layer in past.values()
            for tensor in layer.values()
        }
    except (AttributeError, TypeError) as error:
        raise ExportError(f"its cache is no keys and values: {error}", REMEDY) from error
    if shapes != {tuple(ids.shape)}:
        raise ExportError("its cache does not keep every token of every layer", REMEDY)
    return past


@torch.no_grad()
def _same_text(model: nn.Module, path: Path, ids: Tensor, past: Past) -> Check:
    """By how much another token than the class writes with its own cache would be likelier, at any step of a text.

    The file begins with a past of no tokens.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    inputs, outputs = ([item.name for item in some] for some in (session.get_inputs(), session.get_outputs()))
    held = [tensor[:, :, :0].numpy() for layer in past.values() for tensor in layer.values()]
    cache, worst = None, 0.0
    for _ in range(TEXT):
        made = model(input_ids=ids, past_key_values=cache, use_cache=True)
        logits, *held = session.run(outputs, dict(zip(inputs, (ids.numpy(), *held), strict=True)))
        cache, ids = made.past_key_values, made.logits[:, -1:].argmax(-1)
        found = torch.from_numpy(logits)[:, -1]
        short = found.amax(-1, keepdim=True) - found.gather(-1, ids)
        worst = max(worst, float((short / found.abs().amax(-1, keepdim=True)).max()))
    limit = ONNX_TOLERANCE[torch.float32]
    return Check("with past, it writes the text of the class with its cache", worst <= limit, worst, limit)
