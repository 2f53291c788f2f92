"""Budgets of latency with a clock of our own: planned, "measured", corrected, and refused where nothing will do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune import exporting
from graphprune.axes.cost import CostFunction
from graphprune.axes.terms import Atom
from graphprune.exporting import Latency, OnnxFile


@pytest.fixture(scope="module")
def graph() -> gp.DependencyGraph:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 96), nn.ReLU(), nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 10))
    return gp.trace(model, torch.zeros(2, 16))


@dataclass(frozen=True)
class InMilliseconds:
    """Multiply-accumulates, 80 ms for all of them."""

    graph: gp.DependencyGraph

    @property
    def price(self) -> float:
        return 80.0 / self.graph.macs.value({})

    def value(self, sizes: Mapping[Atom, int]) -> float:
        return self.graph.macs.value(sizes) * self.price

    def change(self, sizes: Mapping[Atom, int], to: Mapping[Atom, int]) -> float:
        return self.graph.macs.change(sizes, to) * self.price


class Clocked(gp.Profile):
    """Predicts multiply-accumulates as milliseconds; "measures" some function of the file's real bytes."""

    law: Callable[[float], float]
    measured: int

    @property
    def latency(self) -> CostFunction:  # type: ignore[override]
        return InMilliseconds(self.graph)

    def measure(self, slim: Path, seconds: float = 5.0) -> Latency:
        object.__setattr__(self, "measured", getattr(self, "measured", 0) + 1)
        ratio = self.law(slim.stat().st_size / self.bytes)
        return Latency(80.0, 80.0 * ratio, ratio, 10, (ratio, ratio))


@pytest.fixture(scope="module")
def written(graph: gp.DependencyGraph, tmp_path_factory: pytest.TempPathFactory) -> OnnxFile:
    program = graph.program
    assert program.model is not None
    path = tmp_path_factory.mktemp("original") / "original.onnx"
    return exporting.export_onnx(program, path)


@pytest.fixture
def clocked(graph: gp.DependencyGraph, written: OnnxFile) -> Callable[[Callable[[float], float]], Clocked]:
    """A profile whose measurements follow a law: share of the bytes → share of the time."""

    def make(law: Callable[[float], float]) -> Clocked:
        profile = Clocked(graph, written.path, written.bytes, 1, 1)
        object.__setattr__(profile, "law", law)
        return profile

    return make


LAWS: dict[str, Callable[[float], float]] = {
    "overhead": lambda share: 0.3 + 0.7 * share,
    "steeper": lambda share: share**1.6,
    "slower at first": lambda share: min(1.0, 1.15 * share),
}


@pytest.mark.parametrize(
    ("law", "asked"), [("overhead", 0.75), ("steeper", 0.5), ("slower at first", "40ms")]
)
def test_the_measured_time_is_what_was_asked_for(
    graph: gp.DependencyGraph, clocked: Any, law: str, asked: Any
) -> None:
    profile = clocked(LAWS[law])
    result = gp.shrink(graph, latency=asked, profile=profile)
    measured = result.plan.request["measured"]
    wanted = 0.5 if asked == "40ms" else asked
    assert measured["ratio"] == pytest.approx(wanted, rel=0.05)
    assert measured["trials"] == profile.measured <= 6
    assert result.plan.request["budget"] == {"latency": asked}
    assert result.verdict.passed


def test_out_of_reach_says_what_was_measured(graph: gp.DependencyGraph, clocked: Any) -> None:
    profile = clocked(lambda share: 0.6 + 0.4 * share)
    with pytest.raises(gp.BudgetError) as caught:
        gp.shrink(graph, latency=0.3, profile=profile)
    assert "latency=0.3 cannot be reached: the smallest model with these constraints takes 0.6" in str(
        caught.value
    )
    assert "of 80 ms), measured — ask for latency=0.6" in str(caught.value)


def test_what_cannot_be_predicted_can_still_be_measured(graph: gp.DependencyGraph, clocked: Any) -> None:
    """With these widths a tenth seems out of reach; it is not."""
    profile = clocked(lambda share: share / 3)
    assert gp.plan(graph, macs=0.9, min_keep=24).smallest["macs"] > 0.12 * graph.cost().macs
    result = gp.shrink(graph, latency=0.1, min_keep=24, profile=profile)
    assert result.plan.request["measured"]["ratio"] == pytest.approx(0.1, rel=0.05)


def test_another_budget_may_bind(graph: gp.DependencyGraph, clocked: Any) -> None:
    profile = clocked(lambda share: share)
    result = gp.shrink(graph, latency=0.8, params=0.4, profile=profile)
    assert 0.39 <= result.after.params / result.before.params <= 0.4
    assert "another budget, or the widths there are, leave 0.4" in result.plan.request["measured"]["note"]
    assert profile.measured <= 2


def test_the_real_clock(graph: gp.DependencyGraph, tmp_path: Path) -> None:
    """Everything is real here but the demand: nobody can say how long this machine takes."""
    profile = gp.profile(graph, batch=3)
    assert profile.latency.value({}) > 0
    atoms = {group.atom: 8 for group in graph.groups}
    assert 0 < profile.latency.value(atoms) < profile.latency.value({})
    proposal = gp.plan(graph, latency=0.9, profile=profile)
    assert proposal.after["latency"] <= 0.9 * proposal.before["latency"]
    result = gp.shrink(graph, macs=0.5, batch=3, profile=profile)
    report = result.save(tmp_path / "slim")
    assert (report["latency"]["batch"], report["latency"]["threads"]) == (3, 1)


@pytest.mark.parametrize(("options", "message"), [({"threads": 0}, "threads=0"), ({"batch": -1}, "batch=-1")])
def test_threads_and_batch_are_positive(
    graph: gp.DependencyGraph, options: dict[str, int], message: str
) -> None:
    with pytest.raises(gp.InputError, match=message):
        gp.shrink(graph, latency=0.5, **options)


def test_a_profile_with_other_threads_is_refused(graph: gp.DependencyGraph, clocked: Any) -> None:
    with pytest.raises(gp.InputError, match="threads=2, batch=1 are not those of the profile"):
        gp.plan(graph, latency=0.5, threads=2, profile=clocked(LAWS["overhead"]))
