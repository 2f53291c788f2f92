"""Watches a model while it is traced: hands it sizes that remember, and notes in the graph which call used which.

A call into torch gets plain numbers. What stood in their place is noted under a ticket, and two operators without
effect put the ticket into the graph: ``graphprune::read`` names the tensor whose sizes were read, ``graphprune::call``
stands before and after the operators that a call made. `graphprune.capture.freeing` reads and removes both.
"""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from graphprune.capture.dtypes import Casts, DtypeRead, dtypes_in
from graphprune.capture.namespaces import followed, real_types
from graphprune.capture.remembered import DtypeOf, Expression, Log, Real, Size, leaves, plain, size_of

__all__ = ["CALL", "READ", "Watch", "numbers_in", "watched"]

_library = torch.library.Library("graphprune", "DEF")
for _schema in ("read(Tensor x, int ticket) -> ()", "call(int ticket) -> ()"):
    _library.define(_schema)
    _operator = _schema.partition("(")[0]
    torch.library.impl(_library, _operator, "CompositeExplicitAutograd")(lambda *_: None)
    torch.library.register_fake(f"graphprune::{_operator}", lambda *_: None, lib=_library)

READ = torch.ops.graphprune.read.default
CALL = torch.ops.graphprune.call.default
fx.node.has_side_effect(READ)
fx.node.has_side_effect(CALL)

_DTYPE = Tensor.dtype
_SHAPE = Tensor.shape.__get__  # type: ignore[attr-defined]
_DATA = Tensor.data.__get__  # type: ignore[attr-defined]
_SIZES = (_SHAPE, Tensor.size, Tensor.__len__, Tensor.numel, Tensor.nelement, torch.numel)
_READING = {"__get__", "size", "__len__", "numel", "nelement"}
ALIAS = torch.ops.aten.alias.default
_DETACHING = (Tensor.detach, torch.detach, Tensor.detach_, torch.detach_, _DATA)
_GRADIENTS = torch._C._set_grad_enabled
# a cast that changes nothing gives back its tensor, which the graph would then know as the cast's result
_CASTS = {getattr(Tensor, name) for name in "to type type_as float double half bfloat16".split()}
_TENSORS = (torch.tensor, torch.as_tensor, Tensor.new_tensor)


@dataclass
class Watch(TorchFunctionMode):
    """What was seen, while it is on.

    Args:
        log: decisions, and numbers that escaped.
        given: ticket → the numbers of one call in order: those that remember, and plain ones.
        calls: every call: the function, and its numbers.
        expected: the same calls at two other sizes. A plain number that differs between them has escaped: it remembers
            again if a number of its value has.
        casts: the same calls in another dtype.

    Attributes:
        detaches: whether something was kept from gradients.
    """

    log: Log = field(default_factory=Log)
    given: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    calls: list[tuple[Any, tuple[Any, ...]]] = field(default_factory=list)
    expected: tuple[Sequence[tuple[Any, tuple[Any, ...]]], ...] = ()
    casts: Casts | None = None

    def __post_init__(self) -> None:
        super().__init__()
        self._tickets = 0
        self._noted: dict[int, tuple[Tensor, int]] = {}
        self._unmarked: dict[int, Tensor] = {}
        self.detaches = False

    def __torch_function__(self, func: Any, types_: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tuple(map(real_types, args)), {n: real_types(v) for n, v in (kwargs or {}).items()}
        numbers = self._reminded(func, tuple(numbers_in((args, kwargs))))
        self.calls.append((func, numbers))
        numbers = self._followed(func, args, kwargs, numbers)
        if getattr(func, "__name__", "") in _READING and any(func == known for known in _SIZES):
            return self._sizes(func, args, kwargs)
        if func in _DETACHING or (func == _GRADIENTS and not all(args)):
            self.detaches = True
        if func == _DATA:  # which torch.export does not follow
            return Tensor.detach(*args)
        if func in _CASTS and isinstance(args[0], Tensor) and args[0].is_floating_point():
            args = (ALIAS(args[0]), *args[1:])
        if not any(isinstance(number, Size | Real | DtypeRead) for number in numbers):
            return self._cast(func, args, kwargs) if func in _TENSORS else func(*args, **kwargs)
        if func in _TENSORS:
            return self._cast(func, args, kwargs, numbers)
        if func in (Tensor.__getitem__, Tensor.__setitem__):
            sliced = self._sliced(*args)
            if any(one is not other for one, other in zip(sliced, args, strict=True)):
                args, numbers = sliced, tuple(numbers_in(sliced))
        return self._called(numbers, func, args, kwargs)

    def _reminded(self, func: Any, numbers: tuple[Any, ...]) -> tuple[Any, ...]:
        """The numbers of the next call, of which those remember that have escaped."""
        place = len(self.calls)
        runs = [calls[place] for calls in self.expected if place < len(calls)]
        if not self.log.escaped or len(runs) < 2 or any(function != func for function, _ in runs):
            return numbers
        if any(len(others) != len(numbers) for _, others in runs):
            return numbers
        pairs = zip(*(others for _, others in runs), strict=True)
        return tuple(
            self.log.reminded(number) if plain(number) is number and one != other else number
            for number, (one, other) in zip(numbers, pairs, strict=True)
        )

    def _followed(self, func: Any, args: Any, kwargs: Any, numbers: tuple[Any, ...]) -> tuple[Any, ...]:
        """The numbers of the last call, of which limits of dtypes remember, and the dtypes in it that do."""
        if func == Tensor.to and not any(dtypes_in((*args[1:], *kwargs.values()))):
            given = [leaf for leaf in (*args[1:], *kwargs.values()) if isinstance(leaf, Tensor)]
            source = (given or args)[0]  # `x.to(device)` keeps its dtype, `x.to(other)` takes that of `other`
            if source.is_floating_point() and (ticket := self._note(source)):
                return (*numbers, DtypeRead(source.dtype, DtypeOf(ticket)))
        if self.casts is None:
            return numbers
        place = len(self.calls) - 1
        if getattr(func, "__self__", None) is _DTYPE:
            self.casts.read(place, func, self._note(args[0]), func(*args))
        numbers = self.casts.limits_read(place, func, numbers, self.log)
        return (*numbers, *self.casts.dtypes_read(place, func, (*args, *kwargs.values())))

    def _cast(self, func: Any, args: Any, kwargs: Any, numbers: tuple[Any, ...] = ()) -> Tensor:
        """A tensor of numbers; one that takes its dtype from another tensor does so in the graph."""
        remembers = any(isinstance(number, Size | Real) for number in numbers)
        made: Tensor = self._tensor(func, args, kwargs) if remembers else func(*args, **kwargs)
        read = [number for number in numbers if isinstance(number, DtypeRead)]
        if read:
            return self._called(tuple(read), Tensor.to, (ALIAS(made), made.dtype), {})
        if func == Tensor.new_tensor and kwargs.get("dtype") is None and made.is_floating_point():
            return ALIAS(made).type_as(args[0])
        return made

    def _called(self, numbers: tuple[Any, ...], func: Any, args: Any, kwargs: Any) -> Any:
        self._tickets += 1
        ticket = self._tickets
        self.given[ticket] = numbers
        self._mark(number.expression for number in numbers if isinstance(number, Size | Real | DtypeRead))
        CALL(ticket)
        try:
            return func(*_forgotten(args), **_forgotten(kwargs))
        finally:
            CALL(-ticket)

    def finish(self) -> None:
        """Marks the tensors whose sizes were decided on, or escaped."""
        self._mark(decision.compared for decision in self.log.decisions.values())
        self._mark(expression for expression, _ in self.log.escaped.values())

    def _mark(self, expressions: Iterable[Expression]) -> None:
        """Names in the graph the tensors that ``expressions`` are computed from, each where it is first used."""
        for expression in expressions:
            for leaf in leaves(expression):
                if leaf.ticket in self._unmarked:
                    READ(self._unmarked.pop(leaf.ticket), leaf.ticket)

    def _sliced(self, tensor: Tensor, index: Any, *value: Any) -> tuple[Any, ...]:
        """``x[:, :length]`` with the slice taken first: torch elides one that takes all there is when it is traced.

        A number that is written becomes a tensor of the graph; torch would make a constant of it.
        """
        if value and isinstance(value[0], Size | Real):
            form = {"dtype": tensor.dtype, "device": tensor.device}
            value = (self._called(value, torch.full, ((), value[0]), form),)
        items = list(index) if isinstance(index, tuple) else [index]
        dim = 0
        for place, item in enumerate(items):
            if item is Ellipsis:
                dim = tensor.dim() - sum(map(_dimensions_of, items[place + 1 :]))
            elif isinstance(item, slice) and any(isinstance(n, Size | Real) for n in numbers_in(item)):
                taken = (tensor, dim, item.start, item.stop, 1 if item.step is None else item.step)
                tensor = self._called(tuple(numbers_in(taken)), torch.ops.aten.slice.Tensor, taken, {})
                items[place] = slice(None)
                dim += 1
            else:
                dim += _dimensions_of(item)
        return (tensor, tuple(items) if isinstance(index, tuple) else items[0], *value)

    def _sizes(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The sizes of a tensor, of one dimension, or the number of elements."""
        tensor = args[0] if args else kwargs.get("self", kwargs.get("input"))
        ticket = self._note(tensor)
        if not ticket:
            return func(*args, **kwargs)
        every = [size_of(size, ticket, dim, self.log) for dim, size in enumerate(_SHAPE(tensor))]
        if func == _SHAPE or (func == Tensor.size and len(args) + len(kwargs) == 1):
            return torch.Size(every)
        if func == Tensor.size:
            return every[args[1] if len(args) > 1 else kwargs["dim"]]
        if func == Tensor.__len__:
            return every[0] if every else func(*args, **kwargs)
        return functools.reduce(operator.mul, every) if every else func(*args, **kwargs)

    def _note(self, tensor: Any) -> int:
        """The ticket of a tensor; 0 where the graph does not know it, as within `torch.vmap`."""
        if id(tensor) in self._noted:
            return self._noted[id(tensor)][1]
        if not isinstance(tensor, Tensor) or torch._C._functorch.is_functorch_wrapped_tensor(tensor):
            return 0
        self._tickets += 1
        self._unmarked[self._tickets] = tensor
        self._noted[id(tensor)] = (tensor, self._tickets)  # held, so that no other tensor gets its id
        return self._tickets

    def _tensor(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """``torch.tensor([height, width])``: made in the graph, so that the values are not constants."""
        like = func(*_forgotten(args), **_forgotten(kwargs))
        data = args[-1] if args else kwargs["data"]
        form = {"dtype": like.dtype, "device": like.device}
        items = [self._called((item,), torch.full, ((), item), form) for item in numbers_in(data)]
        if like.dim() == 0:
            return items[0]
        return torch.stack(items).reshape(like.shape)


def numbers_in(value: Any) -> Iterator[Any]:
    """All numbers in nested arguments, in order; truth values are none."""
    if isinstance(value, int | float):
        if not isinstance(value, bool):
            yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from numbers_in(item)
    elif isinstance(value, dict):
        yield from numbers_in(list(value.values()))
    elif isinstance(value, slice):
        yield from numbers_in((value.start, value.stop, value.step))


def _dimensions_of(item: Any) -> int:
    """How many dimensions an item of an index takes."""
    if item is None or isinstance(item, bool):
        return 0
    return item.dim() if isinstance(item, Tensor) and item.dtype == torch.bool else 1


def _forgotten(value: Any) -> Any:
    """Nested arguments with plain numbers."""
    if isinstance(value, slice):
        return slice(*map(plain, (value.start, value.stop, value.step)))
    if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        return type(value)(map(_forgotten, value))
    if type(value) is dict:
        return {key: _forgotten(item) for key, item in value.items()}
    return plain(value)


def _escaped(leaf: Any) -> Any:
    """What is returned is a plain number."""
    return leaf.log.escape(leaf) if isinstance(leaf, Size | Real) else leaf


@contextlib.contextmanager
def watched(model: nn.Module, mode: Watch) -> Iterator[None]:
    """``model``, whose ``forward`` runs under ``mode``."""
    forward = model.forward
    own = "forward" in vars(model)

    def watching(*args: Any, **kwargs: Any) -> Any:
        with followed(model), mode:
            returned = forward(*args, **kwargs)
        flat, structure = pytree.tree_flatten(returned)
        if any(isinstance(leaf, Size | Real) for leaf in flat):
            returned = pytree.tree_unflatten([_escaped(leaf) for leaf in flat], structure)
        mode.finish()
        return returned

    watching.__wrapped__ = forward  # type: ignore[attr-defined]  # whoever asks for the signature gets the model's
    vars(model)["forward"] = watching
    try:
        yield
    finally:
        if own:
            vars(model)["forward"] = forward
        else:
            del vars(model)["forward"]
