"""Plan → slim program: sliced tensors and new literals."""

from graphprune.rewriting.rewrite import rewrite

__all__ = ["rewrite"]
