"""The algebra against brute force: every axis is a list of positions, and kept positions must agree."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from math import prod

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from laws import choose, coordinates
from torch import Tensor

from graphprune.axes.algebra import Axis, Equations
from graphprune.axes.terms import Atom, Term, atoms, size_of
from graphprune.planning.masks import Masks

SIZES = (1, 2, 3, 4, 6)
LARGEST = 48


@dataclass
class World:
    """Axes, and what each must equal: ("product", parts), ("sum", parts) or ("same", others)."""

    equations: Equations = field(default_factory=Equations)
    axes: list[Axis] = field(default_factory=list)
    claims: list[tuple[str, Axis, tuple[Axis, ...]]] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    pins: list[tuple[Axis, str]] = field(default_factory=list)
    orders: list[tuple[Axis, Axis, list[int]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.equations = Equations(self._conflict)

    def _conflict(self) -> str:
        self.conflicts.append(f"conflict {len(self.conflicts)}")
        return self.conflicts[-1]

    def claim(self, kind: str, whole: Axis, *parts: Axis) -> None:
        self.claims.append((kind, whole, parts))
        self.axes += [axis for axis in (whole, *parts) if axis.size and axis not in self.axes]

    def pin(self, axis: Axis) -> None:
        reason = f"pin {len(self.pins)}"
        self.pins.append((axis, reason))
        self.equations.pin(axis, reason)

    def solved(self) -> list[Term]:
        return [self.equations.solve(axis) for axis in self.axes]

    def free(self) -> list[Atom]:
        found = dict.fromkeys(atom for term in self.solved() for atom in atoms(term))
        return [atom for atom in found if not atom.pins]


@dataclass
class Step:
    """One random operation, to be applied to whatever axes there are."""

    kind: str
    first: int
    second: int
    offset: int


steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(
            ["product", "product", "sum", "cut", "split", "unify", "unify", "unify", "pin", "permuted"]
        ),
        st.integers(0, 30),
        st.integers(0, 30),
        st.integers(0, 30),
    ),
    min_size=1,
    max_size=14,
)
leaves = st.lists(st.sampled_from(SIZES), min_size=2, max_size=5)


def build(sizes: list[int], program: list[Step], flip: bool = False) -> World:
    """Axes of ``sizes`` and what ``program`` makes of them; ``flip`` swaps the sides of every unify."""
    world = World()
    world.axes = [world.equations.atom(size) for size in sizes]
    for step in program:
        first = world.axes[step.first % len(world.axes)]
        second = world.axes[step.second % len(world.axes)]
        _STEPS[step.kind](world, first, second, step.offset, flip)
    return world


def _product(world: World, first: Axis, second: Axis, offset: int, flip: bool) -> None:
    if first.size * second.size <= LARGEST:
        world.claim("product", world.equations.product((first, second)), first, second)


def _sum(world: World, first: Axis, second: Axis, offset: int, flip: bool) -> None:
    if first.size + second.size <= LARGEST:
        world.claim("sum", world.equations.sum((first, second)), first, second)


def _cut(world: World, first: Axis, second: Axis, offset: int, flip: bool) -> None:
    world.claim("sum", first, *world.equations.cut(first, offset % (first.size + 1)))


def _split(world: World, first: Axis, second: Axis, offset: int, flip: bool) -> None:
    divisors = [size for size in range(2, first.size) if first.size % size == 0]
    if world.equations.segments(first)[0].kind != "product" and divisors:
        outer, inner = world.equations.split(first, divisors[offset % len(divisors)])
        world.claim("product", first, outer, inner)


def _unify(world: World, first: Axis, second: Axis, offset: int, flip: bool) -> None:
    equal = [axis for axis in world.axes if axis.size == first.size]
    second = equal[offset % len(equal)]
    world.equations.unify(*((second, first) if flip else (first, second)))
    world.claim("same", first, second)


def _permuted(world: World, first: Axis, second: Axis, offset: int, flip: bool) -> None:
    """By turns: backwards, from another place on, and in any order."""
    order = list(range(first.size))
    if offset % 3 == 0:
        order.reverse()
    elif offset % 3 == 1:
        order = order[offset % first.size :] + order[: offset % first.size]
    else:
        random.Random(offset).shuffle(order)
    whole = world.equations.permuted(first, order)
    world.orders.append((whole, first, order))
    world.axes += [] if whole in world.axes else [whole]


def _pin(world: World, first: Axis, second: Axis, offset: int, flip: bool) -> None:
    world.pin(first)


_STEPS = {
    "product": _product,
    "sum": _sum,
    "cut": _cut,
    "split": _split,
    "unify": _unify,
    "pin": _pin,
    "permuted": _permuted,
}


# -- soundness ----------------------------------------------------------------------------------------------
def kept_positions(term: Term, kept: dict[Atom, Tensor]) -> Tensor:
    """Brute force: a position is kept if all units that stand there are."""
    mask = torch.ones(term.size, dtype=torch.bool)
    for atom, units in coordinates(term):
        if atom in kept:
            mask &= kept[atom][units.clamp(min=0)] | (units < 0)
    return mask


def joined(kind: str, masks: list[Tensor]) -> Tensor:
    """The kept positions of a product, a sum or the same axis, from those of its parts."""
    if kind != "product":
        return masks[0] if kind == "same" else torch.cat(masks)
    result = masks[0]
    for mask in masks[1:]:
        result = (result[:, None] & mask).flatten()
    return result


@settings(deadline=None, max_examples=400, derandomize=True)
@given(leaves, steps, st.integers(0, 999))
def test_whatever_is_kept_every_equation_holds(sizes: list[int], program: list[Step], seed: int) -> None:
    world = build(sizes, program)
    terms = dict(zip(world.axes, world.solved(), strict=True))
    kept = choose(world.free(), seed)
    masks = Masks(kept, {})
    for kind, whole, parts in world.claims:
        ours = [kept_positions(world.equations.solve(part), kept) for part in parts]
        assert torch.equal(kept_positions(world.equations.solve(whole), kept), joined(kind, ours))
    for whole, part, order in world.orders:
        ours = kept_positions(world.equations.solve(part), kept)
        assert torch.equal(kept_positions(world.equations.solve(whole), kept), ours[order])
    for axis, term in terms.items():
        assert term.size == axis.size
        assert torch.equal(masks.of(term), kept_positions(term, kept))
        assert masks.size(term) == int(masks.of(term).sum()) == size_of(term, masks.sizes)


@settings(deadline=None, max_examples=300, derandomize=True)
@given(leaves, steps)
def test_pins_are_never_lost(sizes: list[int], program: list[Step]) -> None:
    """Whether an axis is pinned before it gets its structure or after, all its atoms are pinned."""
    world = build(sizes, program)
    world.solved()
    for axis, reason in world.pins:
        assert all(reason in atom.pins for atom in atoms(world.equations.solve(axis)) if atom.size > 1)
    known = {reason for _, reason in world.pins} | set(world.conflicts)
    for term in world.solved():
        assert all(set(atom.pins) <= known for atom in atoms(term))


# -- symmetry, repetition, order ----------------------------------------------------------------------------
def partition(world: World) -> set[frozenset[tuple[int, int]]]:
    """The sets of positions (axis, index) that go together, one for each unit that can be removed."""
    units: dict[tuple[Atom, int], set[tuple[int, int]]] = {}
    for index, term in enumerate(world.solved()):
        for atom, places in coordinates(term):
            if not atom.pins and atom.size > 1:
                for position, unit in enumerate(places.tolist()):
                    if unit >= 0:
                        units.setdefault((atom, unit), set()).add((index, position))
    return set(map(frozenset, units.values()))


@settings(deadline=None, max_examples=300, derandomize=True)
@given(leaves, steps)
def test_unify_is_symmetric(sizes: list[int], program: list[Step]) -> None:
    one, other = build(sizes, program), build(sizes, program, flip=True)
    assume(len(one.axes) == len(other.axes))
    if not one.conflicts:
        assert not other.conflicts
        assert partition(one) == partition(other)


@settings(deadline=None, max_examples=300, derandomize=True)
@given(leaves, steps)
def test_unify_is_idempotent(sizes: list[int], program: list[Step]) -> None:
    once, twice = build(sizes, program), build(sizes, program)
    for kind, whole, parts in twice.claims:
        if kind == "same":
            twice.equations.unify(parts[0], whole)
    assert [str(term) for term in once.solved()] == [str(term) for term in twice.solved()]


@dataclass
class System:
    """Equations that can be given in any order: axes made of leaves, pairs to unify, axes to pin."""

    sizes: list[int]
    made: list[Step]
    pairs: list[tuple[int, int]]
    pins: list[int]

    def world(self, order: list[int]) -> World:
        world = build(self.sizes, self.made)
        jobs = [("unify", *pair) for pair in self.pairs] + [("pin", index, 0) for index in self.pins]
        for place in order:
            kind, first, second = jobs[place]
            axis = world.axes[first % len(world.axes)]
            equal = [other for other in world.axes if other.size == axis.size]
            if kind == "pin":
                world.pin(axis)
            else:
                world.equations.unify(axis, equal[second % len(equal)])
        return world


systems = st.builds(
    System,
    leaves,
    st.lists(
        st.builds(
            Step, st.sampled_from(["product", "sum"]), st.integers(0, 30), st.integers(0, 30), st.just(0)
        ),
        min_size=1,
        max_size=6,
    ),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=5),
    st.lists(st.integers(0, 30), max_size=1),
)


@settings(deadline=None, max_examples=400, derandomize=True)
@given(systems, st.integers(0, 999))
def test_order_of_equations_does_not_matter(system: System, seed: int) -> None:
    """As long as all structures can be aligned; where they cannot, one order may pin more than another."""
    count = len(system.pairs) + len(system.pins)
    order = random.Random(seed).sample(range(count), count)
    one, other = system.world(list(range(count))), system.world(order)
    if not one.conflicts and not other.conflicts:
        assert partition(one) == partition(other)


# -- examples -----------------------------------------------------------------------------------------------
def test_axes_of_different_sizes_cannot_be_the_same() -> None:
    equations = Equations()
    with pytest.raises(ValueError, match="sizes 2 and 3"):
        equations.unify(equations.atom(2), equations.atom(3))


@pytest.mark.parametrize("offset", range(21))
def test_a_cut_may_fall_anywhere(offset: int) -> None:
    """``((2 + 3) 4)`` at every offset: the two pieces enumerate the same positions."""
    equations = Equations()
    outer, inner = equations.sum((equations.atom(2), equations.atom(3))), equations.atom(4)
    whole = equations.product((outer, inner))
    first, second = equations.cut(whole, offset)
    assert (first.size, second.size) == (offset, 20 - offset)
    pieces = [_units(equations.solve(piece)) for piece in (first, second)]
    assert pieces[0] + pieces[1] == _units(equations.solve(whole))


def _units(term: Term) -> list[set[tuple[Atom, int]]]:
    """Which units stand at each position."""
    found: list[set[tuple[Atom, int]]] = [set() for _ in range(term.size)]
    for atom, places in coordinates(term):
        for position, unit in enumerate(places.tolist()):
            if unit >= 0 and atom.size > 1:
                found[position].add((atom, unit))
    return found


def test_what_cannot_be_aligned_is_pinned_and_nothing_else() -> None:
    """(2 4 6 5) read as (2 6 4 5): the 2 and the 5 survive."""
    equations = Equations(lambda: "regrouped")
    left = [equations.atom(size) for size in (2, 4, 6, 5)]
    right = [equations.atom(size) for size in (2, 6, 4, 5)]
    equations.unify(equations.product(left), equations.product(right))
    pins = [[list(atom.pins) for atom in atoms(equations.solve(axis))] for axis in (*left, *right)]
    free, pinned = [[]], [["regrouped"]]
    assert pins == [free, pinned, pinned, free, free, pinned, pinned, free]
    assert equations.solve(left[0]) is equations.solve(right[0])
    assert equations.solve(left[3]) is equations.solve(right[3])


def test_an_axis_of_which_one_side_is_pinned() -> None:
    equations = Equations()
    whole, (first, second) = equations.atom(6), (equations.atom(2), equations.atom(4))
    equations.unify(whole, equations.sum((first, second)))
    equations.pin(first, "why")
    assert equations.pinned(first)
    assert not equations.pinned(whole)
    equations.pin(second, "why too")
    assert equations.pinned(whole)
    assert [list(atom.pins) for atom in atoms(equations.solve(whole))] == [["why"], ["why too"]]


def test_equations_are_closed_by_the_first_term_that_is_solved() -> None:
    equations = Equations()
    axis, other = equations.atom(4), equations.atom(4)
    equations.pin(axis, "why")
    first, _ = equations.cut(axis, 1)
    term = equations.solve(axis)
    assert [atom.pins for atom in atoms(term)] == [("why",), ("why",)]
    assert equations.solve(first) is next(atoms(term))
    for late in (
        lambda: equations.unify(axis, other),
        lambda: equations.pin(other, "late"),
        lambda: equations.cut(other, 1),
        lambda: equations.split(other, 2),
    ):
        with pytest.raises(RuntimeError, match="add all of them before"):
            late()
    assert str(equations.solve(other)) == "a2:4"


def test_terms_are_printed_as_einops_would() -> None:
    equations = Equations()
    a, b, c = (equations.atom(size) for size in (2, 3, 4))
    whole = equations.sum((equations.product((a, equations.sum((b, c)))), b))
    assert str(equations.solve(whole)) == "(a0:2 (a1:3 + a2:4)) + a1:3"
    assert prod(atom.size for atom in atoms(equations.solve(whole))) == 2 * 3 * 4 * 3


def test_what_is_not_to_be_divided_is_pinned_where_rows_lie_across_each_other() -> None:
    """(b + b) 6 = b 12: each row of the first b lies over half a row of the other, and would divide it, and so on."""
    equations = Equations(lambda: "across", {1009})
    batch, width, other = (equations.atom(size) for size in (1009, 6, 12))
    equations.unify(
        equations.product((equations.sum((batch, batch)), width)), equations.product((batch, other))
    )
    terms = [equations.solve(axis) for axis in (batch, width, other)]
    assert [term.size for term in terms] == [1009, 6, 12]
    assert isinstance(terms[0], Atom)  # whole
    assert {atom.pins for term in terms for atom in atoms(term)} == {("across",)}


def test_what_is_not_to_be_divided_may_be_cut_by_a_rule() -> None:
    equations = Equations(undivided={1009})
    batch = equations.atom(1009)
    first, rest = equations.cut(batch, 1)
    assert (first.size, rest.size) == (1, 1008)


def test_an_axis_that_is_divided_while_it_stands_on_both_sides() -> None:
    """(four two) = (two four): the four is (two x) first, and then what is left of it meets the x."""
    equations = Equations()
    four, two = equations.atom(4), equations.atom(2)
    equations.unify(equations.product((four, two)), equations.product((two, four)))
    first, second = (str(equations.solve(axis)) for axis in (four, two))
    assert (first, second) == ("(a0:2 a0:2)", "a0:2")


def test_a_product_that_is_split_keeps_its_factors() -> None:
    """(3 4) has rows of 6; in (4 3) they would lie across the 4, so that nothing of it may be removed."""
    equations = Equations(lambda: "across")
    three, four, other = (equations.atom(size) for size in (3, 4, 4))
    outer, inner = equations.split(equations.product((three, four)), 6)
    across = equations.product((other, equations.atom(3)))
    parts = equations.split(across, 6)
    found = [str(equations.solve(axis)) for axis in (outer, inner, four)]
    assert found == ["(a0:3 a1:2)", "a2:2", "(a1:2 a2:2)"]
    assert [axis.size for axis in parts] == [6, 2]
    pinned = [atom.pins for axis in (across, *parts) for atom in atoms(equations.solve(axis))]
    assert set(pinned) == {("across",)}


def test_a_sum_that_is_cut_while_it_stands_on_both_sides() -> None:
    equations = Equations()
    five, two = equations.atom(5), equations.atom(2)
    equations.unify(equations.sum((five, two)), equations.sum((two, five)))
    whole = equations.sum((five, two)), equations.sum((two, five))
    assert str(equations.solve(whole[0])) == str(equations.solve(whole[1]))
    assert str(equations.solve(two)).count("+") == 1
