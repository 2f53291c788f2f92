"""Example inputs of a file, made from its signature where none are given."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, cycle, islice, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphprune.capture.trial import Trial
from graphprune.ground.errors import InputError
from graphprune.importing.indices import Range, index_range
from graphprune.importing.interpreter import OnnxModule
from graphprune.importing.signature import Input
from graphprune.importing.step import Step

__all__ = ["examples", "read_feed"]

_IMAGE, _SEQUENCE = (
    (224, 64, 32, 48, 128, 256, 320, 416, 512, 640),
    (16, 1, 24, 32, 64, 100, 128, 256, 512, 1024, 16000),
)
_BATCH = (1, 2)
_MOST_TRIES = 200
_SHAPING = ("Concat", "Reshape")  # operators that make shapes
_MANY = 6  # sizes, of which all combinations are too many to sort

Given = Mapping[str, Any] | Sequence[Any] | None


def examples(module: OnnxModule, given: Given = None) -> tuple[Tensor, ...]:
    """One example for each input, in order.

    Args:
        module: a file's, which is tried at several sizes where the file says none.
        given: tensors, arrays or shapes, in order or by the names of inputs; the others are made. Floats are drawn from
            the standard normal distribution, whole numbers from the rows of the table that they look up.

    Raises:
        InputError: what is given does not fit, or the model runs at none of the sizes that were tried.
    """
    inputs, graph = module.signature, module.source.graph
    known = _by_name(inputs, given)
    tensors = {name: value for name, value in known.items() if isinstance(value, Tensor)}
    shapes = {name: tuple(value.shape if name in tensors else value) for name, value in known.items()}
    said = _said(inputs, shapes)
    whole = [item.name for item in inputs if not item.dtype.is_floating_point]
    ranges = {name: index_range(graph, name, module.constants) for name in whole}

    def made(sizes: Mapping[str, int]) -> tuple[Tensor, ...]:
        all_sizes = {**said, **sizes}
        return tuple(
            tensors[item.name]
            if item.name in tensors
            else _drawn(item, shapes.get(item.name) or _shape(item, all_sizes), ranges)
            for item in inputs
        )

    free = [symbol for symbol in _symbols(inputs) if symbol not in said]
    return _first_that_runs(module, made, free) if free else made({})


def _first_that_runs(
    module: OnnxModule, made: Callable[[Mapping[str, int]], tuple[Tensor, ...]], free: Sequence[str]
) -> tuple[Tensor, ...]:
    """The inputs at the first sizes of the ``free`` symbols at which the module runs, without data."""
    inputs = module.signature
    written = _written(module)
    usual = {symbol: _candidates(symbol, inputs) for symbol in free}
    every = {symbol: (*sizes, *written) for symbol, sizes in usual.items()}
    most = {symbol: usual[symbol] if usual[symbol] == _BATCH else sizes for symbol, sizes in every.items()}
    attempts = [sizes for roles in (usual, most, every) for sizes in islice(_attempts(roles), _MOST_TRIES)]
    trial = Trial(module, (made(attempts[0]), {}))
    problem = ""
    for sizes in attempts:
        at = {
            (place, dim): sizes[size]
            for place, item in enumerate(inputs)
            for dim, size in enumerate(item.sizes)
            if size in sizes
        }
        ran = trial.run(at)
        if not ran.problem:
            return made(sizes)
        problem = problem or ran.problem
    wanted = ", ".join(map(str, inputs))
    raise InputError(
        f"no sizes were found at which the model runs, of {wanted}: {problem}",
        "give example inputs, or their shapes (--input-shape on the command line)",
    )


def _attempts(roles: Mapping[str, Sequence[int]]) -> Iterator[dict[str, int]]:
    """Sizes of all symbols: the same place in all lists first, then all combinations, the usual ones first."""
    most = max(map(len, roles.values()))
    alike = zip(*(islice(cycle(sizes), most) for sizes in roles.values()), strict=True)
    places = product(*(range(len(sizes)) for sizes in roles.values())) if len(roles) < _MANY else ()
    rest = (
        tuple(sizes[place] for sizes, place in zip(roles.values(), row, strict=True))
        for row in sorted(places, key=sum)
    )
    return (dict(zip(roles, row, strict=True)) for row in chain(alike, rest))


def _candidates(symbol: str, inputs: Sequence[Input]) -> Sequence[int]:
    """Sizes that are usual there: one example in a batch, sides of images, lengths of sequences."""
    item, dim = next((item, item.sizes.index(symbol)) for item in inputs if symbol in item.sizes)
    if dim == 0:
        return _BATCH
    if dim == 1 and len(item.sizes) == 4 and isinstance(item.sizes[3], str):
        return (3, 1)
    return _IMAGE if len(item.sizes) == 4 else _SEQUENCE


def _written(module: OnnxModule) -> list[int]:
    """Sizes that stand in the file's shapes: an exporter may have fixed what it calls variable."""
    steps = (item for item in module.modules() if isinstance(item, Step))
    held = (item.numbers for step in steps if step.node.operator in _SHAPING for item in step.held.values())
    numbers = {item for known in held if known for item in known.array.flat}
    return sorted(item for item in numbers if type(item) is int and item > 1)


def _by_name(inputs: Sequence[Input], given: Given) -> dict[str, Any]:
    """What is given, as tensors and shapes."""
    names = [item.name for item in inputs]
    if given is None:
        return {}
    if isinstance(given, Tensor | np.ndarray):
        given = (given,)
    if not isinstance(given, Mapping):
        if len(given) != len(names):
            raise InputError(
                f"{len(given)} inputs are given for a file of {len(names)}", f"give {', '.join(names)}"
            )
        given = dict(zip(names, given, strict=True))
    if unknown := [name for name in given if name not in names]:
        raise InputError(f"the file has no input {unknown[0]!r}", f"there are {', '.join(names)}")
    return {item.name: _fitting(item, given[item.name]) for item in inputs if item.name in given}


def _fitting(item: Input, value: Any) -> Any:
    """A tensor of the input's type, or a shape.

    Raises:
        InputError: it has another number of dimensions, another type, or another size where the file fixes it.
    """
    if isinstance(value, Tensor | np.ndarray):
        found: Any = torch.as_tensor(value)
        shape = tuple(found.shape)
        if found.dtype != item.dtype:
            raise InputError(
                f"{item.name} is given as {found.dtype}, and is {item.dtype}", "give it in that type"
            )
    else:
        found = shape = tuple(value)
        if not all(type(size) is int and size > 0 for size in shape):
            raise InputError(
                f"{shape} is no shape of {item.name}", "give a tensor, or positive whole numbers"
            )
    fits = len(shape) == len(item.sizes) and all(
        isinstance(size, str) or size == there for size, there in zip(item.sizes, shape, strict=True)
    )
    if not fits:
        raise InputError(
            f"{item.name} is given with the shape {shape}, and the file takes {item}", "give such a shape"
        )
    return found


def _symbols(inputs: Sequence[Input]) -> list[str]:
    return list(dict.fromkeys(size for item in inputs for size in item.sizes if isinstance(size, str)))


def _said(inputs: Sequence[Input], shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """The sizes of symbols that given shapes say.

    Raises:
        InputError: one has two sizes.
    """
    found: dict[str, int] = {}
    for item in inputs:
        for size, there in zip(item.sizes, shapes.get(item.name, ()), strict=False):
            if isinstance(size, str) and found.setdefault(size, there) != there:
                raise InputError(
                    f"{size} is both {found[size]} and {there}", "give it one size in all inputs"
                )
    return found


def _shape(item: Input, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(sizes[size] if isinstance(size, str) else size for size in item.sizes)


def _drawn(item: Input, shape: tuple[int, ...], ranges: Mapping[str, Range]) -> Tensor:
    """Random values, the same for the same name."""
    generator = torch.Generator().manual_seed(zlib.crc32(item.name.encode()))
    if item.dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(item.dtype)
    if item.dtype == torch.bool:
        return torch.ones(shape, dtype=torch.bool)
    low, high = ranges[item.name]
    return torch.randint(low, high + 1, shape, generator=generator).to(item.dtype)


def read_feed(path: Path) -> dict[str, Any]:
    """The arrays of an .npz file by name, of which no code is run.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except (OSError, ValueError) as error:
        raise InputError(
            f"the feed {path} cannot be read: {error}", "give a file that numpy.savez wrote"
        ) from error
