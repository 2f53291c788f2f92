"""The axis algebra: atoms, products and sums, and the two operations on them, *unify* and *pin*.

Every dimension of every tensor is indexed by an axis. An axis is an atom (a named size), a product of axes
(outer to inner, einops' ``(h d)``) or a sum, the concatenation of axes (``a + b``). While equations are
collected an axis is a mutable `Axis` node in a union-find forest; afterwards `Equations.solve` returns frozen
`Atom`, `Product` and `Sum` terms. Nothing here knows about tensors or torch.

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

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from itertools import count
from math import prod

from graphprune.axes.forest import Axis, Undivided
from graphprune.axes.terms import Atom, Term, product_term, sum_term

__all__ = ["Axis", "Equations"]

_Pair = tuple[Axis, Axis]


class Equations:
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
        self._conflict = conflict
        self._undivided = undivided
        self._aligning = False
        self._waiting: list[tuple[Axis, Axis, Hashable]] = []
        self._solved: dict[Axis, Term] = {}
        self._pinned_structures: list[Axis] = []
        self._numbers = count()
        self._closed = False

    # -- building -----------------------------------------------------------------------------------------
    def atom(self, size: int) -> Axis:
        """A new axis of ``size`` about which nothing is known."""
        return Axis(size)

    def product(self, parts: Iterable[Axis]) -> Axis:
        """The axis whose index runs over ``parts``, outer to inner. Parts of size 1 carry nothing."""
        kept = tuple(part for part in parts if part.size != 1)
        if len(kept) == 1:
            return kept[0]
        return Axis(prod(part.size for part in kept), "product", kept) if kept else Axis(1)

    def sum(self, parts: Iterable[Axis]) -> Axis:
        """The concatenation of ``parts``. Empty parts carry nothing."""
        kept = tuple(part for part in parts if part.size != 0)
        if len(kept) == 1:
            return kept[0]
        return Axis(sum(part.size for part in kept), "sum", kept) if kept else Axis(0)

    def pin(self, axis: Axis, reason: Hashable) -> None:
        """Nothing on ``axis`` may be removed, because of ``reason``: every atom of it is given the reason."""
        self._must_be_open()
        for atom in self.atoms(axis):
            atom.pins[reason] = None

    def atoms(self, axis: Axis) -> Iterator[Axis]:
        """The atoms that ``axis`` is made of at present, in order; one that stands twice comes twice."""
        node = axis.root()
        if node.kind == "atom":
            yield node
        for part in node.parts:
            yield from self.atoms(part)

    def pinned(self, axis: Axis) -> bool:
        """Whether every position of ``axis`` is known to be pinned."""
        node = axis.root()
        return bool(node.pins) or (bool(node.parts) and all(self.pinned(part) for part in node.parts))

    # -- unify --------------------------------------------------------------------------------------------
    def unify(self, first: Axis, second: Axis) -> None:
        """The two axes are indexed by the same thing.

        Two atoms become one, and an atom that meets a product or a sum becomes that product or sum. Two products
        (or sums) are walked from the left, and the larger part is divided: (4 3) = (2 6) makes both (2 2 3).

        Raises:
            ValueError: their sizes differ, which is a mistake of the rule that asks for it.
        """
        self._must_be_open()
        x, y = first.root(), second.root()
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
            if not self._aligned(x, y):
                self._share_pins(x, y, self._conflict())
                return
            x, y = x.root(), y.root()
            if x is y:
                return
        y.link = x
        x.pins.update(y.pins)
        self._note_pins(x)

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

    # -- structure ----------------------------------------------------------------------------------------
    def segments(self, axis: Axis) -> list[Axis]:
        """``axis`` as a concatenation: the parts of a sum; ((a + b) c) counts as (a c) + (b c)."""
        node = axis.root()
        if node.kind == "sum":
            return [piece for part in node.parts for piece in self.segments(part)]
        if node.kind == "product":
            outer, *inner = self._factors(node)
            pieces = self.segments(outer)
            if len(pieces) > 1:
                rest = self.product(inner)
                joined = (self.product((piece, rest)) for piece in pieces)
                return [segment for piece in joined for segment in self.segments(piece)]
        return [node]

    def _factors(self, axis: Axis) -> list[Axis]:
        node = axis.root()
        if node.kind != "product":
            return [node]
        return [factor for part in node.parts for factor in self._factors(part) if factor.size != 1]

    def cut(self, axis: Axis, offset: int) -> tuple[Axis, Axis]:
        """``axis`` as ``first + second`` with ``first`` of size ``offset``; atoms split where the cut falls.

        >>> equations = Equations()
        >>> k, two = equations.atom(3), equations.atom(2)
        >>> first, second = equations.cut(equations.product((k, two)), 3)
        >>> print(equations.solve(first), "|", equations.solve(second))
        a0:1 + a1:1 + a0:1 | a1:1 + a0:1 + a1:1
        """
        node = axis.root()
        if offset in (0, node.size):
            empty = self.atom(0)
            return (node, empty) if offset else (empty, node)
        if node.kind == "atom":
            return self._divide(node, "sum", (self.atom(offset), self.atom(node.size - offset)))
        if node.kind == "sum":
            return self._cut_sum(node, offset)
        return self._cut_product(node, offset)

    def _cut_sum(self, node: Axis, offset: int) -> tuple[Axis, Axis]:
        first: list[Axis] = []
        second: list[Axis] = []
        for part in node.parts:
            here = min(max(offset, 0), part.size)
            before, after = self.cut(part, here)
            first.append(before)
            second.append(after)
            offset -= part.size
        return self.sum(first), self.sum(second)

    def _cut_product(self, node: Axis, offset: int) -> tuple[Axis, Axis]:
        """Inside a product the cut falls between rows of the outer factor, or within one of its rows."""
        outer, *inner = self._factors(node)
        rest = self.product(inner)
        row, within = divmod(offset, rest.size)
        before, after = self.cut(outer, row)
        if not within:
            return self.product((before, rest)), self.product((after, rest))
        _, after = self.cut(after, 1)
        rest_before, rest_after = self.cut(rest, within)
        head, tail = (self.product((rows, rest)) if rows.size else rows for rows in (before, after))
        return self.sum((head, rest_before)), self.sum((rest_after, tail))

    def split(self, axis: Axis, outer_size: int) -> tuple[Axis, Axis]:
        """``axis`` (an atom or a sum) as the product ``(outer inner)`` with ``outer`` of ``outer_size``."""
        node = axis.root()
        inner = self.atom(node.size // outer_size)
        outer = self.atom(outer_size) if node.kind == "atom" else self._split_segments(node, inner)
        return self._divide(node, "product", (outer, inner))

    def _divide(self, node: Axis, kind: str, parts: _Pair) -> _Pair:
        """Makes ``node``, which every equation goes on to know, a structure of ``parts``."""
        self._must_be_open()
        if self._aligning and node.size in self._undivided:
            raise Undivided
        node.kind, node.parts = kind, parts
        self._note_pins(node)
        return parts

    def _split_segments(self, node: Axis, inner: Axis) -> Axis:
        """Rows of ``inner.size`` taken from a sum: whole multiples inside a segment, or one row over several."""
        rows: list[Axis] = []
        rest = node
        while rest.size:
            count = max(self.segments(rest)[0].size // inner.size, 1)
            body, rest = self.cut(rest, count * inner.size)
            rows.append(self.atom(count))
            self.unify(body, self.product((rows[-1], inner)))
        return self.sum(rows)

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
        node = axis.root()
        if node not in self._solved:
            if node.kind == "atom":
                self._solved[node] = Atom(next(self._numbers), node.size, tuple(node.pins))
            else:
                parts = list(map(self.solve, node.parts))
                self._solved[node] = product_term(parts) if node.kind == "product" else sum_term(parts)
        return self._solved[node]

    def _close(self) -> None:
        """Pins that an atom had before it became a structure go down to the atoms it is made of."""
        self.settle()
        for structure in reversed(self._pinned_structures):
            for atom in list(self.atoms(structure)):
                atom.pins = {**structure.root().pins, **atom.pins}
        self._closed = True

    def _note_pins(self, node: Axis) -> None:
        if node.pins and node.kind != "atom":
            self._pinned_structures.append(node)

    def _must_be_open(self) -> None:
        if self._closed:
            raise RuntimeError("an equation after the first was solved: add all of them before")
