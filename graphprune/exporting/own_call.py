"""What a translation of our own works with: see `graphprune.exporting.own_operators`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from graphprune.capture.operators import bound
from graphprune.exporting.operator_library import Library
from graphprune.exporting.promotion import cast

__all__ = ["Call", "Row", "numbers"]


@dataclass(frozen=True)
class Call:
    """The node that is translated, and what it gives."""

    library: Library
    node: fx.Node
    form: Any

    @property
    def op(self) -> Any:
        return self.library.op

    def bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by the names of the operator's schema, defaults filled in."""
        return bound(self.node.target, args, kwargs)  # type: ignore[arg-type]

    def aten(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self.library.aten(name)(*args, **kwargs)


# gives the node's result of its arguments, or None where torch's library is to translate
Row = Callable[..., Any]


def numbers(call: Call, *values: Any, dtype: torch.dtype | None = None) -> list[Any]:
    """Values of one type; whole numbers if all are."""
    import onnx_ir

    if dtype is None:
        whole = all(
            isinstance(value, int) or getattr(value, "dtype", None) == onnx_ir.DataType.INT64
            for value in values
        )
        dtype = torch.int64 if whole else torch.float64
    kind = onnx_ir.tensor_adapters.from_torch_dtype(dtype)
    return [
        cast(call.library, value, dtype)
        if isinstance(value, onnx_ir.Value)
        else call.op.Constant(value=onnx_ir.tensor(value, dtype=kind))
        for value in values
    ]
