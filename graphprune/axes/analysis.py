"""Solves the axes of a whole program: one rule per operator, then one frozen term per dimension."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from traceback import extract_tb
from typing import Any

from graphprune.axes.algebra import Axis, Equations
from graphprune.axes.call import Call, Misfit, Operand, Reason
from graphprune.axes.rules import find_name, find_rule
from graphprune.axes.rules.users import USERS, Likeness
from graphprune.axes.terms import Atom, Term, atoms
from graphprune.capture.operations import Operation, Value
from graphprune.ground.errors import RuleError

__all__ = ["Analysis", "Loops", "analyse"]

_PACKAGE = str(Path(__file__).parents[1])
_MISTAKES = (ValueError, IndexError, KeyError, TypeError, AttributeError, ZeroDivisionError)


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
        across: pairs (kept, mixed) of atoms: all positions of ``mixed`` must keep the same units of ``kept``, for
            some operator mixes them; see `Call.across`.
        unruled: operators without a rule, with the operations concerned.
        sizes: operation name → its integer arguments that are the sizes of axes.
        points: value name of a stored vector → the axis whose positions are its numbers.
    """

    terms: Mapping[str, tuple[Term, ...]]
    loops: tuple[Loops, ...]
    across: frozenset[tuple[Atom, Atom]]
    unruled: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, Mapping[str, Term]] = field(default_factory=dict)
    points: Mapping[str, Term] = field(default_factory=dict)

    @cached_property
    def atoms(self) -> dict[Atom, None]:
        """Every atom of the program's tensors, in order."""
        return dict.fromkeys(atom for dims in self.terms.values() for term in dims for atom in atoms(term))


class _Solver:
    """Collects the equations of operations in graph order."""

    def __init__(self, strict: bool, batch: Mapping[int, str]) -> None:
        self.strict = strict
        self.batch = batch
        self.current: Operation | None = None
        self.equations = Equations(self._conflict, batch)
        self.dims: dict[str, tuple[Axis, ...]] = {}
        self.calls: list[Call] = []
        self.points: dict[str, Axis] = {}
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

    def pin(self, value: Value, text: str, layer: str = "") -> None:
        """Nothing may be removed from ``value``."""
        for axis in self.operand(value).dims:
            self.equations.pin(axis, Reason(text, value.name, layer))

    def pin_batch(self, axes: Iterable[Axis]) -> None:
        """Pins every atom of ``axes`` that a batch size stands in, once the equations have split them for good."""
        self.equations.settle()
        reason = Reason("the batch size")
        for axis in axes:
            if self._in_batch(axis):
                for atom in filter(self._in_batch, self.equations.atoms(axis)):
                    self.equations.pin(atom, reason)

    def _in_batch(self, axis: Axis) -> bool:
        return any(axis.size % prime == 0 for prime in self.batch)

    def _bound(self, argument: Any) -> Any:
        if isinstance(argument, Value):
            return self.operand(argument)
        if isinstance(argument, list | tuple):
            return [self._bound(item) for item in argument]
        return argument

    def add(self, operation: Operation) -> None:
        """The equations of one call, as its rule says; without a rule that fits all its axes are pinned."""
        self.current = operation
        arguments = {name: self._bound(value) for name, value in operation.arguments.items()}
        outputs = tuple(map(self.operand, operation.outputs))
        call = Call(operation, arguments, outputs, self.equations, batch=self.batch, points=self.points)
        rule = find_rule(operation.op)
        if rule is None:
            self._refuse(call, f"no rule for {operation.op}", "register a rule for it: graphprune.rule")
            return
        try:
            rule(call)
        except Misfit as error:
            text = f"the rule for {operation.op} does not fit: {error}"
            self._refuse(call, text, _remedy(operation.op, error.remedy))
        except _MISTAKES as error:
            text = f"the rule for {operation.op} does not fit: it raises {_raised(error)}"
            remedy = "correct the function; it must fit all shapes that the operator takes"
            self._refuse(call, text, _remedy(operation.op, remedy))
        self.calls.append(call)

    def _refuse(self, call: Call, text: str, remedy: str) -> None:
        if self.strict:
            where = call.operation.layer or call.operation.name
            raise RuleError(f"{text} (at {where}: {call.shapes()})", remedy)
        self.unruled.setdefault(call.operation.op, []).append(call.operation.name)
        call.pin_all(text)

    def solved(self, values: Iterable[Value]) -> Analysis:
        """The terms of ``values``, and what all calls have said; nothing can be added after it."""
        dims = {value.name: self.operand(value).dims for value in values}
        self.pin_batch(axis for axes in dims.values() for axis in axes)
        solve = self.equations.solve
        terms = {name: tuple(map(solve, axes)) for name, axes in dims.items()}
        loops = (
            Loops(call.operation.name, call.operation.layer, tuple(map(solve, axes)))
            for call in self.calls
            for axes in call.loops
        )
        across = chain(self.equations.ties, *(call.across for call in self.calls))
        mixed = dict.fromkeys((a.root(), b.root()) for a, b in across)
        return Analysis(
            terms,
            loops=tuple(loops),
            across=frozenset(
                (one, other) for a, b in mixed for one in atoms(solve(a)) for other in atoms(solve(b))
            ),
            unruled={op: tuple(names) for op, names in self.unruled.items()},
            sizes={
                call.operation.name: {argument: solve(axis) for argument, axis in call.sizes.items()}
                for call in self.calls
                if call.sizes
            },
            points={name: solve(axis) for name, axis in self.points.items()},
        )


def _remedy(op: str, remedy: str) -> str:
    """``remedy`` is for the author of a rule; a user of ours, or one who said like=, can do something else."""
    user = USERS.get(find_name(op) or "")
    if user is None:
        return "this is a fault of graphprune's own rule; without strict=True its axes are pinned"
    if isinstance(user, Likeness):
        return f"on these shapes it is not like {user.op}: register a signature or a function"
    return remedy


def _raised(error: Exception) -> str:
    """The error with the line of the rule that raised it: "IndexError in rules.py:12: tuple index out of range"."""
    frames = extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_PACKAGE)]
    frame = (own or frames)[-1]
    message = f"no {error}" if isinstance(error, KeyError) else str(error)
    return f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}: {message}"


def analyse(
    operations: Iterable[Operation],
    values: Mapping[str, Value],
    inputs: Iterable[str],
    outputs: Iterable[str],
    batch: Mapping[int, str] | None = None,
    strict: bool = False,
) -> Analysis:
    """Solves the axes of ``operations`` on ``values``.

    Inputs and outputs of the model are never touched: they are pinned, and so are batch sizes.

    Args:
        inputs, outputs: names of the model's own.
        batch: sizes that are not known before the model runs: the prime that stands for each, and its name.
        strict: raise where an operator has no rule that fits, instead of pinning its axes.

    Raises:
        RuleError: in strict mode, an operator has no rule or one that does not fit.
    """
    solver = _Solver(strict, batch or {})
    for name in inputs:
        if name in values:
            solver.pin(values[name], "an input of the model")
    layers: dict[str, str] = {}
    for operation in operations:
        solver.add(operation)
        layers |= {value.name: operation.layer for value in operation.outputs}
    for name in outputs:
        if name in values:
            solver.pin(values[name], "an output of the model", layers.get(values[name].name, ""))
    return solver.solved(values.values())
