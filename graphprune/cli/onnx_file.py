"""MODEL as an ONNX file: its example inputs, as ``--input``, ``--feed`` and ``--input-shape`` say them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from graphprune.capture.inputs import Inputs
from graphprune.cli.shapes import Shape, parse_shapes
from graphprune.ground.errors import InputError
from graphprune.importing.examples import read_feed
from graphprune.importing.interpreter import OnnxModule
from graphprune.importing.naming import parameter_names
from graphprune.importing.reading import AS_USUAL, Tidying, is_file, open_file

__all__ = ["by_arguments", "is_onnx", "opened_file", "parse_given"]

is_onnx = is_file


def parse_given(texts: Sequence[str], feed: Path | None) -> dict[str, Any]:
    """Shapes and arrays by the names of inputs.

    Args:
        texts: of ``--input``, such as "image=1,3,320,320".
        feed: of ``--feed``, a file of arrays.

    Raises:
        InputError: a text is no name with a shape, the file cannot be read, or one input is given twice.
    """
    found: dict[str, Any] = {} if feed is None else read_feed(feed)
    for text in texts:
        name, equals, shape = text.rpartition("=")
        if not equals or not name:
            raise InputError(
                f"--input {text!r} is not NAME=SIZES", "write it as 'image=1,3,320,320', a name of the file's"
            )
        if name in found:
            raise InputError(
                f"the input {name!r} is given twice", "give it once, as --input or in the --feed"
            )
        (found[name],) = parse_shapes([shape])
    return found


def opened_file(
    spec: str, shapes: Sequence[Shape], given: Mapping[str, Any], tidying: Tidying = AS_USUAL
) -> tuple[nn.Module, Inputs]:
    """The module of a file, and its example inputs.

    Args:
        shapes: of all inputs in order, or one for an only input.
        given: see `parse_given`.

    Raises:
        InputError: the file cannot be read, or what is given does not fit.
        CaptureError: the file cannot be run.
    """
    if shapes and given:
        raise InputError("--input-shape is given beside --input or --feed", "say all shapes in one way")
    file = open_file(spec, given or list(shapes) or None, tidying)
    return file.module, (file.inputs, {})


def by_arguments(model: nn.Module, data: Any) -> Any:
    """Calibration arrays by the names of inputs, under the names that the module's arguments have."""
    if not isinstance(model, OnnxModule) or not isinstance(data, dict):
        return data
    names = parameter_names(item.name for item in model.signature)
    return {names.get(name, name): array for name, array in data.items()}
