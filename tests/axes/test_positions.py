"""Where the units of an axis stand along a dimension."""

import torch

from graphprune.axes.positions import index_of, occurrences, places, units_at
from graphprune.axes.terms import Atom, product_term, sum_term

A, B, C = Atom(0, 2), Atom(1, 3), Atom(2, 2)
TERM = sum_term([product_term([A, B]), C, B])


def test_units_are_found_at_every_occurrence() -> None:
    assert [units.tolist() for units in occurrences(TERM, B, {})] == [
        [0, 1, 2, 0, 1, 2, -1, -1, -1, -1, -1],
        [-1, -1, -1, -1, -1, -1, -1, -1, 0, 1, 2],
    ]
    assert index_of(TERM, A, {}).tolist() == [0, 0, 0, 1, 1, 1, -1, -1, -1, -1, -1]
    assert places(TERM, B, {}).tolist() == [[0, 3, 8], [1, 4, 9], [2, 5, 10]]
    assert places(C, B, {}).shape == (3, 0)


def test_actual_lengths_stand_in_for_the_captured_ones() -> None:
    assert places(product_term([A, B]), B, {A: 1}).tolist() == [[0], [1], [2]]


def test_units_at_positions() -> None:
    positions = torch.zeros(TERM.size, dtype=torch.bool).index_fill(0, torch.tensor([1, 6]), True)
    found = {atom: units.tolist() for atom, units in units_at(TERM, positions, {}, {B, C})}
    assert found == {B: [False, True, False], C: [True, False]}
