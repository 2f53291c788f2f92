"""`graphprune.rule`: the three forms, what is refused, and what is forgotten again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import graphprune as gp
from graphprune.axes.call import Call
from graphprune.axes.rules import RULES, find_rule
from graphprune.axes.rules.users import USERS


@torch.library.custom_op("rules::scale", mutates_args=())
def scale(x: Tensor, weight: Tensor, times: int = 2) -> Tensor:
    return x * weight[:, None] * times


@torch.library.custom_op("rules::shuffle", mutates_args=())
def shuffle(x: Tensor, groups: int) -> Tensor:
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2).clone()


@torch.library.custom_op("rules::grouped", mutates_args=())
def grouped(x: Tensor, kernel: Tensor, groups: int = 1) -> Tensor:
    return torch.conv1d(x, kernel, groups=groups)


@torch.library.custom_op("rules::ungrouped", mutates_args=())
def ungrouped(x: Tensor, kernel: Tensor) -> Tensor:
    return torch.conv1d(x, kernel)


@torch.library.custom_op("rules::normalise", mutates_args=())
def normalise(x: Tensor, normalized_shape: list[int], weight: Tensor) -> Tensor:
    return torch.layer_norm(x, normalized_shape, weight)


@torch.library.custom_op("rules::soft", mutates_args=())
def soft(values: Tensor, dim: int) -> Tensor:
    return values.softmax(dim)


@torch.library.custom_op("rules::both", mutates_args=())
def both(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return x @ weight.T, x * 2


@torch.library.custom_op("rules::pick", mutates_args=())
def pick(x: Tensor, rows: Tensor) -> Tensor:
    return x[rows]


@torch.library.custom_op("rules::joined", mutates_args=())
def joined(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts, 1)


@torch.library.custom_op("rules::attend", mutates_args=())
def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.nn.functional.scaled_dot_product_attention(q, k, v)


@torch.library.custom_op("rules::write", mutates_args=("x",))
def write(x: Tensor) -> None:
    x.add_(1)


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    USERS.clear()


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


FORMS = [
    (scale, ("b c s+, c -> b c s+",), {}, (normal(2, 5, 4), normal(5)), "x[1] weight[0] return[1]"),
    (scale, ("b c *, c -> b c *",), {}, (normal(2, 5, 4), normal(5)), "x[1] weight[0] return[1]"),
    (
        scale,
        ("c, b c s+ -> b c s+",),
        {"arguments": ("weight", "x")},
        (normal(2, 5, 4), normal(5)),
        "x[1] weight[0] return[1]",
    ),
    (shuffle, ("b (g k) s+ -> b (k g) s+",), {"sizes": {"g": "groups"}}, (normal(2, 15, 4), 3), "x[0] return[0]"),
    (shuffle, (), {"like": "aten.channel_shuffle"}, (normal(2, 15, 4, 7), 3), "x[0] return[0]"),
    (grouped, (), {"like": "aten.conv1d"}, (normal(2, 6, 7), normal(9, 2, 4), 3), "x[1] kernel[1]"),
    (grouped, (), {"like": "aten::conv1d.default"}, (normal(2, 5, 7), normal(9, 5, 4)), "x[1] kernel[1]"),
    (normalise, (), {"like": "aten.layer_norm"}, (normal(2, 3, 5), [5], normal(5)), "x[2] weight[0] return[2]"),
    (soft, (), {"like": "aten.softmax"}, (normal(2, 3, 5), 1), "values[1] return[1]"),
    (
        both,
        ("b i, o i -> b o, b i",),
        {"loops": "b i o"},
        (normal(2, 3), normal(5, 3)),
        "x[1] weight[1] return.1[1]",
    ),
    (ungrouped, (), {"like": "aten.conv1d"}, (normal(2, 6, 9), normal(5, 6, 3)), "kernel[0] return[1]"),
    (pick, ("r* c -> b* c",), {"arguments": ["x"]}, (normal(5, 3), torch.tensor([1, 4])), "x[1] return[1]"),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "form", "options", "arguments", "free"), FORMS)
def test_forms(operator: Any, form: Any, options: Any, arguments: Any, free: str) -> None:
    with gp.rule(operator, *form, **options) as registered:
        report = gp.check_rule(operator, *arguments)
        assert registered.operator == ".".join(report.operator.split(".")[:2]) + ".default"
        assert free in report.free
        assert report.error <= 1e-10
    assert not USERS


@pytest.mark.parametrize("spelled", ["rules::scale", "rules.scale", torch.ops.rules.scale])
def test_operators_are_named_in_any_way(spelled: Any) -> None:
    gp.rule(spelled, "b c s+, c -> b c s+").remove()
    assert not USERS


def test_a_function_is_a_rule() -> None:
    def rule(call: Call) -> None:
        first, second = call["parts"]
        call.unify(first.dims[0], second.dims[0])
        call.unify(first.dims[0], call.output.dims[0])
        call.unify(call.output.dims[1], call.equations.sum((first.dims[1], second.dims[1])))

    with gp.rule("rules::joined", rule):
        report = gp.check_rule("rules::joined", [normal(2, 3), normal(2, 4)])
    assert report.free == ("parts.0[0] parts.1[0] return[0]", "parts.0[1] return[1]", "parts.1[1] return[1]")


def test_a_tensor_that_a_signature_does_not_name_is_pinned() -> None:
    with gp.rule(pick, "r* c -> b* c", arguments=["x"]):
        report = gp.check_rule(pick, normal(5, 3), torch.tensor([1, 4]))
    assert any(pin.startswith("rows[0] (its rule does not name this tensor") for pin in report.pinned)


def test_what_must_change_and_cannot_is_refused() -> None:
    """Half the width gives attention another scale, which this operator has no argument for."""
    gp.rule(attend, like="aten.scaled_dot_product_attention")
    with pytest.raises(gp.RuleError, match="no argument 'scale', which must become"):
        gp.check_rule(attend, *(normal(2, 3, 5, 4) for _ in "qkv"))


REFUSED = [
    ("rules::nobody", ("b -> b",), {}, "no operator rules::nobody"),
    ("rules::scale.nobody", ("b -> b",), {}, "no operator rules::scale.nobody"),
    (42, ("b -> b",), {}, "42 is no operator"),
    (write, ("b -> b",), {}, "writes into its arguments"),
    (scale, (), {}, "is given no rules"),
    (scale, ("b c -> b c",), {"like": "aten.relu"}, "is given two rules"),
    (scale, (3,), {}, "3 is no rule"),
    (scale, (), {"like": "aten.relu", "loops": "b"}, "belong to a signature"),
    (scale, ("b c s+, c",), {}, "has one '->'"),
    (scale, ("b [c] s+, c -> b c s+",), {}, r"'b \[c\] s\+' is no list of names"),
    (scale, ("b (c s+), c -> b c",), {}, "is no list of names"),
    (scale, ("x* c s+, c -> x* c s+",), {}, "so that none is certain"),
    (scale, ("b c s+, c -> b d s+",), {}, "no operand has the axis 'd'"),
    (scale, ("b c s+ -> b c s+",), {}, "has 1 operands for the tensors x, weight"),
    (scale, ("b c s+, c -> b c s+, b",), {}, "has 2 outputs, rules.scale.default returns Tensor"),
    (scale, ("b c s+ -> b c s+",), {"arguments": ["y"]}, "no tensor argument 'y', but x, weight"),
    (scale, ("b c s+, c -> b c s+",), {"sizes": {"c": "groups"}}, "no integer argument 'groups', but times"),
    (scale, ("b c s+, c -> b c s+",), {"sizes": {"g": "times"}}, "sizes mentions 'g'"),
    (scale, ("b c s+, c -> b c s+",), {"loops": "b d"}, "loops mentions 'd'"),
    (scale, (), {"like": "aten.relu"}, "it takes the tensors x, weight, the other self"),
    (scale, (), {"like": "rules::both"}, "that one has no rule"),
    (soft, (), {"like": "aten.layer_norm"}, "it has no argument 'normalized_shape'"),
    (both, (), {"like": "aten.mm"}, "it returns Tensor, Tensor, the other Tensor"),
    ("aten::relu", ("b -> b",), {}, "has a rule already, that of aten.relu, graphprune's own"),
    ("aten::add.Tensor", ("b, b -> b",), {}, "has a rule already, that of aten.add, graphprune's own"),
]


@pytest.mark.parametrize(("operator", "form", "options", "message"), REFUSED)
def test_refusals_say_what_to_do(operator: Any, form: Any, options: Any, message: str) -> None:
    with pytest.raises(gp.InputError, match=message) as caught:
        gp.rule(operator, *form, **options)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    assert not USERS


def test_a_second_rule_is_refused() -> None:
    gp.rule("rules::scale", "b c s+, c -> b c s+")
    for name in ("rules::scale", scale):
        with pytest.raises(gp.InputError, match=r"a rule already, that of rules.scale, registered before"):
            gp.rule(name, "b c s+, c -> b c s+")


def test_our_table_stays_as_it_is() -> None:
    before = dict(RULES)
    with gp.rule("rules::scale", "b c s+, c -> b c s+"):
        assert before == RULES
        assert find_rule("rules.scale.default") is not None
    assert find_rule("rules.scale.default") is None


@torch.library.custom_op("rules::parts", mutates_args=())
def parts(x: Tensor, groups: int) -> Tensor:
    return x.unflatten(1, (groups, -1)).clone()


@parts.register_fake
def _(x: Tensor, groups: int) -> Tensor:
    return torch.empty_like(x.unflatten(1, (groups, -1)))


class Divided(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = torch.nn.Linear(3, 8), torch.nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.ops.rules.parts(self.one(x), 2)).sum(1)


def test_sizes_of_factors_follow_from_where_they_stand_alone() -> None:
    """Of "(g k)" neither is known when the operand is read; the output says that g is 2 and k is 4."""
    gp.rule("rules::parts", "b (g k) -> b g k")
    graph = gp.trace(Divided(), torch.randn(2, 3), strict=True)
    found = {
        group.atom.size: [(member.tensor, member.dim) for member in group.members] for group in graph.groups
    }
    assert ("two.weight", 1) in found[4]
    assert found[2] == [("one.weight", 0), ("one.bias", 0)]
