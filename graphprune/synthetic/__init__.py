"""A program → inputs that are made for it, to look at units and to repair with where a user has no data."""

from graphprune.synthetic.made import Made, make_inputs
from graphprune.synthetic.sentences import SENTENCES

__all__ = ["SENTENCES", "Made", "make_inputs"]
