"""Which operators of ATen check what they are given, so that a stored graph may call them.

Shapes, types and indices of a stored graph are whatever its author wrote. Most operators compare them before a kernel
touches memory. Those named here leave that to their callers inside PyTorch: with arguments that do not fit they read or
write beyond a tensor. tests/exporting/test_hostile_calls.py calls all others so, beside memory that cannot be touched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from keyword import iskeyword
from typing import Any

import torch
from torch import Tensor, fx

from graphprune.capture.sizes import reads_size
from graphprune.ground.arguments import LIMITS, dtype_of, limit_of, read_attribute
from graphprune.ground.errors import InputError

__all__ = ["FORMS", "check_kinds", "check_printed", "is_checked"]

# Kernels of gradients, of single libraries and of layouts, which public operators call with what they have checked.
# None of them is in a program that computes outputs from dense tensors.
INTERNAL = re.compile(
    r".*_(backward|jvp)(_.*)?|(cudnn|fbgemm|miopen|mkldnn|mps|slow_conv|thnn|conv_depthwise)_?.*"
    r"|(q_|quantize|choose_qparams|int_repr|dequantize|fused_moving).*"
    r"|.*(sparse|nested|_padded_tensor|mkldnn).*|(hs|s|sspadd)mm|(c?col|c?row|crow)?_?(indices|values)(_copy)?|coalesce"
    r"|batch_norm_(elemt|gather|stats|update).*|.*_overrideable|resize.*|set|data|.*pin_memory|native_(batch|group|layer)_norm"
)
# Of the others, those whose kernels take shapes, labels, samples or a step of zero on trust,
# or that give back memory as it is.
UNCHECKED = frozenset(
    "ctc_loss empty_permuted empty_strided new_empty_strided fractional_max_pool2d fractional_max_pool3d "
    "linalg_eigvals eigvals lstm range".split()
)
# The kinds of an argument that Python's `torch.ops` takes as a bare number too, which is looked up unchecked.
CODED = re.compile(r"(?:Optional\[)?(ScalarType|Layout|MemoryFormat)\]?")
KINDS = {"ScalarType": torch.dtype, "Layout": torch.layout, "MemoryFormat": torch.memory_format}


def embedding_bag(weight: Tensor, indices: Tensor, offsets: Tensor, *others: Any) -> tuple[Tensor, ...]:
    """ATen's operator, which takes it for granted that indices and offsets are lists.

    Raises:
        InputError: they are not.
    """
    if indices.dim() != 1 or offsets.dim() != 1:
        raise InputError("embedding_bag of the stored graph has indices or offsets that are no lists")
    found: tuple[Tensor, ...] = torch.ops.aten.embedding_bag(weight, indices, offsets, *others)
    return found


# what is called in the place of an operator that leaves a check to its callers
FORMS: Mapping[str, Callable[..., Any]] = {
    "torch.embedding_bag": embedding_bag,
    "torch.ops.aten.embedding_bag.default": embedding_bag,
    "torch.ops.aten.embedding_bag.padding_idx": embedding_bag,
}


def is_checked(name: str) -> bool:
    """Whether the operator ``aten::name`` refuses arguments that do not fit, whatever they are."""
    return name not in UNCHECKED and not INTERNAL.fullmatch(name)


def check_kinds(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuses a number in the place of a dtype, layout or memory format of an ATen operator.

    Raises:
        InputError: there is one, or what an earlier node computes.
    """
    if not isinstance(target, torch._ops.OpOverload):
        return
    for place, argument in enumerate(target._schema.arguments):
        coded = CODED.fullmatch(str(argument.real_type))
        value = args[place] if place < len(args) else kwargs.get(argument.name)
        if coded and value is not None and not _is_kind(value, KINDS[coded[1]]):
            raise InputError(f"the stored graph gives {target} {value!r} as its {argument.name}")


def check_printed(node: fx.Node) -> None:
    """Refuses what model.py would say as it stands, if it is no number of a dimension, or no name of an attribute.

    Raises:
        InputError: it could be any text, and so any code.
    """
    what = node.args[1] if len(node.args) == 2 else None
    if reads_size(node):
        fits = isinstance(node.args[0], fx.Node) and type(what) is int
    elif node.target is limit_of:
        fits = what in LIMITS
    elif node.target is read_attribute:
        fits = isinstance(what, str) and what.isidentifier() and not iskeyword(what)
    else:
        return
    if not fits:
        raise InputError(f"the stored graph asks for {what!r} where a dimension or an attribute belongs")


def _is_kind(value: Any, kind: type) -> bool:
    if isinstance(value, fx.Node):  # dtypes of inputs are read while the graph runs
        return value.target is dtype_of
    return isinstance(value, kind)
