"""Plan → slim program: sliced tensors and new literals."""

from graphprune.rewriting.rewrite import rewrite
from graphprune.rewriting.slimmed import slim_graph

__all__ = ["rewrite", "slim_graph"]
