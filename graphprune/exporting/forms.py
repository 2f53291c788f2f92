"""What every value of a program is at any size: its type, and which of its dimensions vary.

The graph is run without data at several sizes of its inputs. A dimension is fixed if it is the same in all runs; one
that always equals an input's dimension that varies bears its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import lcm
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from graphprune.capture.execution import Execution, call_operator
from graphprune.capture.inputs import with_sizes
from graphprune.capture.known import Known
from graphprune.capture.operators import bound
from graphprune.capture.program import Program
from graphprune.ground.arguments import require
from graphprune.ground.errors import ExportError, first_line

__all__ = ["Form", "Size", "value_forms"]

Size = int | str | None  # fixed, an input's dimension by its name, or whatever the run gives
# multiples by which the example's sizes are changed, beside those that the capture has tried; by the last so much that
# what is the same at all of them does not depend on the size
_SHIFTS = (1, 4, 1021)
_READING = (torch.ops.aten.sym_size.int,)
_RECURRENT = tuple(getattr(torch.ops.aten, name).input for name in "lstm gru rnn_tanh rnn_relu".split())
_NUMBERS: Mapping[type, torch.dtype] = {int: torch.int64, float: torch.float64, bool: torch.bool}
_DATA = (5, 7, 11, 13, 17, 19)  # sizes that only data can tell, by the number of the run


@dataclass(frozen=True)
class Form:
    """A tensor's type and sizes; ``seen`` are its sizes in each run, the last one with all that vary changed."""

    dtype: torch.dtype
    sizes: tuple[Size, ...]
    seen: tuple[tuple[int, ...], ...] = ()


def value_forms(program: Program) -> dict[fx.Node, Any]:
    """The form of each node's value: a `Form`, or a number where it is always the same; nested as the value is.

    Raises:
        ExportError: the program does not run at another size.
    """
    runs = list(_runs(program))
    varying = {name for sizes, _ in runs for name, size in sizes.items() if size != runs[0][0][name]}
    if fixed := set(program.sizes) - varying:
        raise ExportError(
            f"the program runs at no other {' and '.join(sorted(fixed))} than the example's",
            "report the model: its capture says that this size varies",
        )
    names = {tuple(sizes[name] for sizes, _ in runs): name for name in program.sizes}
    forms: dict[fx.Node, Any] = {}
    for node in runs[0][1]:
        form = _form([values[node] for _, values in runs], names)
        # a number that is the same in every run may still follow from one that varies
        varies = any(isinstance(forms[source], Form) for source in node.all_input_nodes)
        computed = type(form) in _NUMBERS and node.target not in _READING and varies
        forms[node] = Form(_NUMBERS[type(form)], ()) if computed else form
    return forms


def _form(values: Sequence[Any], names: Mapping[tuple[int, ...], str]) -> Any:
    first = values[0]
    if isinstance(first, tuple | list):
        return [_form(items, names) for items in zip(*values, strict=False)]  # pieces that there always are
    if not isinstance(first, Tensor):
        same = all(type(value) is type(first) and value == first for value in values)
        return first if same or type(first) not in _NUMBERS else Form(_NUMBERS[type(first)], ())
    if len({value.dim() for value in values}) > 1:
        raise ExportError(
            "a tensor has more dimensions at some sizes than at others, which no ONNX file can say",
            "name the dimension that squeeze() is to drop, as in squeeze(1)",
        )
    columns = list(zip(*(value.shape for value in values), strict=True))
    sizes = [column[0] if len(set(column)) == 1 else names.get(tuple(column)) for column in columns]
    return Form(first.dtype, tuple(sizes), tuple(tuple(value.shape) for value in values))


def _runs(program: Program) -> Iterator[tuple[dict[str, int], dict[fx.Node, Any]]]:
    """Sizes by name, and each node's value at these, without data; the example's come first."""
    asked_once = Known()
    for number, sizes in enumerate(_distinct(_assignments(program))):
        try:
            with asked_once:
                values = _values(program, sizes, _DATA[number % len(_DATA)])
            yield sizes, values
        except Exception as error:  # whatever an operator raises on tensors without data
            if number == 0:
                raise ExportError(
                    f"the program does not run without data: {first_line(error, 200)}", "report the model"
                ) from error


def _distinct(every: Iterable[dict[str, int]]) -> list[dict[str, int]]:
    """Each once, and one more: what only data can tell has another size in every run."""
    found = list({tuple(sizes.items()): sizes for sizes in every}.values())
    return found if len(found) > 1 else found * 2


def _assignments(program: Program) -> Iterator[dict[str, int]]:
    example = program.sizes
    yield dict(example)
    for sizes in program.tried:
        yield {**example, **sizes}
    multiples = dict.fromkeys(example, 1)
    for dimension in program.dimensions:
        if dimension.name:
            multiples[dimension.name] = lcm(multiples[dimension.name], dimension.multiple)
    for name, size in example.items() if len(example) > 1 else ():
        yield {**example, name: size + multiples[name]}
    for shift in _SHIFTS:
        # each by another number, so that no two sizes stay equal
        yield {
            name: size + (shift + place) * multiples[name]
            for place, (name, size) in enumerate(example.items())
        }


def _values(program: Program, sizes: Mapping[str, int], data: int) -> dict[fx.Node, Any]:
    """Every node's value at these sizes, on the meta device."""
    example = pytree.tree_map_only(Tensor, lambda tensor: tensor.to("meta"), program.example)
    inputs = with_sizes(example, program.dimensions, sizes)
    tensors = {name: item.tensor.detach().to("meta") for name, item in program.stored.items()}
    known = _Described(program, sizes, data)

    def call(node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if node.target is require:
            return None
        if node.target in _RECURRENT:
            return _recurrent(**bound(node.target, args, kwargs))  # type: ignore[arg-type]
        if node.target is torch.ops.aten.index.Tensor:
            args = (args[0], known.without_masks(args[1]))
        try:
            return call_operator(node, args, kwargs)
        except (NotImplementedError, RuntimeError):
            if not known.by_data(node):
                raise
            return known.value(node)

    def moved(argument: Any) -> Any:
        return torch.device("meta") if isinstance(argument, torch.device) else argument

    with torch.device("meta"), torch.no_grad():
        return dict(Execution(program.graph, tensors, program.flat_inputs(*inputs), call, moved))


def _recurrent(input: Tensor, hx: Any, bidirectional: bool, **_: Any) -> tuple[Tensor, ...]:
    """What a recurrent layer gives: on the meta device it would run step by step, a minute for a deep model."""
    states = hx if isinstance(hx, list | tuple) else [hx]
    width = states[0].shape[-1] * (1 + bidirectional)
    return input.new_empty(*input.shape[:-1], width), *map(torch.empty_like, states)


class _Described:
    """Values whose sizes only data can tell, as the capture describes them: primes stand for these sizes."""

    def __init__(self, program: Program, sizes: Mapping[str, int], data: int) -> None:
        self.values = program.values
        self.data = data
        self.sizes = dict.fromkeys(program.batch_primes, data)
        for at in program.dimensions:
            prime = program.values[program.inputs[at.place]].shape[at.dim]
            if at.name and prime in self.sizes:
                self.sizes[prime] = sizes[at.name]

    def without_masks(self, indices: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Masks as the indices that they stand for, one for each of their dimensions."""
        plain: list[Tensor | None] = []
        for index in indices:
            if index is not None and index.dtype in (torch.bool, torch.uint8):
                plain += [torch.empty(self.data, dtype=torch.int64)] * index.dim()
            else:
                plain.append(index)
        return plain

    def by_data(self, node: fx.Node) -> bool:
        return bool(self.sizes) and node.name in self.values

    def value(self, node: fx.Node) -> Tensor:
        described = self.values[node.name]
        return torch.empty(
            [self._size(size) for size in described.shape], dtype=getattr(torch, described.dtype)
        )

    def _size(self, size: int) -> int:
        for prime, other in self.sizes.items():
            if size and size % prime == 0:
                return size // prime * other
        return size
