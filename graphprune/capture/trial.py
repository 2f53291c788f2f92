"""Tries a model at other sizes without data: its own Python on tensors that have shapes alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses import FakeTensorMode
from torch.func import functional_call
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from graphprune.capture.describe import within_package
from graphprune.capture.detaching import following_gradients
from graphprune.capture.export import State, left_as_it_was, runs, what_failed
from graphprune.capture.inputs import Inputs, registered_tensors, with_values
from graphprune.capture.known import Known
from graphprune.capture.lazy import standing_in
from graphprune.capture.lean import as_exported
from graphprune.capture.namespaces import followed, real_types
from graphprune.capture.outputs import plain_results
from graphprune.capture.remembered import user_line
from graphprune.capture.watching import numbers_in
from graphprune.ground.unlogged import unlogged

__all__ = ["Calls", "Constant", "Place", "Ran", "Trial", "fake_tensors"]

Place = tuple[int, int]  # a leaf of the inputs, and one of its dimensions
Constant = tuple[int, int]  # a call, and one of its numbers


@dataclass(frozen=True)
class Ran:
    """What came of a run: the shapes of all tensors returned, numbers as they are; functions called with their numbers.

    Where it failed, ``problem`` says why. ``at_once`` says that it was the first call that failed.
    """

    shapes: tuple[Any, ...] = ()
    calls: tuple[Any, ...] = ()
    numbers: tuple[tuple[Any, ...], ...] = ()
    problem: str = ""
    at_once: bool = False

    def number(self, at: Constant) -> Any:
        """One number of a call; None where there is none."""
        call, place = at
        given = self.numbers[call] if call < len(self.numbers) else ()
        return given[place] if place < len(given) else None


class Trial:
    """A model that is run at several sizes.

    On the meta device a run costs about a tenth of an export. Where the model asks for values even while it is
    exported, mixes devices, or does not run so, fake tensors are used, which cost about half of an export.

    Attributes:
        known: what operators gave on the meta device.
    """

    def __init__(self, model: nn.Module, inputs: Inputs) -> None:
        self._model = model
        self.leaves, self._structure = pytree.tree_flatten(inputs)
        self._meta = {
            f"{path}.{name}".lstrip("."): torch.empty_like(tensor, device="meta", requires_grad=False)
            for path, module in model.named_modules()  # a module once, or its tensors would not be put back
            for name, tensor in registered_tensors(module, recurse=False).items()
        }
        self.known = Known()
        self._state = State(model)
        self._fake = False
        self._asked = False
        self._is_cast = False
        self._done: dict[Any, Ran] = {}

    @property
    def places(self) -> list[Place]:
        """All dimensions of all tensors."""
        leaves = enumerate(self.leaves)
        return [(n, dim) for n, leaf in leaves if isinstance(leaf, Tensor) for dim in range(leaf.dim())]

    @property
    def usable(self) -> bool:
        """Whether the model runs without data at all."""
        whole = (ran for (_, limit), ran in self._done.items() if not limit)
        return any(not ran.problem for ran in whole) or not self.run({}).problem

    def usual_channels(self, place: Place) -> bool:
        """Whether channels usually stand there: in dimension 1 of images and of rows."""
        leaf, dim = self.leaves[place[0]], place[1]
        return isinstance(leaf, Tensor) and leaf.is_floating_point() and dim == 1 and leaf.dim() != 3

    @property
    def whole(self) -> Ran | None:
        """A run to the end, at some sizes; None where there is none."""
        done = (ran for (_, limit), ran in self._done.items() if not limit and not ran.problem)
        return next(done, None) if self.usable else None

    @property
    def floating(self) -> set[torch.dtype]:
        """The floating dtypes of the model's tensors and inputs."""
        tensors = [*self._meta.values(), *self.leaves]
        return {item.dtype for item in tensors if isinstance(item, Tensor) and item.is_floating_point()}

    def runs_in(self, dtype: torch.dtype, sizes: Mapping[Place, int], calls: Calls) -> bool:
        """Whether the model runs with all floating tensors in ``dtype``; ``calls`` notes what it calls."""

        def cast(leaf: Any) -> Any:
            floating = isinstance(leaf, Tensor) and leaf.is_floating_point()
            return torch.empty_like(leaf, dtype=dtype) if floating else leaf

        other = copy(self)
        other._is_cast = True
        other.leaves = [cast(leaf) for leaf in self.leaves]
        other._meta = {name: cast(tensor) for name, tensor in self._meta.items()}
        try:
            other._run(sizes, calls)
        except Exception:  # whatever the model or an operator raises in that dtype
            return False
        return True

    def runs_on_values(self, sizes: Mapping[Place, int]) -> bool:
        """Whether the model runs at ``sizes`` on the example's values, repeated or cut."""
        given = pytree.tree_unflatten(list(self.leaves), self._structure)
        return runs(self._model, with_values(given, sizes))

    def run(self, sizes: Mapping[Place, int], limit: int = 0) -> Ran:
        """The model with inputs of these sizes. A ``limit`` halts it after so many calls, which is no failure."""
        key = (frozenset(sizes.items()), limit)
        if key not in self._done:
            self._done[key] = self._tried(sizes, limit)
        return self._done[key]

    def _tried(self, sizes: Mapping[Place, int], limit: int) -> Ran:
        calls = Calls(limit)
        try:
            return self._run(sizes, calls)
        except _EnoughError:
            return Ran()
        except Exception as error:  # whatever the model or an operator raises
            on_meta = not self._fake
            if on_meta and ("meta" in str(error).lower() or not self._runs_on_meta(limit)):
                self._fake = True
            if on_meta and self._fake:
                return self._tried(sizes, limit)
            return Ran(problem=what_failed(error, within_package), at_once=len(calls.made) <= 1)

    def _runs_on_meta(self, limit: int) -> bool:
        """Whether the model runs at the example's sizes, asked where a run fails before any got as far as its limit."""
        done = any(not ran.problem and (limit or not before) for (_, before), ran in self._done.items())
        if self._asked or done:
            return True
        self._asked = True
        if not self.run({}).problem:
            return True
        self._done.clear()
        return False

    def _run(self, sizes: Mapping[Place, int], calls: Calls) -> Ran:
        with left_as_it_was(self._model, self._state), unlogged(), self._without_data():
            args, kwargs = pytree.tree_unflatten(
                [self._leaf(leaf, place, sizes) for place, leaf in enumerate(self.leaves)], self._structure
            )
            device = next(leaf.device for leaf in self.leaves if isinstance(leaf, Tensor))
            held = {
                name: torch.empty_like(tensor, device=device) if self._fake else tensor
                for name, tensor in (self._meta if self._is_cast or not self._fake else {}).items()
            }
            with followed(self._model), calls:
                if self._fake and not self._is_cast:
                    returned = self._model(*args, **kwargs)
                else:
                    returned = functional_call(self._model, held, args, kwargs, tie_weights=False)
        leaves = pytree.tree_leaves(plain_results(returned))
        shapes = tuple(tuple(leaf.shape) if isinstance(leaf, Tensor) else _number(leaf) for leaf in leaves)
        return Ran(shapes, tuple(calls.made), tuple(calls.numbers))

    def line_of(self, sizes: Mapping[Place, int], call: int) -> str:
        """The user's line that makes call number ``call``."""
        calls = Calls(call)
        with contextlib.suppress(Exception, _EnoughError):
            self._run(sizes, calls)
        return calls.line

    @contextlib.contextmanager
    def _without_data(self) -> Iterator[None]:
        """The model takes the way that it takes in torch.export, and keeps nothing for later calls if it asks so."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(as_exported())
            stack.enter_context(following_gradients(self._model))
            if self._fake:
                device = next(leaf.device for leaf in self.leaves if isinstance(leaf, Tensor))
                stack.enter_context(standing_in(self._model, device))
                stack.enter_context(fake_tensors())
            else:
                stack.enter_context(torch.device("meta"))
                stack.enter_context(self.known)
            yield

    def _leaf(self, leaf: Any, place: int, sizes: Mapping[Place, int]) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        shape = [sizes.get((place, dim), size) for dim, size in enumerate(leaf.shape)]
        device = leaf.device if self._fake else "meta"
        return torch.empty(shape, dtype=leaf.dtype, device=device)


_DEVICE = Tensor.device.__get__


def _number(leaf: Any) -> Any:
    return leaf if isinstance(leaf, int | float) else None


@contextlib.contextmanager
def fake_tensors() -> Iterator[None]:
    """Tensors without data, but with a device; what operators make of sizes that are data is symbolic."""
    with FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv()), enable_python_dispatcher():
        yield


class _EnoughError(BaseException):
    """Halts a run."""


class Calls(TorchFunctionMode):
    """Notes which functions of torch are called; halts at call number ``limit``."""

    def __init__(self, limit: int = 0) -> None:
        super().__init__()
        self.made: list[Any] = []
        self.numbers: list[tuple[Any, ...]] = []
        self.line = ""
        self._limit = limit

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func == _DEVICE:  # which a tensor that is traced tells without asking torch
            return func(*args)
        self.made.append(func)
        self.numbers.append(tuple(numbers_in((args, kwargs or {}))))
        if self._limit and len(self.made) > self._limit:
            self.line = user_line()
            raise _EnoughError
        return func(*map(real_types, args), **{n: real_types(v) for n, v in (kwargs or {}).items()})
