"""Coupled groups of small models against golden texts."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest
import torch
from group_models import MODELS

import graphprune as gp
from graphprune.axes.call import Reason
from graphprune.axes.terms import atoms

GOLDEN = Path(__file__).parent / "golden"

every_model = pytest.mark.parametrize("name", MODELS)


@lru_cache(None)
def traced(name: str) -> gp.DependencyGraph:
    torch.manual_seed(0)
    model, inputs = MODELS[name]
    return gp.trace(model(), inputs, strict=True)


def text(graph: gp.DependencyGraph) -> str:
    """Every group with its members."""
    lines = []
    for group in graph.groups:
        fibre = f", chosen for each of {group.fibre.size}" if group.fibre else ""
        lines.append(f"{group.name} of {group.size}{fibre}")
        lines += [f"    {member.tensor}[{member.dim}] {member.role}" for member in group.members]
    return "\n".join(lines) + "\n"


@every_model
def test_groups_are_as_expected(name: str) -> None:
    golden = GOLDEN / f"{name.replace(' ', '_')}.txt"
    assert text(traced(name)) == golden.read_text()


def test_every_golden_text_has_its_model() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == {name.replace(" ", "_") for name in MODELS}


@every_model
def test_half_of_every_group_can_be_removed(name: str) -> None:
    """The whole way: random weights, masked original and slim model agree."""
    result = gp.shrink(traced(name), ratio=0.5, importance="random")
    assert result.verdict.passed
    assert result.after.params < result.before.params
    kept = {group.name: result.plan.groups[group.name].shape[-1] for group in traced(name).groups}
    assert all(size == int(traced(name).by_name[group].size / 2 + 0.5) for group, size in kept.items())


@every_model
def test_groups_hold_together(name: str) -> None:
    """Sizes, members and fibres of every group are what the terms say."""
    graph = traced(name)
    for group in graph.groups:
        assert group.size == group.atom.size > 1
        assert not group.atom.pins
        assert group.members
        for member in group.members:
            assert group.atom in set(atoms(graph.tensor_terms[member.tensor][member.dim]))
            assert member.role in ("produces", "carries", "consumes")
            assert member.layer == member.tensor.rpartition(".")[0]
        if group.fibre is not None:
            assert all(group.fibre in set(atoms(graph.tensor_terms[m.tensor][m.dim])) for m in group.members)


@pytest.mark.parametrize(
    ("name", "tensor", "dim", "expected"),
    [
        ("residual", "stem.weight", 1, "an input of the model (at x)"),
        ("residual", "stem.weight", 2, "a window slides along this dimension (at stem)"),
        ("residual", "head.weight", 0, "an output of the model (at head)"),
        ("tied embedding", "embed.weight", 0, "rows are looked up by index (at embed)"),
        ("window attention", "table", 0, "indexed by data (at index)"),
        ("fused attention", "qkv.weight", 0, "each position is taken apart (at unbind)"),
    ],
)
def test_pins_have_reasons(name: str, tensor: str, dim: int, expected: str) -> None:
    term = traced(name).tensor_terms[tensor][dim]
    reasons = [reason for atom in atoms(term) for reason in atom.pins]
    assert all(isinstance(reason, Reason) for reason in reasons)
    assert expected in map(str, reasons)
