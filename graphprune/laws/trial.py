"""One call of an operator under a choice of kept units, at full width and on the kept parts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx.node import map_aggregate

from graphprune.axes.analysis import Analysis, analyse
from graphprune.axes.groups import find_groups
from graphprune.axes.terms import Atom, atoms
from graphprune.capture.operations import Operation, Value
from graphprune.capture.operators import bound
from graphprune.ground.errors import first_line
from graphprune.planning.masks import Masks
from graphprune.planning.region import Region, region_of
from graphprune.rewriting.literals import new_call
from graphprune.verifying.differences import TOLERANCE, relative_error
from graphprune.verifying.restricted import is_restricted, run_restricted

__all__ = ["FAILURES", "LIMIT", "Trial", "halves"]

_Operand = Callable[[str], Tensor]
LIMIT = TOLERANCE[torch.float64]

# units chosen for every example, positions for every head: the masked original refuses such plans
_NOT_BY_ROW = ("group_norm", "scaled_dot_product_attention")
# whatever an operator, or a region that does not fit its tensor, raises
FAILURES = (RuntimeError, ValueError, IndexError, TypeError, StopIteration, AssertionError)


def _tensors(results: Any) -> list[Tensor]:
    return [results] if isinstance(results, Tensor) else list(results)


@dataclass(frozen=True)
class Trial:
    """One call of an operator, analysed.

    Operands are views of flat tensors, so that inner units may be chosen for every outer one. ``operands``
    holds them by value name.
    """

    overload: OpOverload
    operations: tuple[Operation, ...]
    operands: Mapping[str, Tensor]
    stored: Mapping[str, str]
    analysis: Analysis

    @classmethod
    def of(cls, overload: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Trial:
        """The call with these arguments.

        Raises:
            RuleError: the operator's rule does not fit them.
        """
        operands: dict[str, Tensor] = {}
        arguments = {
            name: _named(name, argument, operands) for name, argument in bound(overload, args, kwargs).items()
        }
        results = _tensors(_run(overload, arguments, operands.__getitem__))
        single = len(results) == 1
        outputs = (_value("return" if single else f"return.{i}", item) for i, item in enumerate(results))
        views, stored = _views(operands)
        operation = Operation(str(overload), str(overload), arguments, tuple(outputs))
        operations = (*views, operation)
        values = {value.name: value for each in operations for value in (*each.inputs, *each.outputs)}
        analysis = analyse(operations, values, (), (), strict=True)
        return cls(overload, operations, operands, stored, analysis)

    @property
    def operation(self) -> Operation:
        return self.operations[-1]

    @cached_property
    def places(self) -> dict[Atom, str]:
        """Every axis of the operator with something to lose, and where it stands."""
        found: dict[Atom, list[str]] = {}
        for value in dict.fromkeys((*self.operation.inputs, *self.operation.outputs)):
            for dim, term in enumerate(self.analysis.terms[value.name]):
                for atom in dict.fromkeys(atoms(term)):
                    if atom.size > 1:
                        found.setdefault(atom, []).append(f"{value.name}[{dim}]")
        return {atom: " ".join(where) for atom, where in found.items()}

    # -- choices --------------------------------------------------------------------------------------------
    def rows(self, seed: int) -> Masks:
        """A random half of every group, row by row of its fibre; nothing where definitions cannot tell rows apart."""
        if any(name in self.operation.op for name in _NOT_BY_ROW):
            return Masks({}, {})
        source = random.Random(seed)
        kept, fibres = {}, {}
        for group in find_groups(self.analysis, self.operations, self.stored, set(self.stored)):
            rows = [_half(group.size, source) for _ in range(group.fibre.size if group.fibre else 1)]
            kept[group.atom] = torch.stack(rows) if group.fibre else rows[0]
            if group.fibre:
                fibres[group.atom] = group.fibre
        return Masks(kept, fibres)

    # -- the law --------------------------------------------------------------------------------------------
    def error(self, masks: Masks, seed: int) -> tuple[float, str]:
        """The largest relative difference, infinite where the operator cannot run, and what it says then."""
        given: list[Tensor] = []
        try:
            operands, regions = self._drawn(masks, seed)
            expected = _tensors(self._expected(operands, regions))
            given = _tensors(self._slim(operands, regions, masks))
            pairs = zip(self.operation.outputs, expected, given, strict=True)
            errors = [relative_error(regions[v.name].take(one), other) for v, one, other in pairs]
        except FAILURES as failure:
            return float("inf"), f"the operator fails: {first_line(failure)}"
        shapes = ", ".join(str(tuple(item.shape)) for item in given)
        worst = max(errors, default=0.0)
        return worst, f"its result of shape {shapes} differs by {worst:.1e} (limit {LIMIT:.0e})"

    def _drawn(self, masks: Masks, seed: int) -> tuple[dict[str, Tensor], dict[str, Region]]:
        """Operands, and what is kept of each tensor.

        Floating values are spread a little so that none is repeated; their signs and their range are kept.
        """
        generator = torch.Generator().manual_seed(seed)

        def spread(value: Tensor) -> Tensor:
            factor = 1 - 0.5 * torch.rand(value.shape, generator=generator, dtype=torch.float64)
            return value * factor if seed and value.is_floating_point() else value

        operands = {name: spread(value) for name, value in self.operands.items()}
        names = {value.name for value in (*self.operation.inputs, *self.operation.outputs)}
        return operands, {name: region_of(self.analysis.terms[name], masks) for name in names}

    def _expected(self, operands: Mapping[str, Tensor], regions: Mapping[str, Region]) -> Any:
        """The result at full width, removed coordinates at zero, or left out where the definition says so."""
        if not is_restricted(self.operation.op) or all(regions[name].whole for name in operands):
            return self._run(lambda name: regions[name].zero(operands[name]))
        arguments = self.operation.arguments
        masks = {
            name: regions[value.name].mask(len(value.shape)).expand(value.shape)
            for name, value in arguments.items()
            if isinstance(value, Value)
        }
        given = _filled(arguments, operands.__getitem__)
        return run_restricted(self.operation.op, self.overload, given, masks)

    def _slim(self, operands: Mapping[str, Tensor], regions: Mapping[str, Region], masks: Masks) -> Any:
        call = new_call(self.operation, self.operation.arguments, self.analysis, masks)
        if call.target is not None:
            name = next(self.operation.inputs).name
            return call.target(regions[name].take(operands[name]), **call.arguments)
        return self._run(lambda name: regions[name].take(operands[name]), call.arguments)

    def part_and_whole(self, masks: Masks, seed: int) -> list[tuple[Tensor, Tensor]]:
        """Results on kept parts with the literals as they are, and at full width; none where no operand is cut."""
        operands, regions = self._drawn(masks, seed)
        if all(regions[name].whole for name in operands):
            return []
        part = self._run(lambda name: regions[name].take(operands[name]))
        whole = self._run(lambda name: regions[name].zero(operands[name]))
        return list(zip(_tensors(part), _tensors(whole), strict=True))

    def _run(self, operand: _Operand, changes: Mapping[str, Any] | None = None) -> Any:
        return _run(self.overload, {**self.operation.arguments, **(changes or {})}, operand)


def _half(size: int, source: random.Random) -> Tensor:
    mask = torch.zeros(size, dtype=torch.bool)
    mask[source.sample(range(size), max(size // 2, 1))] = True
    return mask


def halves(found: Iterable[Atom], seed: int, alike: bool = False) -> Masks:
    """A random half of every one of ``found``, the same half of all if ``alike``."""
    source = random.Random(seed)
    return Masks({a: _half(a.size, random.Random(seed) if alike else source) for a in found}, {})


# -- one call as an operation -------------------------------------------------------------------------------
def _value(name: str, tensor: Tensor) -> Value:
    return Value(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))


def _named(name: str, argument: Any, operands: dict[str, Tensor]) -> Any:
    """``argument`` with values in the place of tensors, which go to ``operands`` in float64."""
    if isinstance(argument, list | tuple):
        return [_named(f"{name}.{index}", item, operands) for index, item in enumerate(argument)]
    if not isinstance(argument, Tensor):
        return argument
    tensor = argument.detach().cpu()
    operands[name] = tensor.double() if tensor.is_floating_point() else tensor
    return _value(name, operands[name])


def _filled(arguments: Mapping[str, Any], operand: _Operand) -> dict[str, Any]:
    """``arguments`` with ``operand(name)`` in the place of every value."""
    filled: dict[str, Any] = map_aggregate(
        dict(arguments), lambda leaf: operand(leaf.name).clone() if isinstance(leaf, Value) else leaf
    )
    return filled


def _run(overload: OpOverload, arguments: Mapping[str, Any], operand: _Operand) -> Any:
    with torch.no_grad():
        return overload(**_filled(arguments, operand))


def _views(operands: Mapping[str, Tensor]) -> tuple[list[Operation], dict[str, str]]:
    """The operands as views of flat stored tensors, and the names of what is stored."""
    views: list[Operation] = []
    stored: dict[str, str] = {}
    for name, tensor in operands.items():
        if tensor.dim() < 2 or not tensor.numel() or not tensor.is_floating_point():
            stored[name] = name
            continue
        flat = f"{name}.flat"
        stored[flat] = flat
        arguments = {"self": _value(flat, tensor.flatten()), "size": list(tensor.shape)}
        views.append(Operation(f"{flat}.view", "aten.view.default", arguments, (_value(name, tensor),)))
    return views, stored
