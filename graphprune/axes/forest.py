"""The nodes of the union-find forest in which equations between axes are collected."""

from __future__ import annotations

from collections.abc import Hashable

__all__ = ["Axis", "Undivided"]


class Undivided(Exception):
    """An axis would have to be divided that is not to be."""


class Axis:
    """One node of the forest: an atom, or the root of a product, a sum or a permutation. Identity is what counts.

    Position p of a permutation is position ``order[p]`` of its only part.
    """

    __slots__ = ("kind", "link", "order", "parts", "pins", "size")

    def __init__(
        self, size: int, kind: str = "atom", parts: tuple[Axis, ...] = (), order: tuple[int, ...] = ()
    ) -> None:
        self.size = size
        self.kind = kind
        self.parts = parts
        self.order = order
        self.link: Axis | None = None
        self.pins: dict[Hashable, None] = {}

    def root(self) -> Axis:
        """The representative of everything unified with this axis."""
        node = self
        while node.link is not None:
            if node.link.link is not None:
                node.link = node.link.link
            node = node.link
        return node
