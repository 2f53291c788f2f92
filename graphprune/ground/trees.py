"""A text as a tree, with lines of limited length."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

__all__ = ["Tree", "drawn"]


@dataclass
class Tree:
    """A line, and what stands below it."""

    text: str
    below: list[Tree] = field(default_factory=list)

    def add(self, text: str) -> Tree:
        """Puts a line below, and gives it."""
        self.below.append(Tree(text))
        return self.below[-1]


def drawn(tree: Tree, width: int = 80) -> str:
    """The tree as lines of at most ``width`` letters; a word that is longer stays whole.

    >>> print(drawn(Tree("a", [Tree("b", [Tree("c")]), Tree("d")])))
    a
    ├─ b
    │  └─ c
    └─ d
    """
    return "\n".join([*_wrapped(tree.text, width), *_below(tree.below, width)])


def _below(trees: Sequence[Tree], width: int) -> Iterator[str]:
    for place, tree in enumerate(trees):
        last = place == len(trees) - 1
        first, other = ("└─ ", "   ") if last else ("├─ ", "│  ")
        inner = [*_wrapped(tree.text, width - 3, "│  " if tree.below else "   ")]
        inner += _below(tree.below, width - 3)
        yield from (f"{first if row == 0 else other}{line}" for row, line in enumerate(inner))


def _wrapped(text: str, width: int, further: str = "   ") -> list[str]:
    return textwrap.wrap(
        text, max(width, 20), subsequent_indent=further, break_long_words=False, break_on_hyphens=False
    )
