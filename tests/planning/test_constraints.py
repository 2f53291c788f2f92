"""Alignment, least widths and protected layers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from planning_models import network, transformer

import graphprune as gp
from graphprune.planning import Constraints, find_limits

GRAPHS = {"network": network, "transformer": transformer}


def slim_shapes(graph: gp.DependencyGraph, **request: object) -> dict[str, tuple[tuple[int, int], ...]]:
    """(old, new) size of every dimension of every tensor."""
    plan = gp.shrink(graph, **request).plan
    return {
        name: tuple(
            (term.size, len(plan.kept.get(name, {}).get(dim, range(term.size))))
            for dim, term in enumerate(terms)
        )
        for name, terms in graph.tensor_terms.items()
    }


# -- alignment ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("request_", [{"macs": 0.5}, {"params": 0.4}, {"ratio": 0.5}], ids=str)
@pytest.mark.parametrize("align", [2, 4, 8])
def test_widths_are_multiples_or_as_they_were(name: str, request_: dict[str, float], align: int) -> None:
    shapes = slim_shapes(GRAPHS[name](), align=align, **request_)
    changed = [new for dims in shapes.values() for old, new in dims if new != old]
    assert changed
    assert all(new % align == 0 for new in changed)


@pytest.mark.parametrize("align", [4, 8])
def test_an_aligned_budget_is_met_from_below(align: int) -> None:
    result = gp.shrink(network(), macs=0.5, align=align)
    assert 0.4 <= result.after.macs / result.before.macs <= 0.5


def test_alignment_wider_than_a_group_leaves_it_alone() -> None:
    limits = find_limits(network(), Constraints(align=64))
    assert all(limit.least == limit.size for limit in limits.values() if limit.size <= 64)
    assert any(limit.least < limit.size for limit in limits.values())


@pytest.mark.parametrize(
    ("size", "step", "least", "wanted", "near"),
    [
        (30, 8, 8, 15, 16),
        (30, 8, 8, 11, 8),
        (30, 8, 8, 29, 30),
        (30, 8, 8, 30, 30),
        (30, 8, 8, 1, 8),
        (10, 1, 1, 0.2, 1),
        (10, 1, 4, 2, 4),
        (10, 1, 1, 2.5, 3),
    ],
)
def test_nearest_size(size: int, step: int, least: int, wanted: float, near: int) -> None:
    from graphprune.planning.constraints import Limit

    limit = Limit(size, step, least)
    assert limit.near(wanted) == near
    assert limit.above(size) == size
    assert limit.above(least) == min(least + step, size)


# -- least widths -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("min_keep", [1, 5, 30])
def test_every_group_keeps_its_least(name: str, min_keep: int) -> None:
    graph = GRAPHS[name]()
    plan = gp.shrink(graph, ratio=0.95, min_keep=min_keep).plan
    for group in graph.groups:
        assert plan.groups[group.name].shape[-1] >= min(min_keep, group.size)


# -- protection ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("patterns", "is_protected"),
    [
        (("stem",), lambda name: name.startswith("stem")),
        (("late.0.one",), lambda name: name.startswith("late.0.one")),
        (("early",), lambda name: name.startswith("early.")),
        (("late.*",), lambda name: name.startswith("late.")),
        (
            ("early.?.one", "hidden"),
            lambda name: (name[:5] == "early" and ".one" in name) or "hidden" in name,
        ),
        (("side.weight",), lambda name: name == "side.weight"),
    ],
    ids=["stem", "block", "early", "star", "question", "tensor"],
)
def test_protected_layers_do_not_change(
    patterns: tuple[str, ...], is_protected: Callable[[str], bool]
) -> None:
    shapes = slim_shapes(network(), ratio=0.5, protect=patterns)
    protected = [name for name in shapes if is_protected(name)]
    assert protected
    assert all(old == new for name in protected for old, new in shapes[name])
    assert any(old != new for dims in shapes.values() for old, new in dims)


def test_a_list_of_patterns_will_do() -> None:
    assert gp.shrink(network(), ratio=0.5, protect=["stem"]).verdict.passed


@pytest.mark.parametrize(
    ("pattern", "remedy"), [("stam", "did you mean stem"), ("late.0.tow", "late.0.two"), ("zzz", "inspect")]
)
def test_a_pattern_that_matches_nothing_is_refused(pattern: str, remedy: str) -> None:
    with pytest.raises(gp.InputError, match="matches no layer") as caught:
        find_limits(network(), Constraints(protect=(pattern,)))
    assert pattern in caught.value.message
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    "wrong", [{"align": 0}, {"align": -8}, {"align": 2.5}, {"min_keep": 0}, {"min_keep": "3"}], ids=str
)
def test_constraints_must_be_positive_whole_numbers(wrong: dict[str, object]) -> None:
    with pytest.raises(gp.InputError, match="not a positive whole number"):
        Constraints(**wrong)
