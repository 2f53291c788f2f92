"""A program → inputs that are made for it, to look at units and to repair with where a user has no data."""

from graphprune.synthetic.made import Made, make_inputs

__all__ = ["Made", "make_inputs"]
