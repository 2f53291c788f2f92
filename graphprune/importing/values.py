"""What flows between the nodes of an ONNX graph: tensors, and small tensors of Python's numbers.

A file computes sizes with tensors: Shape, Gather, Mul, Concat, then Reshape. Here such a tensor is an array of Python's
numbers, and what is computed of it is one again. So a size stays what the capture of a model follows: a number that
remembers from which sizes it was computed, see `graphprune.capture.remembered`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "MOST",
    "Held",
    "Numbers",
    "as_numbers",
    "as_tensor",
    "dtype_of",
    "is_half",
    "numbers_of",
    "tensor_from",
]

MOST = 64  # sizes and axes are few; what has more numbers is data


@dataclass(frozen=True, eq=False)
class Numbers:
    """A small tensor of Python's numbers.

    Args:
        array: of dtype object; a float tensor may hold whole numbers.
        dtype: that of the tensor.
        stored: the tensor that holds these numbers, where one does.
        sized: whether they were computed from sizes, and are others where these are.
    """

    array: np.ndarray[Any, Any]
    dtype: torch.dtype
    stored: Tensor | None = None
    sized: bool = False

    def tensor(self) -> Tensor:
        """The same as a tensor; within a capture its sizes stay variable."""
        return torch.tensor(self.array.tolist(), dtype=self.dtype) if self.stored is None else self.stored


@dataclass(frozen=True)
class Held:
    """A constant of the file beside a node that reads it.

    Args:
        attribute: under which the node's module holds the tensor.
        source: the name of the initializer, or of the value that a Constant node gives.
        numbers: the same as Python's numbers, if it is small.
    """

    attribute: str
    source: str
    numbers: Numbers | None


def as_numbers(values: Any, dtype: torch.dtype, stored: Tensor | None = None) -> Numbers:
    """Numbers of a number, nested lists of numbers, or an array."""
    array = values.astype(object) if isinstance(values, np.ndarray) else np.asarray(values, dtype=object)
    return Numbers(array, dtype, stored)


def numbers_of(array: np.ndarray[Any, Any], dtype: torch.dtype) -> Numbers | None:
    """The numbers of a constant that may be one of sizes or axes; None of weights and tables.

    Vectors of floats are weights, single ones factors of sizes.
    """
    whole = array.dtype.kind in "iub"
    if array.ndim > 1 or array.size > (MOST if whole else 1) or array.dtype.kind not in "iubf":
        return None
    return Numbers(np.asarray(array.tolist(), dtype=object), dtype)


def as_tensor(value: Any) -> Any:
    """A tensor of numbers; anything else as it is."""
    return value.tensor() if isinstance(value, Numbers) else value


def tensor_from(array: np.ndarray[Any, Any]) -> Tensor:
    """A tensor with the values of an array of the file, in memory of its own. Halves become float32.

    Raises:
        TypeError: torch has no such dtype.
    """
    wide = np.float32 if is_half(array) else array.dtype
    return torch.from_numpy(np.array(array, dtype=wide, order="C"))


def is_half(array: np.ndarray[Any, Any]) -> bool:
    """Whether it is of float16 or bfloat16."""
    return array.dtype.name in ("float16", "bfloat16")


def dtype_of(array: np.ndarray[Any, Any]) -> torch.dtype:
    """That of `tensor_from`."""
    found: torch.dtype = torch.float32 if is_half(array) else getattr(torch, array.dtype.name, torch.float32)
    return found
