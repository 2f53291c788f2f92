"""What a safetensors file says of a tensor before its data: its dtype and shape."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["DTYPES", "Form", "form_of"]

# as the format calls them
DTYPES: dict[str, torch.dtype] = {
    "C64": torch.complex64,
    "F64": torch.float64,
    "I64": torch.int64,
    "U64": torch.uint64,
    "F32": torch.float32,
    "I32": torch.int32,
    "U32": torch.uint32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I16": torch.int16,
    "U16": torch.uint16,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I8": torch.int8,
    "U8": torch.uint8,
}


class Form(NamedTuple):
    """A tensor without its values."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Its bytes."""
        return prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')} {list(self.shape)}"


def form_of(tensor: Tensor) -> Form:
    """
    >>> form = form_of(torch.zeros(2, 3, dtype=torch.bfloat16))
    >>> str(form), form.size
    ('bfloat16 [2, 3]', 12)
    """
    return Form(tensor.dtype, tuple(tensor.shape))
