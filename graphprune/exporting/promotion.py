"""ONNX wants tensors of one type where PyTorch takes several and converts them itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx

from graphprune.exporting.forms import Form
from graphprune.exporting.operator_library import Library

__all__ = ["cast", "same_types"]

# arguments that are no numbers to be computed with
_CONDITIONS = {"aten.where": (0,), "aten.masked_fill": (1,), "aten.gather": (1,)}
# operators that are not pointwise, but convert all the same
_JOINING = ("aten.cat", "aten.stack", "aten.hstack", "aten.vstack", "aten.concat")
_SUMS = ("aten.sum", "aten.prod", "aten.cumsum", "aten.cumprod")
# operators on types themselves
_CONVERTING = ("aten._to_copy", "aten.to", "aten.type_as", "aten.clone", "aten.logical_not", "aten.isnan")


def same_types(
    library: Library,
    node: fx.Node,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    forms: Mapping[fx.Node, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of one type, by casts that are made where the operator converts."""
    wanted = _wanted(node, forms)
    if wanted is None:
        return args, dict(kwargs)
    kept = _CONDITIONS.get(_family(node), ())

    def one(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [one(item) for item in value]
        return cast(library, value, wanted)

    return tuple(arg if place in kept else one(arg) for place, arg in enumerate(args)), {
        name: one(value) for name, value in kwargs.items()
    }


def _family(node: fx.Node) -> str:
    return ".".join(str(node.target).split(".")[:2])


def _wanted(node: fx.Node, forms: Mapping[fx.Node, Any]) -> torch.dtype | None:
    """The type to which the operator converts its arguments; None if it converts none."""
    family, form = _family(node), forms.get(node)
    if not isinstance(form, Form) or form.dtype.is_complex or family in _CONVERTING:
        return None
    if family in _JOINING or family in _SUMS:
        return form.dtype
    if torch.Tag.pointwise not in getattr(node.target, "tags", ()):
        return None
    if form.dtype != torch.bool:
        return form.dtype
    if family.startswith("aten.logical"):
        return torch.bool
    return _common([forms.get(arg) if isinstance(arg, fx.Node) else arg for arg in node.args[:2]])


def _common(values: Sequence[Any]) -> torch.dtype | None:
    """The type in which a comparison is made."""
    numbers = [value for value in values if isinstance(value, Form | int | float | bool)]
    if len(numbers) != 2 or not any(isinstance(value, Form) for value in numbers):
        return None
    one, other = (
        torch.empty([1] * len(value.sizes), dtype=value.dtype, device="meta")
        if isinstance(value, Form)
        else value
        for value in numbers
    )
    return torch.result_type(one, other)


def cast(library: Library, value: Any, dtype: torch.dtype) -> Any:
    """The value in another type; numbers and what has that type stay as they are."""
    import onnx_ir

    wanted = onnx_ir.tensor_adapters.from_torch_dtype(dtype)
    if not isinstance(value, onnx_ir.Value) or value.dtype in (None, wanted):
        return value
    made = library.op.Cast(value, to=wanted)
    made.dtype, made.shape = wanted, value.shape
    return made
