"""The laws of a rule, checked on the real operator.

Everything here is written independently of the package's own masks, slices and references: kept positions
come from enumerating the units at every position of a term.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import count, product
from math import prod
from typing import Any

import torch
from draws import Draw, Row
from torch import Tensor, fx

from graphprune.axes.analysis import Analysis, analyse
from graphprune.axes.groups import find_groups
from graphprune.axes.terms import Atom, Permuted, Product, Term, atoms
from graphprune.capture.describe import describe
from graphprune.capture.operations import Operation, Value
from graphprune.planning.masks import Masks
from graphprune.rewriting.literals import NewCall, new_call

__all__ = [
    "Bench",
    "Kept",
    "broken",
    "choose",
    "choose_groups",
    "coordinates",
    "kept_mask",
    "place",
    "restrictable",
    "separable",
]

Kept = Mapping[Atom, Tensor]


@dataclass(frozen=True)
class Bench:
    """One call of an operator, analysed, with the tensors it was called on.

    ``tensors`` holds the operands and results by value name; ``stored`` the names of the operands that are
    parameters of the little program.
    """

    row: Row
    operations: tuple[Operation, ...]
    tensors: dict[str, Tensor]
    stored: dict[str, str]
    analysis: Analysis

    @property
    def operation(self) -> Operation:
        """The operator under test, the last one."""
        return self.operations[-1]

    @classmethod
    def of(cls, row: Row, seed: int, flat: bool = False) -> Bench:
        """Parameters and ``row``'s operator on them; with ``flat`` it reads views of flat parameters."""
        args, kwargs = row.make(Draw(seed))
        graph = fx.Graph()
        names = count()
        stored: list[fx.Node] = []

        def parameter(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            name = f"t{next(names)}"
            node = graph.create_node("get_attr", name, name=name)
            node.meta["val"] = value
            stored.append(node)
            if not flat or value.dim() < 2 or not value.is_floating_point():
                return node
            node.meta["val"] = value.flatten()
            return _called(graph, torch.ops.aten.view.default, (node, list(value.shape)), {})

        arguments = fx.node.map_aggregate((args, kwargs), parameter)
        last = _called(graph, row.overload, *arguments)
        graph.output(last)
        description = describe(graph)
        analysis = analyse(description.operations, description.values, (), ())
        tensors: dict[str, Tensor] = {}
        for node in graph.nodes:
            if node.op != "output":
                tensors |= _by_name(node.name, node.meta["val"])
        held = {node.name: node.name for node in stored}
        return cls(row, description.operations, tensors, held, analysis)

    def terms(self, value: Value) -> tuple[Term, ...]:
        return self.analysis.terms[value.name]

    def atoms(self, values: Iterable[Value]) -> dict[Atom, None]:
        """Every atom of ``values``, in order."""
        return dict.fromkeys(atom for value in values for term in self.terms(value) for atom in atoms(term))

    @cached_property
    def around(self) -> tuple[Atom, ...]:
        """Every atom of the operator's operands and results, in order."""
        return tuple(self.atoms((*self.operation.inputs, *self.operation.outputs)))


def _called(graph: fx.Graph, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> fx.Node:
    node = graph.call_function(target, args, kwargs)
    given = fx.node.map_arg((args, kwargs), lambda source: source.meta["val"].clone())
    node.meta["val"] = target(*given[0], **given[1])
    return node


def _by_name(name: str, value: Any) -> dict[str, Tensor]:
    if isinstance(value, Tensor):
        return {name: value}
    return {f"{name}.{index}": item for index, item in enumerate(value)}


# -- positions ----------------------------------------------------------------------------------------------
def coordinates(term: Term) -> list[tuple[Atom, Tensor]]:
    """The unit of every atom at each position of ``term``, -1 where the atom does not stand."""
    if isinstance(term, Atom):
        return [(term, torch.arange(term.size))]
    if isinstance(term, Permuted):
        return [(atom, units[list(term.order)]) for atom, units in coordinates(term.parts[0])]
    found: list[tuple[Atom, Tensor]] = []
    start = 0
    for index, part in enumerate(term.parts):
        for atom, units in coordinates(part):
            if isinstance(term, Product):
                before = prod(other.size for other in term.parts[:index])
                after = prod(other.size for other in term.parts[index + 1 :])
                found.append((atom, units.repeat_interleave(after).repeat(before)))
            else:
                here = torch.full((term.size,), -1)
                here[start : start + part.size] = units
                found.append((atom, here))
        start += part.size
    return found


def kept_mask(terms: tuple[Term, ...], kept: Kept, fibres: Mapping[Atom, Atom]) -> Tensor:
    """The kept elements of a tensor with ``terms``: all units that stand there are kept."""
    shape = [term.size for term in terms]
    units: list[tuple[Atom, Tensor]] = []
    for dim, term in enumerate(terms):
        view = [-1 if other == dim else 1 for other in range(len(terms))]
        units += [(atom, unit.reshape(view)) for atom, unit in coordinates(term)]
    mask = torch.ones(shape, dtype=torch.bool)
    for atom, unit in units:
        choice = kept.get(atom)
        if choice is None:
            continue
        fibre = fibres.get(atom) if choice.dim() == 2 else None
        if fibre is None:
            mask = mask & (choice[unit.clamp(min=0)] | (unit < 0))
            continue
        rows = torch.full([1] * len(terms), -1)
        for other, place in units:
            rows = torch.maximum(rows, place) if other is fibre else rows
        here = unit >= 0
        assert bool((rows.expand(shape)[here.expand(shape)] >= 0).all()), "a fibred atom without its fibre"
        mask = mask & (choice[rows.clamp(min=0), unit.clamp(min=0)] | ~here)
    return mask


def new_size(term: Term, kept: Kept) -> int:
    """The size of ``term`` when only ``kept`` units stay."""
    if isinstance(term, Atom):
        choice = kept.get(term)
        return term.size if choice is None else int((choice if choice.dim() == 1 else choice[0]).sum())
    sizes = [new_size(part, kept) for part in term.parts]
    return prod(sizes) if isinstance(term, Product) else sum(sizes)


def take(value: Tensor, mask: Tensor, terms: tuple[Term, ...], kept: Kept) -> Tensor:
    """The kept part of ``value``."""
    return value[mask].reshape([new_size(term, kept) for term in terms]).clone()


# -- choices ------------------------------------------------------------------------------------------------
def _choice(size: int, number: int, source: random.Random) -> Tensor:
    mask = torch.zeros(size, dtype=torch.bool)
    mask[source.sample(range(size), number)] = True
    return mask


def choose(found: Iterable[Atom], seed: int, least: int = 1) -> dict[Atom, Tensor]:
    """A random proper part of every atom that can lose units."""
    source = random.Random(seed)
    return {
        atom: _choice(atom.size, source.randint(least, atom.size - 1), source)
        for atom in found
        if atom.size > least
    }


def choose_groups(bench: Bench, seed: int) -> tuple[dict[Atom, Tensor], dict[Atom, Atom]]:
    """A random part of every group, row by row of its fibre; and the fibres."""
    source = random.Random(seed)
    kept: dict[Atom, Tensor] = {}
    fibres: dict[Atom, Atom] = {}
    for group in find_groups(bench.analysis, bench.operations, bench.stored, set(bench.stored.values())):
        if group.size == bench.row.least:
            continue
        number = source.randint(bench.row.least, group.size - 1)
        rows = [_choice(group.size, number, source) for _ in range(group.fibre.size if group.fibre else 1)]
        kept[group.atom] = torch.stack(rows) if group.fibre else rows[0]
        if group.fibre:
            fibres[group.atom] = group.fibre
    return kept, fibres


# -- the laws -----------------------------------------------------------------------------------------------
def broken(
    bench: Bench,
    operation: Operation,
    kept: Kept,
    fibres: Mapping[Atom, Atom] | None = None,
    other: Mapping[str, Kept] | None = None,
) -> str:
    """What is wrong with the operator on the kept parts of its operands; empty if the laws hold.

    ``other`` gives an operand (by value name) other kept units than the rest.
    """
    trial = _Trial(bench, operation, kept, fibres or {}, other or {})
    masked = bench.row.masked if operation is bench.operation else None
    if masked is not None:
        return trial.against(masked(trial.full(), trial.masks()))
    summed = bench.atoms(_values_of(operation, bench.row.feeds_back))
    free = [atom for atom in bench.atoms(operation.outputs) if atom not in summed]
    alone = {atom: choice for atom, choice in kept.items() if atom in free}
    restricted = _Trial(bench, operation, alone, fibres or {}, other or {})
    plain = restricted.against(restricted.run(restricted.full()))
    if plain:
        return f"restriction: {plain}"
    zeroed = trial.against(trial.run(trial.full(zero=True)))
    return f"contraction: {zeroed}" if zeroed else ""


def _values_of(operation: Operation, name: str) -> list[Value]:
    argument = operation.arguments.get(name, [])
    return [argument] if isinstance(argument, Value) else list(argument)


def statistics_differ(
    bench: Bench,
    kept: Kept,
    fibres: Mapping[Atom, Atom],
    run: Callable[[dict[str, Any], dict[str, Tensor]], Any],
) -> str:
    """How ``run(arguments, masks)`` at full width differs from the row's formula at kept positions."""
    assert bench.row.masked is not None
    trial = _Trial(bench, bench.operation, kept, fibres, {})
    masks = {name: mask for name, mask in trial.masks().items() if isinstance(mask, Tensor)}
    given = _tensors(run(trial.full(), masks))
    expected = _tensors(bench.row.masked(trial.full(), masks))
    for value, ours, theirs in zip(bench.operation.outputs, given, expected, strict=True):
        mask = kept_mask(bench.terms(value), kept, fibres)
        if not _same(ours[mask], theirs[mask]):
            return f"{value.name}: {ours[mask].tolist()} instead of {theirs[mask].tolist()}"
    return ""


class _Trial:
    """One operation under one choice of units."""

    def __init__(
        self,
        bench: Bench,
        operation: Operation,
        kept: Kept,
        fibres: Mapping[Atom, Atom],
        other: Mapping[str, Kept],
    ) -> None:
        self.bench = bench
        self.operation = operation
        self.kept = kept
        self.fibres = fibres
        self.other = other

    def run(self, arguments: Mapping[str, Any]) -> Any:
        return self._overload()(**arguments)

    def _overload(self) -> Any:
        space, packet, name = self.operation.op.split(".")
        return getattr(getattr(getattr(torch.ops, space), packet), name)

    def _bound(self, tensor: Any) -> dict[str, Any]:
        """The operator's arguments with ``tensor(value)`` in the place of every value."""

        def bind(argument: Any) -> Any:
            if isinstance(argument, Value):
                return tensor(argument)
            if isinstance(argument, list | tuple):
                return [bind(item) for item in argument]
            return argument

        return {name: bind(argument) for name, argument in self.operation.arguments.items()}

    def full(self, zero: bool = False) -> dict[str, Any]:
        """Arguments at full width, with removed coordinates at zero if asked."""

        def tensor(value: Value) -> Tensor:
            full = self.bench.tensors[value.name].clone()
            return full.masked_fill(~self._mask(value), 0) if zero else full

        return self._bound(tensor)

    def masks(self) -> dict[str, Any]:
        return self._bound(self._mask)

    def _mask(self, value: Value) -> Tensor:
        kept = self.other.get(value.name, self.kept)
        return kept_mask(self.bench.terms(value), kept, self.fibres)

    def cut(self) -> dict[str, Any]:
        """Arguments of which only the kept parts are left."""

        def tensor(value: Value) -> Tensor:
            kept = self.other.get(value.name, self.kept)
            return take(self.bench.tensors[value.name], self._mask(value), self.bench.terms(value), kept)

        return self._bound(tensor)

    def ordinary(self) -> Iterator[list[Tensor]]:
        """The results of all units, and of the removed ones at zero; a matrix of zeros has no inverse."""
        for zero in (False, True):
            with contextlib.suppress(RuntimeError):
                yield _tensors(self.run(self.full(zero)))

    def _call(self) -> NewCall:
        """What the package's rewriting makes of the operator."""
        masks = Masks(self.kept, self.fibres)
        return new_call(self.operation, self.operation.arguments, self.bench.analysis, masks)

    def rewritten(self) -> list[Tensor]:
        """The results of the operator on the kept parts of its operands, with rewritten literals."""
        arguments, call = self.cut(), self._call()
        if call.target is not None:
            given = next(item for item in arguments.values() if isinstance(item, Tensor))
            return list(call.target(given, **call.arguments))
        return _tensors(self.run({**arguments, **call.arguments}))

    def against(self, expected: Any) -> str:
        """How the rewritten operator differs from the kept part of ``expected``."""
        for value, given, whole in zip(
            self.operation.outputs, self.rewritten(), _tensors(expected), strict=True
        ):
            terms = self.bench.terms(value)
            mask = kept_mask(terms, self.kept, self.fibres)
            difference = _difference(given, take(whole, mask, terms, self.kept), self.bench.row.random)
            if difference:
                return f"{value.name}: {difference}"
        return ""


# -- what execution shows -----------------------------------------------------------------------------------
def restrictable(bench: Bench, atom: Atom, seeds: Iterable[int]) -> bool:
    """Whether operands that lose part of ``atom`` give, with the same literals, part of the ordinary result.

    The ordinary result is that of all units, or of the removed ones at zero. It says more than the laws: the
    axis of the result need not be known.
    """
    for seed in seeds:
        trial = _Trial(bench, bench.operation, choose([atom], seed), {}, {})
        try:
            given = _tensors(trial.run(trial.cut()))
        except (RuntimeError, IndexError):
            return False
        if not any(all(map(_is_part, given, whole)) for whole in trial.ordinary()):
            return False
    return True


def separable(bench: Bench, kept: Kept, other: Mapping[str, Kept]) -> bool:
    """Whether the operator gives some part of its ordinary result though operands keep ``other`` units.

    Where values do not tell positions apart nothing is claimed.
    """
    trial = _Trial(bench, bench.operation, kept, {}, other)
    try:
        given = trial.rewritten()
    except (RuntimeError, IndexError):
        return False
    return any(all(map(_is_grid, given, whole)) for whole in trial.ordinary())


def _is_grid(given: Tensor, whole: Tensor) -> bool:
    """Whether ``given`` is ``whole`` at some positions of each dimension."""
    positions = product(*map(range, whole.shape))
    places = dict(zip(_rounded(whole), positions, strict=True))
    found = [places.get(number) for number in _rounded(given)]
    if None in found or len(places) < whole.numel() or whole.dim() < 2:
        return False
    grid = torch.tensor(found).reshape(*given.shape, whole.dim())
    along = (grid[..., dim].movedim(dim, 0).flatten(1) for dim in range(whole.dim()))
    return all(bool((line == line[:, :1]).all()) for line in along)


def _rounded(value: Tensor) -> list[Any]:
    parts = torch.view_as_real(value.resolve_conj()) if value.is_complex() else value.unsqueeze(-1)
    return [
        tuple(round(number, 9) for number in numbers)
        for numbers in parts.reshape(-1, parts.shape[-1]).tolist()
    ]


def _tensors(results: Any) -> list[Tensor]:
    return [results] if isinstance(results, Tensor) else list(results)


def _is_part(given: Tensor, whole: Tensor) -> bool:
    """Whether ``given`` has some slices of ``whole``, in order, along one dimension at most."""
    dims = [dim for dim, size in enumerate(whole.shape) if given.shape[dim] != size]
    if len(dims) > 1:
        return False
    if not dims:
        return _same(given, whole)
    rest = iter(whole.unbind(dims[0]))
    return all(any(_same(one, other) for other in rest) for one in given.unbind(dims[0]))


def _difference(given: Tensor, expected: Tensor, shapes_only: bool) -> str:
    if given.shape != expected.shape:
        return f"shape {tuple(given.shape)} instead of {tuple(expected.shape)}"
    if given.dtype != expected.dtype:
        return f"{given.dtype} instead of {expected.dtype}"
    if shapes_only or _same(given, expected):
        return ""
    return f"values differ: {given.tolist()} instead of {expected.tolist()}"


def _same(given: Tensor, expected: Tensor) -> bool:
    """Accumulation in another order is all that may differ, in float64."""
    return torch.allclose(given, expected, rtol=1e-10, atol=1e-12, equal_nan=True)


def place(bench: Bench, atom: Atom) -> str:
    """Where ``atom`` stands in the operator's arguments and results: "self[1] out0[1]"."""
    found: list[str] = []
    for name, argument in bench.operation.arguments.items():
        values = argument if isinstance(argument, list | tuple) else [argument]
        for value in values:
            if isinstance(value, Value):
                found += [
                    f"{name}[{dim}]"
                    for dim, term in enumerate(bench.terms(value))
                    if atom in set(atoms(term))
                ]
    for index, value in enumerate(bench.operation.outputs):
        found += [
            f"out{index}[{dim}]" for dim, term in enumerate(bench.terms(value)) if atom in set(atoms(term))
        ]
    return " ".join(found)
