"""The option ``dynamic``: how it is written, what is refused, and what a plan records of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.asking.record import as_call, as_options
from graphprune.asking.request import Request
from graphprune.asking.toml import spelled
from graphprune.capture.asked import given_names, is_as_asked
from graphprune.capture.dimensions import Dimension
from graphprune.ground.dynamic import AUTO, dynamic_text, read_dynamic

BOTH = {"x": {2: "height", 3: "width"}}


class Net(nn.Module):
    """Sums over height and width, so that any size would do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).relu().mean((2, 3)))


X = torch.randn(2, 3, 6, 8)


@pytest.fixture(scope="module")
def model() -> Net:
    torch.manual_seed(0)
    return Net().eval()


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("auto", AUTO),
        ({}, AUTO),
        ("none", False),
        (False, False),
        ("x:2=height,x:3=width", BOTH),
        (" x:2=height , x:3=width ", BOTH),
        (BOTH, BOTH),
        ("past.0:-1=length", {"past.0": {-1: "length"}}),
        ({"x": {}}, AUTO),
    ],
)
def test_ways_to_write_it(given: Any, read: Any) -> None:
    assert read_dynamic(given) == read
    assert read_dynamic(dynamic_text(read)) == read
    assert Request(macs=0.5, dynamic=given).dynamic == read


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("x:2", r"'x:2' is not INPUT:DIM=NAME — write it as x:2=height, or give auto, or none"),
        ("auto,x:2=height", "'auto' is not INPUT:DIM=NAME"),
        ("x=height", "'x=height' is not INPUT:DIM=NAME"),
        ("x:two=height", "'x:two=height' is not INPUT:DIM=NAME"),
        ("", "'' is not INPUT:DIM=NAME"),
        ("x:2=2nd", r"x\[2\] '2nd', which is no name — use one such as height"),
        ("x:2=in", r"x\[2\] 'in', which is no name"),
        ("x:2=height,x:2=width", r"x\[2\] both height and width — give each dimension one name"),
        (True, r"dynamic=True says no sizes — give 'auto', False, or names"),
        (["x"], "says no sizes"),
        ({"x": "height"}, r"dynamic\['x'\] is 'height' — give names by dimension"),
        ({"x": {"2": "height"}}, "dimension '2' of x — number dimensions from 0"),
        ({"x": {2: 3}}, r"x\[2\] 3, which is no name"),
    ],
)
def test_what_is_refused_before_any_work(given: Any, message: str) -> None:
    with pytest.raises(gp.InputError, match=message):
        Request(macs=0.5, dynamic=given)


def _dimensions(**shapes: tuple[int, ...]) -> list[Dimension]:
    tensors = enumerate(shapes.items())
    return [
        Dimension(name.replace("_", "."), place, dim, size)
        for place, (name, shape) in tensors
        for dim, size in enumerate(shape)
    ]


CACHED = _dimensions(x=(1, 5), past_0=(1, 4, 7), past_1=(1, 4, 7))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("auto", {}),
        ("x:1=sequence", {(0, 1): "sequence"}),
        ("x:-1=sequence", {(0, 1): "sequence"}),
        ("past.*:2=past", {(1, 2): "past", (2, 2): "past"}),
        ("past.1:2=past,x:0=batch", {(2, 2): "past", (0, 0): "batch"}),
    ],
)
def test_names_are_found_among_the_inputs(given: str, named: dict[tuple[int, int], str]) -> None:
    assert given_names(read_dynamic(given), CACHED) == named


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("y:1=length", r"'y', which is no input tensor — there are x, past\.0, past\.1"),
        ("z*:1=length", r"'z\*', which is no input tensor"),
        ("past:2=past", r"'past', which holds the tensors past\.0, past\.1 — .* all by 'past\.\*'"),
        ("x:2=width", "dimension 2 of x, which has 2 — give 0 to 1"),
        ("x:-3=width", "dimension -3 of x, which has 2"),
        ("x:1=length,x:-1=width", r"calls x\[1\] both length and width"),
        ("x:1=n,past.0:2=n", r"both x\[1\] and past\.0\[2\] n, but they are 5 and 7 — give different sizes"),
    ],
)
def test_names_that_fit_no_input(given: str, message: str) -> None:
    with pytest.raises(gp.InputError, match=message):
        given_names(read_dynamic(given), CACHED)


@pytest.mark.parametrize("verb", ["trace", "plan", "shrink"])
def test_every_verb_refuses_an_input_that_there_is_not(model: Net, verb: str) -> None:
    more = {} if verb == "trace" else {"macs": 0.5}
    with pytest.raises(gp.InputError, match="'y', which is no input tensor — there are x"):
        getattr(gp, verb)(model, X, dynamic="y:2=height", **more)


def test_false_keeps_the_sizes_of_the_example(model: Net) -> None:
    program = gp.trace(model, X, dynamic=False).program
    assert program.sizes == {}
    assert program.notes == ()
    assert program.batch_primes == ()
    assert "batch" in gp.trace(model, X).program.sizes


def test_the_plan_records_what_is_not_the_default(model: Net) -> None:
    fixed, default = (gp.shrink(model, X, ratio=0.5, align=1, dynamic=given).plan for given in (False, AUTO))
    assert fixed.request["dynamic"] == "none"
    assert "dynamic" not in default.request
    assert gp.shrink(model, X, lossless=True, dynamic=False).plan.request["dynamic"] == "none"


def test_a_record_can_be_given_again() -> None:
    record = json.loads(json.dumps({"budget": {"macs": 0.5}, "dynamic": dynamic_text(BOTH), "seed": 0}))
    options = as_options(record)
    assert Request(**options).dynamic == BOTH
    assert "dynamic='x:2=height,x:3=width'" in as_call(record)
    assert spelled(options)["dynamic"] == ["x:2=height,x:3=width"]


def test_a_replay_fixes_what_the_plan_had_fixed(model: Net) -> None:
    plan = gp.plan(model, X, ratio=0.5, align=1, dynamic=False).plan
    again = gp.Plan.from_json(plan.to_json())
    assert gp.shrink(model, X, plan=again).graph.program.sizes == {}
    assert Request(plan=again, dynamic="x:2=height").wanted_dynamic == {"x": {2: "height"}}


def test_a_graph_has_its_sizes_already(model: Net) -> None:
    graph, fixed = gp.trace(model, X), gp.trace(model, X, dynamic=False)
    with pytest.raises(gp.InputError, match="traced already — give it to trace"):
        gp.shrink(graph, ratio=0.5, dynamic=False)
    assert gp.plan(fixed, ratio=0.5, align=1, dynamic=False).plan.groups


def test_a_graph_that_has_the_names_is_as_asked() -> None:
    named = [Dimension("x", 0, 0, 2, "batch"), Dimension("x", 0, 1, 3), Dimension("x", 0, 2, 6, "height")]
    assert is_as_asked({"x": {2: "height"}}, named)
    assert is_as_asked(AUTO, named)
    assert not is_as_asked({"x": {2: "length"}}, named)
    assert not is_as_asked({"x": {1: "channels"}}, named)
    assert not is_as_asked(False, named)
