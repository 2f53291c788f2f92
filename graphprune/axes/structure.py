"""Axes and their structure: atoms, products, sums and permutations, and how they are cut and split."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from math import prod

from graphprune.axes.forest import Axis, Undivided
from graphprune.axes.orders import inverse, is_identity, orders_of_factors, orders_of_segments

__all__ = ["Structures"]

_Pair = tuple[Axis, Axis]


class Structures:
    """Makes axes and takes them apart. What is said of two axes together is in `graphprune.axes.algebra.Equations`."""

    def __init__(self, conflict: Callable[[], Hashable], undivided: Collection[int]) -> None:
        self._conflict = conflict
        self._undivided = undivided
        self._aligning = False
        self._pinned_structures: list[Axis] = []
        self._closed = False

    def unify(self, first: Axis, second: Axis) -> None:
        """The two axes are indexed by the same thing."""
        raise NotImplementedError

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

    def permuted(self, axis: Axis, order: Sequence[int]) -> Axis:
        """The axis whose position p is position ``order[p]`` of ``axis``; ``order`` has every position once.

        What stays together is permuted as a whole: (a + b) the other way round is b + a, each in its own order.
        """
        node = self._opened(axis)
        if is_identity(order) or self.pinned(node):
            return node
        if node.kind == "permuted":
            return self.permuted(node.parts[0], [node.order[place] for place in order])
        return self._distributed(node, order) or Axis(node.size, "permuted", (node,), tuple(order))

    def _distributed(self, node: Axis, order: Sequence[int]) -> Axis | None:
        """A permutation of a structure that permutes its parts; None if it mixes their positions."""
        if node.kind == "sum":
            segments = self.segments(node)
            runs = orders_of_segments([part.size for part in segments], order)
            return self.sum([self.permuted(segments[place], own) for place, own in runs]) if runs else None
        if node.kind == "product":
            factors = self._factors(node)
            orders = orders_of_factors([part.size for part in factors], order)
            return self.product(map(self.permuted, factors, orders)) if orders else None
        return None

    def _opened(self, axis: Axis) -> Axis:
        """The root of ``axis``, a permutation in its simplest form: what it permutes may have become a structure."""
        node = axis.root()
        while node.kind == "permuted":
            base = self._opened(node.parts[0])
            if base.kind == "permuted":
                node.order, node.parts = tuple(base.order[place] for place in node.order), base.parts
                continue
            same = is_identity(node.order) or self.pinned(base)  # of what is pinned the order does not matter
            simpler = base if same else self._distributed(base, node.order)
            if simpler is None:
                return node
            self._link(node, simpler.root())
            node = node.root()
        return node

    def _link(self, node: Axis, other: Axis) -> None:
        """``node`` is from now on ``other``, the root of another structure."""
        node.link = other
        other.pins.update(node.pins)
        self._note_pins(other)

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

    # -- structure ----------------------------------------------------------------------------------------
    def segments(self, axis: Axis) -> list[Axis]:
        """``axis`` as a concatenation: the parts of a sum; ((a + b) c) counts as (a c) + (b c)."""
        node = self._opened(axis)
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
        node = self._opened(axis)
        if node.kind != "product":
            return [node]
        return [factor for part in node.parts for factor in self._factors(part) if factor.size != 1]

    def cut(self, axis: Axis, offset: int) -> tuple[Axis, Axis]:
        """``axis`` as ``first + second`` with ``first`` of size ``offset``; atoms split where the cut falls.

        >>> from graphprune.axes.algebra import Equations
        >>> equations = Equations()
        >>> k, two = equations.atom(3), equations.atom(2)
        >>> first, second = equations.cut(equations.product((k, two)), 3)
        >>> print(equations.solve(first), "|", equations.solve(second))
        a0:1 + a1:1 + a0:1 | a1:1 + a0:1 + a1:1
        """
        node = self._opened(axis)
        if offset in (0, node.size):
            empty = self.atom(0)
            return (node, empty) if offset else (empty, node)
        if node.kind in ("atom", "permuted"):
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
        """``axis`` as the product ``(outer inner)`` with ``outer`` of ``outer_size``."""
        node = self._opened(axis)
        if node.kind == "product":
            return self._regrouped(node, outer_size)
        inner = self.atom(node.size // outer_size)
        outer = self._split_segments(node, inner) if node.kind == "sum" else self.atom(outer_size)
        return self._divide(node, "product", (outer, inner))

    def _regrouped(self, node: Axis, outer_size: int) -> _Pair:
        """The factors of a product as two products; the one in which the border falls is split.

        Where the border falls across a factor, as in (4 3) with an outer part of 6, nothing may be removed.
        """
        outer, inner, left = list[Axis](), self._factors(node), outer_size
        while left > 1:
            factor, *inner = inner
            if factor.size > left and factor.size % left == 0:
                factor, rest = self.split(factor, left)
                inner.insert(0, rest)
            if left % factor.size:
                parts = self.atom(outer_size), self.atom(node.size // outer_size)
                for axis in (node, *parts):
                    self.pin(axis, self._conflict())
                return parts
            outer.append(factor)
            left //= factor.size
        return self.product(outer), self.product(inner)

    def _divide(self, node: Axis, kind: str, parts: _Pair) -> _Pair:
        """Makes ``node``, which every equation goes on to know, a structure of ``parts``.

        What it was a permutation of is then one of it, in the reverse order.
        """
        self._must_be_open()
        if self._aligning and node.size in self._undivided:
            raise Undivided
        before, order = node.parts, inverse(node.order)
        if node.kind == "permuted" and before[0].root().kind != "atom":
            for axis in (node, *parts):
                self.pin(axis, self._conflict())
            return parts
        permuted, node.kind, node.parts, node.order = node.kind == "permuted", kind, parts, ()
        self._note_pins(node)
        if permuted:
            self._link(before[0].root(), Axis(node.size, "permuted", (node,), order))
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

    def _note_pins(self, node: Axis) -> None:
        if node.pins and node.kind != "atom":
            self._pinned_structures.append(node)

    def _must_be_open(self) -> None:
        if self._closed:
            raise RuntimeError("an equation after the first was solved: add all of them before")
