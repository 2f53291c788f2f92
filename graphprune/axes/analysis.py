"""Solves the axes of a whole program: one rule per operator, then one frozen term per dimension."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphprune.axes.algebra import Axis, Equations
from graphprune.axes.call import Call, Operand, Reason
from graphprune.axes.rules import find_rule
from graphprune.axes.terms import Atom, Term, atoms
from graphprune.capture.operations import Operation, Value
from graphprune.ground.errors import RuleError

__all__ = ["Analysis", "Loops", "analyse"]


@dataclass(frozen=True)
class Loops:
    """The axes an operator loops over: their sizes multiply to its multiply-accumulates."""

    operation: str
    layer: str
    terms: tuple[Term, ...]


@dataclass(frozen=True)
class Analysis:
    """What is known of every dimension of a program.

    Args:
        terms: value name → one term per dimension.
        loops: multiply-accumulates, one product of axes each.
        across: pairs (a, b) of atoms where an operator mixes along b, position by position of a.
        unruled: operators without a rule, with the operations concerned.
        sizes: operation name → its integer arguments that are the sizes of axes.
    """

    terms: Mapping[str, tuple[Term, ...]]
    loops: tuple[Loops, ...]
    across: frozenset[tuple[Atom, Atom]]
    unruled: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, Mapping[str, Term]] = field(default_factory=dict)


class _Solver:
    """Collects the equations of operations in graph order."""

    def __init__(self, values: Mapping[str, Value], strict: bool) -> None:
        self.values = values
        self.strict = strict
        self.current: Operation | None = None
        self.equations = Equations(self._conflict)
        self.dims: dict[str, tuple[Axis, ...]] = {}
        self.calls: list[Call] = []
        self.unruled: dict[str, list[str]] = {}

    def _conflict(self) -> Reason:
        operation = self.current
        assert operation is not None
        return Reason(
            "positions are regrouped in a way that no axis survives", operation.name, operation.layer
        )

    def operand(self, value: Value) -> Operand:
        dims = self.dims.get(value.name)
        if dims is None:
            dims = self.dims[value.name] = tuple(self.equations.atom(size) for size in value.shape)
        return Operand(value, dims)

    def _bound(self, argument: Any) -> Any:
        if isinstance(argument, Value):
            return self.operand(argument)
        if isinstance(argument, list | tuple):
            return [self._bound(item) for item in argument]
        return argument

    def add(self, operation: Operation) -> None:
        self.current = operation
        arguments = {name: self._bound(value) for name, value in operation.arguments.items()}
        call = Call(operation, arguments, tuple(map(self.operand, operation.outputs)), self.equations)
        rule = find_rule(operation.op)
        if rule is None:
            self._pin_all(call, f"no rule for {operation.op}")
            return
        try:
            rule(call)
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
            self._pin_all(call, f"the rule for {operation.op} does not fit: {error}")
        self.calls.append(call)

    def _pin_all(self, call: Call, text: str) -> None:
        if self.strict:
            shapes = [operand.shape for operand in call.operands()]
            where = call.operation.layer or call.operation.name
            raise RuleError(
                f"{text} (at {where}, shapes {shapes})", "register a rule for it: graphprune.rule"
            )
        self.unruled.setdefault(call.operation.op, []).append(call.operation.name)
        for operand in (*call.operands(), *call.outputs):
            call.pin(operand.dims, text)


def analyse(
    operations: Iterable[Operation],
    values: Mapping[str, Value],
    inputs: Iterable[str],
    outputs: Iterable[str],
    batch_primes: Iterable[int] = (),
    strict: bool = False,
) -> Analysis:
    """Solves the axes of ``operations`` on ``values``.

    Inputs and outputs of the model are never touched: they are pinned, and so are batch sizes.

    Raises:
        RuleError: in strict mode, an operator has no rule or one that does not fit.
    """
    solver = _Solver(values, strict)
    for name in inputs:
        if name in values:
            _pin(solver, values[name], "an input of the model")
    layers: dict[str, str] = {}
    for operation in operations:
        solver.add(operation)
        layers |= {value.name: operation.layer for value in operation.outputs}
    for name in outputs:
        if name in values:
            _pin(solver, values[name], "an output of the model", layers.get(values[name].name, ""))
    terms = {
        value.name: tuple(map(solver.equations.solve, solver.operand(value).dims))
        for value in {value.name: value for value in values.values()}.values()
    }
    _pin_batch(terms.values(), tuple(batch_primes))
    unruled = {op: tuple(names) for op, names in solver.unruled.items()}
    return Analysis(terms, _loops(solver), _across(solver), unruled, _sizes(solver))


def _pin(solver: _Solver, value: Value, text: str, layer: str = "") -> None:
    for axis in solver.operand(value).dims:
        solver.equations.pin(axis, Reason(text, value.name, layer))


def _pin_batch(terms: Iterable[tuple[Term, ...]], primes: tuple[int, ...]) -> None:
    reason = Reason("the batch size")
    for dims in terms:
        for term in dims:
            if any(term.size % prime == 0 for prime in primes):
                for atom in atoms(term):
                    if any(atom.size % prime == 0 for prime in primes):
                        atom.pins[reason] = None


def _loops(solver: _Solver) -> tuple[Loops, ...]:
    solve = solver.equations.solve
    return tuple(
        Loops(call.operation.name, call.operation.layer, tuple(map(solve, axes)))
        for call in solver.calls
        for axes in call.loops
    )


def _sizes(solver: _Solver) -> dict[str, dict[str, Term]]:
    solve = solver.equations.solve
    return {
        call.operation.name: {argument: solve(axis) for argument, axis in call.sizes.items()}
        for call in solver.calls
        if call.sizes
    }


def _across(solver: _Solver) -> frozenset[tuple[Atom, Atom]]:
    solve = solver.equations.solve
    pairs = {(id(a.root()), id(b.root())): (a, b) for call in solver.calls for a, b in call.across}
    return frozenset(
        (one, other) for a, b in pairs.values() for one in atoms(solve(a)) for other in atoms(solve(b))
    )
