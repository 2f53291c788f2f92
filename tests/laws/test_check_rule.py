"""`graphprune.check_rule`: right rules pass, wrong ones are named with axis and figure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

import graphprune as gp
from graphprune.axes.call import Call
from graphprune.axes.rules.users import USERS

sys.path.insert(0, str(Path(__file__).parents[1] / "axes"))
from cases import TABLES
from draws import Draw


@torch.library.custom_op("laws::scale", mutates_args=())
def scale(x: Tensor, weight: Tensor) -> Tensor:
    return x * weight[:, None]


@torch.library.custom_op("laws::average", mutates_args=())
def average(x: Tensor) -> Tensor:
    return x.mean(1)


@torch.library.custom_op("laws::running", mutates_args=())
def running(x: Tensor) -> Tensor:
    return x.cumsum(1)


@torch.library.custom_op("laws::turned", mutates_args=())
def turned(x: Tensor) -> Tensor:
    return x.flip(1)


X, W = torch.randn(2, 5, 7), torch.randn(5)


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    USERS.clear()


# at capture, squeeze is told its dimensions; the grouped product has no kernel in float64, where laws are tried;
# what is random cannot be compared, and what crashes on operands that do not fit cannot be searched for needless pins
NOT_COMPARABLE = (
    "aten.squeeze.default",
    "aten._grouped_mm.default",
    "aten.fake_quantize_per_channel_affine.default",
)
# of matrices that must stay positive, or symmetric, when every number is multiplied with another one
STRICT = ("cholesky", "logdet", "linalg_ldl", "linalg_eigh", "linalg_eigvalsh")


@pytest.mark.parametrize("family", TABLES)
def test_our_own_rules_pass(family: str) -> None:
    """An error of `check_rule` names the operator, the axis and the figure."""
    for row in TABLES[family]:
        skipped = row.random or row.crashes or row.op in NOT_COMPARABLE or "bernoulli" in row.op
        skipped = skipped or any(name in row.op for name in STRICT)
        if not skipped and not row.family.endswith("_"):
            args, kwargs = row.make(Draw(4))
            report = gp.check_rule(row.overload, *args, **kwargs)
            assert report.operator == row.op
            assert report.error <= 1e-10, f"{row.op} {row.note}"


def test_the_report() -> None:
    gp.rule(scale, "b c *, c -> b c *")
    report = gp.check_rule(scale, X, W)
    assert report.free == ("x[0] return[0]", "x[1] weight[0] return[1]")
    assert report.pinned == (
        "x[2] (a window slides along this dimension)",
        "return[2] (a window slides along this dimension)",
    )
    assert report.needless == ("x[2]",)
    assert str(report).splitlines()[0] == "laws.scale.default keeps the law (worst error 0.0e+00)"


def test_axes_that_are_pinned_together_needlessly() -> None:
    gp.rule(scale, "b c* s, c* -> b c* s")
    with pytest.raises(gp.InputError, match="cannot be read"):
        gp.rule(average, "b c* s* -> b s*")
    report = gp.check_rule(scale, X, W)
    assert report.needless == ("x[1] with weight[0] with return[1]",)


def uncoupled(call: Call) -> None:
    """Says nothing at all."""


def not_lined_up(call: Call) -> None:
    """A sum along pinned positions, whose other axes could be chosen position by position."""
    call.unify(call["x"].dims[0], call.output.dims[0])
    call.unify(call["x"].dims[2], call.output.dims[2])
    call.unify(call["x"].dims[1], call.output.dims[1])
    call.pin(call.output.dims[1], "summed in order")


@pytest.mark.parametrize(
    ("operator", "form", "arguments", "message"),
    [
        (
            scale,
            "b c s, d -> b c s",
            (X, W),
            r"axis x\[1\] return\[1\] is removed, the operator fails: .*size",
        ),
        (scale, "b c s, c -> b d* s", (X, W), r"axis x\[1\] weight\[0\] is removed"),
        (scale, uncoupled, (X, W), r"axis x\[0\] is removed"),
        (
            average,
            "b c s -> b s",
            (X,),
            r"axis x\[1\] is removed, its result of shape \(2, 7\) differs by \d",
        ),
        (
            turned,
            "b c s -> b c s",
            (X,),
            r"axis x\[1\] return\[1\] is removed, its result of shape \(2, 2, 7\)",
        ),
        (running, not_lined_up, (X,), r"axis x\[2\] return\[2\] is removed, other units in each row"),
    ],
)
def test_wrong_rules_are_named(
    operator: torch.library.CustomOpDef,
    form: str | Callable[[Call], None],
    arguments: tuple[Tensor, ...],
    message: str,
) -> None:
    gp.rule(operator, form)
    with pytest.raises(gp.RuleError, match=message) as caught:
        gp.check_rule(operator, *arguments)
    assert str(caught.value).startswith(f"the rule for {operator._opoverload} is wrong: ")
    assert "pin it" in caught.value.remedy
    assert "\n" not in str(caught.value)


def test_what_cannot_be_tried_says_why() -> None:
    with pytest.raises(gp.RuleError, match=r"no rule for laws\.scale\.default"):
        gp.check_rule(scale, X, W)
    with pytest.raises(gp.InputError, match="there is no operator laws::nobody"):
        gp.check_rule("laws::nobody", X)
    gp.rule(scale, "b c s, c -> b c s")
    with pytest.raises(gp.InputError, match=r"does not run: .*size of tensor"):
        gp.check_rule(scale, X, torch.randn(4))
    with pytest.raises(gp.RuleError, match=r"the rule for laws\.scale\.default does not fit"):
        gp.check_rule(scale, X[0], W)
