"""A request: options are declared once, checked before any work, and written as they can be read again."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy
import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.asking.options import Options
from graphprune.asking.request import Request
from graphprune.ground.options import declarations
from graphprune.planning import COSTS, RANKINGS
from graphprune.scoring import CRITERIA
from graphprune.scoring.measures import AGGREGATES, NORMALISERS


@pytest.fixture(scope="module")
def graph() -> gp.DependencyGraph:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
    return gp.trace(model, torch.randn(2, 12))


def test_the_verbs_take_what_is_declared_and_say_what_it_means() -> None:
    for verb in (gp.shrink, gp.plan):
        parameters = inspect.signature(verb).parameters
        assert list(parameters)[:2] == ["model", "example_inputs"]
        for name, default, option in declarations(Options):
            assert parameters[name].default == default
            assert f"{name}: {option.help}" in " ".join((verb.__doc__ or "").split())


@pytest.mark.parametrize("kept", [0.7, "70%", "0.7"])
def test_what_is_kept_is_what_is_not_removed(graph: gp.DependencyGraph, kept: Any) -> None:
    by_keep, by_ratio = (
        gp.plan(graph, fast=True, **asked).plan for asked in ({"keep": kept}, {"ratio": 0.3})
    )
    assert by_keep.to_json() == by_ratio.to_json()
    with pytest.raises(gp.InputError, match="layers to leave alone for protect"):
        gp.plan(graph, keep=("0",))


def test_an_option_that_does_not_exist_is_named(graph: gp.DependencyGraph) -> None:
    with pytest.raises(gp.InputError, match="there is no option 'marcs' — did you mean macs"):
        gp.shrink(graph, marcs=0.5)


@pytest.mark.parametrize(
    ("number", "percent"),
    [
        ({"macs": 0.5}, {"macs": "50%"}),
        ({"ratio": 0.25}, {"ratio": " 25 %"}),
        ({"params": 0.6, "max_ratio": 0.55}, {"params": "60%", "max_ratio": "55%"}),
        ({"macs": 0.7, "ratios": {"0": 0.125}}, {"macs": "0.7", "ratios": {"0": "12.5%"}}),
    ],
)
def test_shares_may_be_percentages(
    graph: gp.DependencyGraph, number: dict[str, Any], percent: dict[str, Any]
) -> None:
    one, other = gp.plan(graph, **number).plan, gp.plan(graph, **percent).plan
    assert one.to_json() == other.to_json()


def test_one_pattern_may_stand_alone(graph: gp.DependencyGraph) -> None:
    one, other = (gp.plan(graph, macs=0.7, protect=given).plan for given in ("0", ["0"]))
    assert one.to_json() == other.to_json()


@pytest.mark.parametrize("given", ["half", "5%%", "%", None, [0.5]])
def test_what_is_no_share_is_refused(graph: gp.DependencyGraph, given: Any) -> None:
    with pytest.raises(gp.InputError, match=r"is no share — write it as 0\.5 or 50%"):
        gp.plan(graph, macs=0.5, max_ratio=given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1e23}, "seed=-1e+23 is not a whole number"),
        ({"seed": 2**70}, f"seed={2**70} is out of range — it lies between 0 and 2147483648"),
        ({"seed": "1"}, "seed='1' is not a whole number"),
        ({"align": 99_999_999_999_999_999_999}, "align=99999999999999999999 is out of range"),
        ({"align": "9e3"}, "align='9e3' is no number"),
        ({"align": 8.5}, "align=8.5 is not a positive whole number"),
        ({"min_keep": True}, "min_keep=True is not a positive whole number"),
        ({"min_keep": 2**40}, f"min_keep={2**40} is out of range"),
        ({"trials": 1.5}, "trials=1.5 is not a whole number"),
        ({"threads": 0}, "threads=0 is not a positive whole number — give threads=1 or more"),
        ({"threads": 10**6}, "threads=1000000 is out of range — it lies between 1 and 1024"),
        ({"batch": None}, "batch=None is not a positive whole number"),
        ({"rounds": 10**9}, "rounds=1000000000 is out of range"),
        ({"max_ratio": float("nan")}, "max_ratio=nan is out of range"),
        ({"macs": 10**400}, f"macs={10**400} is not understood"),
        ({"macs": "1" + "0" * 400 + "M"}, "macs=inf is out of range"),
    ],
)
def test_numbers_that_are_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(gp.InputError, match=f"^{re.escape(message)}"):
        Request(**{"macs": 0.5, **options})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 2.5}, "epochs=2.5 is not a positive whole number"),
        ({"epochs": "3"}, "epochs='3' is not a positive whole number"),
        ({"steps": 10**30}, f"steps={10**30} is out of range"),
        ({"lr": float("inf")}, "lr=inf is out of range"),
        ({"lr": "fast"}, "lr='fast' is not a number"),
        ({"clip": float("nan")}, "clip=nan is out of range"),
        ({"seed": -1}, "seed=-1 is not a whole number"),
        ({"patience": -1}, "patience=-1 is not a whole number"),
        ({"warmup": 2}, "warmup=2 is out of range"),
    ],
)
def test_settings_that_are_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(gp.InputError, match=f"^{re.escape(message)}"):
        gp.Tuning(**settings)


def test_numbers_of_numpy_are_numbers() -> None:
    request = Request(macs=numpy.float32(0.5), seed=numpy.int64(3), min_keep=numpy.int32(2))
    assert type(request.seed) is type(request.constraints.min_keep) is int
    assert (request.seed, request.constraints.min_keep) == (3, 2)


def test_rounds_of_a_loop_are_counted(graph: gp.DependencyGraph) -> None:
    for rounds, said in ((0, "rounds=0 is not a positive"), ("2", "rounds='2' is not a positive")):
        with pytest.raises(gp.InputError, match=said):
            gp.shrink_and_tune(graph, None, [torch.zeros(2, 12)], rounds=rounds, macs=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plan": gp.Plan({}, {}, ""), "not_slower": True}, "not_slower has no effect on plan"),
        ({"macs": 0.5, "align": 8, "not_slower": True}, "align=8 says which"),
        ({"latency": 0.5, "not_slower": True}, "latency says how slow"),
        ({"macs": 0.5, "outputs": "logits"}, "outputs='logits' is a text"),
        ({"lossless": True, "repair": True, "calibration": [1]}, "leaves nothing to repair"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(gp.InputError, match=message) as caught:
        Request(**options)
    assert caught.value.remedy


def test_the_proposal_is_of_a_plan_that_is_made(graph: gp.DependencyGraph) -> None:
    with pytest.raises(gp.InputError, match="lossless stands for one"):
        gp.plan(graph, lossless=True)


def test_public_names_alone_are_offered() -> None:
    assert dir(gp) == sorted(gp.__all__)


def test_help_names_everything_that_may_be_chosen() -> None:
    said = {name: re.findall(r"\w+", option.help) for name, _, option in declarations(Options)}
    assert set(CRITERIA) | set(AGGREGATES) | set(NORMALISERS) <= set(said["importance"])
    assert set(RANKINGS) <= set(said["ranking"])
    assert {"linear", "geometric"} <= set(said["schedule"])
    assert set(COSTS) <= set(said["macs"])
