"""The axis algebra: atoms, products and sums, and the two operations on them, *unify* and *pin*.

Every dimension of every tensor is indexed by an axis. An axis is an atom (a named size), a product of axes
(outer to inner, einops' ``(h d)``), a sum, the concatenation of axes (``a + b``), or another axis in another order.
While equations are collected an axis is a mutable `Axis` node in a union-find forest; afterwards `Equations.solve`
returns frozen `Atom`, `Product`, `Sum` and `Permuted` terms. Nothing here knows about tensors or torch.

Example:
    A fused projection of size 12, read as three parts of two heads of two:

    >>> equations = Equations()
    >>> out = equations.atom(12)
    >>> three, heads, width = (equations.atom(size) for size in (3, 2, 2))
    >>> equations.unify(out, equations.product((three, heads, width)))
    >>> equations.pin(three, "selected")
    >>> print(equations.solve(out))
    (a0:3 a1:2 a2:2)
    >>> sorted(equations.solve(three).pins)
    ['selected']
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from itertools import chain, count, product

from graphprune.axes.forest import Axis, Undivided
from graphprune.axes.orders import cycles_by_length, inverse
from graphprune.axes.structure import Structures
from graphprune.axes.terms import Atom, Term, permuted_term, product_term, sum_term

__all__ = ["Axis", "Equations"]

_Pair = tuple[Axis, Axis]


class Equations(Structures):
    """A growing set of equations between axes; the first term that is solved closes it.

    Args:
        conflict: gives the reason with which axes are pinned whose structures cannot be aligned, as in
            (4 6) = (6 4), where no position of a 4 belongs to one position of the other.
        undivided: sizes of axes that no alignment divides, as a batch b: both sides of ((b + b) 3) = (b 6) are pinned.
    """

    def __init__(
        self,
        conflict: Callable[[], Hashable] = lambda: "incompatible regrouping",
        undivided: Collection[int] = (),
    ) -> None:
        super().__init__(conflict, undivided)
        self._waiting: list[tuple[Axis, Axis, Hashable]] = []
        self._solved: dict[Axis, Term] = {}
        self._numbers = count()
        # (units, place within a cycle): of all places the same units, see `_tie`
        self.ties: list[tuple[Axis, Axis]] = []

    # -- unify --------------------------------------------------------------------------------------------
    def unify(self, first: Axis, second: Axis) -> None:
        """The two axes are indexed by the same thing.

        Two atoms become one, and an atom that meets a product or a sum becomes that product or sum. Two products
        (or sums) are walked from the left, and the larger part is divided: (4 3) = (2 6) makes both (2 2 3). An axis
        that is another one in another order makes that one this one in the reverse order; one that meets itself in
        another order ties units, see `_tie`.

        Raises:
            ValueError: their sizes differ, which is a mistake of the rule that asks for it.
        """
        self._must_be_open()
        x, y = self._opened(first), self._opened(second)
        if x is y:
            return
        if x.size != y.size:
            raise ValueError(f"cannot unify axes of sizes {x.size} and {y.size}")
        if x.kind == "atom" and y.kind != "atom":
            x, y = y, x
        if y.kind != "atom":
            if self.pinned(x) or self.pinned(y):
                self._share_pins(x, y)
                return
            if "permuted" in (x.kind, y.kind):
                self._turn(x, y)
                return
            if not self._aligned(x, y):
                self._share_pins(x, y, self._conflict())
                return
            x, y = self._opened(x), self._opened(y)
            if x is y:
                return
        elif x.kind == "permuted" and x.parts[0].root() is y:
            self._tie(y, x.order, range(y.size))
            return
        self._link(y, x)

    def _turn(self, x: Axis, y: Axis) -> None:
        """Unifies two structures, one of them a permutation, by turning it round.

        If x is b in some order, then b is y in the reverse order.
        """
        if self._alike(x, y):
            return
        for one, other in ((x, y), (y, x)):
            if one.kind == "permuted" and (base := one.parts[0].root()).kind == "atom":
                if other.kind == "permuted" and other.parts[0].root() is base:
                    self._tie(base, one.order, other.order)
                else:
                    self.unify(base, self.permuted(other, inverse(one.order)))
                return
        self._share_pins(x, y, self._conflict())

    def _alike(self, x: Axis, y: Axis) -> bool:
        """Whether the same units stand at every position of both, those that nothing can remove aside."""
        return self._units(x) == self._units(y)

    def _units(self, axis: Axis) -> list[tuple[tuple[int, int], ...]]:
        """The units at every position, of atoms that are not pinned."""
        node = self._opened(axis)
        if node.kind == "atom":
            return [() if node.pins else ((id(node), unit),) for unit in range(node.size)]
        parts = list(map(self._units, node.parts))
        if node.kind == "permuted":
            return [parts[0][place] for place in node.order]
        if node.kind == "sum":
            return [units for part in parts for units in part]
        return [tuple(chain(*units)) for units in product(*parts)]

    def _tie(self, atom: Axis, one: Sequence[int], other: Sequence[int]) -> None:
        """Units ``one[p]`` and ``other[p]`` of an atom are the same for every p: cycles of units go or stay as one.

        All cycles of a length make the factor of a product; the place within a cycle is pinned.
        """
        parts, places = [], list[int]()
        for cycles in cycles_by_length(one, other):
            within, count = self.atom(len(cycles[0])), self.atom(len(cycles))
            self.pin(within, self._conflict())
            self.ties.append((count, within))
            parts.append(self.product((within, count)))
            places += [cycle[step] for step in range(within.size) for cycle in cycles]
        self._link(atom, self.permuted(self.sum(parts), inverse(places)).root())

    def _share_pins(self, x: Axis, y: Axis, *more: Hashable) -> None:
        """Two structures of which one cannot change: the other cannot either, however it is cut."""
        for reason in dict.fromkeys([*self._reasons(x), *self._reasons(y), *more]):
            self.pin(x, reason)
            self.pin(y, reason)

    def _reasons(self, axis: Axis) -> Iterable[Hashable]:
        node = axis.root()
        yield from node.pins
        for part in node.parts:
            yield from self._reasons(part)

    def _aligned(self, x: Axis, y: Axis) -> bool:
        """Aligns two structures; false where an axis is in the way that is not to be divided."""
        outer, self._aligning = self._aligning, True
        try:
            self._align(x, y)
        except Undivided:
            return False
        finally:
            self._aligning = outer
        return True

    def _align(self, x: Axis, y: Axis) -> None:
        left, right = self.segments(x), self.segments(y)
        if len(left) == 1 and len(right) == 1:
            self._walk(self._factors(x), self._factors(y), self.split)
        else:
            self._walk(left, right, self.cut)

    def _walk(self, left: list[Axis], right: list[Axis], divide: Callable[[Axis, int], _Pair]) -> None:
        """Unifies two lists from their beginning; of two unequal axes the larger is divided first."""
        left.reverse()
        right.reverse()
        while left:
            a, b = left.pop(), right.pop()
            if divide == self.split and a.size % b.size and b.size % a.size:
                self._set_aside(a, b, left, right)
                continue
            if a.size > b.size:
                a, rest = divide(a, b.size)
                left.append(rest)
            elif b.size > a.size:
                b, rest = divide(b, a.size)
                right.append(rest)
            self.unify(a, b)

    def _set_aside(self, a: Axis, b: Axis, left: list[Axis], right: list[Axis]) -> None:
        """Neither size divides the other: the shortest runs of factors over the same positions must wait."""
        runs = [a], [b]
        sizes = [a.size, b.size]
        while sizes[0] != sizes[1]:
            side = int(sizes[1] < sizes[0])
            part = (left, right)[side].pop()
            runs[side].append(part)
            sizes[side] *= part.size
        self._waiting.append((self.product(runs[0]), self.product(runs[1]), self._conflict()))

    # -- solving ------------------------------------------------------------------------------------------
    def settle(self) -> None:
        """Aligns again what had to wait, for later equations may have split it; what does not align is pinned."""
        before: list[list[Axis]] = []
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            factors = [self._factors(axis) for pair in waiting for axis in pair[:2]]
            for place, (one, other, reason) in enumerate(waiting):
                if factors == before or self.pinned(one) or self.pinned(other):
                    self._share_pins(one, other, reason)
                else:
                    self._walk(factors[2 * place][:], factors[2 * place + 1][:], self.split)
            before = factors

    def solve(self, axis: Axis) -> Term:
        """The frozen term of ``axis``. The first call closes the equations: nothing can be added to them after it."""
        if not self._closed:
            self._close()
        node = self._opened(axis)
        if node not in self._solved:
            if node.kind == "atom":
                self._solved[node] = Atom(next(self._numbers), node.size, tuple(node.pins))
            else:
                parts = list(map(self.solve, node.parts))
                if node.kind == "permuted":
                    self._solved[node] = permuted_term(parts, node.order)
                else:
                    self._solved[node] = product_term(parts) if node.kind == "product" else sum_term(parts)
        return self._solved[node]

    def _close(self) -> None:
        """Pins that an atom had before it became a structure go down to the atoms it is made of."""
        self.settle()
        for structure in reversed(self._pinned_structures):
            for atom in list(self.atoms(structure)):
                atom.pins = {**structure.root().pins, **atom.pins}
        self._closed = True
