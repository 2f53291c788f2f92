"""What rounding alone may change in a run: it is made again with every computed value moved by a little.

No constant says what a result may differ by. The square root of what cancels to zero, a value that is divided by its
own small deviation, a value beside a threshold: two right programs differ there by as much as the operator makes of the
last digits of its inputs. So those are moved at random, by a few units of rounding of each value's own dtype, and what
comes out is watched: Monte Carlo arithmetic (Parker, "Monte Carlo Arithmetic", 1997; Vignes, "A stochastic arithmetic
for reliable scientific computation", 1993). It takes a run for each trial, so it is asked only where a constant, which
suits nearly all operators, was exceeded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import reduce
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from graphprune.capture.execution import Call, call_operator
from graphprune.capture.inputs import Inputs
from graphprune.ground.arguments import tensor_leaves
from graphprune.verifying.differences import beyond_rounding, deviation, largest_error, relative_move
from graphprune.verifying.reference import NodeError, Run
from graphprune.verifying.tensors import is_inexact

__all__ = [
    "ROUNDS",
    "Again",
    "Trials",
    "error_beyond_rounding",
    "largest",
    "layers_run",
    "moved_outputs",
    "shaken",
    "shaking",
]

Again = Callable[[Call], Sequence[Tensor]]  # a run whose operators are called so, and its outputs

UNITS = 8  # by so many units of rounding a value is moved at most: as much as another order of a long sum
# Trials of one comparison, more where fewer do not explain it. Whatever jumps at a threshold does so in half of them.
ROUNDS = (2, 16)


def shaking(seed: int, call: Call = call_operator) -> Call:
    """``call``, with what it computes moved by random units of rounding; views hold what was moved already."""
    generator = torch.Generator().manual_seed(seed)

    def moved(node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        known = {leaf.untyped_storage().data_ptr() for leaf in tensor_leaves((args, kwargs))}
        return shaken(call(node, args, kwargs), generator, known)

    return moved


def shaken(value: Any, generator: torch.Generator, known: Collection[int] = ()) -> Any:
    """Tensors, alone or in tuples and dicts, with their values moved, but for those whose memory is ``known``.

    Whole numbers are taken to be exact: masks, positions, counts.
    """

    def moved(tensor: Tensor) -> Tensor:
        if not is_inexact(tensor.dtype) or tensor.untyped_storage().data_ptr() in known:
            return tensor
        unit = torch.finfo(tensor.dtype).eps
        noise = (
            torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
            .sub_(0.5)
            .mul_(2 * UNITS * unit)
        )
        other = (tensor * noise.add_(1).to(tensor.device)).to(tensor.dtype)
        if tensor.is_complex():
            return other
        return torch.where((tensor == tensor.round()) & (tensor.abs() < unit**-0.5), tensor, other)

    return tree_map_only(Tensor, moved, value)


def largest(tensors: Iterable[Tensor]) -> Tensor:
    """Element by element."""
    return reduce(torch.maximum, tensors)


def moved_outputs(run: Again) -> Iterator[list[Tensor]]:
    """The largest `deviation` of each element of each output in shaken runs: after each of `ROUNDS`."""
    exact = run(call_operator)
    found: list[Tensor] = []
    for seed in range(ROUNDS[-1]):
        apart = list(map(deviation, exact, run(shaking(seed))))
        found = list(map(torch.maximum, found, apart)) if found else apart
        if seed + 1 in ROUNDS:
            yield found


def error_beyond_rounding(
    expected: Sequence[Tensor], given: Sequence[Tensor], limit: float, again: Again | None
) -> tuple[float, str]:
    """The `largest_error`; where it is over the limit, what is left of it beyond rounding, and what rounding does.

    Args:
        again: the run that gave what is expected, or one of the same program; None grants nothing to rounding.
    """
    found = largest_error(expected, given)
    for moved in moved_outputs(again) if again and found > limit else ():
        found = max(map(beyond_rounding, expected, given, moved), default=0.0)
        if found <= limit:
            change = max(map(relative_move, expected, moved), default=0.0)
            return found, described("the outputs", change)
    return found, ""


def layers_run(model: nn.Module, inputs: Inputs) -> Again:
    """Runs of a module of which there is no graph: every operator that it comes to is called so."""

    def run(call: Call) -> list[Tensor]:
        with _Calling(call):
            outputs: list[Tensor] = tensor_leaves(model(*inputs[0], **inputs[1]))
        return outputs

    return run


class _Calling(TorchDispatchMode):
    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = call

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        node: Any = SimpleNamespace(target=func)
        return self._call(node, args, kwargs or {})


def described(what: str, moved: float) -> str:
    """
    >>> described("the outputs", 0.0002), described("aten.sign", float("inf"))
    ('rounding alone moves the outputs by 2e-04', 'rounding alone makes aten.sign jump')
    """
    return (
        f"rounding alone makes {what} jump"
        if moved == float("inf")
        else f"rounding alone moves {what} by {moved:.0e}"
    )


class Trials:
    """Shaken runs side by side, node by node; one that cannot go on is left out."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self._runs = {run: iter(run) for run in runs}

    def values(self) -> list[Any]:
        """Of the next node in every run."""
        found = []
        for run, steps in list(self._runs.items()):
            try:
                found.append(next(steps)[1])
            except NodeError:
                del self._runs[run]
        return found

    def go_on_with(self, name: str, value: Any) -> None:
        """See `Run.go_on_with`."""
        for run in self._runs:
            run.go_on_with(name, value)
