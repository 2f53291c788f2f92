"""Example inputs: of the shapes that ``--input-shape`` gives, and described in a report and made again from that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from graphprune.capture import tensor_leaves
from graphprune.capture.inputs import Inputs
from graphprune.ground.dynamic import AUTO, Dynamic, read_dynamic
from graphprune.ground.errors import InputError

__all__ = [
    "Shape",
    "check_numbers",
    "describe_inputs",
    "parse_dynamic",
    "parse_shapes",
    "reshaped",
    "restore_inputs",
    "standard_inputs",
]

Shape = tuple[int, ...]
LARGEST = 10**12  # numbers in one tensor: four terabytes
NUMBERS = 2**28  # of an example input that a report records; 1 GiB


def parse_shapes(texts: Sequence[str]) -> tuple[Shape, ...]:
    """One shape for each time the option is given.

    >>> parse_shapes(["1,3,224,224", "1,10"])
    ((1, 3, 224, 224), (1, 10))

    Raises:
        InputError: one is not a list of positive whole numbers.
    """
    return tuple(map(_shape, texts))


def parse_dynamic(texts: Sequence[str]) -> Dynamic:
    """``--dynamic``, given any number of times; by default "auto".

    >>> parse_dynamic(["x:2=height,x:3=width", "y:1=length"])
    {'x': {2: 'height', 3: 'width'}, 'y': {1: 'length'}}

    Raises:
        InputError: see `read_dynamic`.
    """
    return read_dynamic(",".join(texts)) if texts else AUTO


def _shape(text: str) -> Shape:
    try:
        shape = tuple(map(int, text.split(",")))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1 or prod(shape) > LARGEST:
        raise InputError(
            f"--input-shape {text!r} is not a shape",
            f"give positive whole numbers, the batch first, such as 1,3,224,224; at most {LARGEST:.0e} in all",
        )
    return shape


def standard_inputs(shapes: Sequence[Shape], seed: int) -> Inputs:
    """One standard-normal float32 tensor for each shape, as positional arguments."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(_random_tensor(shape, torch.float32, None, generator) for shape in shapes), {}


def reshaped(example: Inputs, shapes: Sequence[Shape], seed: int) -> Inputs:
    """``example`` with other shapes: one for all of its tensors, or one for each.

    Floating tensors are drawn anew from the standard normal distribution, whole numbers between the least
    and the largest of the example's, since they may be indices into a table.

    Raises:
        InputError: the number of shapes is neither one nor the number of tensors.
    """
    if not shapes:
        return example
    count = len(tensor_leaves(example))
    if len(shapes) not in (1, count):
        raise InputError(
            f"{len(shapes)} input shapes are given for a model of {count} input tensors",
            "give --input-shape once for all of them, or once for each",
        )
    wanted = cycle(shapes)
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor: Tensor) -> Tensor:
        shape = next(wanted)
        if tensor.dtype == torch.bool:
            return torch.ones(shape, dtype=torch.bool)
        return _random_tensor(shape, tensor.dtype, _value_range(tensor), generator)

    redrawn: Inputs = pytree.tree_map_only(Tensor, draw, example)
    return redrawn


def describe_inputs(inputs: Inputs) -> dict[str, Any]:
    """Shapes, dtypes and ranges of the tensors, other values as they are."""
    args, kwargs = map(_described, inputs)
    return {"args": args["tuple"], "kwargs": kwargs["dict"]}


def restore_inputs(description: Mapping[str, Any]) -> Inputs:
    """Inputs of these shapes and dtypes: normal random floats, whole numbers within the recorded range.

    Raises:
        InputError: it is not what `describe_inputs` returns.
    """
    generator = torch.Generator().manual_seed(0)
    try:
        args = _restored({"tuple": description["args"]}, generator)
        return args, _restored({"dict": description["kwargs"]}, generator)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(
            f"the recorded inputs cannot be read: {error}", "name the model with --model"
        ) from error


def _described(value: Any) -> dict[str, Any]:
    if isinstance(value, Tensor):
        values = _value_range(value)
        return {
            "shape": list(value.shape),
            "dtype": str(value.dtype).removeprefix("torch."),
            **({"range": list(values)} if values else {}),
        }
    if isinstance(value, Mapping):
        return {"dict": {str(key): _described(item) for key, item in value.items()}}
    if isinstance(value, list | tuple):
        return {"tuple" if isinstance(value, tuple) else "list": [_described(item) for item in value]}
    return {"value": value if isinstance(value, bool | int | float | str) else None}


def _restored(item: Mapping[str, Any], generator: torch.Generator) -> Any:
    if "shape" in item:
        return _tensor(item, generator)
    if "dict" in item:
        return {key: _restored(inner, generator) for key, inner in item["dict"].items()}
    for kind, build in (("tuple", tuple), ("list", list)):
        if kind in item:
            return build(_restored(inner, generator) for inner in item[kind])
    return item["value"]


def _tensor(item: Mapping[str, Any], generator: torch.Generator) -> Tensor:
    dtype = getattr(torch, item["dtype"])
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"{item['dtype']!r} is no dtype")
    low, high = map(int, item.get("range", (0, 0)))
    shape = [int(size) for size in item["shape"]]
    check_numbers(shape)
    return _random_tensor(shape, dtype, (low, high), generator)


def check_numbers(shape: Sequence[int]) -> None:
    """Refuses a tensor that would take more memory than an example does.

    Raises:
        InputError: it has more than `NUMBERS`.
    """
    if prod(shape) > NUMBERS:
        raise InputError(
            f"an example input of {list(shape)[:8]} has more than {NUMBERS:,} numbers", "shrink again"
        )


def _value_range(tensor: Tensor) -> tuple[int, int] | None:
    """The least and the largest of whole numbers; None of floats, and where there are no numbers."""
    if tensor.is_floating_point() or tensor.is_complex() or not tensor.numel():
        return None
    return int(tensor.min()), int(tensor.max())


def _random_tensor(
    shape: Sequence[int], dtype: torch.dtype, values: tuple[int, int] | None, generator: torch.Generator
) -> Tensor:
    """Standard-normal floats, or whole numbers from the first of ``values`` up to the second."""
    if dtype.is_floating_point or dtype.is_complex:
        return torch.randn(shape, generator=generator).to(dtype)
    low, high = values or (0, 0)
    return torch.randint(low, high + 1, shape, generator=generator).to(dtype)
